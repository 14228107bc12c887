"""The run directory: its lock, its configuration and its status.

config.yaml    the resolved configuration, which `--config` reads again
pictures.json  channels and ranges of the domains, as found when the run began
meta.json      versions, command, data fingerprint, numbers of pictures, directions, tracking id; no secrets
status.json    running, done, preempted or failed, the step, and the reason
metrics.jsonl  one row of figures every --log-every steps
samples/       grids of the same held-out pictures
checkpoints/   states to resume from, generators to translate with
best.json      the best of these generators, with their figures
gallery/       translations of held-out pictures at the end
wandb/         files of Weights & Biases
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from cyclegan.config import TrainConfig
from cyclegan.config.safe_yaml import read_run_config
from cyclegan.data.kinds import record_of
from cyclegan.data.sets import PictureSets
from cyclegan.errors import CycleganError, UsageError, lookup, reason_of
from cyclegan.methods import METHODS, options_for
from cyclegan.system.files import atomic_write, locked, make_folder, remove_temporary, write_json
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.signals import Interrupted, Preempted

log = logging.getLogger("cyclegan")

PATIENCE = 10.0  # seconds to wait for the disk to record how a run ended
PATIENCE_HANGING = 3.0  # after it has hung already: batch systems kill 30 s after they have asked

_DELETE = "restore it from a copy, or delete it: the states do not need it"
_RESTORE = "restore it from a copy, or start again with another -o: the networks learned from the range it holds"


def default_run(config: TrainConfig) -> Path:
    """`runs/<a>2<b>`, or `runs/<data>`."""
    domains = lookup(METHODS, config.method, "--method").domains
    named = [config.data] if config.data else [folder for domain in domains if (folder := config.folder(domain))]
    if not config.data and len(named) < len(domains):
        options = " and ".join(f"--{domain}" for domain in domains)
        parts = " and ".join(f"train{domain.upper()}" for domain in domains)
        raise UsageError(f"no pictures given; name them with {options}, or one folder with {parts} with --data")
    return Path("runs") / "2".join(Path(folder).resolve().name for folder in named)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Make the paths of `config` absolute, so that the run can be resumed from any working directory."""
    given: dict[str, Any] = config.folders | ({} if config.augment is None else {"augment": config.augment})
    return replace(config, **{name: os.path.abspath(path) for name, path in given.items()})


def refuse_run_among_pictures(run: Path, sets: PictureSets) -> None:
    """Raise `UsageError` for a run inside a folder of pictures: its sample grids would be learnt from."""
    for pictures in sets.by_role.values():
        if pictures.root.resolve() in run.resolve().parents:
            raise UsageError(
                f"-o {run}: lies inside {pictures.root}, and what a run draws there would count as its pictures; "
                "name a folder elsewhere"
            )


def read_config(run: Path) -> dict[str, Any]:
    """The flat configuration of the run in `run`; `UsageError` when there is none."""
    try:
        return read_run_config(run)
    except OSError:
        raise UsageError(
            f"{run} has no readable config.yaml, so it is no run; name a folder that `cyclegan train` made"
        ) from None
    except ValueError as error:
        path = run / "config.yaml"
        raise UsageError(f"{path} {error}; restore it from a copy, or start again with another -o") from None


def read_data_record(run: Path) -> dict[str, Any] | None:
    """The data record of the run in `run` (see `data.kinds.record_of`), None where there is no run yet.

    A run older than such records learns from 8-bit RGB. Raises `CycleganError` for a damaged record.
    """
    if not (run / "config.yaml").exists():
        return None
    record = run / "pictures.json"
    if record.exists():
        return _read_record(record, ("channels", "ranges"), _RESTORE)
    if read_config(run).get("range", "full") != "full":
        raise CycleganError(f"{record} is missing; {_RESTORE}")
    return {"channels": {"a": 3, "b": 3}, "ranges": None}


class DiskTimeout(CycleganError):
    """A write to the disk of the run took too long to be waited for."""


