"""Archive of attempts that were given up: RUN/attempts/1, RUN/attempts/2.

An attempt moves in steps that can be repeated. `restart.json` is written first and again at the end: a move that was
killed in between is finished by the next start. `config.yaml` and `pictures.json` stay in the run at every moment, so
that `--resume` accepts it; the config gets the next seed. Kept of an attempt are journal, grids and generators; its
states are deleted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from cyclegan.errors import CycleganError
from cyclegan.system.files import atomic_write, write_json
from cyclegan.training.storage.run_directory import read_config

ATTEMPTS = "attempts"
RECORD = "restart.json"
_STAYS = frozenset({ATTEMPTS, "config.yaml", "pictures.json", ".lock", ".lock-holder"})


def given_up(run: Path) -> list[dict[str, Any]]:
    """The records of the attempts that were given up, in their order.

    Each has `seed`, `next_seed`, `alarm`, `step`, `text` and `moved`, whether the move is complete. Raises
    `CycleganError` for a damaged one.
    """
    found = {int(path.parent.name): path for path in (run / ATTEMPTS).glob(f"[1-9]/{RECORD}")}
    return [_read(found[number]) for number in sorted(found)]


def set_aside(run: Path, *, alarm: str, step: int, text: str) -> dict[str, Any]:
    """Archive the present attempt in `run`, which this process holds; returns its record.

    Raises `OSError` where the disk fails; the next call of `finish_moving` goes on from there.
    """
    seed = int(read_config(run)["seed"])
    folder = run / ATTEMPTS / str(len(given_up(run)) + 1)
    folder.mkdir(parents=True, exist_ok=True)
    record = {"seed": seed, "next_seed": seed + 1, "alarm": alarm, "step": step, "text": text, "moved": False}
    write_json(folder / RECORD, record)
    finish_moving(run)
    return record


def finish_moving(run: Path) -> None:
    """Finish an interrupted move, if there is one."""
    records = given_up(run)
    if not records or records[-1]["moved"]:
        return
    record, folder = records[-1], run / ATTEMPTS / str(len(records))
    for state in sorted((run / "checkpoints").glob("state-*")):
        _delete(state)
    values = read_config(run)
    for name, content in (
        ("config.yaml", _yaml(values | {"seed": record["seed"]})),
        ("pictures.json", (run / "pictures.json").read_bytes()),
    ):
        atomic_write(folder / name, content)
    for path in sorted(run.iterdir()):
        if path.name not in _STAYS:
            _rename(path, folder / path.name)
    atomic_write(run / "config.yaml", _yaml(values | {"seed": record["next_seed"]}))
    write_json(folder / RECORD, record | {"moved": True})


def _delete(path: Path) -> None:
    path.unlink()


def _rename(path: Path, target: Path) -> None:
    os.replace(path, target)


def _yaml(values: dict[str, Any]) -> bytes:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not record.keys() >= {"seed", "next_seed", "moved"}:
        raise CycleganError(f"{path} is damaged; restore it from a copy, or start again with another -o")
    return record
