"""The sentence that a paper can quote, and what it lacks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cyclegan.directions import Direction
from cyclegan.report.page import write_report
from cyclegan.report.paper import quotable, too_few
from cyclegan.report.run_record import read_record
from cyclegan.report.tables import columns, measured_columns
from tests.report.examples import figures, finished, protocol
from tests.report.test_page import seen

AB = (Direction("a", "b"),)
NAMES = {"a": "horses", "b": "zebras"}
INTERVALS = {"kid_ab": [0.03, 0.07]}


def conditions(count: int = 500, **checkpoint: Any) -> dict[str, Any]:
    found = protocol()
    found["checkpoint"] |= checkpoint
    found["pictures"] = {f"held out {domain}": {"count": count + place} for place, domain in enumerate("AB")}
    found["pictures"]["learned from A"] = {"count": 3}
    return found


def measured(
    kid: float = 0.05, best: float = 0.02, count: int = 500, evaluations: int | None = 12, *, these: bool = True
) -> dict[str, Any]:
    """Record that `cyclegan evaluate` stores of a run with its best generators."""
    chosen = {"chosen_on": {"a": 500, "b": 501, "these": these}, "step": 50}
    if evaluations is not None:
        chosen["in_training"] = {"evaluations": evaluations}
    of_best = {"metrics": figures(0.8, best), "intervals": INTERVALS, "protocol": conditions(count, **chosen)}
    last = {"metrics": figures(0.7, kid), "intervals": INTERVALS, "protocol": conditions(count, which="last")}
    return {**last, "best": {"kid": of_best}}


def said(evaluations: Iterable[dict[str, Any]], seeds: Iterable[Any]) -> list[str]:
    return list(quotable([measured_columns(it) for it in evaluations], list(seeds), AB, NAMES))


def test_of_three_seeds_it_has_all_and_lacks_nothing() -> None:
    found = said([measured(0.04, 0.01, evaluations=10), measured(), measured(0.06, 0.03)], (0, 1, 5))
    assert found == [
        (
            "KID, horses to zebras: 0.0500 ± 0.0100 (95 % of the mean: 0.0252 to 0.0748), last of 3 runs, seeds 0, 1, "
            "5, step 100; 500 test pictures of horses against 501 test pictures of zebras at 16 px; features judge "
            "(cccccccccccc); untranslated 0.4000, real 0.0020; best by kid 0.0200 ± 0.0100 (95 % of the mean: -0.0048 "
            "to 0.0448), chosen from 10 to 12 evaluations on these pictures."
        )
    ]


def test_of_one_run_it_says_what_is_missing() -> None:
    sentence, lacks = said([measured()], [0])
    assert sentence.startswith("KID, horses to zebras: 0.0500 (0.0300 to 0.0700), last of 1 run, seed 0, step 100; ")
    assert sentence.endswith(
        "; best by kid 0.0200 (0.0300 to 0.0700) at step 50, chosen from 12 evaluations on these pictures."
    )
    assert lacks == "For a paper this lacks: seeds, of which a paper needs 3 (this is 1 run; see --seeds)."
    sentence, lacks = said([without(("intervals",))], [0])
    assert "zebras: 0.0500, last of 1 run" in sentence
    assert lacks.endswith("; see --seeds); an interval.")


def without(path: tuple[str, ...]) -> dict[str, Any]:
    """An evaluation without one of its parts."""
    found = measured()
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


@pytest.mark.parametrize(
    ("evaluation", "seed", "part"),
    [
        (measured(evaluations=None), 0, "the number of evaluations that chose the best"),
        (measured(count=499), 0, "pictures: 499 held-out pictures are few"),
        (measured(), None, "the seed"),
        (without(("best",)), 0, "the best generators beside the last"),
        (without(("protocol", "features")), 0, "the features"),
        (without(("metrics", "kid_source_ab")), 0, "the figure of untranslated pictures"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_missing_part_is_named(evaluation: dict[str, Any], seed: int | None, part: str) -> None:
    if "few" in part:
        evaluation["metrics"]["fid_ab"] = 3.0
    _, lacks = said([evaluation] * 3, [seed] * 3)
    assert lacks.startswith(f"For a paper this lacks: {part}")
    assert ";" not in lacks


def test_named_generators_say_how_they_were_chosen() -> None:
    part = measured(these=False)["best"]["kid"]
    part["protocol"]["checkpoint"]["which"] = "best by kid"
    sentence, _ = said([part], [0])
    assert "0.0200 (0.0300 to 0.0700), best by kid of 1 run, seed 0, step 50; " in sentence
    assert sentence.endswith("; chosen from 12 evaluations on held-out pictures of the run.")
    part["protocol"]["checkpoint"] = {"which": "as named", "step": None}
    sentence, _ = said([part], [None])
    assert ", named checkpoint of 1 run; " in sentence
    assert "chosen" not in sentence


def test_without_the_figure_there_is_no_line() -> None:
    assert said([{"metrics": {"psnr_ab": 20.0}, "protocol": conditions()}], [0]) == []
    assert said([], []) == []
    assert list(quotable([[]], [0], AB, NAMES)) == []


def test_generators_that_take_noise_have_no_untranslated_pictures() -> None:
    evaluation = {"metrics": {"kid_zb": 0.25}, "intervals": {"kid_zb": [0.2, 0.3]}, "protocol": conditions()}
    sentence, lacks = quotable([measured_columns(evaluation)], [0], (Direction("z", "b"),), NAMES)
    assert sentence.startswith(
        "KID, noise to zebras: 0.2500 (0.2000 to 0.3000), last of 1 run, seed 0, step 100; 501 test pictures of zebras"
    )
    assert "untranslated" not in lacks


def test_the_report_has_the_line_of_its_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    best = json.loads((run / "best.json").read_text())
    best["kid_ab"] |= {"evaluations": 3, "intervals": INTERVALS}
    (run / "best.json").write_text(json.dumps(best))
    (run / "evaluation.json").write_text(json.dumps(without(("best",))))
    page = seen(write_report(run).read_text())
    record = read_record(run)
    lines = list(quotable([columns(record)], [0], record.directions, NAMES))
    assert "best by kid_ab 0.0200 (0.0300 to 0.0700) at step 50, chosen from 3 evaluations on these" in lines[0]
    assert lines[2].endswith("a measurement by `cyclegan evaluate`; an interval.")  # of zebras to horses
    for line in lines:
        assert " ".join(line.split()) in page, line
    (run / "evaluation.json").write_text(json.dumps({"metrics": figures(), "protocol": conditions(16)}))
    few = too_few(figures(), conditions(16))
    assert few.startswith("16 held-out pictures are few (taken for the target: 100, since")
    assert page.count("are few") == 0
    assert f"{few}. " in seen(write_report(run).read_text()).partition("To quote in a paper")[0]


def test_of_folders_all_but_what_was_learned_from_counts() -> None:
    roles = {"translated": 60, "real": 49, "untranslated": 60, "learned from B": 7}
    pictures = {"pictures": {role: {"count": count} for role, count in roles.items()}}
    assert too_few({"kid": 0.1}, pictures).startswith("49 held-out pictures are few (KID: 50, since of fewer")
    pictures["pictures"]["real"]["count"] = 50
    assert too_few({"kid": 0.1}, pictures) == too_few({"kid": 0.1}, {}) == ""
