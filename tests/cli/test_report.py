"""`cyclegan report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.program import Ended, is_refusal, is_sentence
from tests.report.examples import begun

Program = Callable[..., Ended]


def test_the_page_lies_in_the_run_or_where_it_is_said(program: Program, tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    assert program("report", run) == (0, f"{run / 'report.html'}\n", "")
    there = tmp_path / "new" / "page.html"
    assert program("report", run, "--output", there) == (0, f"{there}\n", "")
    assert (run / "report.html").read_bytes().startswith(b"<!doctype html>")
    assert there.read_bytes().startswith(b"<!doctype html>")


def test_what_is_no_run_is_a_sentence(program: Program, tmp_path: Path) -> None:
    is_refusal(program("report", tmp_path / "nowhere"), "RUN", "no run")
    (tmp_path / "file").write_text("")
    is_sentence(program("report", begun(tmp_path / "run"), "--output", tmp_path / "file" / "x"), 1, "--output")
