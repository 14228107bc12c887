"""`benchmark.py scale`: what averaging gradients between processes costs, measured here and foretold for more.

Training on several processes averages the gradients of both sides once a step, each process on pictures of its own. So
a step takes its computation and one all-reduce over as many bytes as the networks have. In a ring of P processes each
sends and receives 2 (P − 1) / P times those bytes (Patarasuk & Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002):

    t(P) = t(1) + 2 (P − 1) / P · bytes / bandwidth        efficiency(P) = t(1) / t(P)
"""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import torch
import torch.distributed as dist

from benchmarks import machine, options, timing
from benchmarks.players import VARIANTS, Workload, build_ours, step_flops
from benchmarks.seats import Seat
from cyclegan.errors import CycleganError, UsageError, lookup
from cyclegan.system.devices import pick_device
from cyclegan.training.distributed.process_group import TorchProcesses

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
FORETOLD = (2, 4, 8, 16, 32, 64)
WARM_UP = 2
LIMIT = timedelta(minutes=10)  # for one to wait for another

Times = dict[str, list[float]]


class Process:
    """The process `rank` of as many as train together at most; `store` is a file through which they find each other.

    The first `count` of them, for each of `counts`, can be had to work together, while the others wait.
    """

    def __init__(self, workload: Workload, variant: str, rank: int, counts: list[int], store: str) -> None:
        self.device = pick_device(f"cuda:{rank}" if workload.device.startswith("cuda") else workload.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.threads = torch.get_num_threads()
        self.player = build_ours(replace(workload, device=str(self.device)), VARIANTS[variant])
        self.played = 0
        weights = sum(parameter.numel() for side in self.player.sides for parameter in side.parameters)
        self.gradients = torch.zeros(weights, device=self.device)  # flat: one message instead of hundreds
        backend = BACKENDS[self.device.type]
        try:
            dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=counts[-1])
            self.ranks = {count: TorchProcesses(rank, count, rank, LIMIT, None) for count in counts}
            for count, ranks in self.ranks.items():
                ranks.data = dist.new_group(list(range(count)))  # type: ignore[assignment]  # not one of ours in others
        except RuntimeError as error:  # what torch raises for any fault of the network or of the library
            raise CycleganError(
                f"{counts[-1]} processes cannot reach each other over {backend} ({error}); give --processes 1"
            ) from error

    def about(self) -> tuple[int, str]:
        """Bytes that are averaged, and the precision of the step."""
        return self.gradients.numel() * self.gradients.element_size(), self.player.precision

    def turn(self, what: str, count: int) -> float:
        """Seconds of a "step", an "average", or "both" as training does them, begun by `count` processes at once."""
        torch.set_num_threads(max(1, min(self.threads, (os.cpu_count() or 1) // count)))
        work = {"step": self._step, "average": self._average, "both": self._both}[what]
        dist.all_reduce(torch.zeros(1, device=self.device), group=self.ranks[count].data)  # all are here
        return timing.clock(lambda: work(count), self.device)

    def leave(self) -> None:
        """Go in peace with the others."""
        dist.destroy_process_group()

    def _step(self, count: int) -> None:
        self.played += 1
        self.player.step(self.played)

    def _average(self, count: int) -> None:
        dist.all_reduce(self.gradients, group=self.ranks[count].data)
        self.gradients /= count

    def _both(self, count: int) -> None:
        self.played += 1
        self.player.step(self.played, self.ranks[count].average)


def measure(workload: Workload, variant: str, counts: list[int], repeats: int) -> tuple[dict[int, Times], int, str]:
    """For each of `counts` processes the seconds of a step, of averaging, and of both, each round that of the slowest;
    the bytes that are averaged; and the precision of the step.
    """
    measured: dict[int, Times] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places = [(workload, variant, rank, counts, str(Path(folder, "store"))) for rank in range(counts[-1])]
        seats = [stack.enter_context(Seat(Process, *place)) for place in places]
        for count in counts:
            click.echo(f"  measuring {count} of {counts[-1]} processes", err=True)
            for _ in range(WARM_UP):
                _together(seats[:count], "both", count)
            measured[count] = {
                what: [_together(seats[:count], what, count) for _ in range(repeats)]
                for what in ("step", "average", "both")
            }
        payload, precision = seats[0].call("about")
        for seat in seats:
            seat.ask("leave")
        for seat in seats:
            seat.answer()
    return measured, payload, precision


def _together(seats: list[Seat], what: str, count: int) -> float:
    for seat in seats:
        seat.ask("turn", what, count)
    return max([seat.answer() for seat in seats])


def foretell(step_s: float, payload: int, bandwidth: float, count: int) -> float:
    """Seconds of a step of `count` processes by the model above, `bandwidth` in bytes a second."""
    return step_s + 2 * (count - 1) / count * payload / bandwidth


def bandwidth_of(measured: dict[int, Times], payload: int) -> float | None:
    """Bytes a second by the model, from the most processes that averaged `payload` bytes; None where one was alone."""
    count = max(measured)
    if count == 1:
        return None
    return 2 * (count - 1) / count * payload / statistics.median(measured[count]["average"])


def _counts(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        counts = sorted({int(word) for word in value.split(",")} | {1})
    except ValueError:
        raise click.BadParameter(f"{value!r} is not whole numbers with commas between, such as 1,2,4.") from None
    if counts[0] < 1:
        raise click.BadParameter("there is no fewer than one process.")
    return counts


@click.command("scale")
@options.network(size=128)
@options.batch_size("Pictures of each domain in a step of each process.")
@click.option("--processes", callback=_counts, metavar="1,2,…", help="How many to measure; 1 and 2, or 1 to all GPUs.")
@click.option(
    "--bandwidth", type=click.FloatRange(0, min_open=True), help="Foretell for this many GB/s, not for those measured."
)
@click.option("--variant", default="default", show_default=True, help="The settings of the step, as in `train`.")
@options.measuring(repeats=5)
def command(
    size: int,
    channels: int,
    generator: str,
    batch_size: int,
    processes: list[int] | None,
    bandwidth: float | None,
    variant: str,
    repeats: int,
    device: str,
    json_file: Path | None,
) -> None:
    """Time a step and the averaging of gradients between processes of this machine, and foretell up to 64.

    Measured rows share this machine: on a processor each process has a part of the cores. Foretold rows give every
    process a machine of its own, as fast as the one process measured here with all of it, and the bandwidth between
    them that was measured or is given.
    """
    where = pick_device(device)
    lookup(VARIANTS, variant, "--variant")
    lookup(BACKENDS, where.type, "--device")
    at_most = torch.cuda.device_count() if where.type == "cuda" else None
    counts = processes or [count for count in (1, 2, 4, 8) if count <= (at_most or 2)]
    if at_most is not None and counts[-1] > at_most:
        raise UsageError(
            f"--processes {counts[-1]}: this machine has {at_most} CUDA devices; use as many at most, or --device cpu"
        )
    path = timing.json_path(json_file, f"scale-{size}-{batch_size}-{where.type}")
    workload = Workload(size, channels, generator, batch_size, str(where))
    flops = step_flops(workload)
    ceilings = machine.ceilings(where, channels=channels, size=size, batch_size=batch_size)
    measured, payload, precision = measure(workload, variant, counts, repeats)
    alone = measured[1]["step"]
    found = bandwidth_of(measured, payload)
    results = []
    for count, times in measured.items():
        taken = alone if count == 1 else times["both"]
        row = timing.result(_name(count), taken, alone, basis="measured", processes=count)
        row["average_s"] = statistics.median(times["average"]) if count > 1 else 0.0
        row["step_s"] = statistics.median(times["step"])
        results.append(row)
    speed = bandwidth * 1e9 if bandwidth else found
    step_s = statistics.median(alone)
    for count in FORETOLD if speed else ():
        assert speed is not None
        foretold = foretell(step_s, payload, speed, count)
        row = timing.result(f"{_name(count)} foretold", [foretold], alone, basis="model", processes=count)
        results.append(row | {"average_s": row["median_s"] - step_s, "step_s": step_s})
    for row in results:
        row["images_per_second"] = row["processes"] * batch_size / row["median_s"]
        # On a processor those measured share the machine that has the ceiling; all others have one each
        done = flops * row["processes"] if where.type == "cpu" and row["basis"] == "measured" else flops
        row["share_of_floor"] = machine.share_of_floor(done, row["median_s"], precision, ceilings)
        row["efficiency"] = row["ratio_to_baseline"]
    timing.publish(
        {
            "benchmark": "scale",
            "title": f"Training on several processes, {workload} each",
            "headline": [],
            "unit": "step",
            "notes": [
                f"A step averages {payload / 1e6:.4g} MB; {_said(bandwidth, found)}",
                "Times as fast is against one process with as many pictures each, so it is the efficiency",
            ],
            "machine": machine.describe(where),
            "ceilings": ceilings,
            "command": machine.command(),
            "bytes": payload,
            "bandwidth_gb_per_s": {"measured": found and found / 1e9, "given": bandwidth},
            "results": results,
        },
        path,
    )


def _name(count: int) -> str:
    return f"{count} process{'es' if count > 1 else ''}"


def _said(given: float | None, found: float | None) -> str:
    measured = f"{found / 1e9:.3g} GB/s were measured between processes of this machine" if found else None
    if given:
        return f"foretold for {given:g} GB/s, as given" + (f" ({measured})" if measured else "")
    return measured or "nothing is foretold, since one process has nobody to average with; give --bandwidth"
