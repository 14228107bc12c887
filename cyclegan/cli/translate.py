"""`cyclegan translate`: pictures through a trained model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cyclegan.cli.param_types import Memory, NumberOr, Part, Suffix
from cyclegan.errors import UnfinishedError, UsageError

if TYPE_CHECKING:
    from cyclegan.translation import Summary

LISTED = 50  # failures printed one by one; failed.jsonl has them all

EPILOG = """SOURCE is a picture, a folder, a list of names in a file (.txt, .lst or .list, one per line) or on stdin
(-), or a .tar. Running the same command again continues where it stopped."""


@click.command("translate", epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--direction", metavar="ab|ba", help="From A to B, or back; by default the only direction of the model, or ab."
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", help="auto, fp32, bf16 or fp16.")
@click.option(
    "--batch-size",
    type=NumberOr("auto"),
    default="auto",
    help="Pictures of equal size per batch; auto chooses by the device and the size.",
)
@click.option(
    "--range",
    "range_",
    metavar="RANGE",
    help="Values of black and white: full, minmax, percentile:1,99 or LOW,HIGH; by default the model's.",
)
@click.option("--size", type=click.IntRange(1), help="Shorter side, in pixels, that pictures are scaled to.")
@click.option(
    "--tile",
    type=NumberOr("auto", "off", least=64),
    default="auto",
    help="Side of the tiles, in pixels; auto uses tiles only for pictures that do not fit in memory.",
)
@click.option("--overlap", type=click.IntRange(0), help="Pixels that tiles share; by default chosen by the network.")
@click.option("--max-memory", type=Memory(), help="Most that a picture may take without tiles; by default measured.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures before they are decoded.")
@click.option("--format", "suffix_", type=Suffix(), help="Output format, such as png; by default that of the input.")
@click.option("--suffix", default="", show_default=False, help="Text to insert before the extension of each name.")
@click.option("--flat", is_flag=True, help="Write all into DEST itself, without the folders of SOURCE.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, help="Quality of JPEG, WebP and similar formats.")
@click.option("--png-level", type=click.IntRange(0, 9), default=1, help="Compression of PNG: 0 is none, 9 is slowest.")
@click.option("--overwrite", is_flag=True, help="Translate again what DEST already has; by default it is skipped.")
@click.option("--retry-failed", is_flag=True, help="Retry failed pictures, even if their files are unchanged.")
@click.option("--strict", is_flag=True, help="Stop at the first picture that fails.")
@click.option("--shard", type=Part(), help="Translate part I of N, each in its own process or on its own machine.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="This process, or a Ray cluster.")
@click.option("--address", metavar="HOST:PORT", help="The cluster of --engine ray, or auto; by default a new one.")
def command(model: Path, source: str, dest: Path, **options: Any) -> None:
    """Translate SOURCE, a picture, a folder, a list or an archive of pictures, into DEST with MODEL.

    MODEL is a run directory, a checkpoint or a generators file. Below DEST every picture has the relative name it has
    below SOURCE, and the same size, depth and format. Exit code 3 if some could not be translated; they are listed
    with the reason, and in DEST/.cyclegan/failed.jsonl.
    """
    from cyclegan.images import escaped
    from cyclegan.system.devices import is_exact, prepare
    from cyclegan.translation import translate_folder
    from cyclegan.translation.job.naming import Naming, Shard
    from cyclegan.translation.jobs import PictureIO
    from cyclegan.translation.runners import TranslationSettings

    if options["address"] is not None and options["engine"] != "ray":
        raise UsageError("--address: names a cluster; give --engine ray too")
    io = PictureIO(**{name: options[name] for name in ("size", "max_pixels", "quality", "png_level")})
    settings = TranslationSettings(
        io,
        *(str(model), options["direction"], options["device"], options["precision"], options["range_"]),
        batch_size=None if options["batch_size"] == "auto" else options["batch_size"],
        tile=None if options["tile"] == "off" else options["tile"],
        **{name: options[name] for name in ("overlap", "max_memory")},
    )
    translator = settings.translator()
    prepare(translator.device, exact=is_exact(settings.precision))
    with _progress() as on_progress:
        summary = translate_folder(
            translator,
            source,
            dest,
            settings=settings,
            naming=Naming(options["suffix_"], options["suffix"], options["flat"]),
            shard=None if options["shard"] is None else Shard(*options["shard"]),
            on_progress=on_progress,
            **{name: options[name] for name in ("overwrite", "retry_failed", "strict", "engine", "address")},
        )
    _report(summary, escaped(str(dest)), escaped)


def _report(summary: Summary, dest: str, escaped: Callable[[str], str]) -> None:
    """Print failures and notes to stderr, one line of counts to stdout; `UnfinishedError` if any failed."""
    for name, reason in summary.failed[:LISTED]:
        click.echo(f"{escaped(name)}: {escaped(reason)}", err=True)
    if (more := len(summary.failed) - LISTED) > 0:
        click.echo(f"and {more} more", err=True)
    for text, count in sorted(summary.notes.items()):
        click.echo(f"{count} picture{'s' * (count > 1)}: {escaped(text)}", err=True)
    parts = [f"translated {summary.translated} of {summary.finished} pictures to {dest}"]
    if summary.skipped:
        parts.append(f"{summary.skipped} were there already (--overwrite translates them again)")
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    if summary.known:
        parts.append(f"{summary.known} failed before and were not tried again (--retry-failed tries them)")
    click.echo(", ".join(parts))
    if summary.stopped:
        raise UnfinishedError("stopped at the first picture that could not be translated, as --strict asks")
    if unfinished := len(summary.failed) + summary.known:
        where = "above" if summary.failed_file is None else escaped(str(summary.failed_file))
        raise UnfinishedError(f"{unfinished} of {summary.finished} pictures could not be translated, see {where}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) that moves a progress bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None  # saves importing rich, a tenth of a second
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("translating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("translating", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
