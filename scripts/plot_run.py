#!/usr/bin/env python
"""Curves of a run as one picture, and their values on the way as JSON.

    python scripts/plot_run.py RUN OUT.png [--json OUT.json]

Reads RUN/metrics.jsonl, meta.json and config.yaml. Needs matplotlib (pip install matplotlib), which nothing else does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import yaml

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "losses of the generators": ("loss/adversarial_a", "loss/adversarial_b", "loss/cycle_a", "loss/cycle_b"),
    "identity": ("loss/identity_a", "loss/identity_b"),
    "losses of the discriminators": ("loss/discriminator_a", "loss/discriminator_b"),
    "verdicts on A (equilibrium of least squares: one half)": ("scores/a/real", "scores/a/fake"),
    "verdicts on B": ("scores/b/real", "scores/b/fake"),
    "gradient norms": ("gradient_norm/generators", "gradient_norm/discriminators"),
}


def smooth(values: list[float], window: int) -> list[float]:
    """A running mean over up to `window` values before each."""
    return [sum(values[max(0, i - window + 1) : i + 1]) / min(i + 1, window) for i in range(len(values))]


def summary(run: Path, rows: list[dict[str, float]]) -> dict[str, object]:
    """What was run on what, and each curve as its mean over the last tenth before 25, 50, 75 and 100 % of the steps."""
    meta = json.loads((run / "meta.json").read_text())
    rows = [row for row in rows if "speed/images_per_second" in row]
    last = rows[-1]["step"]
    curves: dict[str, dict[str, float]] = {}
    for name in (key for key in rows[-1] if "/" in key):
        for share in (0.25, 0.5, 0.75, 1.0):
            values = [
                row[name]
                for row in rows
                if last * (share - 0.1) < row["step"] <= last * share and row[name] is not None
            ]
            curves.setdefault(name, {})[f"step {int(last * share)}"] = round(sum(values) / max(len(values), 1), 4)
    config = yaml.safe_load((run / "config.yaml").read_text())
    paths = ("a", "b", "data", "test_a", "test_b")
    return {
        "machine": {"platform": meta["platform"], "python": meta["python"], "packages": meta["packages"]},
        "git_commit": meta["git_commit"],
        "config": {name: value for name, value in config.items() if name not in paths and value is not None},
        "curves": curves,
    }


def main() -> None:
    """Draw the panels that the run has figures for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--window", type=int, default=10, help="rows to average over (default 10)")
    parser.add_argument("--json", type=Path, help="write the configuration and the curves' values there")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in (arguments.run / "metrics.jsonl").read_text().splitlines()]

    figure, axes = plt.subplots(2, 3, figsize=(15, 7), constrained_layout=True)
    for axis, (title, names) in zip(axes.flat, PANELS.items(), strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                steps, values = zip(*points, strict=True)
                axis.plot(steps, smooth(list(values), arguments.window), label=name, linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
        if title.startswith("verdicts"):
            axis.axhline(0.5, color="grey", linestyle=":", linewidth=1)
    figure.savefig(arguments.out, dpi=80)
    if arguments.json:
        arguments.json.write_text(json.dumps(summary(arguments.run, rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