class RunDirectory:
    """A run directory held by this process."""

    def __init__(self, run: ResolvedRun) -> None:
        self.path = path = run.path
        self.steps = run.steps
        values = run.saved_config
        self.began = (path / "config.yaml").exists()
        if self.began:
            _report_changes(read_config(path), values, run.config)
        for name in ("samples", "checkpoints"):
            (path / name).mkdir(exist_ok=True)
        for folder in (path, path / "samples", path / "checkpoints", path / "gallery", *path.glob("attempts/*")):
            remove_temporary(folder)
        self.meta = self._meta(run.sets) | run.method_record
        write_json(path / "meta.json", self.meta)
        write_json(path / "pictures.json", record_of(run.kinds))
        atomic_write(path / "config.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())

    def status(self, status: str, step: int, reason: str = "") -> None:
        """Write status.json. Raises `CycleganError`."""
        values = {"status": status, "step": step, "steps": self.steps, "reason": reason, "time": time.time()}
        with _naming_the_run(self.path):
            write_json(self.path / "status.json", values)

    def last_step(self) -> int:
        """The step in status.json, 0 where there is none yet."""
        path = self.path / "status.json"
        return int(_read_record(path, ("step",))["step"]) if path.exists() else 0

    def _meta(self, sets: PictureSets) -> dict[str, Any]:
        meta: dict[str, Any] = {"tracking_id": secrets.token_hex(4), "created": time.time()}
        if (self.path / "meta.json").exists():
            before = _read_record(self.path / "meta.json", ("data_fingerprint", *meta))
            meta = {key: before[key] for key in meta}
            if before["data_fingerprint"] != sets.fingerprint:
                log.warning(
                    "the pictures have changed since this run last started; from here on it learns from the new ones"
                )
        packages = ("torch", "torchvision", "albumentations", "numpy", "pillow", "wandb")
        return meta | {
            "cyclegan": importlib.metadata.version("cyclegan"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: _version(name) for name in packages},
            "git_commit": _git_commit(),
            "command": without_secrets(sys.argv, os.environ),
            "data_fingerprint": sets.fingerprint,
            "pictures": {role: len(pictures) for role, pictures in sets.by_role.items()},
        }


@contextlib.contextmanager
def open_run(run: ResolvedRun) -> Iterator[RunDirectory]:
    """Make or reopen the directory of `run`, hold its lock, and record how the run ends.

    Raises `UsageError` when the folder belongs to something else or was begun with another architecture, and
    `CycleganError` when another process trains in it.
    """
    path = run.path
    if path.is_dir() and any(path.iterdir()) and not (path / "config.yaml").exists() and not (path / ".lock").exists():
        raise UsageError(f"-o {path}: this folder holds something else; name a new one or an empty one")
    make_folder(path, "-o")
    with locked(path):
        with _naming_the_run(path):
            directory = RunDirectory(run)
        try:
            directory.status("running", directory.last_step())
            yield directory
        except BaseException as error:
            outcome = "preempted" if isinstance(error, Preempted | Interrupted) else "failed"
            patience = PATIENCE_HANGING if isinstance(error, DiskTimeout) else PATIENCE
            _record_end(directory, outcome, str(error) or type(error).__name__, patience)
            raise


def _read_record(path: Path, keys: tuple[str, ...], remedy: str = _DELETE) -> dict[str, Any]:
    """The JSON object in `path`, with `keys`. Raises `CycleganError` for anything else, as after a disk failure."""
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError):  # not JSON, or not even UTF-8
        values = None
    if not isinstance(values, dict) or not all(key in values for key in keys):
        raise CycleganError(f"{path} is damaged; {remedy}")
    return values


def _report_changes(before: dict[str, Any], now: dict[str, Any], config: TrainConfig) -> None:
    """Refuse changes that weights cannot follow, and log all others since the last start."""
    declared = {item.name: item for kind in (TrainConfig, options_for(config)) for item in fields(kind)}
    # An option that did not exist when the run began has its default
    values = {name: item.default for name, item in declared.items()} | before
    changed = {name: (values[name], value) for name, value in now.items() if values[name] != value}
    for name, (old, new) in changed.items():
        flag = "--" + name.replace("_", "-")
        if declared[name].metadata["fixed"]:
            raise UsageError(f"{flag}: this run was begun with {old}, not {new}; give {flag} {old}, or another -o")
        log.info("taking over %s %s (was %s)", flag, new, old)


def _record_end(directory: RunDirectory, outcome: str, reason: str, patience: float) -> None:
    """Write how the run ended, if the disk allows: a failure may neither hide the reason nor hang the program."""

    def write() -> None:
        try:
            directory.status(outcome, directory.last_step(), reason)
        except (CycleganError, OSError) as error:
            log.warning("how the run ended could not be recorded: %s", error)

    thread = threading.Thread(target=write, name="record-end", daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        log.warning(
            "how the run ended could not be recorded: the disk of %s did not answer in %.0f s",
            directory.path,
            patience,
        )


@contextlib.contextmanager
def _naming_the_run(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not path.is_dir():
            raise CycleganError(
                f"{path} has been removed or renamed while the run went on; bring it back and run the same command "
                "again, or begin anew with another -o"
            ) from error
        raise CycleganError(
            f"{path} could not be written to ({reason_of(error).lower()}); make room, or name another "
            "place with -o, and run the same command again"
        ) from error


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # wandb may be missing where tracking is off


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None for an installed package."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git on this machine
    return answer.stdout.strip() or None


_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)  # in the name of a variable
_SHORTEST = 8  # characters; a shorter value would be found in unrelated words


def without_secrets(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Replace in `words` the value of every environment variable named like a secret by `$NAME`.

    No option takes a secret, but a shell puts one in where somebody writes `$WANDB_API_KEY` by mistake.
    """
    secrets = [(value, name) for name, value in environment.items() if _SECRET.search(name) and len(value) >= _SHORTEST]
    safe = list(words)
    for value, name in sorted(secrets, key=lambda pair: -len(pair[0])):  # the longest first: one may hold another
        safe = [word.replace(value, f"${name}") for word in safe]
    return safe
