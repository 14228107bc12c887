"""`cyclegan report`: one run as one page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="The page; by default RUN/report.html.")
def command(run: Path, output: Path | None) -> None:
    """Write one HTML page of RUN: samples over time, best and worst translations, figures, curves, alarms.

    The page is one file that needs no network: open it in any browser, send it to anyone. It can be written during the
    run.
    """
    from cyclegan.report import write_report

    click.echo(write_report(run, output))
