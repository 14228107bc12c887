"""From repeated turns to figures: medians, their spread, ratios, a table for the eye and JSON for the record."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from cyclegan.system.files import make_folder, write_json

Result = dict[str, Any]

RESULTS = Path(__file__).parent / "results"

# Column of the table: (key of a result, heading, how it is written)
COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("name", "variant", str),
    ("median_s", "median", lambda value: seconds(value)),
    ("spread", "spread", lambda value: f"{value:.1%}"),
    ("ratio_to_baseline", "times as fast", lambda value: f"{value:.2f} ×"),
    ("share_of_floor", "of floor", lambda value: f"{value:.0%}"),
    ("images_per_second", "pictures/s", lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}"),
    ("peak_memory_gib", "peak GiB", lambda value: f"{value:.2f}"),
    ("memory_ratio", "ratio", lambda value: f"{value:.2f} ×"),
    ("data_wait", "waiting", lambda value: f"{value:.1%}"),
    ("psnr_to_baseline_db", "PSNR", lambda value: f"{value:.1f} dB"),
    ("basis", "basis", str),
)


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done all it was given; a processor has."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def clock(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, to the end of what it started on `device`."""
    synchronise(device)
    before = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - before


def alternate(turns: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """The seconds that each of `turns` reports, `repeats` times in the order A B C A B C …

    Alternating spreads what else the machine does, and its temperature, over all of them.
    """
    measured: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(repeats):
        click.echo(f"  round {number + 1} of {repeats}", err=True)
        for name, turn in turns.items():
            measured[name].append(turn())
    return measured


def group_size(unit_s: float, least_s: float = 0.25) -> int:
    """How many units of about `unit_s` seconds make a turn long enough to be timed, at most 100."""
    return max(1, min(100, round(least_s / max(unit_s, 1e-9))))


def result(name: str, measured: Sequence[float], baseline: Sequence[float], **figures: Any) -> Result:
    """One row: the median of `measured` seconds, their interquartile range as a share of it, how many times as fast as
    `baseline` (above 1 is faster), and `figures`.
    """
    median = statistics.median(measured)
    quartiles = statistics.quantiles(measured, n=4, method="inclusive") if len(measured) > 1 else [median] * 3
    return {
        "name": name,
        "median_s": median,
        "spread": (quartiles[2] - quartiles[0]) / median,
        "ratio_to_baseline": statistics.median(baseline) / median,
        "share_of_floor": None,
        "repeats": len(measured),
        **figures,
    }


def seconds(value: float) -> str:
    """A duration with three digits, in s, ms or µs."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def table(results: Sequence[Result]) -> str:
    """The results as lines of aligned text; a column that no result has anything for is left out."""
    columns = [column for column in COLUMNS if any(row.get(column[0]) is not None for row in results)]
    cells = [[heading for _, heading, _ in columns]]
    cells += [["–" if row.get(key) is None else write(row[key]) for key, _, write in columns] for row in results]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        padded[0] = line[0].ljust(widths[0])
        lines.append("  ".join(padded))
    lines.insert(1, "─" * len(lines[0]))
    return "\n".join(lines)


def json_path(given: Path | None, name: str) -> Path:
    """The file of a record: as `given`, or `name` in benchmarks/results/. `UsageError` if it could not be written."""
    path = given or RESULTS / f"{name}.json"
    make_folder(path.parent, "--json")
    return path


def publish(report: dict[str, Any], path: Path) -> None:
    """Show the results of `report` on stdout and write all of it to `path`."""
    click.echo(f"\n{report['title']}, on {report['machine']['device']}")
    for note in report["notes"]:
        click.echo(f"{note}.")
    click.echo(f"\n{table(report['results'])}\n")
    write_json(path, report)
    click.echo(f"written to {path.name}", err=True)
