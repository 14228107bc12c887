"""`cyclegan data demo`: drawn pictures to train on."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("demo")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=0), default=200, help="Training pictures per domain.")
@click.option("--test-count", type=click.IntRange(min=0), default=40, help="Test pictures per domain.")
@click.option("--size", type=click.IntRange(min=16), default=64, help="Width and height in pixels.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the animals.")
def command(dest: Path, count: int, test_count: int, size: int, seed: int) -> None:
    """Draw plain animals (A) and striped ones (B) into DEST, unpaired, with the truth for the test pictures.

    DEST gets trainA, trainB, testA, testB to train on with `cyclegan train --data DEST`, and truth/ to score
    translations with `cyclegan data demo-score`. Running it again draws only missing pictures.
    """
    from cyclegan.data.demo.write import write_demo

    with click.progressbar(length=2 * (count + test_count), label="Drawing", file=sys.stderr) as bar:
        demo = write_demo(dest, count=count, test_count=test_count, size=size, seed=seed, advance=bar.update)
    counts = f"{demo.count} training and {demo.test_count} test pictures per domain"
    click.echo(f"{dest}: {counts}, {demo.size}×{demo.size}, seed {demo.seed}")
