#!/usr/bin/env python3
"""The table of the README, from the records in benchmarks/results/.

    python scripts/make_benchmark_table.py            print it
    python scripts/make_benchmark_table.py --write    put it into README.md, between the two comments
    python scripts/make_benchmark_table.py --check    exit 1 if README.md has another one

Each record names the rows that are worth showing (`headline`); they stand beside the textbook's, by machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README, RECORDS = ROOT / "README.md", ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
HEAD = "| | textbook | cyclegan | times as fast | of the floor | memory |\n|---|---|---|---|---|---|"
ORDER = ("train", "translate", "data")  # scale compares with nothing but itself


def table(folder: Path) -> str:
    """All records of `folder` that have something to show, as Markdown; one table for each machine."""
    by_machine: dict[str, list[dict[str, Any]]] = {}
    for record in _records(folder):
        by_machine.setdefault(record["machine"]["device"], []).append(record)
    parts = []
    for device, records in by_machine.items():
        records.sort(key=lambda record: (ORDER.index(record["benchmark"]), record["title"]))
        packages = ", ".join(sorted({f"torch {record['machine']['packages']['torch']}" for record in records}))
        rows = [row for record in records for row in _rows(record)]
        parts.append("\n".join([f"On {device}, {packages}:\n", HEAD, *rows]))
    return "\n\n".join(parts)


def into(readme: str, made: str) -> str:
    """`readme` with `made` between the comments; `ValueError` when they are not there, once each and in order."""
    before, begin, rest = readme.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end or BEGIN in old + after or END in before + after:
        raise ValueError(f"README.md needs {BEGIN} and {END}, once each, where the table is to stand")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if record.get("benchmark") in ORDER:  # other things that were measured lie there too
            yield record


def _rows(record: dict[str, Any]) -> Iterator[str]:
    rows = {row["name"]: row for row in record["results"]}
    for name in (name for name in record["headline"] if name in rows):
        row = rows[name]
        kind = name.removeprefix("default").strip(" ,")  # what is timed, or of which variant
        cells = [
            f"{record['title']}{f' ({kind})' if kind else ''}",
            _seconds(row["median_s"] * row["ratio_to_baseline"]),
            f"{_seconds(row['median_s'])} a {record['unit']}",
            f"**{row['ratio_to_baseline']:.2f}**",
            _or_dash(row.get("share_of_floor"), lambda share: f"{share:.0%}"),
            _or_dash(row.get("memory_ratio"), lambda ratio: f"{ratio:.2f} ×"),
        ]
        yield f"| {' | '.join(cells)} |"


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def main(arguments: list[str]) -> int:
    """Print, write or check; the exit code."""
    if arguments not in ([], ["--write"], ["--check"]):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    made = table(RECORDS)
    if not arguments:
        print(made)
        return 0
    readme = README.read_text(encoding="utf-8")
    try:
        new = into(readme, made)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if arguments == ["--write"]:
        README.write_text(new, encoding="utf-8")
    elif new != readme:
        print("README.md is out of date; run python scripts/make_benchmark_table.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
