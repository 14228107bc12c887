"""`cyclegan translate`: a picture or a folder through a trained model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cyclegan.errors import UnfinishedError


class _BatchSize(click.ParamType):
    """A number from 1, or `auto`."""

    name = "integer or auto"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if value == "auto":
            return "auto"
        try:
            number = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither auto nor a whole number.", param, ctx)
        if number < 1:
            self.fail(f"{number} is less than 1; use auto or a number from 1.", param, ctx)
        return number


@click.command("translate")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--direction", type=click.Choice(["ab", "ba"]), default="ab", show_default=True, help="From A to B, or back."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", show_default=True, help="auto, fp32, bf16 or fp16.")
@click.option(
    "--batch-size",
    type=_BatchSize(),
    default="auto",
    show_default=True,
    help="Pictures of equal size computed at a time; auto chooses by the device and the size.",
)
@click.option(
    "--png-level",
    type=click.IntRange(0, 9),
    default=1,
    show_default=True,
    help="How hard to compress PNG: 0 is not at all, 9 is slowest.",
)
@click.option("--overwrite", is_flag=True, help="Translate again what DEST already has; otherwise it is skipped.")
def command(
    model: Path,
    source: Path,
    dest: Path,
    direction: str,
    device: str,
    precision: str,
    batch_size: str | int,
    png_level: int,
    overwrite: bool,
) -> None:
    """Translate SOURCE, a picture or a folder of pictures, into DEST with MODEL.

    MODEL is a run directory, a checkpoint or a generators file. Below DEST every picture has the relative name it has
    below SOURCE, and the same size. Exit code 3 if some could not be translated; they are listed with the reason.
    """
    from cyclegan.devices import is_exact, prepare
    from cyclegan.images import printable
    from cyclegan.translation import Translator, translate_folder

    translator = Translator.load(model, direction, device, precision)
    prepare(translator.device, exact=is_exact(precision))
    with _progress() as on_progress:
        summary = translate_folder(
            translator,
            source,
            dest,
            batch_size=batch_size if isinstance(batch_size, int) else None,
            overwrite=overwrite,
            png_level=png_level,
            on_progress=on_progress,
        )
    for name, reason in summary.failed:
        click.echo(f"{printable(name)}: {printable(reason)}", err=True)
    already = f", {summary.skipped} were there already (--overwrite translates them again)" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    click.echo(
        f"translated {summary.translated} of {summary.finished} pictures to {printable(str(dest))}{already}{failed}"
    )
    if summary.failed:
        raise UnfinishedError(
            f"{len(summary.failed)} of {summary.finished} pictures could not be translated, see above"
        )


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """What to tell how many of how many pictures are done: a bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None  # and rich, a tenth of a second, is not loaded
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("translating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("translating", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
