"""Asynchronous saving: a step is serialised at once, and written by a thread during the next steps.

The bytes of both files are made before the next step begins, so that they are of one step; only writing, syncing and
checksums happen on the thread. That costs the memory of one more state for as long as the disk takes; where too little
is left, training waits for the disk. `status.json` and the journal follow the synced files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from cyclegan.errors import CycleganError
from cyclegan.models import model_bytes
from cyclegan.system.memory import available_memory
from cyclegan.tracking import Tracker
from cyclegan.training.signals import StopRequest
from cyclegan.training.storage.checkpoint import HasState, States, state_bytes, write_generators
from cyclegan.training.storage.run_directory import DiskTimeout, RunDirectory

log = logging.getLogger("cyclegan")

SLOW = 30.0  # seconds of waiting for the disk before a warning
PATIENCE = 300.0  # seconds for the last state of a run that ends by itself
PATIENCE_ASKED = 25.0  # seconds after a request to stop; batch systems kill 30 s after they have asked
LEAST = 5.0  # seconds for a write in any case, however late it began
SLICE = 0.2  # seconds of waiting between two checks for a request


@dataclass(eq=False)
class _Write:
    """A step on its way to the disk."""

    step: int
    report: bool  # whether the journal names the generators file
    model: Path | None = None  # that file, once it is written
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


@dataclass(eq=False)
class AsyncSaver:
    """Saves the steps of the run in `directory`: states, `generators`, `status.json`.

    `info` goes into the generators files, of which those of every `every` steps are kept (0: the newest). `step` is the
    first of this start. A context manager, whose end waits for the last write. At most one is under way, and `tracker`
    is called by the calling thread only.
    """

    directory: RunDirectory
    states: States
    tracker: Tracker
    generators: nn.ModuleDict
    info: dict[str, Any]
    every: int
    step: int  # of the newest state on the disk; 0 where there is none
    stop: StopRequest
    _write: _Write | None = None
    _given_up: bool = False

    def save(self, step: int, *, about: dict[str, Any], final: bool, **lasting: HasState) -> None:
        """Save `step`: the state of `lasting` with the plain values `about` it, and the generators.

        Returns when they are serialised, so that training may go on. Waits for the save before, if that is still
        under way, and for this one where memory is short. The journal names generators files that are kept, and the
        `final` one. Raises `CycleganError` when the save before failed.
        """
        self._wait()
        parts = {name: value.state_dict() for name, value in lasting.items()}
        # The state, while its buffer grows, and the generators while their header is sorted
        short = available_memory() < 2 * (_tensor_bytes(parts) + _tensor_bytes(self.generators.state_dict()))
        state = state_bytes(step, about, parts)
        model = model_bytes(dict(self.generators.items()), info=self.info | {"step": step})
        self._write = _Write(step, report=final or bool(self.every and step % self.every == 0))
        thread = threading.Thread(
            target=self._write_files, args=(self._write, state, model), name="saving", daemon=True
        )
        thread.start()
        if short:
            self._wait()

    def check(self) -> None:
        """Finish a write that has ended, without waiting; called at every step. Raises `CycleganError`."""
        if self._write is not None and self._write.done.is_set():
            self._join()

    def close(self) -> None:
        """Wait for the last write. Raises `CycleganError` when it failed or took too long."""
        self._wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif not self._given_up:
            try:
                self.close()
            except CycleganError as second:  # may not hide the error that ended the run
                log.warning("%s", second)

    def _write_files(self, write: _Write, state: memoryview, model: bytes) -> None:
        """Target of the thread. Its error is kept, and raised by the training thread."""
        try:
            self.states.write(write.step, state)
            self.step = write.step
            write.model = write_generators(self.states.folder, model, write.step, every=self.every)
            if not self._given_up:  # else the end of the run is on record already
                self.directory.status("running", write.step)
        except BaseException as error:
            write.error = error
        finally:
            write.done.set()

    def _wait(self, patience: float | None = None) -> None:
        """Wait for the write under way, at most `patience` seconds; less after a request to stop."""
        if self._write is None:
            return
        began, warned = time.monotonic(), False
        while not self._write.done.wait(SLICE):
            waited = time.monotonic() - began
            if waited > SLOW and not warned:
                warned = True
                log.warning("waiting for the disk of %s, which has not yet taken step %d", *self._place())
            if self._too_long(began, waited, patience):
                self._given_up = True
                newest = f"the newest state there is of step {self.step}" if self.step else "no state is there"
                raise DiskTimeout(
                    "the disk of {} has not taken step {} within {:.0f} s; {}: see to the disk and run the same "
                    "command again".format(*self._place(), waited, newest)
                )
        self._join()

    def _too_long(self, began: float, waited: float, patience: float | None) -> bool:
        if self.stop.signal is not None:
            return time.monotonic() > max(self.stop.since + PATIENCE_ASKED, began + LEAST)
        return patience is not None and waited > patience

    def _place(self) -> tuple[Path, int]:
        assert self._write is not None
        return self.states.folder, self._write.step

    def _join(self) -> None:
        write, self._write = self._write, None
        assert write is not None
        if write.error is not None:
            raise write.error
        if write.report and write.model is not None:
            self.tracker.model(write.step, write.model)


def _tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_tensor_bytes, inner))
