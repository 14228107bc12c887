"""The judge: it learns, it is kept, and it does not fall for what it should not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cyclegan.errors import UsageError
from cyclegan.evaluation.features import classifier as judging
from cyclegan.evaluation.features import classifier_training
from cyclegan.evaluation.features.classifier import DomainClassifier, find_classifier
from cyclegan.evaluation.features.classifier_training import augment, repeated, resize, train_classifier
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


@pytest.mark.slow
def test_it_tells_stripes_from_none_whatever_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, 60)
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
    assert judge.share(of_b, "a") == 1 - judge.share(of_b, "b")
    features = torch.cat([judge.extractor()(batch) for batch in other_b.batches()])
    assert features.shape == (20, 256)
    mirrored = torch.cat([judge.extractor()(batch.flip(3)) for batch in other_b.batches()])
    verdict = (judge.network.head(features) + judge.network.head(mirrored))[:, 0] > 0
    assert torch.equal(verdict, of_b)


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
    assert (one[1]["learned_from"], one[1]["marked_with"]) == ([8, 8], [2, 2])


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
