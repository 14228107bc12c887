"""Weight files of the reference implementation, both ways, against networks of its layout that know nothing of ours."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cyclegan.errors import CycleganError, UsageError
from cyclegan.models.export.junyanz import load_reference, read_discriminator, reference_flags, write_reference
from cyclegan.networks import build_discriminator, build_generator
from tests.models.export.reference_networks import UNet, reference_patch, reference_pixel, reference_resnet


def lively(network: nn.Module) -> nn.Module:
    """Weights, biases, scales and running statistics that are all different, so that a swapped pair would show."""
    torch.manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.normal_(0, 0.2)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return network.eval()


def assert_same(ours: nn.Module, theirs: nn.Module, side: int) -> None:
    x = torch.rand(1, 3, side, side) * 2 - 1
    with torch.no_grad():
        wanted, found = theirs(x), ours(x)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


GENERATOR_CASES: dict[str, tuple[Callable[[], nn.Module], str, str, bool, int]] = {
    "6 blocks": (lambda: reference_resnet(6, 4), "resnet_6blocks", "instance", False, 32),
    "9 blocks": (lambda: reference_resnet(9, 3), "resnet_9blocks", "instance", False, 32),
    "dropout": (lambda: reference_resnet(6, 4, dropout=True), "resnet_6blocks", "instance", True, 32),
    "batch": (lambda: reference_resnet(6, 4, "batch"), "resnet_6blocks", "batch", False, 32),
    "batch and dropout": (lambda: reference_resnet(9, 3, "batch", True), "resnet_9blocks", "batch", True, 32),
    "unet 128": (lambda: UNet(7, 2, "instance"), "unet_128", "instance", False, 128),
    "unet 256": (lambda: UNet(8, 2, "instance"), "unet_256", "instance", False, 256),
    "unet batch": (lambda: UNet(8, 2, "batch"), "unet_256", "batch", False, 256),
}
DISCRIMINATOR_CASES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "patch": (lambda: reference_patch(3, 4), "patch", "instance"),
    "patch batch": (lambda: reference_patch(3, 4, "batch"), "patch", "batch"),
    "pixel": (lambda: reference_pixel(4, "instance"), "pixel", "instance"),
    "pixel batch": (lambda: reference_pixel(4, "batch"), "pixel", "batch"),
}


@pytest.mark.parametrize("case", GENERATOR_CASES)
def test_a_generator_of_theirs_paints_the_same_picture_here(case: str, tmp_path: Path) -> None:
    make, name, norm, dropout, side = GENERATOR_CASES[case]
    theirs = lively(make())
    torch.save(theirs.state_dict(), tmp_path / "latest_net_G.pth")
    generators, discriminators = load_reference(tmp_path)
    assert generators.keys() == {"ab"}
    assert not discriminators
    spec = generators["ab"].spec
    assert (spec["name"], spec["norm"], spec["dropout"]) == (name, norm, dropout)
    assert_same(generators["ab"], theirs, side)


@pytest.mark.parametrize("case", GENERATOR_CASES)
def test_a_generator_of_ours_loads_strictly_there_and_paints_the_same_picture(case: str, tmp_path: Path) -> None:
    make, name, norm, dropout, side = GENERATOR_CASES[case]
    width = 3 if name == "resnet_9blocks" else 4 if name == "resnet_6blocks" else 2
    ours = lively(build_generator(name, channels=width, norm=norm, dropout=dropout))
    (path,) = write_reference(tmp_path, {"ab": ours})
    assert path.name == "latest_net_G_A.pth"
    theirs = make()
    theirs.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert_same(ours, theirs.eval(), side)


@pytest.mark.parametrize("case", DISCRIMINATOR_CASES)
def test_a_discriminator_judges_the_same_on_both_sides(case: str, tmp_path: Path) -> None:
    make, name, norm = DISCRIMINATOR_CASES[case]
    theirs = lively(make())
    torch.save(theirs.state_dict(), tmp_path / "D.pth")
    assert_same(read_discriminator(tmp_path / "D.pth"), theirs, 32)

    ours = lively(build_discriminator(name, channels=4, norm=norm))
    (path,) = write_reference(tmp_path, {}, {"b": ours})
    again = make()
    again.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert_same(ours, again.eval(), 32)


def test_a_patch_discriminator_of_any_depth_is_read(tmp_path: Path) -> None:
    theirs = lively(reference_patch(2, 3))
    torch.save(theirs.state_dict(), tmp_path / "D.pth")
    assert_same(read_discriminator(tmp_path / "D.pth"), theirs, 32)


def test_their_network_without_normalisation_has_no_biases_and_is_read_with_zero_ones(tmp_path: Path) -> None:
    theirs = lively(reference_resnet(6, 2, "none"))
    torch.save(theirs.state_dict(), tmp_path / "5_net_G_A.pth")
    generators, _ = load_reference(tmp_path)
    assert generators["ab"].spec["norm"] == "none"
    assert_same(generators["ab"], theirs, 16)


def test_width_and_channels_are_read_off_the_shapes(tmp_path: Path) -> None:
    torch.save(reference_resnet(6, 5, inputs=1, outputs=2).state_dict(), tmp_path / "x.pth")
    spec = load_reference(tmp_path / "x.pth")[0]["ab"].spec
    assert (spec["channels"], spec["in_channels"], spec["out_channels"]) == (5, 1, 2)


def test_prefixes_and_the_running_statistics_of_old_instance_norms_are_passed_over(tmp_path: Path) -> None:
    theirs = lively(reference_resnet(6, 4))
    old = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    for number in (2, 5, 8, 17, 20):
        old[f"module.model.{number}.running_mean"] = torch.randn(4)
        old[f"module.model.{number}.running_var"] = torch.rand(4)
        old[f"module.model.{number}.num_batches_tracked"] = torch.tensor(7)
    torch.save(old, tmp_path / "latest_net_G_A.pth")
    generators, _ = load_reference(tmp_path)
    assert generators["ab"].spec["norm"] == "instance"
    assert_same(generators["ab"], theirs, 32)


def test_g_a_maps_a_to_b_and_d_a_judges_b_on_the_way_in_and_out(tmp_path: Path) -> None:
    marks = {"G_A": 1.0, "G_B": 2.0, "D_A": 3.0, "D_B": 4.0}
    for part, mark in marks.items():
        network = reference_resnet(6, 1) if part.startswith("G") else reference_patch(3, 1)
        for parameter in network.parameters():
            nn.init.constant_(parameter, mark)
        torch.save(network.state_dict(), tmp_path / f"latest_net_{part}.pth")
    generators, discriminators = load_reference(tmp_path)
    found = {key: next(network.parameters()).flatten()[0].item() for key, network in generators.items()}
    assert found == {"ab": 1.0, "ba": 2.0}
    found = {key: next(network.parameters()).flatten()[0].item() for key, network in discriminators.items()}
    assert found == {"b": 3.0, "a": 4.0}

    out = tmp_path / "out"
    out.mkdir()
    paths = write_reference(out, generators, discriminators, epoch="200")
    assert {path.name for path in paths} == {f"200_net_{part}.pth" for part in marks}
    for part, mark in marks.items():
        weights = torch.load(out / f"200_net_{part}.pth", weights_only=True)
        assert {value.unique().item() for value in weights.values()} == {mark}


def test_of_several_epochs_the_latest_is_taken_else_the_highest_number(tmp_path: Path) -> None:
    for epoch, mark in (("100", 0.0), ("200", 2.0), ("50", 1.0), ("latest", 3.0)):
        network = reference_resnet(6, 1)
        nn.init.constant_(next(network.parameters()), mark)
        torch.save(network.state_dict(), tmp_path / f"{epoch}_net_G_A.pth")

    def taken() -> float:
        return next(load_reference(tmp_path)[0]["ab"].parameters()).flatten()[0].item()

    assert taken() == 3.0
    (tmp_path / "latest_net_G_A.pth").unlink()
    assert taken() == 2.0


def test_a_single_file_says_its_direction_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G_B.pth"
    torch.save(reference_resnet(6, 1).state_dict(), path)
    assert load_reference(path)[0].keys() == {"ba"}


def test_spectral_normalisation_is_written_as_the_weights_it_results_in(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = build_discriminator("patch", channels=4, spectral_norm=True)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, 0, 0.2)  # the power iteration now lags behind, and an export must not advance it
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    (path,) = write_reference(tmp_path, {}, {"a": ours})
    theirs = reference_patch(3, 4)
    theirs.load_state_dict(torch.load(path, weights_only=True), strict=True)
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(theirs(x), ours.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: build_generator("resnet_6blocks", channels=1, upsampling="resize"), "--upsampling resize"),
        (lambda: build_generator("unet_128", channels=1, norm="none"), "--norm none"),
        (lambda: build_discriminator("multiscale", channels=1), "MultiscaleDiscriminator"),
    ],
)
def test_what_they_have_no_network_for_is_one_sentence_and_writes_nothing(
    network: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        write_reference(tmp_path, {"ab": build_generator("resnet_6blocks", channels=1), "ba": network()})
    assert not list(tmp_path.iterdir())


class Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, write in (
        ("a_net_G.pth", torch.save),
        ("b_net_G.pth", lambda value, path: path.write_bytes(pickle.dumps(value))),
    ):
        write({"model.1.weight": Dangerous()}, tmp_path / path)
        with pytest.raises(CycleganError, match="would run code"):
            load_reference(tmp_path / path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model.1.weight": torch.zeros(3)}, "is not a generator"),
        ({}, "is not a generator"),
        ([torch.zeros(1)], "is not a state dict"),
        ({"epoch": 3}, "is not a state dict"),
        (reference_resnet(4, 1).state_dict(), "4 residual blocks; known are resnet_6blocks"),
        (UNet(6, 1, "instance").state_dict(), "6 halvings; known are unet_128"),
        (reference_patch(3, 1).state_dict(), "is not a generator"),
        (reference_resnet(6, 1).state_dict() | {"model.99.weight": torch.zeros(1)}, "model.99.weight"),
        (
            reference_resnet(6, 1).state_dict() | {"model.16.bias": torch.zeros(9)},
            r"model.16.bias has the shape \(9,\)",
        ),
    ],
)
def test_a_file_that_is_something_else_is_one_sentence(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save(content, path)
    with pytest.raises(CycleganError, match=message):
        load_reference(path)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    weights = reference_resnet(6, 1).state_dict()
    del weights["model.12.conv_block.5.bias"]
    torch.save(weights, tmp_path / "latest_net_G.pth")
    with pytest.raises(CycleganError, match=r"has no model\.12\.conv_block\.5\.bias"):
        load_reference(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_file_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save(reference_resnet(6, 1).state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"not weights\n", "empty": b""}[damage])
    with pytest.raises(CycleganError, match=r"latest_net_G\.pth"):
        load_reference(path)


def test_a_folder_without_a_generator_is_a_usage_error(tmp_path: Path) -> None:
    torch.save(reference_patch(3, 1).state_dict(), tmp_path / "latest_net_D_A.pth")
    for source in (tmp_path, tmp_path / "latest_net_D_A.pth", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"_net_G_A\.pth"):
            load_reference(source)


def test_the_flags_of_their_test_script_are_named() -> None:
    generator = build_generator("resnet_6blocks", channels=32)
    assert reference_flags(generator) == (
        "--netG resnet_6blocks --norm instance --ngf 32 --input_nc 3 --output_nc 3 --no_dropout"
    )
