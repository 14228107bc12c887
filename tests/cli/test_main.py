"""The program as a whole: its exit codes, and what goes to which of its two outputs."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cyclegan import __version__
from cyclegan.cli import cli
from cyclegan.errors import CycleganError, UnfinishedError, UsageError
from tests.cli.program import Ended, invoke
from tests.support.programs import run_python

Folder = Callable[..., Path]


def test_a_job_that_is_done_ends_with_0_and_says_its_result_on_stdout(folder: Folder) -> None:
    result = invoke("data", "check", folder("pictures", 2, 64))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("no problems found\n")


def test_a_failure_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    result = invoke("info", tmp_path / "model.safetensors")
    assert result.exit_code == 1
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)


def test_a_mistake_in_what_was_asked_for_ends_with_2(tmp_path: Path) -> None:
    result = invoke("info", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)


def test_a_job_of_which_a_part_failed_ends_with_3_after_its_result(folder: Folder) -> None:
    pictures = folder("pictures", 1, 64)
    (pictures / "broken.png").write_text("no picture")
    result = invoke("data", "check", pictures)
    assert result.exit_code == 3
    assert "1 unreadable" in result.stdout
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("failure", "code"),
    [(CycleganError("what went wrong"), 1), (UsageError("--a: that"), 2), (UnfinishedError("2 of 9 failed"), 3)],
)
@pytest.mark.parametrize("command", [("info", "x"), ("data", "demo", "x")])
def test_every_error_is_one_line_on_stderr_also_below_a_second_group(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], failure: CycleganError, code: int
) -> None:
    from cyclegan.cli import info
    from cyclegan.cli.data import demo

    def fail(**_: Any) -> None:
        raise failure

    for module in (info, demo):
        monkeypatch.setattr(module.command, "callback", fail)
    result = invoke(*command)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"Error: {failure}\n")


def test_a_programmers_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.cli import info

    def fail(**_: Any) -> None:
        raise AssertionError("3 is not 4")

    monkeypatch.setattr(info.command, "callback", fail)
    assert isinstance(invoke("info", "x").exception, AssertionError)


@pytest.mark.parametrize("group", [(), ("data",)])
def test_a_group_without_a_command_lists_its_commands_and_ends_with_2(group: tuple[str, ...]) -> None:
    result = invoke(*group)
    assert (result.exit_code, result.stdout) == (2, "")
    listed = re.findall(r"^  ([a-z-]+) {2,}[A-Z]", result.stderr, re.MULTILINE)
    known = cli.modules if not group else ["demo", "check", "demo-score"]
    assert [name for name in listed if name in known] == list(known)


@pytest.mark.parametrize("group", [(), ("data",)])
def test_an_unknown_command_is_named_and_ends_with_2(group: tuple[str, ...]) -> None:
    result = invoke(*group, "zebrafy")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("Error: No such command 'zebrafy'.\n")


def test_an_unknown_option_names_the_nearest_and_ends_with_2() -> None:
    result = invoke("train", "--bach-size", 3)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such option '--bach-size'" in result.stderr
    assert "--batch-size" in result.stderr


def test_every_command_can_be_loaded_and_explains_itself() -> None:
    data = cli.get_command(click.Context(cli), "data")
    assert isinstance(data, type(cli))
    commands = [(name,) for name in cli.modules] + [("data", name) for name in data.modules]
    for command in commands:
        for flag in ("--help", "-h"):
            result = invoke(*command, flag)
            assert (result.exit_code, result.stderr) == (0, "")
            assert result.stdout.startswith(f"Usage: cyclegan {' '.join(command)} ")


def test_the_version_is_that_of_the_package() -> None:
    assert invoke("--version").stdout == f"cyclegan, version {__version__}\n"


@pytest.mark.process
def test_python_m_cyclegan_is_the_same_program(tmp_path: Path) -> None:
    def module(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "cyclegan", *arguments], capture_output=True, text=True)

    shown = module("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: python -m cyclegan ")
    failed = module("data", "check", str(tmp_path / "nowhere"))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("Error: ")
    assert failed.stderr.count("\n") == 1


def test_what_the_package_has_to_say_goes_to_stderr_as_plain_lines(
    program: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cyclegan.cli import info

    def talk(**_: Any) -> None:
        logging.getLogger("cyclegan").info("resuming at step %d", 7)
        logging.getLogger("cyclegan.data").warning("only one picture")
        logging.getLogger("cyclegan").debug("not meant for people")
        logging.getLogger("elsewhere").info("of another package")
        click.echo("runs/a2b")

    monkeypatch.setattr(info.command, "callback", talk)
    assert program("info", "x") == (0, "runs/a2b\n", "resuming at step 7\nonly one picture\n")


@pytest.mark.process
def test_albumentations_is_kept_from_asking_its_server_for_updates() -> None:
    code = "import os; os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None); import cyclegan.cli"
    code += "; assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'"
    run_python(code)


ENDING = """
import atexit, os, sys, time
from cyclegan import cli

class Library:
    def __del__(self, wait=time.sleep, say=os.write):
        say(1, b"last\\n")
        wait(3)

library = Library()
if sys.argv[1] == "atexit":  # of a library that is loaded in the course of the command
    cli._leave_removed_directory = lambda: atexit.register(lambda: (os.write(1, b"last\\n"), time.sleep(60)))
sys.argv[1:] = sys.argv[2:]
cli.main()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "code", "number"), [(["--version"], 0, signal.SIGTERM), (["trian"], 2, signal.SIGUSR1)]
)
@pytest.mark.parametrize("where", ["atexit", "destructor"])
def test_a_signal_on_the_way_out_changes_nothing_about_the_end(
    words: list[str], code: int, number: signal.Signals, where: str
) -> None:
    command = [sys.executable, "-c", ENDING, where, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "last\n":
            assert process.poll() is None
        process.send_signal(number)
        try:
            assert process.wait(timeout=20) == code
        finally:
            process.kill()


def test_a_ctrl_c_before_there_is_anything_to_save_ends_as_shells_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cyclegan.cli.importlib.import_module", interrupted)
    done = invoke("info", "x")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "Aborted!\n")
