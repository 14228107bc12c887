"""Bad input gets one sentence and the right exit code: places that cannot be written to, or that are taken."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.program import Ended, is_refusal, is_sentence, untouched

Folder = Callable[..., Path]
Program = Callable[..., Ended]


@contextlib.contextmanager
def _as_anyone() -> Iterator[None]:
    """Permissions bind: where the tests run as root, without its right to pass them over (Linux, capabilities(7))."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("permissions do not bind root, and only Linux lets go of that right for a while")
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: capabilities 0 to 31, then the others
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    had = sets[0]
    sets[0] = had & ~0b1110  # CAP_DAC_OVERRIDE 1, CAP_DAC_READ_SEARCH 2, CAP_FOWNER 3
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        sets[0] = had
        assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def _permissions(place: Path, mode: int) -> Iterator[None]:
    before = place.stat().st_mode
    place.chmod(mode)
    try:
        with _as_anyone():
            yield
    finally:
        place.chmod(before)


def test_a_directory_without_write_permission(train: Program, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    (locked / "run").mkdir(parents=True)
    with untouched(locked), _permissions(locked, 0o555), _permissions(locked / "run", 0o555):
        for run in (locked / "run", locked / "new"):
            ended = train("-o", run)
            is_sentence(ended, 2, f"-o: cannot write to {run} (permission denied); name a folder you may write to")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that takes no files")
def test_a_place_where_nobody_can_write(train: Program) -> None:
    is_sentence(train("-o", "/proc/run"), 2, "-o: cannot write to /proc/run (")


def test_pictures_that_may_not_be_read(train: Program, folder: Folder) -> None:
    a = folder("horses", 5, 40)
    with _permissions(a, 0o000):
        ended = train("--a", a)
    is_sentence(ended, 2, f"--a: {a} may not be read; change its permissions")


@pytest.mark.slow
def test_a_run_that_may_no_longer_be_written_to_keeps_its_states(train: Program) -> None:
    assert train("-o", "run").code == 0
    checkpoints = Path("run/checkpoints")
    with untouched(checkpoints), _permissions(checkpoints, 0o555):
        ended = train("-o", "run", "--steps", 2)
    assert (ended.code, ended.out) == (1, "")
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("Error: run/checkpoints")
    assert "could not be written (Permission denied); the states saved before are intact" in last
    assert train("-o", "run", "--steps", 2).code == 0


def test_an_output_directory_that_belongs_to_something_else(train: Program, folder: Folder, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("Once upon a time")
    a = folder("horses", 5, 40)
    with untouched(thesis, a):
        for place in (thesis, a):
            ended = train("-o", place)
            is_sentence(ended, 2, f"-o {place}: this folder holds something else; name a new one or an empty one")
        ended = train("-o", thesis / "chapter1.tex")
        is_sentence(ended, 2, "-o: ", "chapter1.tex is a file, not a folder; name another place")
        ended = train("-o", thesis / "chapter1.tex" / "run")
        is_sentence(ended, 2, "-o: cannot write to", "(not a directory)")


@pytest.mark.parametrize("option", ["--a", "--b"])
def test_a_run_among_its_own_pictures(train: Program, folder: Folder, option: str) -> None:
    pictures = folder("pictures", 5, 40)
    with untouched(pictures):
        is_refusal(train(option, pictures, "-o", pictures / "run"), f"-o {pictures / 'run'}: lies inside {pictures}")


@pytest.mark.parametrize("limit", [0, 100, 1500])
def test_a_disk_that_is_full_from_the_start(train: Program, folder: Folder, limit: int) -> None:
    resource = pytest.importorskip("resource")
    words = ("--a", folder("a", 3, 40), "--b", folder("b", 3, 40), "-o", "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        ended = train(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (ended.code, ended.out) == (1, ""), ended
    assert "Traceback" not in ended.err
    assert "(file too large)" in ended.err.lower().splitlines()[-1]
    assert train(*words).code == 0
