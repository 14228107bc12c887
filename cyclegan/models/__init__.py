"""The model, what a user downloads and translates with: generators, and what is known of them.

MODEL, wherever a command takes one, is a generators file (`cyclegan.models.generators_file`), a training state
(`state-*.pt`), or a run directory, which stands for its newest valid generators. Whichever it is, the architecture
comes out of the file: no flag repeats it. What is loaded has been checked (the digest, names and shapes, that every
weight is finite), and nothing that could run code is ever unpickled.
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
from cyclegan.errors import CycleganError, UsageError
from cyclegan.models.generators_file import model_bytes, read_generators, save_model, weights_sha256
from cyclegan.models.rebuild import DamagedModel, Weights, rebuild
from cyclegan.models.state_file import foreign, model_info, read_state_discriminators, read_state_generators
from cyclegan.networks import Generator

__all__ = [
    "DamagedModel",
    "Model",
    "find_model",
    "is_run",
    "load_discriminators",
    "load_model",
    "model_bytes",
    "model_info",
    "save_model",
    "weights_sha256",
]

STATES = ("state-*.pt",)
EITHER = ("generators-*.safetensors", *STATES)  # in a run; the first is preferred

LOOKS = 10  # at a run that is being trained, before its files are taken for damaged

T = TypeVar("T")
log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class Model:
    """Generators in fp32 on the CPU, in evaluation mode, and what is known of them."""

    generators: dict[str, Generator]  # "ab", "ba"
    info: dict[str, Any]  # see `model_info`
    path: Path  # the file they came from
    damaged: tuple[str, ...] = ()  # what is wrong with files of the same run that would have come first


def load_model(path: str | os.PathLike[str], directions: Iterable[str] | None = None) -> Model:
    """The generators of a run, a checkpoint or a generators file; only those of `directions` when given.

    Of a run they are those of the newest valid generators file, else of the newest valid state; damaged files are
    passed over with a warning. A state gives its averaged weights where it has them. Raises `UsageError` for what is no
    model or lacks a direction, `DamagedModel` for one that cannot be used.
    """
    model, damaged = _first_sound(Path(path), _read_model, EITHER)
    wanted = list(model.generators) if directions is None else list(directions)
    for direction in wanted:
        Direction.choose(model.generators, direction, path)
    return replace(model, generators={way: model.generators[way] for way in wanted}, damaged=damaged)


def find_model(path: str | os.PathLike[str]) -> Path:
    """The file that `load_model(path)` takes. It is found by loading it: only that shows that it is valid."""
    return load_model(path).path


def load_discriminators(path: str | os.PathLike[str]) -> tuple[dict[str, nn.Module], int]:
    """The discriminators ("a", "b") of a state or of a run's newest valid state, and the step they are from.

    A generators file, or a run that keeps no state, has none: `({}, 0)`. Raises as `load_model` does.
    """
    path = Path(path)
    files = _candidates(path, STATES)
    if not files or (files == [path] and _kind(path) is not read_state_generators):
        return {}, 0
    return _first_sound(path, read_state_discriminators, STATES)[0]


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the directory of a training run."""
    return (Path(path) / "checkpoints").is_dir()


def _first_sound(path: Path, read: Callable[[Path], T], patterns: tuple[str, ...]) -> tuple[T, tuple[str, ...]]:
    """What `read` makes of the first candidate that is sound, and what is wrong with those before it.

    A trainer deletes old files when it has written new ones: for what vanished while it was read, one looks again.
    """
    for _ in range(LOOKS):
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
                log.warning("passed over: %s", error)
                damaged.append(str(error))
        if vanished is None:
            break
    newest = (damaged or [str(vanished)])[0]
    raise DamagedModel(f"MODEL: no file in {path / 'checkpoints'} can be used; the newest says: {newest}")


def _candidates(path: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The files that MODEL may mean, the one to prefer first. `UsageError` when it can mean none."""
    ways = "give a run directory, a checkpoint (state-*.pt) or a generators file (*.safetensors)"
    if is_run(path):
        folder = path / "checkpoints"
        if not any(file for pattern in EITHER for file in folder.glob(pattern)):
            raise UsageError(f"MODEL: the run {path} has saved nothing yet; let it train on, or {ways}")
        return [file for pattern in patterns for file in _newest_first(folder.glob(pattern))]
    if path.is_dir():
        raise UsageError(f"MODEL: {path} is a folder, but not that of a run (no checkpoints in it); {ways}")
    if not path.exists():
        raise UsageError(f"MODEL: there is no {path}; {ways}")
    return [path]


def _newest_first(files: Iterable[Path]) -> list[Path]:
    # Steps are padded to eight digits; longer names are later steps.
    return sorted(files, key=lambda file: (len(file.name), file.name), reverse=True)


def _read_model(file: Path) -> Model:
    read = _kind(file)
    if read is None:
        raise foreign(file)
    specs, info, weights = read(file)
    return Model({way: rebuild(specs[way], weights[way], file, way) for way in specs}, info, file)


def _kind(file: Path) -> Callable[[Path], tuple[dict[str, Any], dict[str, Any], Weights]] | None:
    """What reads `file`, by its first bytes and not by its name; None for what is no model."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise DamagedModel(f"MODEL: cannot read {file} ({(error.strerror or str(error)).lower()})") from error
    if not head:
        raise DamagedModel(f"MODEL: {file} is empty; fetch or save it again")
    if head.startswith(b"PK"):  # torch saves a zip archive
        return read_state_generators
    return read_generators if head[8:] == b"{" else None  # eight bytes of length, then JSON
