"""Memory of a training step: the largest batch that fits, and which options need less."""

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
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.storage.run_directory import read_config
from cyclegan.training.update.state import TrainState
from cyclegan.translation.batching import is_out_of_memory, release_memory

GIB = 2**30
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": GIB}
_ASKED = re.compile(r"allocate ([\d.]+) (bytes|[kmg]ib)", re.IGNORECASE)

log = logging.getLogger("cyclegan")


class MemoryProbe(Protocol):
    """Measures the memory of steps on a device."""

    most: int  # pictures of each domain in a part to try at most

    def need(self, pictures: int) -> int | None: ...  # bytes of a step with so many in each part; None: too many
    def room(self) -> int: ...  # bytes that a step may take


def with_batch_size(run: ResolvedRun) -> ResolvedRun:
    """Resolve `--batch-size auto` to a number, and the length in steps that is counted by it.

    It is the largest multiple of --accumulate times the number of ranks of which a step, tried on networks that are
    thrown away, takes no more than nine tenths of the free memory of a GPU; and no more than the larger folder has
    pictures. A run that has begun keeps the number it began with. Called by all ranks at once, and the same in all.
    Raises `CycleganError` where not even the smallest step fits, and `UsageError` where there is no GPU to measure:
    on a CPU the pictures, their readers and all other programs take of the same memory while the run goes on.
    """
    if run.config.batch_size != AUTO:
        return run
    begun = run.path / "config.yaml"
    size = run.ranks.on_rank_zero(lambda: int(read_config(run.path)["batch_size"]) if begun.exists() else 0)
    size = size or _find(run)
    config = replace(run.config, batch_size=size)
    return replace(run, config=in_steps(config, steps_per_epoch(run.sets, size)))


def _find(run: ResolvedRun) -> int:
    unit = run.config.accumulate * run.ranks.world  # pictures in all, of parts of one picture
    pictures = max(map(len, run.sets.train.values()))
    part, need = run.ranks.raise_on_all(lambda: _largest_here(run, max(pictures // unit, 1), unit))
    part = -int(run.ranks.all_reduce_max(-part))  # the smallest
    log.info("--batch-size auto: %d; a step takes about %s of memory", part * unit, _gib(need))
    return part * unit


def _largest_here(run: ResolvedRun, most: int, unit: int) -> tuple[int, int]:
    """Pictures of each domain in a part on this device, and the bytes that a step then takes."""
    kind = run.device.type
    if kind not in PROBES:
        raise UsageError(
            f"--batch-size auto: needs a CUDA GPU, whose memory it measures, and this run is on {kind}; "
            f"give a number, such as --batch-size {unit}"
        )
    with torch.random.fork_rng():
        probe = PROBES[kind](run)
        part = largest(probe, most)
    release_memory(run.device)
    need = probe.need(part) if part else None
    if need is None:
        smallest = replace(run.config, batch_size=run.config.accumulate)
        raise CycleganError(
            f"--batch-size auto: a step with one picture of each domain does not fit into the {_gib(probe.room())} of "
            f"memory that it may take; {_remedies(smallest, run.device)}"
        )
    return part, need


def largest(probe: MemoryProbe, most: int) -> int:
    """The largest number of pictures, up to `most`, that fit; 0 where none does. Tries 1, 2, 4 …, then between."""
    most = min(most, probe.most)
    fits, too_many = 0, most + 1
    attempt = 1
    while fits < too_many - 1:
        need = probe.need(attempt)
        if need is not None and need <= probe.room():
            fits = attempt
        else:
            too_many = attempt
        # Doubling until something does not fit; from then on the middle of what is left
        attempt = min(2 * fits, most) if too_many > most and fits else (fits + too_many) // 2
    return fits


class CudaProbe:
    """Measures steps on a GPU by torch's allocator."""

    most = 1024
    share = 0.9  # of what is free: the pool of pictures still grows, and the allocator leaves gaps

    def __init__(self, run: ResolvedRun) -> None:
        self._run = run
        self._needs: dict[int, int | None] = {}

    def need(self, pictures: int) -> int | None:
        """The peak of two steps; the second has the optimizers' moments from its beginning."""
        if pictures not in self._needs:
            device = self._run.device
            release_memory(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            fits = try_steps(self._run, pictures)
            self._needs[pictures] = torch.cuda.max_memory_allocated(device) - before if fits else None
            release_memory(device)
        return self._needs[pictures]

    def room(self) -> int:
        """By what is free after a first attempt, which loads libraries that take some of it."""
        device = self._run.device
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(self.share * (torch.cuda.mem_get_info(device)[0] + idle))


PROBES: dict[str, Callable[[ResolvedRun], MemoryProbe]] = {"cuda": CudaProbe}  # by type of device


def try_steps(run: ResolvedRun, pictures: int) -> bool:
    """Take two steps on random pictures with networks that are thrown away; whether memory sufficed.

    The error goes no further than this, since its traceback holds what the failed attempt had allocated.
    """
    config = replace(run.config, batch_size=pictures * run.config.accumulate, steps=1, decay_steps=0)
    channels = {domain: kind.channels for domain, kind in run.kinds.items()}
    try:
        state = TrainState(build_method(config, channels), config, run.device, run.dtype)

        def part() -> Images:
            return {
                domain: torch.rand(pictures, planes, config.crop_size, config.crop_size, device=run.device)
                .mul(2)
                .sub(1)
                .contiguous(memory_format=torch.channels_last)
                for domain, planes in channels.items()
            }

        for step in (0, 1):
            state.step([part() for _ in range(config.accumulate)], step)
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


@contextlib.contextmanager
def explain_out_of_memory(config: TrainConfig, device: torch.device, at: Callable[[], int]) -> Iterator[None]:
    """Turn running out of memory into a sentence: the need, what there is and which options to lower.

    `at` returns the step. Raises `CycleganError`; every other error goes through.
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
    """Bytes in all that the failed allocation would have come to, and bytes in all that there are."""
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
    """Options that need less memory on `device` than `config`, in the order in which they are worth trying."""
    offered = {
        "--checkpoint-activations": not config.checkpoint_activations,
        f"--accumulate {2 * config.accumulate}": config.batch_size % (2 * config.accumulate) == 0,
        f"--batch-size {config.batch_size // 2}": config.batch_size // 2 >= config.accumulate,
        "--batch-size auto, in a new run": device.type in PROBES and config.batch_size > config.accumulate,
        "--precision bf16": config.precision == "fp32",
    }
    ways = [way for way, possible in offered.items() if possible]
    return f"give {', '.join([*ways, 'or, in a new run, a smaller --crop-size or fewer --channels'])}"


def _resident() -> int:
    """Bytes of memory this process holds. Raises `OSError` but on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"
