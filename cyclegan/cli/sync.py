"""`cyclegan sync`: upload of a run to Weights & Biases after training."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("sync")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--deadline", type=float, default=600.0, help="Seconds for the upload.")
def command(run: Path, deadline: float) -> None:
    """Upload the rows of RUN that have not arrived at Weights & Biases.

    For a run whose tracking was interrupted. Data of offline sessions is uploaded by `wandb sync`.
    """
    from cyclegan.tracking.wandb_process import sync

    sync(run, deadline, lambda text: click.echo(f"curves at {text}", err=True))
