"""Files that are whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.system.files import (
    TEMPORARY_PREFIX,
    atomic_write,
    file_sha256,
    locked,
    make_folder,
    remove_temporary,
    sha256,
)


def test_a_written_file_has_the_content_and_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    atomic_write(tmp_path / "file", b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_writer_left_is_hidden_and_removed(tmp_path):
    (tmp_path / (TEMPORARY_PREFIX + "x")).write_bytes(b"half")
    (tmp_path / "kept").write_bytes(b"")
    assert TEMPORARY_PREFIX.startswith(".")
    remove_temporary(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.process
def test_a_reader_never_sees_a_part_while_a_writer_is_killed_at_random_moments(tmp_path):
    target = tmp_path / "file"
    program = (
        "import sys; from cyclegan.system.files import atomic_write\n"
        "print('go', flush=True)\n"
        "i = 0\n"
        "while True: i += 1; atomic_write(sys.argv[1], bytes([i % 251]) * 400_000)\n"
    )
    for moment in (0.0, 0.004, 0.011, 0.02, 0.033):
        writer = subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(moment)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if target.exists():
            data = target.read_bytes()
            assert len(data) == 400_000
            assert len(set(data)) == 1


def test_the_two_checksums_agree(tmp_path):
    atomic_write(tmp_path / "file", b"abc")
    assert file_sha256(tmp_path / "file") == sha256(b"abc")
    assert sha256(b"abc").startswith("ba7816bf")


@pytest.mark.process
def test_the_second_holder_of_a_folder_is_refused_and_told_who_has_it(tmp_path):
    program = (
        "import sys\nfrom cyclegan.system.files import locked\n"
        "with locked(sys.argv[1]): print('go', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(CycleganError, match=rf"in use by process {holder.pid} on "), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with locked(tmp_path):  # the lock ended with its holder
        pass


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"-o: .* is a file, not a folder"):
        make_folder(tmp_path / "file", "-o")
    with pytest.raises(UsageError, match=r"-o: cannot write to"):
        make_folder(tmp_path / "file" / "below", "-o")
