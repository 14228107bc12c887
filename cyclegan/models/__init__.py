"""Loading and saving of trained models: generators with their metadata.

MODEL, in any command, is a generators file (`cyclegan.models.generators_file`), a training state (`state-*.pt`), or a
run directory, which stands for its newest valid generators. The architecture is always read from the file: no flag
repeats it. Everything loaded is checked (digest, names, shapes, finite weights), and nothing that could run code is
unpickled.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.models.generators_file import model_bytes, read_generators, save_model, weights_sha256
from cyclegan.models.rebuild import DamagedModel, Weights, rebuild
from cyclegan.models.state_file import foreign, model_info, read_state_discriminators, read_state_generators
from cyclegan.networks import Generator, build_generator

__all__ = [
    "DamagedModel",
    "Model",
    "is_run",
    "load_discriminators",
    "load_model",
    "model_bytes",
    "model_info",
    "save_model",
    "weights_sha256",
]

STATES = ("state-*.pt",)
EITHER = ("generators-*.safetensors", *STATES)  # in order of preference

ATTEMPTS = 10  # at listing a run during training, before its files count as damaged

T = TypeVar("T")
log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class Model:
    """Generators in fp32 on the CPU, in evaluation mode, with their metadata."""

    generators: dict[str, Generator]  # by `Direction.key`
    info: dict[str, Any]  # see `model_info`
    path: Path  # source file
    damaged: tuple[str, ...] = ()  # errors of files of the same run that were preferred


def load_model(path: str | os.PathLike[str], directions: Iterable[str] | None = None) -> Model:
    """Load the generators of a run, checkpoint or generators file, of all or some `directions`.

    For a run they come from the newest valid generators file, else from the newest valid state; damaged files are
    skipped with a warning. A state gives its averaged weights if it has them. Raises `UsageError` if `path` is not a
    model or lacks a direction, `DamagedModel` if it cannot be used.
    """
    model, damaged = _first_sound(Path(path), _read_model, EITHER)
    wanted = list(model.generators) if directions is None else list(directions)
    for direction in wanted:
        Direction.choose(model.generators, direction, path)
    return replace(model, generators={key: model.generators[key] for key in wanted}, damaged=damaged)


def load_discriminators(path: str | os.PathLike[str]) -> tuple[dict[str, nn.Module], int]:
    """Load the discriminators ("a", "b") of a state or of a run's newest valid state, with its step.

    A generators file, or a run without states, has none: `({}, 0)`. Raises as `load_model` does.
    """
    path = Path(path)
    files = _candidates(path, STATES)
    if not files or (files == [path] and _kind(path) is not read_state_generators):
        return {}, 0
    return _first_sound(path, read_state_discriminators, STATES)[0]


def is_run(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` is a run directory."""
    return (Path(path) / "checkpoints").is_dir()


def _first_sound(path: Path, read: Callable[[Path], T], patterns: tuple[str, ...]) -> tuple[T, tuple[str, ...]]:
    """Read the first valid candidate; return the result and the errors of those before it.

    A trainer deletes old files after writing new ones, so the listing is repeated if a file vanished while it was read.
    """
    for _ in range(ATTEMPTS):
        damaged: list[str] = []
        vanished = None
        for file in _candidates(path, patterns):
            try:
                return read(file), tuple(damaged)
            except CycleganError as error:
                if not path.is_dir():
                    raise
                if not file.exists():
                    vanished = error
                    break
                log.warning("skipped: %s", error)
                damaged.append(str(error))
        if vanished is None:
            break
    newest = (damaged or [str(vanished)])[0]
    raise DamagedModel(f"MODEL: no file in {path / 'checkpoints'} can be used; error of the newest: {newest}")


def _candidates(path: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Candidate files for MODEL in order of preference; `UsageError` if there are none."""
    hint = "give a run directory, a checkpoint (state-*.pt) or a generators file (*.safetensors)"
    if is_run(path):
        folder = path / "checkpoints"
        if not any(file for pattern in EITHER for file in folder.glob(pattern)):
            raise UsageError(f"MODEL: the run {path} has saved nothing yet; wait for its first state, or {hint}")
        return [file for pattern in patterns for file in _newest_first(folder.glob(pattern))]
    if path.is_dir():
        raise UsageError(f"MODEL: {path} is a folder, but not that of a run (no checkpoints in it); {hint}")
    if not path.exists():
        raise UsageError(f"MODEL: {path} does not exist; {hint}")
    return [path]


def _newest_first(files: Iterable[Path]) -> list[Path]:
    # Steps are padded to eight digits; longer names are later steps
    return sorted(files, key=lambda file: (len(file.name), file.name), reverse=True)


def _read_model(file: Path) -> Model:
    read = _kind(file)
    if read is None:
        raise foreign(file)
    specs, info, weights = read(file)
    generators = {
        key: rebuild(build_generator, spec, weights[key], file, f"generator {key}") for key, spec in specs.items()
    }
    return Model(generators, info, file)


def _kind(file: Path) -> Callable[[Path], tuple[dict[str, Any], dict[str, Any], Weights]] | None:
    """Choose the reader of `file` by its first bytes, not its name; None if it is not a model."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise DamagedModel(f"MODEL: cannot read {file} ({reason_of(error).lower()})") from error
    if not head:
        raise DamagedModel(f"MODEL: {file} is empty; fetch or save it again")
    if head.startswith(b"PK"):  # torch saves a zip archive
        return read_state_generators
    return read_generators if head[8:] == b"{" else None  # eight bytes of length, then JSON
