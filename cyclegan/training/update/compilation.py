"""Compilation of the networks by torch.compile, where it pays."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch
from torch import nn

from cyclegan.errors import first_line
from cyclegan.methods import Method

log = logging.getLogger("cyclegan")

# Remaining steps from which `auto` compiles on a GPU: the gain must pay for the minute that it takes. On a CPU it never
# does: 4 % of a step of a small network against two minutes, since the slow layers have kernels of their own.
COMPILE_FROM = 2000


def wanted(choice: str, device: torch.device, steps_left: int) -> bool:
    """True if `--compile auto|on|off` compiles for `steps_left` steps on `device`."""
    if choice == "auto":
        return device.type == "cuda" and steps_left >= COMPILE_FROM
    return choice == "on"


def compile_networks(method: Method, device: torch.device) -> bool:
    """Compile the networks in place, which keeps the names of their weights; whether that was possible.

    A discriminator with double backward cannot be compiled and stays as it is. Without a working compiler nothing is
    compiled, which a warning says and costs nothing but speed.
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
    """Run `networks` eagerly within this context.

    In evaluation mode or with another batch size a compiled network would be compiled once more for each: a minute,
    for an evaluation that takes seconds.
    """
    if not any(network._compiled_call_impl is not None for network in networks.values()):
        yield  # `set_stance` imports the compiler, which takes seconds too
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _obstacle(device: torch.device) -> str:
    """Reason for which nothing can be compiled for `device`, by trying a trivial function; empty where it works."""
    trial = torch.compile(lambda x: x.sin() + x.cos())
    try:
        trial(torch.zeros(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:  # dynamo's and inductor's own are RuntimeErrors
        return first_line(error)
    finally:
        torch._dynamo.reset()
    return ""
