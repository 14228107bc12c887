"""When the networks are compiled, and what happens where they cannot be."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch
from torch import nn

from cyclegan.errors import first_line
from cyclegan.methods import Method

log = logging.getLogger("cyclegan")

# Steps to go from which `auto` compiles on a GPU: what is saved must pay for the minute that it takes. On a processor
# it never does: 4 % of a step of a small network against two minutes, since the slow layers have kernels of their own.
COMPILE_FROM = 2000


def wanted(choice: str, device: torch.device, steps_left: int) -> bool:
    """Whether `--compile auto|on|off` compiles for that many steps on `device`."""
    if choice == "auto":
        return device.type == "cuda" and steps_left >= COMPILE_FROM
    return choice == "on"


def compile_players(method: Method, device: torch.device) -> bool:
    """Compile the networks in place, which keeps the names of their weights; whether that was possible.

    A discriminator whose gradient is itself differentiated cannot be compiled and stays as it is. Where there is no
    working compiler nothing is, which is said once and costs nothing but speed.
    """
    if reason := _obstacle(device):
        log.warning("the networks are not compiled, which is slower and otherwise the same: %s", reason)
        return False
    log.info("compiling the networks; the first steps take a minute or two longer (--compile off skips this)")
    torch._dynamo.config.suppress_errors = True  # what fails later than the trial is computed as it was before
    networks = list(method.generators.values())
    if method.adversarial is None or not method.adversarial.double_backward:
        networks += method.discriminators.values()
    for network in networks:
        network.compile()
    return True


@contextlib.contextmanager
def uncompiled(networks: nn.ModuleDict) -> Iterator[None]:
    """Compute `networks` as they are written for a while.

    Seen in evaluation mode or with another number of pictures, a compiled network is compiled once more for each: a
    minute, for a look that takes seconds.
    """
    if not any(network._compiled_call_impl is not None for network in networks.values()):
        yield  # the way below imports the compiler, which takes seconds too
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _obstacle(device: torch.device) -> str:
    """Why nothing can be compiled for `device`, found by compiling next to nothing; empty where it works."""
    trial = torch.compile(lambda x: x.sin() + x.cos())
    try:
        trial(torch.zeros(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:  # dynamo's and inductor's own are RuntimeErrors
        return first_line(error)
    finally:
        torch._dynamo.reset()
    return ""
