"""Run directories as a training would have left them, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from cyclegan.config import TrainConfig, flatten

SIDE = 16
METHOD = {"adversarial": "lsgan", "lambda_cycle": 10.0}
WAYS = {"ab": ("a", "b"), "ba": ("b", "a")}


def figures(judge: float = 0.75, kid: float = 0.05) -> dict[str, float | None]:
    """What a measuring has found, the same both ways."""
    found: dict[str, float | None] = {}
    for way, (source, target) in WAYS.items():
        found |= {f"judge_{way}": judge, f"judge_real_{way}": 0.97, f"judge_source_{way}": 0.04}
        found |= {f"kid_{way}": kid, f"kid_std_{way}": 0.01, f"kid_real_{way}": 0.002, f"kid_source_{way}": 0.4}
        found |= {f"cycle_l1_{source}": 12.5, f"cycle_noise_l1_{source}": 13.0, f"identity_l1_{target}": 3.25}
        found |= {f"luminance_correlation_{way}": None}
    return found


def protocol(**changes: Any) -> dict[str, Any]:
    """How it was measured."""
    about = {"folder": "/somewhere/testA", "count": 16, "of": 16, "unreadable": 0, "names_sha256": "aa"}
    return {
        "checkpoint": {"file": "/somewhere/run/checkpoints/generators-00000100.safetensors", "step": 100},
        "pictures": {"held out A": about, "held out B": {**about, "folder": "/somewhere/testB"}},
        "size": SIDE,
        "scaling": "as stored",
        "seed": 0,
        "features": {"name": "judge", "sha256": "cc" * 32, "how": "bicubic"},
        "judge": {"accuracy": 0.95, "sha256": "cc" * 32, "marked_with": [6, 6]},
        **changes,
    }


def row(step: int, **values: Any) -> dict[str, Any]:
    return {"step": step, "time": 1_795_000_000.0 + step, **values}


def journal(path: Path, rows: list[dict[str, Any]], torn: str = "") -> Path:
    path.write_text("".join(json.dumps(values) + "\n" for values in rows) + torn)
    return path


def grid(path: Path, level: int, rows: int = 2, columns: int = 4) -> Path:
    """A grid of samples of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (rows * (SIDE + 2) + 2, columns * (SIDE + 2) + 2, 3)
    Image.fromarray(np.full(shape, level, np.uint8)).save(path)
    return path


def begun(path: Path, **changes: Any) -> Path:
    """A run that has just begun: no figure and no picture yet."""
    path.mkdir(parents=True)
    config = TrainConfig(a="/somewhere/horses", b="/somewhere/zebras", steps=100, decay_steps=50, crop_size=SIDE)
    values = flatten(config) | METHOD | changes
    (path / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    meta = {
        "created": 1_795_000_000.0,
        "cyclegan": "0.1.0",
        "python": "3.11.7",
        "platform": "Linux",
        "packages": {"torch": "2.15.0", "wandb": None},
        "git_commit": "0123456789abcdef",
        "command": ["/somewhere/bin/cyclegan", "train", "--a", "my horses", "--b", "zebras"],
        "data_fingerprint": "fedcba",
        "pictures": {"train_a": 60, "train_b": 61, "test_a": 16, "test_b": 17},
    }
    (path / "meta.json").write_text(json.dumps(meta))
    (path / "status.json").write_text(json.dumps({"status": "running", "step": 0, "steps": 100, "reason": ""}))
    (path / "pictures.json").write_text(json.dumps({"channels": {"a": 3, "b": 3}, "ranges": None}))
    journal(path / "metrics.jsonl", [])
    return path


def finished(path: Path, *, shade: int = 0, **changes: Any) -> Path:
    """A run with all that a run may leave: grids at 0, 50 and 100, curves, evaluations, best, gallery, an alarm."""
    begun(path, **changes)
    rows = []
    for step in range(0, 101, 10):
        if step % 50 == 0:
            for name in ("a2b", "b2a"):
                file = grid(path / "samples" / f"{name}-{step:08d}.png", 40 + step + shade)
                rows.append(row(step, **{f"samples/{name}": f"samples/{file.name}"}))
            rows.append(
                row(step, **{f"evaluation/{name}": it for name, it in figures(step / 200, 1 / (step + 1)).items()})
            )
        if step:
            both = {f"loss/cycle_{domain}": 3 - step / 50 for domain in "ab"}
            scores = {f"scores/{domain}/{kind}": 0.5 for domain in "ab" for kind in ("real", "fake")}
            speed = {"speed/images_per_second": 2.0, "speed/data_wait": 0.01, "memory/peak_gib": 0.75}
            rows.append(row(step, **both, **scores, **speed))
    alarm = {"alarm/nothing-changes": "The generators copy their input.", "alarm_figure/nothing-changes": 0.99}
    journal(path / "metrics.jsonl", [*rows, row(70, **alarm)])
    (path / "status.json").write_text(json.dumps({"status": "done", "step": 100, "steps": 100, "reason": ""}))
    best = {"step": 50, "value": 0.02, "better": "lower", "file": "checkpoints/best-kid_ab.safetensors"}
    best |= {"judge": "cc" * 32, "chosen_on": {domain: {"count": 12} for domain in "ab"}}
    (path / "best.json").write_text(json.dumps({"kid_ab": {**best, "figures": figures(0.8, 0.02)}}))
    evaluation = {"metrics": figures(), "protocol": protocol()}
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    gallery(path / "gallery", shade)
    return path


def gallery(path: Path, shade: int = 0) -> Path:
    """Three pictures each way: the best, one between and the worst."""
    path.mkdir(parents=True)
    listed: dict[str, list[dict[str, Any]]] = {"ab": [], "ba": []}
    for way, entries in listed.items():
        for number, (group, chance) in enumerate((("best", 0.999), ("between", 0.6), ("worst", 0.004))):
            files = {role: f"{way}-{number:03d}-{role}.png" for role in ("source", "fake", "rec")}
            for role, file in files.items():
                level = 30 * number + len(role) + shade
                Image.fromarray(np.full((SIDE, SIDE, 3), level, np.uint8)).save(path / file)
            entries.append({"name": f"{number}.jpg", "judge": chance, "cycle_l1": 4.5, "group": group, **files})
    about = {"step": 100, "which": "last", "size": SIDE, "count": {"ab": 16, "ba": 17}, **listed}
    (path / "gallery.json").write_text(json.dumps(about))
    return path
