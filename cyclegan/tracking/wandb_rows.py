"""What a row of the journal becomes in Weights & Biases: points, pictures, alerts, tables, versions of a model.

A row of figures, of pictures, of an alarm or of a table is exactly one row of history there, whatever of it could be
shown: the session counts by that what has arrived. A row about a model is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.tracking.journal import ALARM, BEST, FILE, GRID_COLUMNS, MODEL, RESERVED, TABLE, Reader, Row

if TYPE_CHECKING:
    import wandb

STEP = "trainer/step"  # the x axis: the client's own step counts calls, and drops what comes late
EVALUATION = "evaluation/"  # figures with a least, a greatest and a last value in the summary of the run
# one for each run: an alias is with one version of an artifact in the whole project, and every run has a best
ARTIFACT = "generators-{run_id}"
FILE_IN_ARTIFACT = "generators.safetensors"  # one name for all, so that equal content is one version
COLUMNS = {"source": "input", "fake": "output", "rec": "reconstruction"}  # key in gallery.json -> column of a table


def is_point(row: Row) -> bool:
    """Whether `row` becomes a row of history."""
    return MODEL not in row and BEST not in row


class WandbRows:
    """One client, and what is to be known of the whole journal to tell it a row.

    `learn` takes every row, `show` those that are not in the hands of the service yet.
    """

    def __init__(self, run: Path, client: wandb.Run) -> None:
        self._run = run
        self._client = client
        self._figures: dict[int, dict[str, float]] = {}  # step -> what was evaluated there; a few dozen numbers each
        # of the best that are on record, only the newest are still in their file
        self._best = max((row["step"] for row in Reader(run / FILE).new() if BEST in row), default=-1)
        client.define_metric(STEP)
        client.define_metric("*", step_metric=STEP)

    def learn(self, row: Row) -> None:
        """Take in a row of the journal."""
        found = {name: value for name, value in row.items() if name.startswith(EVALUATION) and value is not None}
        if found:
            self._figures.setdefault(row["step"], {}).update(found)

    def show(self, row: Row) -> None:
        """Tell it the client."""
        if MODEL in row:
            self._version(row, MODEL, "latest")
            return
        if BEST in row:
            if row["step"] >= self._best:
                self._version(row, BEST, "best")
            return
        # the time of the row, not of the sending: a row may be handed over days later
        values: dict[str, Any] = {STEP: row["step"], "_timestamp": row["time"]}
        for name in row.keys() - RESERVED:
            values |= self._value(name, row[name], row["step"])
        self._client.log(values)
        for name in row:
            if name.startswith(ALARM):
                # the row is what says later that the alert is out; the service drops one of the same title in a minute
                title = name.removeprefix(ALARM).replace("-", " ")[:63]
                self._client.alert(title, f"step {row['step']}: {row[name]}", level="WARN")
        if any(name.startswith(EVALUATION) for name in row):
            self.summarise()

    def summarise(self) -> None:
        """The least, greatest and last value of each figure that was evaluated, over all sessions of the run.

        The client's own `summary="min,max,last"` begins afresh in each session, and of two patterns that fit a name,
        `*` and `evaluation/*`, it takes either (0.31). Without that it notes the last value, which this replaces.
        """
        values: dict[str, list[float]] = {}
        for _, figures in sorted(self._figures.items()):
            for name, value in figures.items():
                values.setdefault(name, []).append(value)
        if values:
            self._client.summary.update(
                {name: {"min": min(of), "max": max(of), "last": of[-1]} for name, of in values.items()}
            )

    def _value(self, name: str, value: float | str | None, step: int) -> dict[str, Any]:
        import wandb

        if value is None:
            return {name: math.nan}
        if name.startswith(GRID_COLUMNS):
            return {}
        if not isinstance(value, str) or name.startswith(ALARM):
            return {name: value}
        path = self._run / value
        if name == TABLE:
            return {f"{TABLE}/{direction}": table for direction, table in _tables(path, step)}
        return {name: wandb.Image(str(path))} if path.exists() else {}

    def _version(self, row: Row, kind: str, alias: str) -> None:
        """A file of generators as a version of the artifact. Whatever is sent, the client calls `latest` as well."""
        import wandb

        path = self._run / row[kind]
        if not path.exists():  # a later one may have taken its place; that one has a row of its own
            return
        metadata = {"step": row["step"], **self._figures.get(row["step"], {})}
        artifact = wandb.Artifact(ARTIFACT.format(run_id=self._client.id), type="model", metadata=metadata)
        artifact.add_file(str(path), name=FILE_IN_ARTIFACT, skip_cache=True)
        self._client.log_artifact(artifact, aliases=[alias, f"step-{row['step']}"])


def _tables(path: Path, step: int) -> Iterator[tuple[str, wandb.Table]]:
    """The pictures of `gallery.json` by direction; none where another gallery, or none, has taken its place."""
    import wandb

    gallery = _read(path)
    if gallery.get("step") != step:
        return
    for direction in ("ab", "ba"):
        entries = gallery.get(direction) or []
        figures = list(dict.fromkeys(key for entry in entries for key in entry if key not in {"name", *COLUMNS}))
        if entries:
            table = wandb.Table(columns=["name", "direction", *COLUMNS.values(), *figures])
            for entry in entries:
                pictures = [_picture(path.parent, entry.get(key)) for key in COLUMNS]
                table.add_data(entry["name"], direction, *pictures, *(entry.get(key) for key in figures))
            yield direction, table


def _picture(folder: Path, name: str | None) -> wandb.Image | None:
    import wandb

    return wandb.Image(str(folder / name)) if name is not None and (folder / name).exists() else None


def _read(path: Path) -> Mapping[str, Any]:
    """What a gallery says; a damaged one costs its table and not the curves."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
