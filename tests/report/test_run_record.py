"""What a run has written down is read as far as it can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.report.run_record import ALARMS, RaisedAlarm, read_record
from cyclegan.report.tables import columns
from tests.report.examples import begun, finished, journal, row


def test_a_whole_run_is_read_wholly(tmp_path: Path) -> None:
    record = read_record(finished(tmp_path / "run"))
    assert record.notes == []
    assert record.domains == {"a": "horses", "b": "zebras"}
    assert (record.step, record.status["status"]) == (100, "done")
    assert record.grids["a2b"] == {step: f"samples/a2b-{step:08d}.png" for step in (0, 50, 100)}
    assert record.alarms == [RaisedAlarm(70, "nothing-changes", "The generators copy their input.", 0.99)]
    assert record.series["loss/cycle_a"].points()[1] == pytest.approx([3 - step / 50 for step in range(10, 101, 10)])
    assert record.newest["evaluation/kid_ab"] == (100, pytest.approx(1 / 101))


def test_time_in_training_leaves_out_the_time_between_two_starts(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", batch_size=4)
    first = [row(step, **{"speed/images_per_second": 8.0}) for step in (20, 40)]
    later = [{**row(60, **{"speed/images_per_second": 4.0}), "time": 1_796_000_000.0}]
    journal(run / "metrics.jsonl", first + later)
    assert read_record(run).seconds == pytest.approx(20 * 4 / 8 * 2 + 20 * 4 / 4)


def test_a_torn_last_line_and_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    journal(
        run / "metrics.jsonl", [row(20, x=1.0), row(40, x=None), row(-1, x=9.0), row(2**60, x=9.0)], '{"step": 60, "x"'
    )
    with open(run / "metrics.jsonl", "r+b") as stream:
        lines = stream.read()
        stream.seek(0)
        stream.write(b"\xff\xfe\n[1]\nnull\n" + lines)
    record = read_record(run)
    assert record.series["x"].points()[1] == pytest.approx([1.0])
    assert record.step == 40


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xff", b'"text"', b"[" * 100_000])
@pytest.mark.parametrize("name", ["meta.json", "best.json", "evaluation.json", "gallery/gallery.json", "status.json"])
def test_a_damaged_file_is_left_out_and_named(tmp_path: Path, name: str, content: bytes) -> None:
    run = finished(tmp_path / "run")
    (run / name).write_bytes(content)
    assert read_record(run).notes == [f"{name} is damaged and left out"]


@pytest.mark.parametrize("content", ["", "- 1", "a: [", "1: 2", "!!python/object/apply:os.system [true]"])
def test_a_damaged_configuration_is_no_end(tmp_path: Path, content: str) -> None:
    run = finished(tmp_path / "run")
    (run / "config.yaml").write_text(content)
    record = read_record(run)
    assert record.notes == ["config.yaml is damaged and left out"]
    assert record.domains == {"a": "A", "b": "B"}


def test_an_older_run_lacks_what_was_not_written_then(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    for name in ("pictures.json", "best.json", "evaluation.json", "gallery/gallery.json"):
        (run / name).unlink()
    record = read_record(run)
    assert record.notes == []
    assert [record.pictures, record.best, record.evaluation, record.gallery] == [{}, {}, {}, {}]


def test_directions_are_those_of_the_record_or_both_ways(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    both = (Direction("a", "b"), Direction("b", "a"))
    for named, directions in (
        (["zb"], (Direction("z", "b"),)),
        (["ab", "ba"], both),
        ([], both),
        (["?"], both),
        (3, both),
    ):
        (run / "meta.json").write_text(json.dumps({"directions": named}))
        assert read_record(run).directions == directions
    (run / "meta.json").write_text(json.dumps({"directions": ["zb"]}))
    assert read_record(run).domains == {"b": "zebras"}


def test_a_folder_without_anything_of_a_run_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="is no run; name a folder"):
            read_record(path)


def test_a_record_leads_nowhere_outside_its_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    secret = tmp_path / "secret.png"
    secret.write_bytes((run / "samples" / "a2b-00000000.png").read_bytes())
    (run / "samples" / "link.png").symlink_to(secret)
    record = read_record(run)
    assert record.inside("samples/a2b-00000000.png") is not None
    for name in ("../secret.png", str(secret), "samples/link.png", "samples", "samples/none.png"):
        assert record.inside(name) is None


def test_of_many_alarms_the_first_are_kept_and_all_counted(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    journal(run / "metrics.jsonl", [row(step, **{"alarm/nan": "Not a number."}) for step in range(ALARMS + 50)])
    record = read_record(run)
    assert (len(record.alarms), record.alarm_count) == (ALARMS, ALARMS + 50)


def test_figures_are_those_of_evaluate_or_else_of_the_last_evaluation_in_training(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    last, best = columns(read_record(run))
    assert (last.title, last.step, last.source, last.figures["kid_ab"]) == ("Last", 100, "cyclegan evaluate", 0.05)
    assert (best.title, best.step, best.source, best.figures["kid_ab"]) == ("Best by kid_ab", 50, "in training", 0.02)
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["best"] = {"kid_ab": {"metrics": {"kid_ab": 0.03}, "protocol": {"size": 16}}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    best = columns(read_record(run))[1]
    assert (best.source, best.figures, best.protocol) == ("cyclegan evaluate", {"kid_ab": 0.03}, {"size": 16})
    (run / "evaluation.json").unlink()
    last = columns(read_record(run))[0]
    assert (last.step, last.source, last.figures["kid_ab"]) == (100, "in training", pytest.approx(1 / 101))
