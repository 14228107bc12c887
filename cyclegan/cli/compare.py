"""`cyclegan compare`: runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from cyclegan.report import Comparison

_CELL, _NAMES = 18, 34  # columns of the terminal: at least for a run, and for the names of rows


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN …", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page with curves, grids.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables to read.")
def command(runs: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Compare runs side by side: their differences and their results.

    Figures compare only if they were measured alike; otherwise a warning comes first. Sentences at the end name the
    figures that differ by more than their uncertainty. Runs that differ in nothing but the seed count as one recipe.
    --output writes one HTML page with the curves on common axes, the newest grids, and the same held-out pictures as
    translated by each run.
    """
    from cyclegan.report import compare, write_comparison

    comparison = compare(runs)
    if output is not None:
        write_comparison(comparison, output)
    if as_json:
        click.echo(json.dumps(comparison.as_json(), ensure_ascii=False).encode(errors="backslashreplace"))
        return
    _print(comparison)
    if output is not None:
        click.echo(output)


def _print(comparison: Comparison) -> None:
    """Print tables, each of as many runs as fit the width of the terminal."""
    from rich.console import Console
    from rich.padding import Padding

    console = Console(highlight=False, markup=False)
    for warning in comparison.warnings:
        console.print(f"! {warning}", style="bold red")
    each = max(1, (console.width - _NAMES) // _CELL)
    for start in range(0, len(comparison.labels), each):
        console.print(_table(comparison, slice(start, start + each)))
    for pair in comparison.pairs:
        console.print(f"\n{pair.heading}:", style="bold")
        for sentence in pair.sentences():
            console.print(Padding(f"- {sentence}", (0, 0, 0, 2)))


def _table(comparison: Comparison, shown: slice) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column(overflow="fold")
    for label in comparison.labels[shown]:
        table.add_column(Text(label), overflow="fold")
    for rows in (comparison.standing, comparison.differences, comparison.figures):
        for name, cells in rows:
            table.add_row(Text(name), *(Text(cell) for cell in cells[shown]))
        table.add_section()
    return table
