"""Figures against a known answer: equal to torchmetrics, exact where they can be worked out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.evaluation.metrics.lpips import LPIPS
from cyclegan.evaluation.metrics.metric import Measured, Setup, Tools
from cyclegan.evaluation.metrics.paired import PairedMetrics, matched, paired_scores, ssim
from tests.support.pictures import random_batch


def test_ssim_is_that_of_torchmetrics_within_the_picture() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure as theirs

    x = random_batch(3, 24, 0).double()
    y = (x * 0.7 + random_batch(3, 24, 1).double() * 0.3).round()
    # Its mean also counts the windows that reach over the border, where it mirrors the picture; Wang et al. have none
    _, full = theirs(x, y, data_range=255.0, sigma=1.5, reduction="none", return_full_image=True)
    wanted = full[:, :, 5:-5, 5:-5].mean(dim=(1, 2, 3))
    assert 0.3 < float(wanted.min()) < 0.99
    torch.testing.assert_close(ssim(x, y), wanted, rtol=0, atol=1e-6)


def test_ssim_of_a_picture_with_itself_is_one_and_of_flat_pictures_its_closed_form() -> None:
    x = random_batch(1, 16, 0)
    assert float(ssim(x, x)) == pytest.approx(1)
    a, b = torch.full((1, 3, 16, 16), 50.0), torch.full((1, 3, 16, 16), 200.0)
    c1 = (0.01 * 255) ** 2
    assert float(ssim(a, b)) == pytest.approx((2 * 50 * 200 + c1) / (50**2 + 200**2 + c1))
    with pytest.raises(UsageError, match="11 × 11"):
        ssim(random_batch(1, 10, 0), random_batch(1, 10, 0))


def test_the_marks_of_a_picture_off_by_a_constant_are_that_constant() -> None:
    truth = np.full((12, 14, 3), 100, np.uint8)
    picture = truth.copy()
    picture[:6] += 10
    picture[6:] += 30
    found = paired_scores(picture, truth, threshold=10)
    assert found["l1"] == pytest.approx(20)
    assert found["rmse"] == pytest.approx(np.sqrt((100 + 900) / 2))
    assert found["within"] == pytest.approx(0.5)
    assert found["psnr"] == pytest.approx(20 * np.log10(255 / np.sqrt(500)))
    assert paired_scores(truth, truth)["within"] == 1
    assert paired_scores(truth, truth)["ssim"] == pytest.approx(1)


def test_figures_are_means_over_pictures_and_batches_count_like_single_ones() -> None:
    x, y = random_batch(3, 16, 0), random_batch(3, 16, 1)
    setup = Setup(Direction("a", "b"), Tools())
    together, alone = PairedMetrics(setup), PairedMetrics(setup)
    together.add(Measured(x, truth=y))
    for a, b in zip(x.split(1), y.split(1), strict=True):
        alone.add(Measured(a, truth=b))
    assert together.evaluation().figures == alone.evaluation().figures
    each = [
        paired_scores(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy())["l1"] for a, b in zip(x, y, strict=True)
    ]
    assert together.evaluation().figures["l1"] == pytest.approx(sum(each) / 3)
    assert PairedMetrics(setup).evaluation().figures == {}


def test_names_match_without_their_suffix_and_within_their_folder() -> None:
    truths = ["one.png", "sub/one.tif", "two.v2.png"]
    assert matched(("one.jpg", "sub/one.jpg", "two.v2.jpg"), truths, Path("t"), "--truth") == truths
    with pytest.raises(UsageError, match=r"t lacks 2 of 3 pictures, first three\.jpg"):
        matched(("one.jpg", "three.jpg", "other/one.jpg"), truths, Path("t"), "--truth")
    with pytest.raises(UsageError, match=r"both one\.png and one\.jpg"):
        matched(("one.gif",), ["one.png", "one.jpg"], Path("t"), "--truth")


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A backbone with random weights, and the linear layers that torchmetrics brings along."""
    import torchmetrics.functional.image as theirs
    from torchvision.models import alexnet

    backbone = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), backbone)
    return backbone, Path(theirs.__file__).parent / "lpips_models" / "alex.pth"


@pytest.mark.slow
def test_lpips_is_that_of_torchmetrics(lpips_files: tuple[Path, Path]) -> None:
    from torchmetrics.functional.image.lpips import _LPIPS

    ours = LPIPS(*lpips_files)
    theirs = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    backbone = torch.load(lpips_files[0], weights_only=True)
    own = theirs.net.state_dict()  # slice1.0.weight …: the layers keep their number
    theirs.net.load_state_dict({name: backbone[f"features.{name.partition('.')[2]}"] for name in own})
    x, y = random_batch(2, 64, 0), random_batch(2, 64, 1)
    wanted = theirs(x.float() / 127.5 - 1, y.float() / 127.5 - 1).flatten()
    with torch.inference_mode():
        torch.testing.assert_close(ours(x, y), wanted, rtol=1e-5, atol=1e-6)
        assert float(ours(x, x).abs().max()) == 0
    assert float(wanted.min()) > 1e-4


@pytest.mark.slow
def test_lpips_refuses_what_is_not_its_weights(lpips_files: tuple[Path, Path], tmp_path: Path) -> None:
    backbone, linear = lpips_files
    with pytest.raises(UsageError, match="is of another network"):
        LPIPS(linear, linear)
    with pytest.raises(UsageError, match=r"not the alex\.pth"):
        LPIPS(backbone, backbone)
    with pytest.raises(UsageError, match="there is no file"):
        LPIPS(tmp_path / "none.pth", linear)
    with pytest.raises(UsageError, match="64 pixels or more"):
        LPIPS(backbone, linear)(random_batch(1, 32, 0), random_batch(1, 32, 1))
