"""Trainers to be killed: children that are forked from one process which has imported all there is to import."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.process
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclegan.config import TrainConfig
from cyclegan.system.files import TEMPORARY_PREFIX


def _train(config: TrainConfig, run: str, log: str) -> None:
    import torch

    from cyclegan.training import train

    torch.set_num_threads(1)
    logger = logging.getLogger("cyclegan")
    logger.addHandler(logging.FileHandler(log))
    logger.setLevel(logging.INFO)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        train(config, run)


class Trainers:
    """Starts trainers; each takes as long as its steps do, as the imports are done once for all."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["cyclegan.training.loop", "tests.training.kills"])

    def start(self, config: TrainConfig, run: Path, log: Path) -> multiprocessing.process.BaseProcess:
        """A process that trains in `run` and appends what it says to `log`."""
        process = self._context.Process(target=_train, args=(config, os.fspath(run), os.fspath(log)))
        process.start()
        return process


def until(true: Callable[[], bool], process: multiprocessing.process.BaseProcess, seconds: float = 60.0) -> bool:
    """Whether `true()` came true before the process ended."""
    end = time.monotonic() + seconds
    while not true():
        if not process.is_alive():
            return False
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.0005)
    return True


def writing(run: Path) -> Iterator[Path]:
    """The temporary files in the folder of states: there are some while a state is written."""
    return (run / "checkpoints").glob(f"{TEMPORARY_PREFIX}*")
