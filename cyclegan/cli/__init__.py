"""The command line: one file per command, each imported only when it is the one that was typed.

Exit codes: 0 done, 1 failed, 2 asked for wrongly, 3 finished but some items failed, 130 after Ctrl-C.
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
    """A group whose commands live in modules of their own, loaded by name.

    `modules` maps a command to its module and the line that --help shows; the module's `command` is the command.
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
    """What the package has to say, on whatever stderr is at that moment: above a live progress bar, not through it."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


cli = Commands(
    "cyclegan",
    help="Unpaired image translation: two folders of pictures in, two trained translators out.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    modules={
        "train": ("cyclegan.cli.train", "Learn to translate between two folders of pictures."),
        "translate": ("cyclegan.cli.translate", "Translate a picture or a folder with a trained model."),
        "evaluate": ("cyclegan.cli.evaluate", "Measure how good translations are."),
        "sync": ("cyclegan.cli.sync", "Send a run to Weights & Biases, after it was trained."),
        "report": ("cyclegan.cli.report", "Write one page of a run: pictures, curves, figures, alarms."),
        "compare": ("cyclegan.cli.compare", "Put runs beside each other, in the terminal and as a page."),
        "info": ("cyclegan.cli.info", "Say what a run, a checkpoint or a generators file holds."),
        "data": ("cyclegan.cli.data", "Make demo pictures, check folders, score translations."),
        "export": ("cyclegan.cli.export", "Write a model in another tool's format."),
        "import-junyanz": (
            "cyclegan.cli.import_junyanz",
            "Take over weights of the reference implementation.",
        ),
    },
)
cli = click.version_option(__version__, prog_name="cyclegan")(cli)


def _stand_somewhere() -> None:
    """Where the working directory was removed, go where nothing can be written.

    Libraries of torch end the process if they cannot ask where they are. In /proc, not even root finds or makes what a
    relative path means, as it was in the directory that is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir("/proc" if os.path.isdir("/proc/self") else "/")


def _ignore_requests() -> None:
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


def _end_with(code: int) -> None:
    """From here on a request to stop ends the program at once, as it ends anyway: its work is done, its word said."""
    for number in stop_signals():
        signal.signal(number, lambda *_: os._exit(code))


def main() -> NoReturn:
    """The console command."""
    # Called last of all at the end, when Python gives signals back to the system, though libraries still take seconds
    atexit.register(_ignore_requests)
    _stand_somewhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a name that is no text is printed as the bytes that it is
    messages = logging.getLogger("cyclegan")
    messages.addHandler(_Messages())
    messages.setLevel(logging.INFO)
    try:
        cli(auto_envvar_prefix="CYCLEGAN")
    except SystemExit as end:
        _end_with(end.code if isinstance(end.code, int) else 1)
        raise
    raise AssertionError("click ends the program itself")
