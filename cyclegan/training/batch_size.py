"""How much memory a step takes: the largest batch that fits, and what to lower where none does."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from cyclegan.config import AUTO, TrainConfig, in_steps
from cyclegan.data.sets import steps_per_epoch
from cyclegan.errors import CycleganError, UsageError
from cyclegan.methods import Images, build_method
from cyclegan.system.memory import available_memory
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.setup import ResolvedRun
from cyclegan.training.storage.run_directory import read_config
from cyclegan.training.update.state import TrainState
from cyclegan.translation.batching import is_out_of_memory, release_memory

GIB = 2**30
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": GIB}
_ASKED = re.compile(r"allocate ([\d.]+) (bytes|[kmg]ib)", re.IGNORECASE)

log = logging.getLogger("cyclegan")


class MemoryProbe(Protocol):
    """What tells how much memory steps take on a device."""

    most: int  # pictures of each domain in a part that make sense there

    def need(self, pictures: int) -> int | None:
        """Bytes that a step takes with so many pictures of each domain in each part; None: more than there are."""

    def room(self) -> int:
        """Bytes that a step may take."""


def with_batch_size(plan: ResolvedRun, ranks: Ranks) -> ResolvedRun:
    """`plan` with a number for `--batch-size auto`, and with its length in steps, which is counted by that number.

    It is the largest multiple of --accumulate times the number of `ranks` of which a step, tried on networks that are
    thrown away, takes no more than nine tenths of the free memory of a GPU; and no more than the larger folder has
    pictures. A run that has begun keeps the number it began with. Called by all ranks at once, and the same in all.
    Raises `CycleganError` where not even the smallest step fits, and `UsageError` where there is no GPU to measure:
    on a processor the pictures, their readers and all other programs take of the same memory while the run goes on.
    """
    config = plan.config
    if config.batch_size != AUTO:
        return plan
    size = ranks.on_rank_zero(lambda: _kept(plan.path)) or _found(plan, ranks)
    config = replace(config, batch_size=size)
    return replace(plan, config=in_steps(config, steps_per_epoch(plan.domains, size)))


def _kept(path: Path) -> int:
    """The batch size of the run in `path`, 0 where there is none."""
    return int(read_config(path)["batch_size"]) if (path / "config.yaml").exists() else 0


def _found(plan: ResolvedRun, ranks: Ranks) -> int:
    unit = plan.config.accumulate * ranks.world  # pictures that parts of one picture come to in all
    pictures = max(map(len, plan.domains.train.values()))
    part, need = ranks.raise_on_all(lambda: _largest_here(plan, max(pictures // unit, 1), unit))
    part = -int(ranks.all_reduce_max(-part))  # the smallest
    log.info("--batch-size auto: %d; a step takes about %s of memory", part * unit, _gib(need))
    return part * unit


def _largest_here(plan: ResolvedRun, most: int, unit: int) -> tuple[int, int]:
    """Pictures of each domain in a part on this device, and the bytes that a step then takes."""
    kind = plan.device.type
    if kind not in SCALES:
        raise UsageError(
            f"--batch-size auto: needs a CUDA GPU, whose memory it measures, and this run is on {kind}; "
            f"give a number, such as --batch-size {unit}"
        )
    with torch.random.fork_rng():
        scale = SCALES[kind](plan)
        part = largest(scale, most)
    release_memory(plan.device)
    need = scale.need(part) if part else None
    if need is None:
        smallest = replace(plan.config, batch_size=plan.config.accumulate)
        raise CycleganError(
            f"--batch-size auto: a step with one picture of each domain does not fit into the {_gib(scale.room())} of "
            f"memory that it may take; {_remedies(smallest, plan.device)}"
        )
    return part, need


def largest(scale: MemoryProbe, most: int) -> int:
    """The largest number of pictures, up to `most`, that fit; 0 where none does. Tries 1, 2, 4 …, then between."""
    most = min(most, scale.most)
    fits, too_many = 0, most + 1
    attempt = 1
    while fits < too_many - 1:
        need = scale.need(attempt)
        if need is not None and need <= scale.room():
            fits = attempt
        else:
            too_many = attempt
        # Doubling until something does not fit; from then on the middle of what is left
        attempt = min(2 * fits, most) if too_many > most and fits else (fits + too_many) // 2
    return fits


class CudaProbe:
    """Tries every number, as torch's allocator counts."""

    most = 1024
    share = 0.9  # of what is free: the pool of pictures still grows, and the allocator leaves gaps

    def __init__(self, plan: ResolvedRun) -> None:
        self._plan = plan
        self._needs: dict[int, int | None] = {}

    def need(self, pictures: int) -> int | None:
        """The peak of two steps; the second has the optimizers' moments from its beginning."""
        if pictures not in self._needs:
            device = self._plan.device
            release_memory(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            fits = try_steps(self._plan, pictures)
            self._needs[pictures] = torch.cuda.max_memory_allocated(device) - before if fits else None
            release_memory(device)
        return self._needs[pictures]

    def room(self) -> int:
        """By what is free after a first attempt, which loads libraries that take some of it."""
        device = self._plan.device
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(self.share * (torch.cuda.mem_get_info(device)[0] + idle))


# What can measure a device
SCALES: dict[str, Callable[[ResolvedRun], MemoryProbe]] = {"cuda": CudaProbe}


def try_steps(plan: ResolvedRun, pictures: int) -> bool:
    """Play two steps on noise with networks that are thrown away; whether memory sufficed for it.

    The error goes no further than this, since its traceback holds what the failed attempt had allocated.
    """
    config = replace(plan.config, batch_size=pictures * plan.config.accumulate, steps=1, decay_steps=0)
    channels = {domain: view.channels for domain, view in plan.views.items()}
    try:
        players = TrainState(build_method(config, channels), config, plan.device, plan.dtype)
        players.set_rates(0)

        def part() -> Images:
            return {
                domain: torch.rand(pictures, planes, config.crop_size, config.crop_size, device=plan.device)
                .mul(2)
                .sub(1)
                .contiguous(memory_format=torch.channels_last)
                for domain, planes in channels.items()
            }

        for step in (1, 2):
            parts = [part() for _ in range(config.accumulate)]
            players.step(parts, players.draws_for(step))
            players.ema.update(step)
        if plan.device.type == "cuda":
            torch.cuda.synchronize(plan.device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


@contextlib.contextmanager
def explain_out_of_memory(config: TrainConfig, device: torch.device, at: Callable[[], int]) -> Iterator[None]:
    """Where memory runs out within, say in a sentence what is needed, what there is and what to lower.

    `at` tells the step. Raises `CycleganError`; every other error goes through.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        need, there = _memory_needed(device, str(error))
        raise CycleganError(
            f"out of memory at step {at()} with --batch-size {config.batch_size} and --crop-size {config.crop_size}: "
            f"at least {_gib(need)} are needed and {_gib(there)} can be had; {_remedies(config, device)}; "
            "the last saved state is kept"
        ) from error


def _memory_needed(device: torch.device, words: str) -> tuple[int, int]:
    """Bytes that would have been needed to come past where memory ran out, and bytes that can be had, both in all."""
    found = _ASKED.search(words)
    asked = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        return torch.cuda.max_memory_allocated(device) + asked, there
    with contextlib.suppress(OSError):
        held = _resident()
        return held + asked, held + available_memory()
    return asked, available_memory()


def _remedies(config: TrainConfig, device: torch.device) -> str:
    """Options that take less memory on `device` than `config` does, in the order in which it is worth trying."""
    offered = {
        "--checkpoint-activations": not config.checkpoint_activations,
        f"--accumulate {2 * config.accumulate}": config.batch_size % (2 * config.accumulate) == 0,
        f"--batch-size {config.batch_size // 2}": config.batch_size // 2 >= config.accumulate,
        "--batch-size auto, in a new run": device.type in SCALES and config.batch_size > config.accumulate,
        "--precision bf16": config.precision == "fp32",
    }
    ways = [way for way, possible in offered.items() if possible]
    return f"give {', '.join([*ways, 'or, in a new run, a smaller --crop-size or fewer --channels'])}"


def _resident() -> int:
    """Bytes of memory this process holds. `OSError` but on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"
