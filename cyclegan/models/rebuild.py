"""Networks from the weights in a file: checked before they cost anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclegan.errors import CycleganError
from cyclegan.networks import Generator, build_generator

LARGEST = 2**16  # channels; a spec that asks for more was not written by us, and would only exhaust the memory

# Types of numbers that weights are kept in: those of a network, and how batches were counted
FRACTIONS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
NUMBERS = FRACTIONS | {torch.int64}

Network = TypeVar("Network", bound=nn.Module)
Weights = dict[str, dict[str, Tensor]]  # by network, then by parameter


class DamagedModel(CycleganError):
    """A file that should hold a model and does not, or not any more; the sentence says what is wrong with it."""


def rebuild(spec: Any, weights: Mapping[str, Tensor], file: Path, direction: str) -> Generator:
    """The generator that `spec`, the arguments of `build_generator`, describes, with `weights` in it.

    Raises `DamagedModel` for a spec that describes nothing and for weights that are not those of what it describes.
    """
    if not (isinstance(spec, dict) and is_plausible(spec)):
        raise DamagedModel(f"MODEL: {file} describes no possible generator {direction} ({str(spec)[:200]})")
    what = f"generator {direction}"
    with building(file, what):
        generator = build_generator(**spec)
    return filled(generator, weights, file, what)


@contextlib.contextmanager
def building(file: Path, what: str) -> Iterator[None]:
    """A `blank` network is built inside by what `file` says; `DamagedModel` where that describes none."""
    try:
        with blank():
            yield
    except Exception as error:  # arguments from a file: unknown names, wrong types, numbers that no layer takes
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DamagedModel(f"MODEL: {file} has a {what} that this cyclegan cannot build ({reason})") from error


def is_plausible(spec: Mapping[Any, Any]) -> bool:
    """Whether all arguments for a network are of a kind that could be meant."""
    return all(
        isinstance(name, str) and (isinstance(value, str | bool) or (isinstance(value, int) and 1 <= value <= LARGEST))
        for name, value in spec.items()
    )


@contextlib.contextmanager
def blank() -> Iterator[None]:
    """Networks built inside have names and shapes but no memory, and take no random numbers.

    So a file which claims to be enormous is found out before anything is allocated for it, and loading a model in the
    middle of a training run does not change the run.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves out drawing initial weights: on the meta device nothing comes of it but 1.3 s of imports by torch."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def filled(network: Network, weights: Mapping[str, Tensor], file: Path, what: str) -> Network:
    """A `blank` network with `weights` in it: fp32, on the CPU, in evaluation mode.

    Raises `DamagedModel` for other names or shapes than the network's, and for weights that are not finite.
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
            raise DamagedModel(f"MODEL: {file} holds {value.dtype} in {name} of {what}, which no weights are kept in")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DamagedModel(
                f"MODEL: {file} holds weights that are not finite ({name} of {what}); take an earlier one"
            )
    network.load_state_dict({name: _owned(value) for name, value in weights.items()}, assign=True)
    left = [n for n, value in (*network.named_parameters(), *network.named_buffers()) if value.is_meta]
    assert not left, f"{what}: {left} are in no state_dict, so that a file cannot restore them"
    return network.eval()


def grouped(tensors: Mapping[str, Tensor], prefix: str = "") -> Weights:
    """`{"<prefix>ab.stem.weight": …}` as `{"ab": {"stem.weight": …}}`; names without the prefix are left out."""
    groups: Weights = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            group, _, rest = name.removeprefix(prefix).partition(".")
            groups.setdefault(group, {})[rest] = value
    return groups


def _owned(value: Tensor) -> Tensor:
    """A copy in memory of our own (a mapped file may be gone tomorrow), in fp32 if it is a number with digits."""
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
