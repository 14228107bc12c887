"""What is held against the promises: which states are whole, what lies about, whether two runs ended alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclegan.system.files import TEMPORARY_PREFIX, file_sha256

SAME = (
    "method",
    "ema",
    "generator_optimizer",
    "discriminator_optimizer",
    "precision",
    "guard",
    "averages",
    "evaluation",
)
FIGURES = ("loss", "scores", "gradient_norm", "learning_rate")  # of a row; the others measure time and memory


class Broken(Exception):
    """A promise that was not kept, in one sentence."""


class Missed(Exception):
    """The run was over before the fault could happen: no try."""


def require(kept: bool, sentence: str) -> None:
    """Raise `Broken` with `sentence` unless a promise was `kept`."""
    if not kept:
        raise Broken(sentence)


def whole_states(run: Path) -> list[int]:
    """The steps of the states in `run` that agree with their checksums, the newest first.

    By other means than the trainer's own, so that it is not asked about itself.
    """
    found = []
    for path in (run / "checkpoints").glob("state-*.pt"):
        checksum = path.with_name(path.name + ".sha256")
        if checksum.exists() and file_sha256(path) in checksum.read_text().split()[::2]:
            found.append(int(path.stem.removeprefix("state-")))
    return sorted(found, reverse=True)


def half_written(run: Path) -> bool:
    """Whether whoever wrote the states of `run` last was interrupted in doing so."""
    folder = run / "checkpoints"
    states = {path.name for path in folder.glob("state-*.pt")}
    checksums = {path.name.removesuffix(".sha256") for path in folder.glob("state-*.pt.sha256")}
    return states != checksums or any(folder.glob(TEMPORARY_PREFIX + "*"))


def temporaries(run: Path) -> list[Path]:
    """Everything below `run` that has the name of an unfinished file."""
    return sorted(run.rglob(TEMPORARY_PREFIX + "*"))


def rows(run: Path) -> Iterator[dict[str, Any]]:
    """The whole rows of the journal; none where there is no journal yet."""
    path = run / "metrics.jsonl"
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def last_row(run: Path) -> int:
    """The last step that the journal knows, -1 without one."""
    return max((row["step"] for row in rows(run)), default=-1)


def status(run: Path) -> str:
    """The word in status.json, "" where there is none yet."""
    path = run / "status.json"
    return str(json.loads(path.read_text())["status"]) if path.exists() else ""


def differences(one: Any, two: Any, where: str = "") -> Iterator[str]:
    """The places at which two saved values are not equal bit for bit."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        if one.dtype != two.dtype or not torch.equal(one, two):
            yield where
    elif isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for key in one:
            yield from differences(one[key], two[key], f"{where}/{key}")
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        for number, pair in enumerate(zip(one, two, strict=True)):
            yield from differences(*pair, f"{where}/{number}")
    elif type(one) is not type(two) or one != two:
        yield where


def unequal(undisturbed: Path, disturbed: Path, steps: int, *, gaps: bool) -> list[str]:
    """In what two runs of `steps` steps differ at their end: weights, optimizers, pool, averages; figures of each step.

    With `gaps` rows may be missing from the second journal, as after a full disk; those that are there must be right.
    """
    import torch

    name = f"state-{steps:08d}.pt"
    saved = [torch.load(run / "checkpoints" / name, weights_only=True) for run in (undisturbed, disturbed)]
    found = [place for key in SAME for place in differences(saved[0][key], saved[1][key], key)]
    wanted, got = _figures(undisturbed), _figures(disturbed)
    found += [f"row {step}" for step in wanted if step in got and got[step] != wanted[step]]
    if not gaps:
        found += [f"no row {step}" for step in wanted if step not in got]
    return found + [f"row {step} too many" for step in got if step not in wanted]


def _figures(run: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for row in rows(run):
        figures = {name: value for name, value in row.items() if name.split("/")[0] in FIGURES}
        if figures:
            found.setdefault(row["step"], {}).update(figures)
    return found
