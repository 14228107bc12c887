"""`cyclegan evaluate --seeds`: runs that differ in nothing but the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml

from cyclegan.models import save_model
from tests.cli.program import Ended, is_refusal
from tests.evaluation.examples import data_set, folder
from tests.models.examples import INFO, generators

Program = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("short_classifier")
SEEDS = (0, 1, 5)
ON_A_PROCESSOR = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs with models of random weights."""
    data_set(tmp_path / "data", train=12, test=5, side=40)
    return [one_run(tmp_path / "runs" / f"x-{seed}", seed=seed, data=str(tmp_path / "data")) for seed in SEEDS]


def one_run(path: Path, **config: Any) -> Path:
    file = path / "checkpoints" / "generators-00000007.safetensors"
    file.parent.mkdir(parents=True)
    save_model(file, generators(config["seed"]), info=INFO | {"step": 7})
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
def test_each_run_is_measured_as_by_itself_and_the_spread_is_printed(
    program: Program, runs: list[Path], features: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    words = (*features, *ON_A_PROCESSOR, "--direction", "ab")
    ended = program("evaluate", *runs, "--seeds", *words, "--json", "--output", out)
    assert ended.code == 0, ended.err
    assert "a table of a paper" not in ended.err
    assert ended.err.count("5 held-out pictures are few") == 1
    found = json.loads(ended.out)
    assert json.loads(out.read_text()) == found
    assert set(found) == {"seeds", "runs"}
    stored = [json.loads((run / "evaluation.json").read_text()) for run in runs]
    assert found["runs"] == {str(run): record for run, record in zip(runs, stored, strict=True)}
    values = [record["metrics"]["kid_ab"] for record in stored]
    kid = found["seeds"]["kid_ab"]
    assert kid["values"] == values
    assert len(set(values)) == 3
    assert kid["mean"] == pytest.approx(mean(values))
    assert kid["std"] == pytest.approx(stdev(values))
    reach = 4.302653 * stdev(values) / 3**0.5
    assert kid["interval"] == pytest.approx([mean(values) - reach, mean(values) + reach])
    alone = json.loads(program("evaluate", runs[1], *words, "--json").out)
    assert alone == stored[1]
    shown = program("evaluate", *runs, "--seeds", *words).out
    assert re.search(r"mean +± std +95 % of the mean +x-0 +x-1 +x-5\n", shown)
    row = next(line for line in shown.splitlines() if line.startswith("KID, A to B"))
    assert re.sub(" +", " ", row) == "KID, A to B " + " ".join(
        f"{number:.4f}" for number in (mean(values), stdev(values))
    ) + f" {kid['interval'][0]:.4f} to {kid['interval'][1]:.4f} " + " ".join(f"{value:.4f}" for value in values)
    assert "held out A: 5 pictures" in shown
    low, high = kid["interval"]
    assert (
        f"KID, A to B: {kid['mean']:.4f} ± {kid['std']:.4f} (95 % of the mean: {low:.4f} to {high:.4f}), last of "
        "3 runs, seeds 0, 1, 5, step 7; 5 test pictures of A" in shown
    )
    assert "For a paper this lacks: the best generators beside the last; pictures: 5 held-out" in shown
    assert f"stored in {runs[2] / 'evaluation.json'}" in shown


@pytest.mark.slow
def test_fewer_than_three_seeds_are_measured_with_a_warning(
    program: Program, runs: list[Path], features: tuple[object, ...]
) -> None:
    words = (*features, *ON_A_PROCESSOR, "--max-pictures", 3)
    ended = program("evaluate", *runs[:2], "--seeds", *words)
    assert ended.code == 0, ended.err
    assert "a table of a paper needs 3 seeds, and there are 2" in ended.err
    ended = program("evaluate", runs[0], "--seeds", *words, "--json")
    assert "and there are 1" in ended.err
    kid = json.loads(ended.out)["seeds"]["kid_ab"]
    assert (kid["std"], kid["interval"]) == (None, None)
    assert kid["values"] == [kid["mean"]]
    shown = program("evaluate", runs[0], "--seeds", *words).out
    assert re.search(rf"KID, A to B +{kid['mean']:.4f} +{kid['mean']:.4f}\n", shown)


def test_runs_that_differ_in_more_than_the_seed_are_refused(program: Program, runs: list[Path], tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    other = one_run(tmp_path / "runs" / "other", seed=7, data=data, lambda_cycle=3.0, workers=9)
    is_refusal(
        program("evaluate", *runs, other, "--seeds"), "x-0 and other differ in more than the seed: --lambda-cycle;"
    )
    again = one_run(tmp_path / "runs" / "again", seed=1, data=data)
    is_refusal(program("evaluate", *runs, again, "--seeds"), "x-1 and again have the same --seed 1")
    longer = one_run(tmp_path / "runs" / "longer", seed=7, data=data)
    (longer / "status.json").write_text(json.dumps({"step": 9}))
    is_refusal(program("evaluate", *runs, longer, "--seeds"), "the steps of training (0 and 9)")
    (longer / "status.json").unlink()
    (longer / "meta.json").write_text(json.dumps({"data_fingerprint": "other"}))
    is_refusal(program("evaluate", *runs, longer, "--seeds"), "differ in more than the seed: the pictures;")
    assert not list(tmp_path.rglob("evaluation.json"))


def test_what_is_asked_for_wrongly_is_a_sentence(program: Program, runs: list[Path], tmp_path: Path) -> None:
    is_refusal(program("evaluate", *runs), "name one; --seeds measures several runs")
    is_refusal(program("evaluate", "--seeds"), "name one thing to measure")
    fake = folder(tmp_path / "fake", "b", 4, side=32)
    for words in ((*runs, "--verdict"), (*runs, "--self-test"), ("--fake", fake)):
        is_refusal(program("evaluate", "--seeds", *words), "leave out --fake, --verdict and --self-test, or --seeds")
    file = runs[0] / "checkpoints" / "generators-00000007.safetensors"
    is_refusal(program("evaluate", file, "--seeds"), "is no run")
    is_refusal(program("evaluate", runs[0], runs[0], "--seeds"), "more than once")
