"""One of two processes that ask each other things: `python -m tests.training.group OUT`, in each by torchrun.

What each found out is written to `OUT/RANK.json`; that it is right is for the test to say.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cyclegan.errors import CycleganError, UsageError
from cyclegan.training.alarms.monitor import Restart
from cyclegan.training.distributed.process_group import open_ranks
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.distributed.sync_batchnorm import convert_sync_batchnorm


def _raise(error: CycleganError) -> None:
    raise error


def caught(ask: Any, do: Any) -> list[Any]:
    """The kind, words, values and whether it was said elsewhere, of the error that a question ends in."""
    try:
        ask(do)
    except CycleganError as error:
        return [type(error).__name__, str(error), getattr(error, "step", None), error.already_reported, error.exit_code]
    return []


def averaged(ranks: Ranks) -> list[Any]:
    """A gradient and a loss, each the rank, by average; of a parameter that lies in memory by channels last."""
    weight = nn.Parameter(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last))
    unused = nn.Parameter(torch.zeros(1))
    weight.grad = (torch.arange(96.0).view(2, 3, 4, 4) + 301 * ranks.rank).to(memory_format=torch.channels_last)
    loss = ranks.average([weight, unused], torch.tensor(float(ranks.rank)))()
    assert weight.grad.is_contiguous(memory_format=torch.channels_last)
    return [weight.grad.flatten().tolist(), loss.item(), unused.grad]


def shared_out(ranks: Ranks) -> list[Any]:
    """What becomes of five rows, and how many this process was given."""
    given: list[int] = []

    def double(batch: torch.Tensor) -> torch.Tensor:
        given.append(len(batch))
        return 2 * batch

    return [ranks.map_sharded(double, torch.arange(15.0).view(5, 3)).flatten().tolist(), given]


def normalised(ranks: Ranks, penalty: bool) -> dict[str, Any]:
    """Batch normalisation of a batch of four, of which this process has two; None: of all by torch's."""
    torch.manual_seed(0)
    whole = torch.randn(4, 3, 5, 5, dtype=torch.float64) * 2 + 100
    layer = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Tanh()).double()
    single = ranks.world == 1
    convert_sync_batchnorm(layer, ranks)
    mine = whole if single else whole[2 * ranks.rank : 2 * ranks.rank + 2]
    mine.requires_grad_()
    made = layer(mine)
    loss = made.square().mean() * (4 if single else 2)
    if penalty:  # a gradient of a gradient
        slope = torch.autograd.grad(made.sum(), mine, create_graph=True)[0]
        loss = loss + slope.square().sum((1, 2, 3)).mean() * (4 if single else 2)
    loss.backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    return {
        "made": made.detach().flatten(1).tolist(),
        "gradients": [gradient.flatten().tolist() for gradient in gradients if gradient is not None],
        "buffers": [buffer.double().flatten().tolist() for buffer in layer.buffers()],
    }


def main(out: Path) -> None:
    """Ask everything."""
    found: dict[str, Any] = {}
    log = logging.getLogger("cyclegan")
    log.setLevel(logging.INFO)
    said: list[str] = []
    log.addHandler(
        logging.StreamHandler(
            type("Said", (), {"write": lambda self, text: said.append(text), "flush": lambda self: None})()
        )
    )
    for travel in (None, torch.bfloat16):
        with open_ranks(60, travel) as ranks:
            found[f"averaged in {travel}"] = averaged(ranks)
            if travel is not None:
                continue
            log.warning("of all")
            logging.getLogger("cyclegan.data").warning("of rank %d", ranks.rank)
            asked = [ranks.delayed_max(number) for number in (0, 15 * ranks.rank, 0, 0)]
            found["asked"] = asked
            found["first"] = ranks.on_rank_zero(lambda: {"rank": ranks.rank, "tensor": torch.ones(2).tolist()})
            found["every"] = ranks.all_gather(ranks.rank)
            found["gathered"] = ranks.gather(ranks.rank)
            found["mean"] = ranks.mean({"a": float(ranks.rank), "b": 5.0})
            found["most"] = ranks.all_reduce_max(ranks.rank + 0.5)
            found["first error"] = caught(ranks.on_rank_zero, lambda: _raise(Restart("checkerboard", 300, "x")))
            found["error of one"] = caught(
                ranks.raise_on_all, lambda: _raise(UsageError("only here")) if ranks.rank == 1 else None
            )
            found["error of both"] = caught(ranks.raise_on_all, lambda: _raise(UsageError(f"in {ranks.rank}")))
            found["shared out"] = shared_out(ranks)
            found["one shared out"] = ranks.map_sharded(lambda batch: 2 * batch, torch.ones(1, 3)).tolist()
            # As with GPUs, whose group takes no tensors of the processor
            ranks.data = torch.distributed.new_group(backend="cuda:gloo")
            found["shared out of the processor"] = shared_out(ranks)
            ranks.data = None
            torch.manual_seed(ranks.rank)
            layer = nn.BatchNorm2d(3)
            nn.init.normal_(layer.weight)
            layer.num_batches_tracked.fill_(ranks.rank + 7)
            ranks.broadcast(layer)
            found["spread"] = [layer.weight.tolist(), int(layer.num_batches_tracked)]
            for penalty in (False, True):
                found[f"normalised {penalty}"] = normalised(ranks, penalty)
    (out / f"{ranks.rank}.json").write_text(json.dumps(found | {"said": said}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
