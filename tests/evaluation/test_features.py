"""Extractors: those of the table, those in files, and files that are none or mean harm."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.features import Wanted, check_features, load_extractor
from cyclegan.evaluation.features.weights_files import read_weights
from cyclegan.system.files import file_sha256
from tests.evaluation.examples import Small, export_file, script_file
from tests.support.pictures import random_batch

CPU = torch.device("cpu")


class Harm:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def of_file(path: Path) -> Tensor:
    return load_extractor(Wanted(str(path), trust=True), CPU)(random_batch(3, 16))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), [("x.ts", script_file), ("x.pt2", export_file)])
def test_a_network_in_a_file_gives_its_features_but_only_when_trusted(tmp_path: Path, name: str, make: object) -> None:
    path = make(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(UsageError, match="give --trust-features"):
        load_extractor(Wanted(str(path)), CPU)
    extractor = load_extractor(Wanted(str(path), trust=True), CPU)
    batch = random_batch(3, 16)
    wanted = Small().eval()(batch.float() / 255)
    torch.testing.assert_close(extractor(batch), wanted)
    torch.testing.assert_close(torch.cat([extractor(one) for one in batch.split(1)]), wanted)
    assert extractor.sha256 == file_sha256(path)


def test_a_file_that_is_no_network_is_a_sentence_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save(Harm(victim), tmp_path / "zip.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Harm(victim)))
    (tmp_path / "text.pt").write_text("no network")
    for name in ("zip.pt", "bare.pt", "text.pt"):
        with pytest.raises(UsageError, match="neither TorchScript nor"):
            of_file(tmp_path / name)
    with pytest.raises(UsageError, match="there is no file"):
        of_file(tmp_path / "none.pt")
    assert not victim.exists()


def test_code_in_a_part_of_an_exported_network_is_not_run(tmp_path: Path) -> None:
    victim, good, bad = tmp_path / "victim", export_file(tmp_path / "good.pt2"), tmp_path / "bad.pt2"
    harm = io.BytesIO()
    torch.save(Harm(victim), harm)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            target.writestr(name, harm.getvalue() if "sample_inputs" in name else source.read(name))
    with pytest.raises(UsageError, match="holds code beside tensors"):
        of_file(bad)
    assert not victim.exists()
    torch.load(io.BytesIO(harm.getvalue()), weights_only=False)  # it would have been
    assert victim.exists()


def test_a_part_that_cannot_be_checked_for_code_is_refused_and_not_left_to_another_reader(tmp_path: Path) -> None:
    good, bad = export_file(tmp_path / "good.pt2"), tmp_path / "bad.pt2"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            whole = source.read(name)
            target.writestr(name, whole[: len(whole) // 2] if "sample_inputs" in name else whole)
    with pytest.raises(UsageError, match="cannot be checked for code"):
        of_file(bad)


def test_a_network_that_is_damaged_or_gives_no_features_is_a_sentence(tmp_path: Path) -> None:
    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1)

    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(1, 7)

    with pytest.raises(UsageError, match="has to give N × D"):
        of_file(script_file(tmp_path / "wide.ts", Wide()))
    with pytest.raises(UsageError, match="cannot take 3 × 3 × 16 × 16 pictures"):
        of_file(script_file(tmp_path / "picky.ts", Picky()))
    good = script_file(tmp_path / "good.ts")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "bad.ts", "w") as target:
        for name in source.namelist():
            target.writestr(name, b"x" if name.endswith("data.pkl") else source.read(name))
    with pytest.raises(UsageError, match="cannot be loaded"):
        of_file(tmp_path / "bad.ts")


def test_maps_of_features_are_averaged_and_what_is_no_number_is_refused() -> None:
    maps = torch.rand(2, 5, 3, 3)
    torch.testing.assert_close(check_features((maps,), 2, "x"), maps.mean(dim=(2, 3)))
    with pytest.raises(CycleganError, match="not finite"):
        check_features(torch.full((2, 5), torch.nan), 2, "x")


def test_a_name_that_is_not_known_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="did you mean 'inception'"):
        load_extractor(Wanted("incepton"), CPU)
    with pytest.raises(UsageError, match="neither a file nor a known network; use auto, judge, inception, lite0"):
        load_extractor(Wanted("qqq"), CPU)


def test_a_network_of_torchvision_needs_weights_or_the_word_that_it_does_not(tmp_path: Path) -> None:
    from torchvision import models

    with pytest.raises(UsageError, match="--random-features"):
        load_extractor(Wanted("mobilenet_v3_small"), CPU)
    before = torch.random.get_rng_state()
    random = load_extractor(Wanted("mobilenet_v3_small", random=True, seed=4), CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    network = models.mobilenet_v3_small(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    trained = load_extractor(Wanted("mobilenet_v3_small", weights=tmp_path / "weights.pth"), CPU)
    seen: list[Tensor] = []
    network.classifier[-1].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x = torch.nn.functional.interpolate(random_batch(3, 16).float() / 255, (224, 224), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        network((x - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(trained(random_batch(3, 16)), seen[0])
    torch.testing.assert_close(random(random_batch(3, 16)), seen[0])
    assert trained.sha256 == file_sha256(tmp_path / "weights.pth")
    assert random.sha256 == "random, seed 4"


@pytest.mark.slow
def test_weights_that_are_none_are_sentences_and_run_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"x": Harm(victim)}, tmp_path / "harm.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:300])
    for name, words in (
        ("harm", "nothing in it was run"),
        ("list", "holds no weights by name"),
        ("cut", "damaged|nothing in it was run"),
        ("none", "there is no file"),
        ("other", "is of another network: it lacks"),
    ):
        with pytest.raises(UsageError, match=words):
            load_extractor(Wanted("resnet18", weights=tmp_path / f"{name}.pth"), CPU)
    assert not victim.exists()
    assert set(read_weights(tmp_path / "other.pth", "--x")) == {"fc.weight"}


def test_two_files_with_the_same_digest_are_the_same_features(tmp_path: Path) -> None:
    path = script_file(tmp_path / "x.ts")
    digest = load_extractor(Wanted(str(path), trust=True), CPU).sha256
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
