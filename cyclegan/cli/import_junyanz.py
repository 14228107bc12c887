"""`cyclegan import-junyanz`: a generators file from weights of the reference implementation."""

from __future__ import annotations

from pathlib import Path

import click

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.system.files import make_folder


@click.command("import-junyanz")
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace DEST if it exists.")
def command(src: Path, dest: Path, overwrite: bool) -> None:
    """Write the weights in SRC to DEST, a generators file (*.safetensors) for `cyclegan translate`.

    SRC is a folder with *_net_G_A.pth and *_net_G_B.pth as written by pytorch-CycleGAN-and-pix2pix, or a single
    *_net_G.pth. The architecture is inferred from the weights. No code in the files is run.
    """
    if dest.suffix.lower() != ".safetensors":
        raise UsageError(f"DEST: {dest} should be a file name that ends in .safetensors")
    if dest.is_dir():
        raise UsageError(f"DEST: {dest} is a folder; name a file in it")
    if dest.exists() and not overwrite:
        raise UsageError(f"DEST: {dest} exists already; give --overwrite to replace it, or another name")

    from cyclegan.models import save_model
    from cyclegan.models.export.junyanz import load_reference

    generators, _ = load_reference(src)
    make_folder(dest.parent, "DEST")
    try:
        save_model(dest, generators, info={"method": "cyclegan", "source": f"reference implementation, {src.name}"})
    except OSError as error:
        raise CycleganError(f"DEST: cannot write {dest} ({reason_of(error).lower()})") from error
    listed = " and ".join(f"{direction} ({generator.spec['name']})" for direction, generator in generators.items())
    click.echo(f"wrote {dest} with the generators {listed}")
