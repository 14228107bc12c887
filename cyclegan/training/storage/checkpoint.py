"""States: everything that a run needs to resume, saved atomically.

A state is one file and its checksum, in the format of `sha256sum -c`; while a state replaces another one of the same
step, that file has the checksums of both. A state is valid only when both files are there and agree: a process killed
at any moment, a truncated copy or a flipped bit leaves the state before as the newest.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cyclegan.errors import CycleganError, first_line, reason_of
from cyclegan.models import save_model
from cyclegan.models.safe_torch import read_torch
from cyclegan.system.files import atomic_write, remove_temporary, sha256

log = logging.getLogger("cyclegan")

ATTEMPTS = 10  # to read a folder in which older states are deleted meanwhile
FORMAT = "cyclegan-state"
VERSION = 1
_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make the folder writable again"),
}
LATER = frozenset({"evaluation", "alarms"})  # parts that states of version 1 may lack


class HasState(Protocol):
    """An object that can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only: states are read with `weights_only=True`."""

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class States:
    """The states in `folder`, of which the newest `keep` are kept."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        remove_temporary(folder)
        for checksum in folder.glob("state-*.pt.sha256"):
            if not checksum.with_suffix("").exists():  # killed before its state was written, or while both were deleted
                checksum.unlink(missing_ok=True)

    def save(self, step: int, *, about: dict[str, Any], **objects: HasState) -> Path:
        """Save the state of `objects` after `step` steps, together with the plain values `about` it.

        Raises `CycleganError` (disk full) with all earlier states intact.
        """
        parts = {name: value.state_dict() for name, value in objects.items()}
        return self.write(step, state_bytes(step, about, parts))

    def write(self, step: int, data: memoryview) -> Path:
        """Write `data` (`state_bytes`) as the state of `step`, and delete those that are not kept.

        Raises `CycleganError` (disk full) with all earlier states intact.
        """
        path = self.folder / f"state-{step:08d}.pt"
        checksum, line = _checksum_path(path), f"{sha256(data)}  {path.name}\n".encode()
        with explain_write_error(path):
            before = checksum.read_bytes() if path.exists() and checksum.exists() else b""
            # The checksum first, so that every state has one, even the very first of a run that is killed in between.
            # With it the one of an older state of this step, until that is replaced
            atomic_write(checksum, line + before)
            try:
                atomic_write(path, data)
            except OSError:
                if not before:
                    checksum.unlink(missing_ok=True)
                raise
            if before:
                atomic_write(checksum, line)
            for old in self._paths()[self.keep :]:
                old.unlink(missing_ok=True)
                _checksum_path(old).unlink(missing_ok=True)
        return path

    def load_newest(self) -> dict[str, Any] | None:
        """The newest valid state, None when none was ever saved.

        Invalid ones are skipped with a warning. Raises `CycleganError` when none is left: starting afresh in silence
        would throw away what the user believes is there.
        """
        for _ in range(ATTEMPTS):
            paths, vanished = self._paths(), False
            for path in paths:
                try:
                    return read_state(path)
                except CycleganError as error:
                    vanished = not path.exists()
                    if vanished:  # deleted by the trainer meanwhile
                        break
                    log.warning("%s; taking the state before", error)
            if not vanished:
                break
        if paths:
            raise CycleganError(
                f"none of the {len(paths)} states in {self.folder} can be used; restore one from a copy, "
                "or start again with another -o"
            )
        return None

    def _paths(self) -> list[Path]:
        """Newest first."""
        found = [path for path in self.folder.glob("state-*.pt") if re.fullmatch(r"state-\d{8,}\.pt", path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("state-")), reverse=True)


