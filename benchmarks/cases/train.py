"""`benchmark.py train`: one training step, by the textbook and by our package in several settings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import machine, options, timing
from benchmarks.memory import Memory
from benchmarks.players import BASELINE, VARIANTS, Workload, build_player, step_flops
from benchmarks.seats import Seat
from cyclegan.errors import lookup
from cyclegan.system.devices import pick_device

WARM_UP = 3  # steps: the first compiles and allocates, the second has all moments of Adam


class Measured:
    """A player with a clock beside it."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.device = pick_device(workload.device)
        self.memory = Memory(self.device)
        self.player = build_player(name, workload)
        self.played = 0
        self.losses: dict[str, torch.Tensor] = {}

    def warm_up(self) -> float:
        """The first steps; seconds of the last of them."""
        taken = [self.turn(1) for _ in range(WARM_UP)]
        self.memory.forget()
        return taken[-1]

    def turn(self, steps: int) -> float:
        """Play `steps` steps; seconds of one of them."""
        return timing.clock(partial(self._play, steps), self.device) / steps

    def figures(self) -> dict[str, Any]:
        """What is known once all has been played."""
        return {
            "precision": self.player.precision,
            "peak_memory_gib": self.memory.peak(),
            "steps_played": self.played,
            "losses": {name: float(value) for name, value in self.losses.items()},
        }

    def _play(self, steps: int) -> None:
        for _ in range(steps):
            self.played += 1
            self.losses = self.player.step(self.played)


def measure(names: Sequence[str], workload: Workload, repeats: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of a step for each of `names`, `repeats` times in alternation, and what else each has to say.

    Each has a process of its own (see `seats`), the textbook one in which torch is as it comes.
    """
    with ExitStack() as stack:
        seats = {}
        for name in names:
            seats[name] = stack.enter_context(Seat(Measured, name, workload))
        warm: dict[str, float] = {}
        for name, seat in seats.items():
            click.echo(f"  warming up {name}", err=True)
            warm[name] = seat.call("warm_up")
        steps = timing.group_size(min(warm.values()))  # as many for each, so that all have played the same game
        measured = timing.alternate({name: partial(seat.call, "turn", steps) for name, seat in seats.items()}, repeats)
        return measured, {name: seat.call("figures") for name, seat in seats.items()}


@click.command("train")
@options.network(size=128)
@options.batch_size("Pictures of each domain in a step.")
@click.option(
    "--variants",
    default="fp32-eager,default",
    show_default=True,
    help=f"What is compared with the textbook, with commas between: {', '.join(VARIANTS)}.",
)
@options.measuring(repeats=10)
def command(
    size: int,
    channels: int,
    generator: str,
    batch_size: int,
    variants: str,
    repeats: int,
    device: str,
    json_file: Path | None,
) -> None:
    """Time one training step: the textbook against cyclegan.

    `default` is what `cyclegan train` does by itself in a long run on this device; the other variants set --precision,
    --compile or --checkpoint-activations. All have the same weights and pictures and play the same number of steps.
    """
    where = pick_device(device)
    chosen = [name for name in dict.fromkeys(variants.split(",")) if name != BASELINE]
    for name in chosen:
        lookup(VARIANTS, name, "--variants")
    workload = Workload(size, channels, generator, batch_size, str(where))
    path = timing.json_path(json_file, f"train-{size}-{batch_size}-{where.type}")
    flops = step_flops(workload)
    ceilings = machine.ceilings(where, channels=channels, size=size, batch_size=batch_size)
    measured, figures = measure([BASELINE, *chosen], workload, repeats)
    most = figures[BASELINE]["peak_memory_gib"]
    results = []
    for name, taken in measured.items():
        row = timing.result(name, taken, measured[BASELINE], **figures[name])
        row |= {
            "share_of_floor": machine.share_of_floor(flops, row["median_s"], row["precision"], ceilings),
            "images_per_second": batch_size / row["median_s"],
            "memory_ratio": row["peak_memory_gib"] / most if most else None,
            "flops": flops,
        }
        results.append(row)
    timing.publish(
        {
            "benchmark": "train",
            "title": f"Training step, {workload}",
            "headline": [name for name in ("default",) if name in measured],
            "unit": "step",
            "notes": [
                f"A step is {flops / 1e9:.4g} GFLOP by the textbook; {machine.FLOOR}",
            ],
            "machine": machine.describe(where),
            "ceilings": ceilings,
            "command": machine.command(),
            "results": results,
        },
        path,
    )
