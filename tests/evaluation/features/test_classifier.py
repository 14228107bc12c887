"""The judge: it learns, it is kept, and it is not deceived by failures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cyclegan.errors import UsageError
from cyclegan.evaluation.features import classifier as judging
from cyclegan.evaluation.features import classifier_training, early_translations
from cyclegan.evaluation.features.classifier import DomainClassifier, find_classifier
from cyclegan.evaluation.features.classifier_training import (
    NEITHER,
    augment,
    calibration,
    resize,
    train_classifier,
)
from cyclegan.evaluation.features.corruptions import CORRUPTIONS, blurred, corrupt, repeated
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.output_statistics import checkerboard
from cyclegan.images import list_images
from tests.evaluation.examples import folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))


def squares(path: Path, size: int = 64) -> ImageSet:
    return ImageSet(path, list_images(path), size)


def short(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr(classifier_training, "STEPS", steps)
    monkeypatch.setattr(classifier_training, "CHECK_EVERY", steps // 2)
    monkeypatch.setattr(early_translations, "STEPS", 4)
    monkeypatch.setattr(early_translations, "CHANNELS", 4)


@pytest.mark.slow
def test_it_tells_stripes_from_none_whatever_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 150)
    # Small batches; two games of two steps teach little
    for name, count in (("REALS", 8), ("SPOILT", 14), ("EARLY", 2)):
        monkeypatch.setattr(classifier_training, name, count)
    # All of A are PNG and all of B are JPEG: who judges by compression calls every PNG an A
    a = squares(folder(tmp_path / "a", "a", 60))
    b = squares(folder(tmp_path / "b", "b", 60, suffix=".jpg"))
    judge = find_classifier({"a": a, "b": b})
    assert judge.accuracy > 0.9
    assert judge.is_sure
    other_a = squares(folder(tmp_path / "other_a", "a", 20, start=500, suffix=".jpg"))
    other_b = squares(folder(tmp_path / "other_b", "b", 20, start=500))
    of_a, of_b = (torch.cat([judge.verdict(batch) for batch in others.batches()]) for others in (other_a, other_b))
    assert judge.share(of_a, "b") < 0.1
    assert judge.share(of_b, "b") > 0.9
    assert judge.share(of_b, "a") + judge.share(of_b, "b") + judge.share(of_b, None) == pytest.approx(1)
    features = torch.cat([judge.extractor()(batch) for batch in other_b.batches()])
    assert features.shape == (20, 256)
    torch.testing.assert_close(features.norm(dim=1), torch.full((20,), 16.0))
    # Neither stripes nor none: failures made of pictures of A are hardly ever taken for B
    pictures, others = (torch.cat(list(some.batches())) for some in (other_a, other_b))
    failures = corrupt(pictures.repeat(6, 1, 1, 1), others.repeat(6, 1, 1, 1), torch.Generator().manual_seed(3))
    of_failures = judge.verdict(failures)
    assert judge.share(of_failures, None) > 0.5
    assert judge.share(of_failures, "b") < 0.35


@pytest.mark.slow
def test_one_that_cannot_tell_the_domains_apart_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 4)
    a, b = (squares(folder(tmp_path / name, "a", 80, start=start)) for name, start in (("a", 0), ("b", 300)))
    judge = find_classifier({"a": a, "b": b})
    assert judge.accuracy < 0.75
    assert not judge.is_sure


@pytest.mark.slow
def test_it_learns_once_for_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 2)
    a, b = squares(folder(tmp_path / "a", "a", 10)), squares(folder(tmp_path / "b", "b", 10))
    before = torch.random.get_rng_state()
    first = find_classifier({"a": a, "b": b})
    with monkeypatch.context() as patch:
        patch.setattr(judging, "train_classifier", None)  # nobody learns now
        again = find_classifier({"a": a, "b": b})
    assert (again.accuracy, again.sha256, again.protocol) == (first.accuracy, first.sha256, first.protocol)
    x = next(b.batches())
    torch.testing.assert_close(again.extractor()(x), first.extractor()(x))
    (file,) = (tmp_path / "cache" / "judges").iterdir()
    file.write_bytes(file.read_bytes()[:500])  # one that is cut short is made anew
    assert find_classifier({"a": a, "b": b}).sha256 == first.sha256
    assert file.stat().st_size > 500
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_it_learns_anew_for_other_pictures_sizes_and_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 2)
    a, b = squares(folder(tmp_path / "a", "a", 10)), squares(folder(tmp_path / "b", "b", 10))
    found = [
        find_classifier({"a": a, "b": b}),
        find_classifier({"a": a, "b": b}, seed=1),
        find_classifier({"a": squares(tmp_path / "a", 48), "b": b}),
    ]
    folder(tmp_path / "b", "b", 1, start=77)
    found.append(find_classifier({"a": a, "b": squares(tmp_path / "b")}))
    # Another picture under the same name, in as many bytes, as raw pixels have them
    os.utime(tmp_path / "a" / "000.png", ns=(0, 0))
    found.append(find_classifier({"a": a, "b": b}))
    assert len(list((tmp_path / "cache" / "judges").iterdir())) == 5
    assert len({judge.sha256 for judge in found}) == 4  # the pixels were the same, and so is what came of them


@pytest.mark.slow
def test_the_same_seed_makes_the_same_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 4)
    a, b = (next(squares(folder(tmp_path / kind, kind, 12)).batches()) for kind in "ab")
    one, two, other = (train_classifier(a, b, seed=seed, device=torch.device("cpu")) for seed in (1, 1, 2))
    states = [network.state_dict() for network, _ in (one, two, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])
    assert one[1]["learned_from"][:2] == [8, 8]
    assert one[1]["marked_with"][:2] == [2, 2]


def test_too_few_pictures_are_a_sentence(tmp_path: Path) -> None:
    a, b = squares(folder(tmp_path / "a", "a", 9)), squares(folder(tmp_path / "b", "b", 12))
    with pytest.raises(UsageError, match=r"at least 10 pictures of each domain.*has 9.*inception"):
        find_classifier({"a": a, "b": b})


def test_one_domain_alone_has_no_judge(tmp_path: Path) -> None:
    alone = squares(folder(tmp_path / "b", "b", 12))
    with pytest.raises(UsageError, match=r"tells 2 domains apart, and there are pictures of 1; .*inception"):
        find_classifier({"b": alone})


def test_a_cache_that_cannot_be_written_to_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short(monkeypatch, 2)
    (tmp_path / "file").touch()
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "file"))
    a, b = squares(folder(tmp_path / "a", "a", 10)), squares(folder(tmp_path / "b", "b", 10))
    assert isinstance(find_classifier({"a": a, "b": b}), DomainClassifier)
    assert "could not be stored" in caplog.text


def test_what_it_learns_from_is_made_worse_by_the_seed_and_never_the_same_twice() -> None:
    x = torch.full((40, 3, 64, 64), 128, dtype=torch.uint8)
    one, same, other = (augment(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.dtype == torch.uint8
    assert one.shape == x.shape
    # Light changes the mean of each, noise its spread
    assert float(one.float().mean(dim=(1, 2, 3)).std()) > 5
    assert float(one.float().std(dim=(1, 2, 3)).max()) > 4


def test_the_judge_sees_everything_at_the_same_size_and_in_whole_levels() -> None:
    x = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    assert resize(x).shape == (2, 3, 64, 64)
    assert resize(x).dtype == torch.uint8
    assert torch.equal(resize(resize(x)), resize(x))


def test_pictures_of_both_sides_are_overlaid_with_patterns_that_repeat_and_change_no_mean():
    grey = torch.full((400, 3, 64, 64), 128, dtype=torch.uint8)
    pattern = repeated(grey, torch.Generator().manual_seed(0))
    assert torch.equal(pattern[:, :, 4:, :60], pattern[:, :, :-4, 4:])
    assert pattern.mean((2, 3)).abs().max() < 1e-5
    assert abs(pattern.std() - 1) < 0.1
    energies = checkerboard(augment(grey, torch.Generator().manual_seed(0)))
    # Of white noise the marked frequencies hold a seventh
    assert 0.35 < (energies > 0.5).double().mean() < 0.6


def test_first_attempts_at_translation_follow_from_the_seed_and_leave_the_random_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_translations, "STEPS", 3)
    a, b = (next(squares(folder(tmp_path / kind, kind, 12)).batches()) for kind in "ab")
    before = torch.random.get_rng_state()
    cpu = torch.device("cpu")
    one, same, other = (early_translations.early_translations(a, b, seed=seed, device=cpu) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    # Two games, both ways; the first of three steps is left out
    assert one.shape == (2 * 2 * 2 * early_translations.BATCH, 3, 64, 64)
    assert one.dtype == torch.uint8


@pytest.mark.parametrize("spoil", CORRUPTIONS, ids=lambda spoil: spoil.__name__)
def test_each_way_of_spoiling_changes_every_picture_and_no_other_thing(spoil) -> None:
    draws = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 255, 64).repeat(6, 3, 64, 1) + 20 * torch.randn(6, 3, 64, 64, generator=draws)
    ramp = torch.stack([picture.roll(7 * number, dims=2) for number, picture in enumerate(ramp)])
    others = 255 - ramp.mT
    for seed in range(8):
        spoilt = spoil(ramp, others, torch.Generator().manual_seed(seed))
        assert spoilt.shape == ramp.shape
        assert spoilt.isfinite().all()
        assert ((spoilt - ramp).abs().mean(dim=(1, 2, 3)) > 3).all()
        assert torch.equal(spoilt, spoil(ramp, others, torch.Generator().manual_seed(seed)))


def test_spoiling_takes_each_way_for_some_pictures_even_if_there_are_few() -> None:
    x = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    spoilt = corrupt(x, x.flip(0), torch.Generator().manual_seed(0))
    assert spoilt.shape == x.shape
    assert spoilt.dtype == torch.uint8


def test_blur_keeps_the_mean_and_takes_detail() -> None:
    x = torch.rand(2, 3, 64, 64) * 255
    assert blurred(x, 3).std() < 0.2 * x.std()
    assert float(blurred(x, 3).mean()) == pytest.approx(float(x.mean()), rel=0.01)
    torch.testing.assert_close(blurred(torch.full((1, 3, 64, 64), 9.0), 2), torch.full((1, 3, 64, 64), 9.0))


def test_calibration_compares_confidence_with_being_right() -> None:
    sure = torch.tensor([[0.8, 0.1, 0.1]]).repeat(10, 1)
    honest = calibration([sure[:8], sure[8:], sure[:0]])  # sure by 80 %, right in 8 of 10
    assert honest["calibration_error"] == pytest.approx(0, abs=1e-6)
    assert honest["reliability"] == [[pytest.approx(0.8), 0.8, 10]]
    assert calibration([sure[:3], sure[3:], sure[:0]])["calibration_error"] == pytest.approx(0.5)


def test_a_picture_of_which_no_domain_is_sure_is_of_neither() -> None:
    class Network(torch.nn.Module):
        def probabilities(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.51, 0.4, 0.09], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8]])

    judge = DomainClassifier(Network(), 0.9, "", {}, torch.device("cpu"), ("a", "b"))  # type: ignore[arg-type]
    pictures = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    verdicts = judge.verdict(pictures)
    assert verdicts.tolist() == [0, 1, NEITHER, NEITHER]
    assert [judge.share(verdicts, domain) for domain in ("a", "b", None)] == [0.25, 0.25, 0.5]
    assert judge.probability(pictures, "b").tolist() == pytest.approx([0.4, 0.8, 0.35, 0.1])