def read_state(path: Path) -> dict[str, Any]:
    """Read the state in `path` to the CPU. Raises `CycleganError` with the reason when it is not valid."""
    checksum = _checksum_path(path)
    try:
        data = path.read_bytes()
        if not checksum.exists():
            raise CycleganError(f"{path} has no {checksum.name} beside it, so it was not saved to its end")
        expected = checksum.read_bytes()
    except OSError as error:  # a failing disk, or a trainer that deleted it meanwhile
        raise CycleganError(f"{path} cannot be read ({reason_of(error)})") from error
    if sha256(data).encode() not in expected.split()[::2]:
        raise CycleganError(f"{path} is damaged: its content does not agree with {checksum.name}")
    refusal = f"{path} is refused: it holds more than tensors and plain values, or is no state"
    try:
        state = read_torch(io.BytesIO(data))
    except pickle.UnpicklingError as error:
        raise CycleganError(refusal) from error
    except ValueError as error:
        raise CycleganError(f"{refusal} ({error})") from error
    if not isinstance(state, dict) or str(state.get("format")) != FORMAT:
        raise CycleganError(f"{path} is not a state of cyclegan")
    if str(state.get("version")) != str(VERSION):
        raise CycleganError(
            f"{path} has version {str(state.get('version'))[:20]} of the format; this program reads {VERSION}"
        )
    state.setdefault("processes", 1)  # before there could be several
    for name in ("step", "processes"):
        if type(number := state.get(name)) is not int or number < 0:
            raise CycleganError(f"{path} is refused: its {name} is no number")
    return state


def restore(state: dict[str, Any], **objects: HasState) -> None:
    """Restore each of `objects` from its part of `state`; parts that older states lack begin afresh.

    Raises `CycleganError` when one does not fit.
    """
    for name, value in objects.items():
        if name in LATER and name not in state:
            continue
        try:
            value.load_state_dict(state[name])
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise CycleganError(f"the saved {name} does not fit this run: {first_line(error)[:500]}") from error


def require_numbers(value: Any) -> None:
    """Raise `ValueError` for anything but numbers in nested dicts and lists: a state may come from anybody."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            require_numbers(item)
    elif not isinstance(value, int | float):
        raise ValueError(f"{str(value)[:50]!r} stands where a number has to")


def state_bytes(step: int, about: dict[str, Any], parts: dict[str, dict[str, Any]]) -> memoryview:
    """Serialise the `parts` by name, with the plain values `about` them. Waits for the device."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, "step": step, **about, **parts}, buffer)
    return buffer.getbuffer()


def write_generators(folder: Path, data: bytes, step: int, *, every: int) -> Path:
    """Write `data` (`model_bytes`), the generators of `step`; earlier ones of every `every` steps are kept.

    With `every` 0 none is. Raises `CycleganError` (disk full) with the earlier ones intact.
    """
    path = folder / f"generators-{step:08d}.safetensors"
    with explain_write_error(path):
        atomic_write(path, data)
        for old in folder.glob("generators-*.safetensors"):
            number = int(old.stem.removeprefix("generators-"))
            if number != step and not (every and number % every == 0):
                old.unlink(missing_ok=True)
    return path


def best_path(folder: Path, metric: str) -> Path:
    """File of the best generators by `metric`, which `write_generators` does not delete."""
    return folder / f"best-{metric}.safetensors"


def save_best(folder: Path, generators: nn.ModuleDict, info: dict[str, Any], step: int, metric: str) -> Path:
    """Write the generators of `step` as the best by `metric`. Raises `OSError` with those before intact."""
    path = best_path(folder, metric)
    save_model(path, dict(generators.items()), info=info | {"step": step, "best_by": metric})
    return path


@contextlib.contextmanager
def explain_write_error(path: Path) -> Iterator[None]:
    """Turn an `OSError` while `path` is written into a `CycleganError` with the cure."""
    try:
        yield
    except OSError as error:
        reason = f"{path} could not be written ({reason_of(error)})"
        if not path.parent.is_dir():
            raise CycleganError(
                f"{reason}: {path.parent} has been removed or renamed while the run went on; bring it back and run "
                "the same command again, or begin anew with another -o"
            ) from error
        cure = _CURES.get(error.errno or 0, "see to the disk")
        raise CycleganError(
            f"{reason}; the states saved before are intact: {cure} and run the same command again"
        ) from error


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
