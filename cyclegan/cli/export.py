"""`cyclegan export`: a model in another tool's format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.system.files import make_folder


def _junyanz(model: Path, dest: Path) -> list[Path]:
    """Write `latest_net_G_A.pth` and the like, for the test script of the reference implementation."""
    from cyclegan.models import load_discriminators, load_model
    from cyclegan.models.export.junyanz import reference_flags, write_reference

    loaded = load_model(model)
    make_folder(dest, "DEST")  # not before: a model that cannot be read leaves nothing behind
    discriminators, step = load_discriminators(model)
    if discriminators and step != loaded.info.get("step", step):
        click.echo(
            f"note: the discriminators are from step {step}, the generators from step {loaded.info['step']}", err=True
        )
    try:
        written = write_reference(dest, loaded.generators, discriminators)
    except UsageError as error:
        if not discriminators:
            raise
        # Nothing has been written. If it is the generators that have no counterpart, the same error is raised again.
        written = write_reference(dest, loaded.generators)
        click.echo(f"note: without the discriminators, which only further training needs ({error})", err=True)
    flags = {reference_flags(generator) for generator in loaded.generators.values()}
    click.echo(f"its test.py takes them with {' or '.join(sorted(flags))}", err=True)
    return written


FORMATS: dict[str, Callable[[Path, Path], list[Path]]] = {"junyanz": _junyanz}


@click.command("export")
@click.argument("model", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--format", "name", type=click.Choice(list(FORMATS)), required=True, help="Format to write.")
@click.option("--overwrite", is_flag=True, help="Write into DEST even if it is not empty.")
def command(model: Path, dest: Path, name: str, overwrite: bool) -> None:
    """Write the model of RUN, a run directory, a checkpoint or a generators file, to the folder DEST.

    junyanz: the .pth files of pytorch-CycleGAN-and-pix2pix, one for each network; also of the discriminators if RUN has
    a state that holds them.
    """
    if dest.is_dir() and any(dest.iterdir()) and not overwrite:
        raise UsageError(f"DEST: the folder {dest} is not empty; name another, or give --overwrite")
    try:
        written = FORMATS[name](model, dest)
    except OSError as error:
        raise CycleganError(f"DEST: cannot write to {dest} ({reason_of(error).lower()})") from error
    for path in written:
        click.echo(f"wrote {path}")
