"""`cyclegan translate`: a picture or a folder through a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from cyclegan.errors import UnfinishedError


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
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Pictures computed at a time."
)
@click.option("--overwrite", is_flag=True, help="Translate again what DEST already has; otherwise it is skipped.")
def command(
    model: Path, source: Path, dest: Path, direction: str, device: str, precision: str, batch_size: int, overwrite: bool
) -> None:
    """Translate SOURCE, a picture or a folder of pictures, into DEST with MODEL.

    MODEL is a run directory, a checkpoint or a generators file. Below DEST every picture has the relative name it has
    below SOURCE, and the same size. Exit code 3 if some could not be translated; they are listed with the reason.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from cyclegan.images import printable
    from cyclegan.translation import Translator, translate_folder

    translator = Translator.load(model, direction, device, precision)
    console = Console(stderr=True)
    columns = (TextColumn("translating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("translating", total=None)
        summary = translate_folder(
            translator,
            source,
            dest,
            batch_size=batch_size,
            overwrite=overwrite,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
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
