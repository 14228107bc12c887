"""The best of a planted sequence of figures, patience, and what of the best is on the disk."""

from __future__ import annotations

import errno
import math
import random
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cyclegan.errors import CycleganError
from cyclegan.evaluation.metrics.metric import Evaluation
from cyclegan.evaluation.metrics.uncertainty import spread_about_line
from cyclegan.evaluation.selection import parse_criteria, read_best
from cyclegan.models import load_model
from cyclegan.training.evaluation import best_model
from cyclegan.training.evaluation.best_model import BestModel
from cyclegan.training.storage.checkpoint import restore
from tests.models.examples import generators, same

CONDITIONS = {"judge": "j", "features": "f", "chosen_on": {"a": {"count": 2}}}


def keeper(run: Path, metric: str = "kid_ab", patience: int = 0) -> BestModel:
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    made = BestModel(run, parse_criteria(metric, ("ab", "ba")), patience)
    made.begin(CONDITIONS)
    return made


def shown(keeper: BestModel, *values: float, start: int = 1) -> list[str]:
    """Look at the generators of steps `start`, … whose only figure is `values`; what is said of each."""
    return [_look(keeper, start + place, {"kid_ab": value}) for place, value in enumerate(values)]


def _look(keeper: BestModel, step: int, figures: dict[str, float]) -> str:
    values = {criterion.name: criterion.value(figures) for criterion in keeper.criteria}
    said = ", ".join(keeper.compare(step, values))
    evaluation = Evaluation(figures, {"kid_ab": (0.0, 9.0)})
    keeper.keep(step, values, evaluation, nn.ModuleDict(generators(step)), {"method": "cyclegan"})
    return said


def kept(run: Path, metric: str = "kid_ab") -> int:
    """The step of the best generators on the disk, after holding the file against the record and the weights."""
    entry = read_best(run)[metric]
    model = load_model(run / entry["file"])
    assert model.info["step"] == entry["step"]
    assert model.info["best_by"] == metric
    assert all(same(model.generators[way], network) for way, network in generators(entry["step"]).items())
    return int(entry["step"])


def test_of_a_sequence_of_looks_the_first_of_the_best_is_kept(tmp_path: Path) -> None:
    said = shown(keeper(tmp_path), 3.0, 1.5, 2.0, 1.5, 4.0)
    assert kept(tmp_path) == 2
    entry = read_best(tmp_path)["kid_ab"]
    assert entry == {
        "step": 2,
        "value": 1.5,
        "better": "lower",
        "file": "checkpoints/best-kid_ab.safetensors",
        "figures": {"kid_ab": 1.5},
        "intervals": {"kid_ab": [0.0, 9.0]},
        **CONDITIONS,
        "recent": [3.0, 1.5, 2.0, 1.5, 4.0],  # up to the last evaluation, whatever was the best
        "spread": spread_about_line([3.0, 1.5, 2.0, 1.5, 4.0]),
        "evaluations": 5,
    }
    assert said[1] == "kid_ab 1.5 (the best so far)"
    assert said[4] == "kid_ab 4 (best so far 1.5 at step 2, spread 1.197)"


def test_each_metric_keeps_its_own_and_the_first_decides_when_to_stop(tmp_path: Path) -> None:
    found = keeper(tmp_path, "kid,judge_ab", patience=2)
    for step, (ab, ba, judge) in enumerate([(1, 1, 0.5), (2, 0.5, 0.6), (3, 0, 0.9)], start=1):
        _look(found, step, {"kid_ab": ab, "kid_ba": ba, "judge_ab": judge})
    assert (kept(tmp_path, "kid"), kept(tmp_path, "judge_ab")) == (1, 3)  # the mean is 1, 1.25, 1.5
    assert found.exhausted


def test_patience_counts_looks_in_a_row_without_a_better_one(tmp_path: Path) -> None:
    found = keeper(tmp_path, patience=2)
    ends = []
    for step, value in enumerate([3.0, 4.0, 1.0, 1.0, 1.5], start=1):
        shown(found, value, start=step)
        ends.append(found.exhausted)
    assert ends == [False, False, False, False, True]
    assert found.reason.startswith("kid_ab has not become better since step 3 (1), in 2 evaluations; --patience 0")
    never = keeper(tmp_path / "never", patience=0)
    shown(never, *[9.0] * 20)
    assert not never.exhausted


def test_what_is_no_number_is_never_the_best_and_wears_patience_out(tmp_path: Path) -> None:
    found = keeper(tmp_path, patience=3)
    said = shown(found, math.nan, math.inf)
    assert read_best(tmp_path) == {}
    assert said[0] == "kid_ab nan (none so far)"
    shown(found, math.nan, start=3)
    assert found.exhausted
    shown(found, 7.0, start=4)
    assert kept(tmp_path) == 4
    assert not found.exhausted


