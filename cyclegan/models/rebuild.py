"""Reconstruction of networks from the weights in a file, validated before allocation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclegan.errors import CycleganError, first_line
from cyclegan.networks import Generator, build_generator

LARGEST = 2**16  # channels; a spec with more was not written by us, and would only exhaust memory

# Types of weights: floating-point parameters, and the batch counters of BatchNorm
FRACTIONS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
NUMBERS = FRACTIONS | {torch.int64}

Network = TypeVar("Network", bound=nn.Module)
Weights = dict[str, dict[str, Tensor]]  # by network, then by parameter


class DamagedModel(CycleganError):
    """A model file that is damaged or invalid; the message states the reason."""


def rebuild(spec: Any, weights: Mapping[str, Tensor], file: Path, direction: str) -> Generator:
    """Build the generator of `spec`, the arguments of `build_generator`, and load `weights`.

    Raises `DamagedModel` for an invalid spec and for weights that do not match it.
    """
    if not (isinstance(spec, dict) and is_plausible(spec)):
        raise DamagedModel(f"MODEL: {file} describes no possible generator {direction} ({str(spec)[:200]})")
    what = f"generator {direction}"
    with building(file, what):
        generator = build_generator(**spec)
    return filled(generator, weights, file, what)


@contextlib.contextmanager
def building(file: Path, what: str) -> Iterator[None]:
    """Context to build a `blank` network described by `file`; `DamagedModel` if that fails."""
    try:
        with blank():
            yield
    except Exception as error:  # arguments from a file: unknown names, wrong types, numbers that no layer accepts
        reason = first_line(error)[:200]
        raise DamagedModel(f"MODEL: {file} has a {what} that this cyclegan cannot build ({reason})") from error


def is_plausible(spec: Mapping[Any, Any]) -> bool:
    """Return whether all arguments for a network have plausible types and values."""
    return all(
        isinstance(name, str) and (isinstance(value, str | bool) or (isinstance(value, int) and 1 <= value <= LARGEST))
        for name, value in spec.items()
    )


@contextlib.contextmanager
def blank() -> Iterator[None]:
    """Context in which networks are built on the meta device and draw no random numbers.

    So a file which claims to be enormous is detected before anything is allocated for it, and loading a model in the
    middle of a training run does not change the run.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Skip weight initialisation, which on the meta device only costs 1.3 s of imports by torch."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def filled(network: Network, weights: Mapping[str, Tensor], file: Path, what: str) -> Network:
    """Load `weights` into a `blank` network: fp32, on the CPU, in evaluation mode.

    Raises `DamagedModel` if names or shapes do not match the network's, and for non-finite weights.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise DamagedModel(
                f"MODEL: {file} does not fit its own description: {name} of {what} should be "
                f"{wanted.get(name, 'absent')} and is {given.get(name, 'absent')}"
            )
    kinds = {name: value.is_floating_point() for name, value in network.state_dict().items()}
    for name, value in weights.items():
        if value.dtype not in (FRACTIONS if kinds[name] else (torch.int64,)):
            raise DamagedModel(f"MODEL: {file} holds {value.dtype} in {name} of {what}, which is not a type of weights")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DamagedModel(
                f"MODEL: {file} holds weights that are not finite ({name} of {what}); take an earlier one"
            )
    network.load_state_dict({name: _owned(value) for name, value in weights.items()}, assign=True)
    left = [n for n, value in (*network.named_parameters(), *network.named_buffers()) if value.is_meta]
    assert not left, f"{what}: {left} are not in a state_dict, so that a file cannot restore them"
    return network.eval()


def grouped(tensors: Mapping[str, Tensor], prefix: str = "") -> Weights:
    """Group `{"<prefix><key>.stem.weight": …}` to `{key: {"stem.weight": …}}`, dropping other names."""
    groups: Weights = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            group, _, rest = name.removeprefix(prefix).partition(".")
            groups.setdefault(group, {})[rest] = value
    return groups


def _owned(value: Tensor) -> Tensor:
    """Copy to memory (a mapped file may disappear), in fp32 if it is floating-point."""
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
