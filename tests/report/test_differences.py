"""Recipes compared in words: equal ones are called equal, and what differs is found."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from cyclegan.report.differences import Difference, differences
from cyclegan.report.protocols import TERMS
from cyclegan.report.recipes import LabelledRun, recipes
from tests.report.draws import KEYS, Noise, drawn_run

DRAWS = 200
ONE_FIGURE = "kid_ab"


def drawn(
    rng: np.random.Generator, seeds: tuple[int, int], shift: dict[str, float] | None = None, **more: Any
) -> list[LabelledRun]:
    """Runs of two recipes; the second is shifted."""
    first, second = seeds
    noise = more.pop("noise", Noise())
    runs = [drawn_run(rng, 1, seed, {}, noise, **more) for seed in range(first)]
    return [*runs, *(drawn_run(rng, 2, seed, shift or {}, noise, **more) for seed in range(second))]


def compared(runs: list[LabelledRun]) -> Difference:
    (found,) = differences(recipes(runs))
    return found


def differing(runs: list[LabelledRun]) -> dict[str, bool]:
    """Figures that differ, and whether the first recipe has the higher value."""
    return {it.key: it.first_is_higher for it in compared(runs).figures if it.differs}


def one_draw(seed: int = 0, seeds: tuple[int, int] = (1, 1), shift: float = 0, **more: Any) -> list[LabelledRun]:
    return drawn(np.random.default_rng(seed), seeds, {ONE_FIGURE: shift}, **more)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (3, 1)])
def test_equal_recipes_are_called_equal_in_all_figures(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    equal = sum(not differing(drawn(rng, seeds)) for _ in range(DRAWS))
    assert equal >= 0.9 * DRAWS  # 95 % are expected, or more


@pytest.mark.slow
def test_two_seeds_of_one_recipe_are_called_equal() -> None:
    rng = np.random.default_rng(0)
    pairs = [[drawn_run(rng, 1, seed, {}, Noise()) for seed in range(2)] for _ in range(DRAWS)]
    assert sum(not differing(pair) for pair in pairs) >= 0.9 * DRAWS


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "figures"), [((1, 1), KEYS), ((3, 3), KEYS), ((3, 1), KEYS), ((5, 5), [ONE_FIGURE])])
def test_five_standard_deviations_are_found(seeds: tuple[int, int], figures: list[str]) -> None:
    rng = np.random.default_rng(0)
    shift = dict.fromkeys(figures, 5 * Noise().whole)
    found = [differing(drawn(rng, seeds, shift)) for _ in range(DRAWS)]
    right = [names for names in found if any(names.get(key) is False for key in figures)]
    assert len(right) >= 0.9 * DRAWS


def test_the_better_one_is_named_with_both_values() -> None:
    first, *others = list(compared(one_draw(seeds=(3, 3), shift=50, noise=Noise(0.1, 0.1, 0.1))).sentences())
    assert first.startswith("KID, A to B: r1 is better than r2 (")
    assert " ± " in first
    assert " against " in first
    (equal,) = others
    assert equal.startswith("no difference beyond the uncertainty in: taken for the target, FID, cycle L1 (A to B); ")
    assert equal.endswith("; taken for the target, KID, FID, cycle L1 (B to A)")
    runs = drawn(np.random.default_rng(0), (3, 3), {"judge_ba": 50}, noise=Noise(0.1, 0.1, 0.1))
    assert next(compared(runs).sentences()).startswith("taken for the target, B to A: r2 is better than r1 (")


def test_a_figure_without_a_better_end_is_only_higher() -> None:
    runs = one_draw(seeds=(3, 3))
    for run in runs:
        run.record.evaluation["metrics"]["class_share_ab"] = 0.1 * float(run.label[1]) + 0.01 * float(run.label[-1])
    sentences = list(compared(runs).sentences())
    assert sentences[0].startswith("of the named classes, A to B: r2 is higher than r1 (21.0 % ± 2.5 % against 11.0 %")
    assert next(it for it in compared(runs).as_json()["figures"] if it["differs"])["better"] is None


def test_without_evaluations_in_training_the_words_hold_for_the_pictures_only() -> None:
    words = "what other seeds would give is not known, since a single run has no evaluations in training"
    runs = one_draw(evaluated=False)
    assert words in list(compared(runs).sentences())[-1]
    assert not any("other seeds" in line for line in compared(one_draw()).sentences())
    assert not any("other seeds" in line for line in compared(one_draw(seeds=(2, 2), evaluated=False)).sentences())
    runs[0].record.recent |= one_draw()[0].record.recent
    del runs[0].record.recent[f"evaluation/{ONE_FIGURE}"]
    runs[1].record.recent |= one_draw()[1].record.recent
    assert "what other seeds would give is not known of KID (A to B), since" in list(compared(runs).sentences())[-1]


def test_a_figure_without_an_interval_is_compared_by_its_evaluations_or_not_at_all() -> None:
    runs = one_draw(shift=1000)
    for run in runs:
        run.record.evaluation["intervals"] = {}
    assert differing(runs) == {ONE_FIGURE: False}
    for run in runs:
        run.record.recent.clear()
    (sentence,) = compared(runs).sentences()
    assert sentence.startswith("without an interval, so not compared: taken for the target, KID,")
    for damaged in (None, 3, [1], ["low", "high"], {"low": 1}):
        runs[0].record.evaluation["intervals"] = {ONE_FIGURE: damaged}
        assert not compared(runs).figures


@pytest.mark.parametrize("term", [term for term in TERMS if term.figures != frozenset()], ids=lambda term: term.plural)
def test_what_was_measured_differently_is_not_compared(term: Any) -> None:
    runs = one_draw(shift=1000)
    for run in runs:
        for name in ("class_share", "neither"):
            run.record.evaluation["metrics"][f"{name}_ab"] = 0.5
            run.record.evaluation["intervals"][f"{name}_ab"] = [0.4, 0.6]
        values = run.record.evaluation["protocol"]
        for key in term.path[:-1]:
            values[key] = values = dict(values.get(key, {}))
        values[term.path[-1]] = run.label
    names = {name for name, _ in compared(runs).unlike}
    compared_names = {it.name for it in compared(runs).figures}
    assert names
    assert not names & compared_names
    assert not compared_names if term.figures is None else names <= term.figures
    assert "measured differently, so not compared: " in list(compared(runs).sentences())[-1]


def test_evaluations_in_training_by_another_judge_say_nothing_of_the_uncertainty() -> None:
    (run, _), (other, _) = one_draw(), one_draw()
    other.record.best["kid"] = {"judge": "other", "features": "other"}  # type: ignore[index]
    assert run.in_training(ONE_FIGURE, "kid") is not None
    assert other.in_training(ONE_FIGURE, "kid") is None
    assert other.in_training("cycle_l1_a", "cycle_l1") is not None  # which needs neither
    # Those on fewer of the pictures do
    other.record.best["kid"] = {"judge": "cc" * 32, "chosen_on": {"a": {"names_sha256": "other"}}}  # type: ignore[index]
    assert other.in_training(ONE_FIGURE, "kid") == run.in_training(ONE_FIGURE, "kid")


def test_the_last_evaluations_count_about_their_line() -> None:
    run, _ = one_draw()
    points = [(0, 1.0), (1, -1.0), (2, -1.0), (3, 1.0)]
    run.record.recent[f"evaluation/{ONE_FIGURE}"] = deque(points)
    assert run.in_training(ONE_FIGURE, "kid") == pytest.approx((4 * 2, 2))


def test_runs_that_differ_in_the_seed_alone_are_one_recipe() -> None:
    first, second = recipes(one_draw(seeds=(3, 2)))
    assert [run.label for run in first.runs] == ["r1-0", "r1-1", "r1-2"]
    assert first.about == "r1 (3 seeds: r1-0, r1-1, r1-2)"
    assert second.label == "r2"
    alone = recipes(one_draw(seeds=(2, 1)))[1]
    assert (alone.label, alone.about) == ("r2-0", "r2-0")


def test_a_seed_twice_another_step_and_other_pictures_make_another_group() -> None:
    def groups(change: Any) -> list[list[str]]:
        runs = one_draw(seeds=(3, 0))
        change(runs[2].record)
        return [[run.label for run in recipe.runs] for recipe in recipes(runs)]

    together, apart = [["r1-0", "r1-1", "r1-2"]], [["r1-0", "r1-1"], ["r1-2"]]
    assert groups(lambda record: None) == together
    assert groups(lambda record: record.config.update(workers=7)) == together
    assert groups(lambda record: record.config.update(seed=0)) == apart
    assert groups(lambda record: record.config.update(flip=False)) == apart
    assert groups(lambda record: record.evaluation["protocol"]["checkpoint"].update(step=50)) == apart
    assert groups(lambda record: record.meta.update(data_fingerprint="other")) == apart


def test_names_of_recipes_are_names_of_no_run() -> None:
    runs = one_draw(seeds=(2, 1))

    def labels(*new: str) -> list[str]:
        renamed = (LabelledRun(label, run.record) for label, run in zip(new, runs, strict=False))
        return [recipe.label for recipe in recipes(list(renamed))]

    assert labels("best/seed-10/run", "best/seed-11/run", "x") == ["best/seed", "x"]
    assert labels("x-0", "x-1", "x") == ["x-0 …", "x"]
    assert labels("0", "1") == ["0 …"]


def test_runs_of_one_recipe_are_compared_with_each_other() -> None:
    found = differences(recipes(one_draw(seeds=(3, 0))))
    assert [it.heading for it in found] == ["r1-0 against r1-1", "r1-0 against r1-2", "r1-1 against r1-2"]


def test_the_words_are_there_for_programs() -> None:
    runs = one_draw(seeds=(3, 1), shift=1000)
    found = compared(runs).as_json()
    assert found["recipes"] == [{"label": "r1", "runs": ["r1-0", "r1-1", "r1-2"]}, {"label": "r2-0", "runs": ["r2-0"]}]
    (kid,) = (it for it in found["figures"] if it["figure"] == ONE_FIGURE)
    assert (kid["differs"], kid["better"]) == (True, "r1")
    assert kid["p"] <= 0.05
    assert kid["values"][0] == [run.figure(ONE_FIGURE) for run in runs[:3]]
    low, high = kid["estimates"][0]["interval"]
    mean = kid["estimates"][0]["value"]
    assert mean == pytest.approx(np.mean(kid["values"][0]))
    assert low < mean < high
    assert kid["estimates"][0]["freedom"] == pytest.approx(2)
    assert found["sentences"] == list(compared(runs).sentences())


def test_runs_without_a_figure_in_common_have_a_sentence() -> None:
    runs = one_draw()
    runs[0].record.evaluation["metrics"].clear()
    assert list(compared(runs).sentences()) == ["no figure that both have"]
