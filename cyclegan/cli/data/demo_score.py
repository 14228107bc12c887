"""`cyclegan data demo-score`: translated demo pictures against the truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click


@click.command("demo-score")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--demo", type=click.Path(path_type=Path), required=True, help="Folder that `cyclegan data demo` wrote.")
@click.option("--direction", type=click.Choice(["ab", "ba"]), default="ab", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def command(out: Path, demo: Path, direction: str, as_json: bool) -> None:
    """Score OUT, a translation of the demo's test pictures under the same names.

    PSNR is over the whole picture. Right texture is the share of animal pixels that are nearer to the truth than to
    the input, to a grey animal, and to stripes in the wrong places. Background kept is the share of the other pixels
    that changed by at most 16 of 255 levels.
    """
    from cyclegan.evaluation.metrics.demo_truth import score

    source = direction[0].upper()
    scores = score(out, demo / f"test{source}", demo / f"truth/test{source}", demo / f"truth/mask{source}")
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(scores)))
        return
    click.echo(f"{scores.count} pictures, {source} to {direction[1].upper()}")
    click.echo(f"{'':18}{'doing nothing':>14}{'translated':>12}")
    click.echo(f"{'PSNR':18}{scores.psnr_nothing:>11.2f} dB{scores.psnr:>9.2f} dB   ({scores.gain_db:+.2f} dB)")
    click.echo(f"{'right texture':18}{scores.texture_nothing:>14.1%}{scores.texture:>12.1%}")
    error = f"(mean error {scores.background_error:.1f} of 255)"
    click.echo(f"{'background kept':18}{1:>14.1%}{scores.background:>12.1%}   {error}")
