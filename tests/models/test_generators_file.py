"""The generators file: what goes in comes out, and what is wrong with one is said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cyclegan.errors import UsageError
from cyclegan.models import DamagedModel, load_model, save_model, weights_sha256
from tests.models.examples import INFO, generator, generators, generators_file, same


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "batch", "dropout": True, "upsampling": "resize"},
        pytest.param({"norm": "none", "spectral_norm": True}, marks=pytest.mark.slow),  # power iterations
        {"in_channels": 1, "out_channels": 4},
        {"name": "unet_128"},
    ],
)
def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path, options: dict[str, object]) -> None:
    saved = generators(**options)
    for network in saved.values():  # running statistics that are not those of a new network
        network.train()(torch.randn(2, network.spec["in_channels"], 12, 12))
    save_model(tmp_path / "model", saved, info=INFO)
    model = load_model(tmp_path / "model")
    assert model.info == INFO
    assert list(model.generators) == ["ab", "ba"]
    for way, network in saved.items():
        assert same(network, model.generators[way])
        assert model.generators[way].spec == network.spec
        picture = torch.randn(1, network.spec["in_channels"], 9, 13).clamp(-1, 1)
        assert torch.equal(network.eval()(picture), model.generators[way](picture))


def test_a_loaded_network_can_be_trained_on(tmp_path: Path) -> None:
    network = load_model(generators_file(tmp_path / "model")).generators["ab"]
    network.train()(torch.randn(1, 3, 8, 8)).sum().backward()
    assert all(value.grad is not None for value in network.parameters())


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    contents = {generators_file(tmp_path / str(number)).read_bytes() for number in range(5)}
    assert len(contents) == 1


def test_weights_in_another_memory_layout_are_saved_as_the_same_file(tmp_path: Path) -> None:
    turned = {way: network.to(memory_format=torch.channels_last) for way, network in generators().items()}
    save_model(tmp_path / "turned", turned, info=INFO)
    assert (tmp_path / "turned").read_bytes() == generators_file(tmp_path / "plain").read_bytes()


def test_loading_takes_no_random_numbers(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model", init="orthogonal")
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_weights_are_loaded_as_fp32(tmp_path: Path) -> None:
    halves = {way: network.half() for way, network in generators().items()}
    save_model(tmp_path / "model", halves, info=INFO)
    network = load_model(tmp_path / "model").generators["ab"]
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert torch.equal(network.stem.conv.weight, halves["ab"].stem.conv.weight.float())


def test_the_model_does_not_need_its_file_once_loaded(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model")
    model = load_model(path)
    with open(path, "r+b") as stream:  # in place, as no tool should, which a mapped file would show
        stream.seek(path.stat().st_size - 400)
        stream.write(bytes(400))
    assert all(same(network, model.generators[way]) for way, network in generators().items())


@pytest.mark.slow
def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model")
    whole = path.read_bytes()
    places = [*range(0, len(whole), 997), *range(0, 1400, 61), 3, 8, 9, len(whole) - 1]
    for place in places:
        for bit in (0, 6):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises((DamagedModel, UsageError), match=r"^MODEL: "):
                load_model(path)


def test_a_flipped_bit_in_a_weight_is_said_to_be_one(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model")
    flipped = bytearray(path.read_bytes())
    flipped[-1000] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DamagedModel, match="checksum does not match"):
        load_model(path)


@pytest.mark.parametrize("left", [0, 1, 8, 9, 200, 5000, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, left: int) -> None:
    path = generators_file(tmp_path / "model")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises((DamagedModel, UsageError), match=r"^MODEL: "):
        load_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    networks = generators()
    with torch.no_grad():
        networks["ba"].stem.conv.weight[0, 0, 0, 0] = value
    save_model(tmp_path / "model", networks, info=INFO)
    with pytest.raises(DamagedModel, match=r"not finite \(stem\.conv\.weight of generator ba\)"):
        load_model(tmp_path / "model")


def _forged(path: Path, **changes: object) -> Path:
    """A file whose digest is right and whose specs are not: damage cannot make one, a hand can."""
    network = generator()
    weights = {f"ab.{name}": value for name, value in network.state_dict().items()}
    specs = json.dumps({"ab": network.spec | changes})
    metadata = {"format": "cyclegan-generators", "version": "1", "specs": specs, "info": "{}"}
    save_file(weights, path, metadata | {"sha256": weights_sha256(weights, f"{specs}\0{{}}\0")})
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": 3}, r"should be \(12,\) and is \(8,\)"),
        ({"name": "resnet_9blocks"}, "does not fit its own description"),
        ({"norm": "batch"}, "should be absent and is"),
        ({"name": "resnet_7blocks"}, "did you mean"),
        ({"wings": 2}, "cannot build"),
        ({"channels": 40_000}, "does not fit its own description"),
        ({"channels": 10**9}, "an impossible generator"),
        ({"channels": -1}, "an impossible generator"),
        ({"channels": None}, "an impossible generator"),
    ],
)
def test_a_description_that_does_not_fit_the_weights_is_refused(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    # 40,000 channels would be over ten terabytes: that this returns at all shows that they were never allocated
    with pytest.raises(DamagedModel, match=sentence):
        load_model(_forged(tmp_path / "model", **changes))


def test_a_safetensors_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.ones(3)}, tmp_path / "model")
    with pytest.raises(UsageError, match="not one of cyclegan's"):
        load_model(tmp_path / "model")


def test_a_newer_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model")
    data = path.read_bytes()
    assert data.count(b'"version":"1"') == 1
    path.write_bytes(data.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(DamagedModel, match="version 2 and this cyclegan reads 1"):
        load_model(path)


def test_a_model_that_cannot_be_written_leaves_the_old_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = generators_file(tmp_path / "model")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_model(path, generators(5), info=INFO)
    monkeypatch.undo()
    assert same(load_model(path).generators["ab"], generator(0))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_other_tools_can_read_the_metadata(tmp_path: Path) -> None:
    with safe_open(generators_file(tmp_path / "model"), framework="pt") as opened:
        metadata = opened.metadata()
        assert json.loads(metadata["specs"])["ab"]["name"] == "resnet_6blocks"
        assert json.loads(metadata["info"]) == INFO
        assert {name.split(".")[0] for name in opened.keys()} == {"ab", "ba"}  # noqa: SIM118 (no mapping)


def test_the_digest_of_weights_is_over_names_types_shapes_and_bytes_and_not_over_where_they_lie() -> None:
    whole, count = torch.arange(24.0).reshape(1, 2, 3, 4), torch.tensor(7)
    data = (
        b"count torch.int64 ()\0",
        count.numpy().tobytes(),
        b"whole torch.float32 (1, 2, 3, 4)\0",
        whole.numpy().tobytes(),
    )
    expected = hashlib.sha256(b"before" + b"".join(data)).hexdigest()
    turned = whole.to(memory_format=torch.channels_last).requires_grad_()
    assert weights_sha256({"whole": whole, "count": count}, "before") == expected
    assert weights_sha256({"count": count, "whole": turned}, "before") == expected
    bare = hashlib.sha256(b"count" + data[1] + b"whole" + data[3]).hexdigest()
    assert weights_sha256({"whole": whole, "count": count}, kinds=False) == bare
