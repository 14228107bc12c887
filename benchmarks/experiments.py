"""Recipes compared: the same steps, several seeds, figures that no loss enters. Results: docs/experiments.md.

    python -m benchmarks.experiments run WORK --bench demo [--recipe NAME …] [--seeds 0,1,2] [--data DIR]
    python -m benchmarks.experiments measure WORK [--data DIR]
    python -m benchmarks.experiments table WORK [--write JSON] [--document docs/experiments.md]

Each run is one folder below WORK and is not done twice, so that the command may be stopped and given again, and given
twice at once: one process a core, each with OMP_NUM_THREADS=1, is the fastest way. A recipe is the paper's with the
options shown beside it; a bench is pictures, network and number of steps.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

SMALL = "--generator resnet_6blocks --channels 16 --crop-size 64"
QUIET = "--workers 0 --wandb disabled --sample-every 0 --state-every 100000 --compile off --cache ram"
BENCHES: dict[str, dict[str, Any]] = {
    "demo": {"data": "--count 200 --test-count 40", "options": f"{SMALL} --load-size 64 --steps 1200"},
    "demo-few": {"data": "--count 16 --test-count 40", "options": f"{SMALL} --load-size 64 --steps 600"},
    "horse2zebra": {"data": None, "options": f"{SMALL} --load-size 72 --steps 1500"},
}
RECIPES = {
    "paper": "",
    "rates doubled": "--lr-generator 4e-4 --lr-discriminator 4e-4",
    "rates quadrupled": "--lr-generator 8e-4 --lr-discriminator 8e-4",
    "rate of D doubled": "--lr-discriminator 4e-4",
    "rate of D halved": "--lr-discriminator 1e-4",
    "EMA 0.998": "--ema-decay 0.998",
    "resize-convolution": "--upsampling resize",
    "spectral norm": "--spectral-norm",
    "R1": "--r1 1",
    "no identity": "--lambda-identity 0",
    "identity 0.1": "--lambda-identity 0.1",
    "cycle 5": "--lambda-cycle 5",
    "hinge": "--adversarial hinge",
    "bce": "--adversarial bce",
    "no pool": "--pool-size 0",
    "no flips": "--no-flip",
    "diffaug": "--diffaug color,translation,cutout",
    "diffaug without colour": "--diffaug translation,cutout",
    "cycle noise 4": "--cycle-noise 4",
    "best": "--lr-generator 4e-4 --lr-discriminator 4e-4 --ema-decay 0.998 --upsampling resize",
    "best, identity 0.1": (
        "--lr-generator 4e-4 --lr-discriminator 4e-4 --ema-decay 0.998 --upsampling resize --lambda-identity 0.1"
    ),
}
MARKS = {  # figure -> heading, digits, factor
    "gain_db": ("gain, dB", 2, 1),
    "texture": ("right texture, %", 1, 100),
    "background_error": ("background error", 1, 1),
    "judge_ab": ("judge A→B, %", 1, 100),
    "judge_ba": ("judge B→A, %", 1, 100),
    "neither_ab": ("neither A→B, %", 1, 100),
    "kid_ab": ("KID A→B, judge", 3, 1),
    "kid_ba": ("KID B→A, judge", 3, 1),
    "lite0_kid_ab": ("KID A→B, lite0", 3, 1),
    "lite0_kid_ba": ("KID B→A, lite0", 3, 1),
    "cycle_l1_a": ("cycle L1", 2, 1),
    "checkerboard_ab": ("checkerboard, %", 2, 100),
}


def main() -> None:
    """Run, measure again, or write tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.experiments", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and measure what is not done yet")
    run.add_argument("work", type=Path)
    run.add_argument("--bench", choices=list(BENCHES), default="demo")
    run.add_argument("--recipe", action="append", choices=list(RECIPES), help="all of them unless given")
    run.add_argument("--seeds", default="0,1,2")
    run.add_argument("--data", type=Path, help="the photographs, for benches that are not drawn")
    again = commands.add_parser("measure", help="measure again all that was trained, as after a change of the judge")
    again.add_argument("work", type=Path)
    again.add_argument("--data", type=Path, help="the photographs, for benches that are not drawn")
    table = commands.add_parser("table", help="what came out")
    table.add_argument("work", type=Path)
    table.add_argument("--write", type=Path, metavar="FILE", help="the figures as JSON")
    table.add_argument("--document", type=Path, metavar="FILE", help="put each table between its marks in there")
    values = parser.parse_args()
    if values.command == "table":
        results = read(values.work)
        if values.write:
            values.write.write_text(json.dumps(record(results), indent=1, ensure_ascii=False) + "\n")
        for bench in BENCHES:
            print("\n".join(lines(bench, results)))
            mine = [result for result in results if result["bench"] == bench and "lite0_kid_ab" in result["figures"]]
            for way in ("ab", "ba") if len(mine) > 2 else ():
                print(
                    f"rank correlation of KID by judge and lite0, {way}, {len(mine)} runs: {agreement(mine, way):.2f}"
                )
        if values.document:
            values.document.write_text(filled(values.document.read_text(), results))
        return
    if values.command == "measure":
        for result in read(values.work):
            folder = place(values.work, result["bench"], result["recipe"], result["seed"])
            result["figures"] = measure(folder, result["bench"], pictures(values.work, result["bench"], values.data))
            (folder / "result.json").write_text(json.dumps(result))
        return
    data = pictures(values.work, values.bench, values.data)
    for seed in map(int, values.seeds.split(",")):  # seeds outermost: a table is complete early
        for recipe in values.recipe or RECIPES:
            settle(values.work, values.bench, recipe, seed, data)


