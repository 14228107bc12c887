"""`cyclegan data check`: every picture of folders decoded, and a report of faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cyclegan.errors import UnfinishedError

if TYPE_CHECKING:
    from cyclegan.data.check import FolderReport, Report

LISTED = 20  # lines of one kind in the printed report; --json has them all


@click.command("check")
@click.argument("dirs", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--min-size", default=64, metavar="N", type=click.IntRange(min=1),
              help="Report pictures with a side below this many pixels; take your --crop-size.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON.")
def command(dirs: tuple[Path, ...], min_size: int, as_json: bool) -> None:
    """Decode every picture below each DIR and report counts, sizes, modes, depths, ranges and problems.

    A DIR that contains trainA or trainB stands for its trainA, trainB, testA and testB. Problems are pictures that
    cannot be read, the same picture in two places (by content, whatever its name or format), pictures that are too
    small or hold numbers that are not finite, mixtures of channels that cannot be trained on, and folders without
    pictures. Any problem gives exit code 3.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from cyclegan.data.check import check_folders

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("decoding", total=None)
        report = check_folders(
            dirs, min_size, advance=lambda done, total: progress.update(task, completed=done, total=total)
        )
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))  # in ASCII, which preserves undecodable names
    else:
        for line in _describe(report):
            click.echo(line)
    if report.problems:
        count = f"{len(report.problems)} problem{'s' if len(report.problems) > 1 else ''}"
        raise UnfinishedError(f"{count} found: {'; '.join(report.problems)}")


def _describe(report: Report) -> Iterator[str]:
    """The report as lines of text."""
    from cyclegan.images import escaped

    for folder in report.folders:
        yield from _describe_folder(folder, report.min_size)
    if report.duplicates:
        yield "the same picture in several places"
        yield from _listed(
            [
                f"{' = '.join(escaped(str(Path(folder) / name)) for folder, name in duplicate.places)}"
                f"{'' if duplicate.same == 'file' else ' (same pixels, different files)'}"
                for duplicate in report.duplicates
            ]
        )
    if not report.problems:
        yield "no problems found"


def _describe_folder(folder: FolderReport, min_size: int) -> Iterator[str]:
    from cyclegan.images import escaped

    yield f"{escaped(folder.path)}: {folder.pictures} pictures"
    for label, spread in (("width", folder.width), ("height", folder.height)):
        if spread:
            yield f"  {label:<9}{spread.minimum:g} to {spread.maximum:g} pixels, median {spread.median:g}"
    for label, counts in (
        ("formats", folder.formats),
        ("modes", folder.modes),
        ("depths", folder.depths),
        ("channels", folder.channels),
        ("pages", folder.pages),
    ):
        if counts:
            yield f"  {label:<9}{', '.join(f'{name} {count}' for name, count in counts.items())}"
    for depth, (low, high) in folder.ranges.items():
        yield f"  {'numbers':<9}{low:g} to {high:g} ({depth})"
    if folder.profiles:
        yield f"  {folder.profiles} with a colour profile, converted to sRGB"
    if folder.transparent:
        yield f"  {folder.transparent} with transparent pixels"
    for mix in folder.mixes:
        yield f"  {mix}"
    mixed = folder.grey if len(folder.grey) < folder.pictures else ()
    for heading, lines in (
        ("left out", [f"{escaped(name)}: {note}" for name, note in folder.notes]),
        (f"{len(folder.not_finite)} with numbers that are not finite", [*map(escaped, folder.not_finite)]),
        (f"{len(mixed)} without colour among the others (not a problem)", [*map(escaped, mixed)]),
        (f"{len(folder.unreadable)} unreadable", [f"{escaped(name)}: {why}" for name, why in folder.unreadable]),
        (
            f"{len(folder.small)} with a side below {min_size} pixels",
            [f"{escaped(name)}: {width}×{height}" for name, width, height in folder.small],
        ),
    ):
        if lines:
            yield f"  {heading}"
            yield from _listed(lines)


def _listed(lines: list[str]) -> Iterator[str]:
    yield from (f"    {line}" for line in lines[:LISTED])
    if len(lines) > LISTED:
        yield f"    … and {len(lines) - LISTED} more (--json lists all)"