def test_what_it_saves_makes_another_decide_as_it_would(tmp_path: Path) -> None:
    one = keeper(tmp_path, patience=3)
    shown(one, 2.0, 3.0)
    other = keeper(tmp_path, patience=3)
    other.load_state_dict(one.state_dict())
    other.begin(CONDITIONS)
    assert shown(other, 2.5, start=3) == ["kid_ab 2.5 (best so far 2 at step 1, spread 0.6124)"]
    assert other.stale == 2
    assert one.state_dict()["stale"] == 1  # nothing is shared
    assert one.state_dict()["recent"] == {"kid_ab": [2.0, 3.0]}


def test_a_state_from_before_values_were_kept_goes_on_with_a_plain_comparison(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    shown(one, 2.0, 3.0, 2.5)
    state = one.state_dict()
    del state["recent"]
    other = keeper(tmp_path)
    other.load_state_dict(state)
    assert shown(other, 1.9, start=4) == ["kid_ab 1.9 (the best so far)"]
    for damaged in ({"kid_ab": 3.0}, {"kid_ab": ["x"]}, [1.0]):
        with pytest.raises(CycleganError, match="the saved evaluation does not fit this run"):
            restore({"evaluation": state | {"recent": damaged}}, evaluation=keeper(tmp_path))


def test_the_evaluations_that_the_best_was_chosen_from_are_counted_over_a_resume(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    shown(one, 3.0, 2.0, math.nan, *[4.0] * 5)
    assert read_best(tmp_path)["kid_ab"]["evaluations"] == 7  # NaN could not be chosen
    other = keeper(tmp_path)
    other.load_state_dict(one.state_dict())
    saved = other.state_dict()
    shown(other, 5.0, start=9)
    assert read_best(tmp_path)["kid_ab"]["evaluations"] == 8
    assert one.state_dict()["evaluations"] == saved["evaluations"] == {"kid_ab": 7}  # nothing is shared
    other.begin(CONDITIONS | {"judge": "another"})
    shown(other, 6.0, start=10)
    assert read_best(tmp_path)["kid_ab"]["evaluations"] == 1
    with pytest.raises(CycleganError, match="the saved evaluation does not fit this run"):
        restore({"evaluation": one.state_dict() | {"evaluations": {"kid_ab": "x"}}}, evaluation=keeper(tmp_path))


@pytest.mark.parametrize("lacking", [{"evaluations"}, {"evaluations", "recent"}])
def test_after_a_state_without_the_count_it_is_unknown_until_the_best_are_chosen_anew(
    tmp_path: Path, lacking: set[str]
) -> None:
    one = keeper(tmp_path)
    shown(one, 2.0, 3.0)
    other = keeper(tmp_path)
    other.load_state_dict({name: value for name, value in one.state_dict().items() if name not in lacking})
    shown(other, 1.0, 0.5, start=3)
    assert (kept(tmp_path), read_best(tmp_path)["kid_ab"]["evaluations"]) == (4, None)
    other.begin(CONDITIONS | {"judge": "another"})
    shown(other, 6.0, 7.0, start=5)
    assert read_best(tmp_path)["kid_ab"]["evaluations"] == 2


def better_ones(*values: float) -> list[int]:
    """Which of these evaluations, by number from 0, are the best so far."""
    found = BestModel(Path(), parse_criteria("kid_ab", ("ab",)), 0)
    said = [next(found.compare(step, {"kid_ab": value})) for step, value in enumerate(values)]
    return [step for step, clause in enumerate(said) if "the best so far" in clause]


def test_noise_is_seldom_better_and_a_fall_and_a_steady_one_are() -> None:
    draws = random.Random(0)
    later, falls, ends = [], [], []
    for _ in range(300):
        noise = [draws.gauss(0, 0.1) for _ in range(40)]
        later.append(sum(step >= 3 for step in better_ones(*(1 + off for off in noise))))
        falls.append(20 in better_ones(*(1 + off for off in noise[:20]), 0.4 + noise[20]))
        ends.append(better_ones(*(1 - 0.02 * step + off for step, off in enumerate(noise)))[-1])
    # One in fifty; a plain comparison finds a new best among noise three times as often
    assert sum(later) / 300 < 0.03 * 37
    assert sum(falls) / 300 > 0.95
    assert sum(ends) / 300 > 30  # of a fall by a fifth of the noise at each evaluation
    assert better_ones(*(0.9**step for step in range(40))) == list(range(40))


def test_small_steps_count_once_they_add_up_to_more_than_the_spread() -> None:
    values = [1.0, 1.2, 1.0, 1.2, 0.98, 1.18, 0.96, 1.16, 0.94, 1.14, 0.92, 1.12, 0.85]
    assert better_ones(*values) == [0, 12]


def test_with_another_metric_patience_begins_anew_and_the_old_best_stay_on_the_disk(tmp_path: Path) -> None:
    one = keeper(tmp_path, patience=3)
    shown(one, 2.0, 3.0)
    other = keeper(tmp_path, "judge_ab", patience=3)
    other.load_state_dict(one.state_dict())
    assert (other.stale, other.best) == (0, {})
    _look(other, 3, {"judge_ab": 0.1})
    assert (kept(tmp_path), kept(tmp_path, "judge_ab")) == (1, 3)


@pytest.mark.parametrize("name", ["judge", "features"])
def test_figures_of_another_judge_or_other_features_do_not_compare(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    one = keeper(tmp_path, patience=2)
    shown(one, 2.0, 3.0)
    other = keeper(tmp_path, patience=2)
    other.load_state_dict(one.state_dict())
    with caplog.at_level("INFO", "cyclegan"):
        other.begin(CONDITIONS | {name: "another"})
    assert "the best are chosen anew" in caplog.text
    assert shown(other, 5.0, start=3) == ["kid_ab 5 (the best so far)"]
    assert read_best(tmp_path)["kid_ab"]["recent"] == [5.0]
    assert kept(tmp_path) == 3


@pytest.mark.parametrize(("features", "step"), [("j", 1), ("f", 3)])
def test_what_names_no_features_was_measured_in_those_of_the_judge(tmp_path: Path, features: str, step: int) -> None:
    """An older state, and an older best.json."""
    older = {name: value for name, value in CONDITIONS.items() if name != "features"}
    one = keeper(tmp_path)
    one.conditions = older
    shown(one, 2.0)
    assert "features" not in read_best(tmp_path)["kid_ab"]
    for state in (one.state_dict(), None):  # or a state of before the evaluation
        other = keeper(tmp_path)
        if state is not None:
            other.load_state_dict(state)
        other.begin(CONDITIONS | {"features": features})
        assert ("kid_ab" in other.best) is (state is not None and features == "j")
        shown(other, 5.0, start=3)
        assert kept(tmp_path) == step


def test_a_better_one_from_a_branch_that_was_lost_is_not_overwritten_by_a_worse_one(tmp_path: Path) -> None:
    lost = keeper(tmp_path)
    shown(lost, 5.0)
    saved = lost.state_dict()
    shown(lost, 4.0, 1.0, start=2)  # and then it was killed, before a state was saved
    again = keeper(tmp_path)
    again.load_state_dict(saved)
    again.begin(CONDITIONS)
    assert shown(again, 4.0, start=2) == ["kid_ab 4 (the best so far)"]
    assert kept(tmp_path) == 3
    shown(again, -1.0, start=4)
    assert kept(tmp_path) == 4


def test_a_file_that_is_gone_is_replaced_by_the_next(tmp_path: Path) -> None:
    found = keeper(tmp_path)
    shown(found, 1.0)
    (tmp_path / "checkpoints" / "best-kid_ab.safetensors").unlink()
    shown(found, 2.0, start=2)
    assert kept(tmp_path) == 2


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", ["save_best", "write_best"])
def test_a_full_disk_is_a_warning_and_the_next_better_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    found = keeper(tmp_path)
    shown(found, 5.0)
    with monkeypatch.context() as patch:
        patch.setattr(best_model, at, full)
        shown(found, 3.0, start=2)
    assert "the best generators could not be kept (No space left on device); training goes on" in caplog.text
    entry = read_best(tmp_path)["kid_ab"]
    assert entry["value"] == 5.0
    assert load_model(tmp_path / entry["file"]).info["step"] in {"save_best": (1,), "write_best": (2,)}[at]  # or better
    shown(found, 3.2, start=3)  # not the best that was seen, but better than the best that is there
    assert kept(tmp_path) == 3


@pytest.mark.parametrize(
    "best",
    [{"kid_ab": {}}, {"kid_ab": {"step": 1, "value": []}}, {"kid_ab": {"step": [], "value": 1.0}}, {"kid_ab": 3}],
)
def test_a_state_with_something_else_for_the_best_is_refused(tmp_path: Path, best: dict[str, Any]) -> None:
    state = keeper(tmp_path).state_dict() | {"best": best}
    with pytest.raises(CycleganError, match="the saved evaluation does not fit this run"):
        restore({"evaluation": state}, evaluation=keeper(tmp_path))
