"""`train`: the training loop, begun anew with another seed by `--on-alarm restart`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import TrainConfig
from cyclegan.errors import CycleganError, reason_of
from cyclegan.system.files import locked
from cyclegan.training import loop
from cyclegan.training.alarms.monitor import RESTARTS, Restart
from cyclegan.training.distributed.process_group import open_ranks
from cyclegan.training.storage.attempts import ATTEMPTS, finish_moving, given_up, set_aside
from cyclegan.training.storage.run_directory import default_run

log = logging.getLogger("cyclegan")

_GRADIENT_DTYPES: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}  # None: as computed


def train(config: TrainConfig, run: str | Path | None = None) -> Path:
    """Train as `config` says, in the directory `run` (default `runs/<a>2<b>`), and return that directory.

    A run that was begun before is resumed; see `cyclegan.training.loop.training_loop`. Where `config.on_alarm` is
    `restart` and an alarm gives an attempt up, that is moved to `run/attempts/1` and the next seed is tried.

    Raises `UsageError` for what cannot be done as asked, `Preempted` after a request to stop with the state saved,
    and `CycleganError` when the run had to stop; the newest good state stays in each case.
    """
    path = Path(run) if run is not None else default_run(config)
    with open_ranks(config.timeout, _GRADIENT_DTYPES[config.gradient_dtype]) as ranks:
        while True:
            attempts = ranks.on_rank_zero(lambda: _given_up(path))
            # The same command goes on with the seed that the attempts have come to
            passed = config.seed in {attempt["seed"] for attempt in attempts}
            seed = attempts[-1]["next_seed"] if passed else config.seed
            try:
                return loop.training_loop(replace(config, seed=seed), path, ranks)
            except Restart as event:
                count = len(ranks.on_rank_zero(lambda event=event: _given_up(path, event)))  # type: ignore[misc]
            log.warning(
                "beginning anew with --seed %d, %d of %d times; what was given up is in %s",
                seed + 1,
                count,
                RESTARTS,
                path / ATTEMPTS / str(count),
            )


def _given_up(path: Path, event: Restart | None = None) -> list[dict[str, Any]]:
    """The archived attempts, after moving that of `event`, or one whose move was interrupted."""
    found = given_up(path)
    if event is None and all(attempt["moved"] for attempt in found):
        return found
    try:
        with locked(path):
            if event is None:
                finish_moving(path)
            else:
                set_aside(path, alarm=event.name, step=event.step, text=event.text)
    except OSError as error:
        raise CycleganError(
            f"{path}: the attempt that was given up could not be moved aside ({reason_of(error)}); "
            "make room and run the same command again"
        ) from error
    return given_up(path)