def pictures(work: Path, bench: str, data: Path | None) -> Path:
    """The folder of the bench's pictures, drawn if they are the demo's."""
    drawn = BENCHES[bench]["data"]
    if drawn is None:
        if data is None:
            sys.exit(
                f"--data: the bench {bench} needs its photographs; name the folder with trainA, trainB, testA, testB"
            )
        return data
    folder = work / bench / "pictures"
    if not (folder / "testB").exists():
        cyclegan("data", "demo", str(folder), *drawn.split())
    return folder


def place(work: Path, bench: str, recipe: str, seed: int) -> Path:
    """The folder of one run and its figures."""
    return work / bench / f"{recipe.replace(' ', '-')}-{seed}"


def settle(work: Path, bench: str, recipe: str, seed: int, data: Path) -> None:
    """Train and measure once, unless that is done or another process is at it."""
    folder = place(work, bench, recipe, seed)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    print(f"{bench}: {recipe}, seed {seed}", flush=True)
    options = [*BENCHES[bench]["options"].split(), *RECIPES[recipe].split()]
    given = [*options, *QUIET.split(), "--seed", str(seed)]
    cyclegan("train", "--data", str(data), "--preset", "paper", *given, "-o", str(folder / "run"))
    for state in (folder / "run" / "checkpoints").glob("state-*"):
        state.unlink()
    about = {"bench": bench, "recipe": recipe, "seed": seed, "options": options}
    (folder / "result.json").write_text(json.dumps(about | {"figures": measure(folder, bench, data)}))


def measure(folder: Path, bench: str, data: Path) -> dict[str, Any]:
    """The figures of the run in `folder`."""
    run, out = folder / "run", folder / "out"
    figures: dict[str, Any] = {}
    for features in ("lite0", "judge"):  # the judge last: its figures keep their names
        found = json.loads(cyclegan("evaluate", str(run), "--features", features, "--json"))["metrics"]
        figures |= {name if features == "judge" else f"{features}_{name}": value for name, value in found.items()}
    if BENCHES[bench]["data"] is not None:
        cyclegan("translate", str(run), str(data / "testA"), str(out), "--direction", "ab", "--overwrite")
        figures |= json.loads(cyclegan("data", "demo-score", str(out), "--demo", str(data), "--json"))
    return figures


def cyclegan(*arguments: str) -> str:
    """What a command printed; a failure ends this script with its words."""
    done = subprocess.run([sys.executable, "-m", "cyclegan", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cyclegan {' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout


def read(work: Path) -> list[dict[str, Any]]:
    """All results below `work`, in the order of recipes and seeds."""
    results = [json.loads(path.read_text()) for path in work.glob("*/*/result.json")]
    names = list(RECIPES)
    return sorted(results, key=lambda result: (result["bench"], names.index(result["recipe"]), result["seed"]))


def record(results: list[dict[str, Any]]) -> dict[str, Any]:
    """What is committed: every run with its options and those figures that are in the table."""
    kept = [
        result | {"figures": {name: result["figures"][name] for name in MARKS if name in result["figures"]}}
        for result in results
    ]
    return {"command": "python -m benchmarks.experiments run WORK --bench BENCH", "runs": kept}


def lines(bench: str, results: list[dict[str, Any]]) -> list[str]:
    """A table in Markdown: mean ± standard deviation over the seeds."""
    mine = [result for result in results if result["bench"] == bench]
    if not mine:
        return []
    marks = [name for name in MARKS if name in mine[0]["figures"] and tells(name, mine)]
    rows = [
        f"| {bench} | options | seeds | " + " | ".join(MARKS[name][0] for name in marks) + " |",
        "|---|---|---|" + "---|" * len(marks),
    ]
    for recipe, options in RECIPES.items():
        runs = [result["figures"] for result in mine if result["recipe"] == recipe]
        if runs:
            cells = [cell([run[name] for run in runs], *MARKS[name][1:]) for name in marks]
            rows.append(f"| {recipe} | {f'`{options}`' if options else ''} | {len(runs)} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def agreement(results: list[dict[str, Any]], way: str) -> float:
    """Spearman's rank correlation over runs of KID in the judge's features and in those of lite0."""
    columns = [[run["figures"][f"{kind}kid_{way}"] for run in results] for kind in ("", "lite0_")]
    ranks = [[sum(other < value for other in column) for value in column] for column in columns]
    return statistics.correlation(*ranks)


def tells(mark: str, results: list[dict[str, Any]]) -> bool:
    """Whether a figure is not the same in all of several runs."""
    return len(results) == 1 or len({result["figures"][mark] for result in results}) > 1


def filled(document: str, results: list[dict[str, Any]]) -> str:
    """`document` with the table of each bench between `<!-- BENCH: begin -->` and `<!-- BENCH: end -->`."""
    for bench in BENCHES:
        begin, end = f"<!-- {bench}: begin -->\n", f"<!-- {bench}: end -->"
        before, _, rest = document.partition(begin)
        _, _, after = rest.partition(end)
        document = before + begin + "\n".join(lines(bench, results)[:-1]) + "\n" + end + after
    return document


def cell(values: list[float | None], digits: int, factor: int) -> str:
    """`3.20 ± 0.16`"""
    known = [value * factor for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
