"""`cyclegan evaluate` of a run that has kept its best generators."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cyclegan.evaluation.features import classifier
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.protocol import chosen_on
from cyclegan.evaluation.selection import write_best
from cyclegan.images import list_images
from cyclegan.models import save_model
from cyclegan.system.files import file_sha256
from tests.cli.program import TINY, Ended, is_sentence
from tests.evaluation.examples import data_set, folder
from tests.models.examples import INFO, generators, generators_file
from tests.support.run_files import read_metrics

Program = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("short_classifier")
SETS = ("testA", "testB")


@pytest.fixture
def with_best(tmp_path: Path) -> Path:
    """A run with a model of random weights, and best ones: by two metrics the same, by a third the last."""
    data_set(tmp_path / "data", train=12, test=5, side=40)
    run = tmp_path / "run"
    generators_file(run / "checkpoints" / "generators-00000007.safetensors")
    (run / "config.yaml").write_text(yaml.safe_dump({"data": str(tmp_path / "data")}))
    chosen = {name: ImageSet(tmp_path / "data" / name, list_images(tmp_path / "data" / name), 32) for name in SETS}
    record = {}
    for metric, step, seed in (("kid", 3, 9), ("judge_ab", 3, 9), ("fid", 7, 0)):
        file = run / "checkpoints" / f"best-{metric}.safetensors"
        save_model(file, generators(seed), info=INFO | {"step": step, "best_by": metric})
        record[metric] = {"step": step, "value": 0.5, "better": "lower", "file": f"checkpoints/{file.name}"}
        record[metric]["chosen_on"] = chosen_on({"a": chosen["testA"], "b": chosen["testB"]})
    write_best(run, record)
    return run


@pytest.mark.slow
def test_of_a_run_the_last_and_the_best_are_measured_and_a_gallery_is_left(
    program: Program, with_best: Path, features: tuple[object, ...]
) -> None:
    words = ("evaluate", with_best, *features, "--device", "cpu", "--precision", "fp32")
    ended = program(*words, "--json")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert json.loads((with_best / "evaluation.json").read_text()) == answer
    assert set(answer) == {"metrics", "intervals", "protocol", "best"}
    assert set(answer["best"]) == {"kid", "judge_ab", "fid"}
    best = answer["best"]["kid"]
    assert set(best) == {"metrics", "intervals", "protocol"}
    assert best["metrics"].keys() == answer["metrics"].keys()
    assert best["metrics"]["kid_ab"] != answer["metrics"]["kid_ab"]
    assert best["metrics"]["fid_real_ab"] == answer["metrics"]["fid_real_ab"]
    assert answer["best"]["judge_ab"]["metrics"] == best["metrics"]
    assert answer["best"]["fid"]["metrics"] == answer["metrics"]
    file = with_best / "checkpoints" / "best-kid.safetensors"
    assert best["protocol"].pop("checkpoint") == {
        "file": str(file),
        "which": "best by kid",
        "step": 3,
        "sha256": file_sha256(file),
        "chosen_on": {"a": 5, "b": 5, "these": True},
    }
    assert "chosen_on" not in answer["protocol"].pop("checkpoint")
    assert best["protocol"] == answer["protocol"]
    gallery = json.loads((with_best / "gallery" / "gallery.json").read_text())
    assert (gallery["step"], gallery["which"], gallery["count"]) == (7, "last", {"ab": 5, "ba": 5})
    shown = program(*words).out
    assert re.search(r"last +best by kid +best by judge_ab +best by fid\n +step 7 +step 3", shown)
    assert "best by kid: chosen on 5 + 5 of these same pictures" in shown
    to_quote, back, lacks, stored = shown.splitlines()[-4:]
    kid, best_kid = (f"{record['metrics']['kid_ab']:.4f}" for record in (answer, best))
    assert to_quote.startswith(f"KID, A to B: {kid} (")
    assert "), last of 1 run, step 7; 5 test pictures of A against 5 test pictures of B at 32 px; features " in to_quote
    assert f"; untranslated {answer['metrics']['kid_source_ab']:.4f}, real " in to_quote
    assert f"best by kid {best_kid} (" in to_quote
    assert ") at step 3, chosen from an unknown number of evaluations on these pictures; best by judge_ab" in to_quote
    assert back.startswith("KID, B to A: ")
    few = "5 held-out pictures are few (taken for the target and taken for neither domain: 100, since of fewer "
    assert lacks.startswith("For a paper this lacks: seeds, of which a paper needs 3")
    assert few in lacks
    assert few in ended.err
    assert stored == f"stored in {with_best / 'evaluation.json'}"
    # Named, a best one is measured alone, as the run's best gave
    alone = program("evaluate", file, *words[2:], "--json")
    assert alone.code == 0, alone.err
    assert json.loads(alone.out)["metrics"] == best["metrics"]
    shown = program("evaluate", file, *words[2:]).out
    assert f"KID, A to B: {best_kid} (" in shown
    assert "), best by kid of 1 run, step 3; " in shown
    assert "chosen from an unknown number of evaluations on these pictures." in shown
    assert json.loads(alone.out)["protocol"]["checkpoint"]["which"] == "best by kid"
    assert "best" not in json.loads(alone.out)
    said = program("evaluate", file, *words[2:], "--max-pictures", 2).out
    assert "it was chosen on 5 + 5 of these same pictures" in said


@pytest.mark.slow
def test_best_generators_that_cannot_be_read_are_passed_over(
    program: Program, with_best: Path, features: tuple[object, ...], tmp_path: Path
) -> None:
    (with_best / "checkpoints" / "best-kid.safetensors").write_bytes(b"")
    folder(tmp_path / "data" / "testA", "a", 1, start=5, side=40)  # and the pictures are others now
    ended = program("evaluate", with_best, *features, "--json", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert "skipped: MODEL: " in ended.err
    assert "best-kid.safetensors is empty" in ended.err
    answer = json.loads(ended.out)["best"]
    assert set(answer) == {"judge_ab", "fid"}
    assert answer["fid"]["protocol"]["checkpoint"]["chosen_on"] == {"a": 5, "b": 5, "these": False}
    (with_best / "best.json").write_text("[]")
    is_sentence(program("evaluate", with_best, *features), 1, "best.json is damaged", "delete it")


def test_best_generators_translate_and_are_told_of(program: Program, with_best: Path, tmp_path: Path) -> None:
    best = with_best / "checkpoints" / "best-kid.safetensors"
    picture = tmp_path / "data" / "testA" / "1000.png"
    for model, out in ((best, "best.png"), (with_best, "last.png")):
        ended = program("translate", model, picture, tmp_path / out, "--device", "cpu")
        assert ended.code == 0, ended.err
    assert (tmp_path / "best.png").read_bytes() != (tmp_path / "last.png").read_bytes()
    shown = program("info", with_best).out
    assert "best         by kid, 0.5 at step 3: checkpoints/best-kid.safetensors" in shown
    about = json.loads(program("info", with_best, "--json").out)
    assert about["best"]["kid"] == {
        "step": 3,
        "value": 0.5,
        "better": "lower",
        "file": "checkpoints/best-kid.safetensors",
    }
    assert about["info"]["step"] == 7
    assert "best_by      kid" in program("info", best).out


@pytest.mark.slow
def test_training_evaluates_with_the_figures_of_the_command(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "SURE", 0.0)  # one that has learned for four steps is not
    data_set(tmp_path / "data", train=12, test=4, side=40)
    words = ("--data", tmp_path / "data", "--steps", 3, "--evaluate-every", 1, "--metric", "kid_ab,judge", "-o", "run")
    ended = program("train", *TINY, *words)
    assert ended.code == 0, ended.err
    assert ended.err.count("training a judge") == 1
    assert len(re.findall(r"step [123]: \d+ % taken for B .*; kid_ab ", ended.err)) == 3
    ended = program("evaluate", "run", "--json", "--device", "cpu", "--precision", "fp32")
    assert ended.code == 0, ended.err
    assert "training a judge" not in ended.err  # the same judge
    answer = json.loads(ended.out)
    rows = read_metrics(Path("run"))
    last = next(row for row in rows if row["step"] == 3 and "evaluation/kid_ab" in row)
    for name, value in answer["metrics"].items():
        assert last[f"evaluation/{name}"] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    for name, entry in json.loads(Path("run/best.json").read_text()).items():
        for figure, value in entry["figures"].items():
            assert answer["best"][name]["metrics"][figure] == pytest.approx(value, rel=1e-4, abs=1e-6), figure
        assert answer["best"][name]["protocol"]["judge"]["sha256"] == entry["judge"]
        in_training = answer["best"][name]["protocol"]["checkpoint"]["in_training"]
        assert in_training == {key: entry[key] for key in ("value", "recent", "spread", "evaluations")}
        assert in_training["evaluations"] == 3
        assert len(in_training["recent"]) == 3
