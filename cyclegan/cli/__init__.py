"""The command line: one file per command, imported only when that command is called.

Exit codes: 0 done, 1 failed, 2 invalid request, 3 finished with failed items, 130 after Ctrl-C.
Results go to stdout, progress and messages to stderr.
"""

from __future__ import annotations

import atexit
import importlib
import io
import logging
import os
import signal
import sys
from typing import Any, NoReturn

import click

from cyclegan import __version__
from cyclegan.errors import CycleganError
from cyclegan.system.signals import stop_signals

# Set before any command imports albumentations, which otherwise asks a server for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


class Commands(click.Group):
    """A group of commands, each the `command` of a module that is imported on first use.

    `modules` maps a command to its module and its line in --help.
    """

    def __init__(self, *args: Any, modules: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.modules:
            return None
        command = importlib.import_module(self.modules[name][0]).command
        assert isinstance(command, click.Command), name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.modules.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CycleganError as error:
            if not error.already_reported:
                click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            ctx.exit(128 + signal.SIGINT)


class _Messages(logging.Handler):
    """Handler that prints messages on the current stderr, above a live progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


cli = Commands(
    "cyclegan",
    help="Unpaired image translation: two folders of pictures in, two trained translators out.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    modules={
        "train": ("cyclegan.cli.train", "Learn to translate between two folders of pictures."),
        "translate": ("cyclegan.cli.translate", "Translate a picture or a folder with a trained model."),
        "evaluate": ("cyclegan.cli.evaluate", "Measure the quality of translations."),
        "sync": ("cyclegan.cli.sync", "Upload a run to Weights & Biases after training."),
        "report": ("cyclegan.cli.report", "Write one page of a run: pictures, curves, figures, alarms."),
        "compare": ("cyclegan.cli.compare", "Compare runs side by side, in the terminal and as a page."),
        "info": ("cyclegan.cli.info", "Describe a run, a checkpoint or a generators file."),
        "data": ("cyclegan.cli.data", "Make demo pictures, check folders, score translations."),
        "export": ("cyclegan.cli.export", "Write a model in another tool's format."),
        "import-junyanz": ("cyclegan.cli.import_junyanz", "Import weights of the reference implementation."),
    },
)
cli = click.version_option(__version__, prog_name="cyclegan")(cli)


def _leave_removed_directory() -> None:
    """Leave a working directory that was removed for one that cannot be written to.

    Libraries of torch end the process if they cannot read the working directory. In /proc, as in the removed directory,
    not even root can find or create a file by a relative path.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir("/proc" if os.path.isdir("/proc/self") else "/")


def _on_stop_signals(handler: Any) -> None:
    for number in stop_signals():
        signal.signal(number, handler)


def main() -> NoReturn:
    """Run the console command."""
    # Called last at exit, since Python then restores the default signal handlers while libraries still take seconds
    atexit.register(_on_stop_signals, signal.SIG_IGN)
    _leave_removed_directory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # undecodable names are printed as their bytes
    messages = logging.getLogger("cyclegan")
    messages.addHandler(_Messages())
    messages.setLevel(logging.INFO)
    try:
        cli(auto_envvar_prefix="CYCLEGAN")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        _on_stop_signals(lambda *_: os._exit(code))  # at once and with this code: the command is over
        raise
    raise AssertionError("click ends the program itself")
