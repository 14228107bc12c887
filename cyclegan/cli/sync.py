"""`cyclegan sync`: a run to Weights & Biases, after it was trained."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("sync")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--deadline", type=float, default=600.0, help="Seconds for the upload.")
def command(run: Path, deadline: float) -> None:
    """Send to Weights & Biases the rows of RUN that have not arrived there.

    For a run whose tracking was interrupted. What offline sessions have kept is sent by `wandb sync`.
    """
    from cyclegan.tracking.wandb_process import sync

    sync(run, deadline, lambda text: click.echo(f"curves at {text}", err=True))
