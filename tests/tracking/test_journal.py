"""`metrics.jsonl`: valid at every moment, each value once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cyclegan.tracking.journal import FILE, Journal, Reader
from tests.support.run_files import read_metrics


def test_a_row_is_on_the_disk_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(20, {"loss/cycle_a": 1.25, "samples/a2b": "samples/x.png"})
    (row,) = read_metrics(tmp_path)
    assert isinstance(row.pop("time"), float)
    assert row == {"step": 20, "loss/cycle_a": 1.25, "samples/a2b": "samples/x.png"}
    journal.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_which_every_json_reader_knows(tmp_path: Path, value: float) -> None:
    journal = Journal(tmp_path)
    journal.append(1, {"loss": value})
    assert read_metrics(tmp_path)[0]["loss"] is None
    journal.close()


def test_steps_computed_again_after_a_resume_are_not_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (10, 20, 30):
        journal.append(step, {"loss": step / 10})
        journal.append(step, {"samples/a2b": f"{step}.png"})
    journal.close()
    before = (tmp_path / FILE).read_bytes()

    resumed = Journal(tmp_path)
    for step in (20, 30):
        resumed.append(step, {"loss": step / 10})
        resumed.append(step, {"samples/a2b": f"{step}.png"})
    assert (tmp_path / FILE).read_bytes() == before
    resumed.append(40, {"loss": 4.0})
    resumed.close()
    assert [row["step"] for row in read_metrics(tmp_path) if "loss" in row] == [10, 20, 30, 40]


def test_what_went_missing_between_two_names_is_written_after_a_resume(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(10, {"loss": 1.0})  # killed before the picture of this step
    journal.close()
    resumed = Journal(tmp_path)
    resumed.append(10, {"loss": 1.0, "memory": 2.0})
    resumed.append(10, {"samples/a2b": "10.png"})
    resumed.close()
    rows = read_metrics(tmp_path)
    assert [sorted(row.keys() - {"time", "step"}) for row in rows] == [["loss"], ["memory"], ["samples/a2b"]]


@pytest.mark.parametrize("torn", [b"{", b'{"step": 30, "loss": 1.', b"x" * 4096, b"x" * 10_000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    whole = b'{"step": 10, "time": 1.0, "loss": 1.0}\n{"step": 20, "time": 2.0, "loss": 1.0}\n'
    for intact in (whole, b""):
        (tmp_path / FILE).write_bytes(intact + torn)
        Journal(tmp_path).close()
        assert (tmp_path / FILE).read_bytes() == intact


def test_lines_that_are_no_rows_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'\x00\xff\x00\n[1]\n{"loss": 2}\n{"step": 7, "time": 1.0, "loss": 1.0}\n')
    assert [row["step"] for row in Reader(tmp_path / FILE).new()] == [7]
    journal = Journal(tmp_path)
    journal.append(7, {"loss": 1.0})
    journal.append(8, {"loss": 1.0})
    journal.close()
    assert [row["step"] for row in Reader(tmp_path / FILE).new()] == [7, 8]


def test_a_reader_returns_each_row_once_and_none_before_it_is_whole(tmp_path: Path) -> None:
    reader = Reader(tmp_path / FILE)
    with open(tmp_path / FILE, "wb", buffering=0) as stream:
        stream.write(b'{"step": 1, "time": 1.0}\n{"step": 2, "ti')
        assert [row["step"] for row in reader.new()] == [1]
        assert not list(reader.new())
        stream.write(b'me": 1.0}\n')
        assert [row["step"] for row in reader.new()] == [2]


def test_a_row_cannot_take_the_names_of_the_journal_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(AssertionError, match="step"):
        journal.append(1, {"step": 2.0})
    journal.close()
    with pytest.raises(AssertionError, match="closed"):
        journal.append(1, {"loss": 2.0})
