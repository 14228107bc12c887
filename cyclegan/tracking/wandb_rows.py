"""Conversion of journal rows to Weights & Biases: points, images, alerts, tables, artifact versions.

A row of metrics, images, an alarm or a table becomes exactly one history row there, even if parts of it cannot be
shown: the session uses that to count what has arrived. A row about a model becomes none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.tracking.journal import ALARM, BEST, FILE, GRID_COLUMNS, MODEL, RESERVED, TABLE, Reader, Row

if TYPE_CHECKING:
    import wandb

STEP = "trainer/step"  # the x axis: the client's own step counts calls, and drops rows that come late
EVALUATION = "evaluation/"  # metrics whose minimum, maximum and last value go into the summary of the run
# one per run: an alias marks one version of an artifact in the whole project, and every run has a best
ARTIFACT = "generators-{run_id}"
FILE_IN_ARTIFACT = "generators.safetensors"  # the same name in all versions, so that equal content is one version
COLUMNS = {"source": "input", "fake": "output", "rec": "reconstruction"}  # key in gallery.json -> table column


def is_point(row: Row) -> bool:
    """Return whether `row` becomes a history row."""
    return MODEL not in row and BEST not in row


class WandbRows:
    """Sender of journal rows to one client, with the context that it needs from the whole journal.

    `learn` takes every row, `show` those that the service does not have yet.
    """

    def __init__(self, run: Path, client: wandb.Run) -> None:
        self._run = run
        self._client = client
        self._figures: dict[int, dict[str, float]] = {}  # step -> evaluation metrics; a few dozen numbers each
        # of all best generators on record, only the newest are still in their file
        self._best = max((row["step"] for row in Reader(run / FILE).new() if BEST in row), default=-1)
        client.define_metric(STEP)
        client.define_metric("*", step_metric=STEP)

    def learn(self, row: Row) -> None:
        """Remember the evaluation metrics of a row."""
        found = {name: value for name, value in row.items() if name.startswith(EVALUATION) and value is not None}
        if found:
            self._figures.setdefault(row["step"], {}).update(found)

    def show(self, row: Row) -> None:
        """Send a row to the client."""
        if MODEL in row:
            self._version(row, MODEL, "latest")
            return
        if BEST in row:
            if row["step"] >= self._best:
                self._version(row, BEST, "best")
            return
        # the time of the row, not of sending: a row may be uploaded days later
        values: dict[str, Any] = {STEP: row["step"], "_timestamp": row["time"]}
        for name in row.keys() - RESERVED:
            values |= self._value(name, row[name], row["step"])
        self._client.log(values)
        for name in row:
            if name.startswith(ALARM):
                # the row records that the alert was sent; the service drops another of that title within a minute
                title = name.removeprefix(ALARM).replace("-", " ")[:63]
                self._client.alert(title, f"step {row['step']}: {row[name]}", level="WARN")
        if any(name.startswith(EVALUATION) for name in row):
            self.summarise()

    def summarise(self) -> None:
        """Write minimum, maximum and last value of each evaluation metric, over all sessions of the run.

        The client's own `summary="min,max,last"` starts afresh in each session, and of two matching patterns, `*` and
        `evaluation/*`, it takes either (0.31). Without that it records the last value, which this replaces.
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
        """Log a generators file as an artifact version. The client adds the alias `latest` to every one."""
        import wandb

        path = self._run / row[kind]
        if not path.exists():  # a later one may have replaced it, with a row of its own
            return
        metadata = {"step": row["step"], **self._figures.get(row["step"], {})}
        artifact = wandb.Artifact(ARTIFACT.format(run_id=self._client.id), type="model", metadata=metadata)
        artifact.add_file(str(path), name=FILE_IN_ARTIFACT, skip_cache=True)
        self._client.log_artifact(artifact, aliases=[alias, f"step-{row['step']}"])


def _tables(path: Path, step: int) -> Iterator[tuple[str, wandb.Table]]:
    """Yield the tables of `gallery.json` by direction; none if it is missing or of another step."""
    import wandb

    try:
        gallery = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # a damaged gallery loses its table but not the curves
    if not isinstance(gallery, dict) or gallery.get("step") != step:
        return
    counts = gallery.get("count")
    for direction in counts if isinstance(counts, dict) else ():
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
