"""Reconstruction of networks from the weights in a file, validated before allocation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclegan.errors import CycleganError

LARGEST = 2**16  # channels; a spec with more was not written by us, and would only exhaust memory

# Types of weights: floating-point parameters, and the batch counters of BatchNorm
FRACTIONS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
NUMBERS = FRACTIONS | {torch.int64}

Network = TypeVar("Network", bound=nn.Module)
Weights = dict[str, dict[str, Tensor]]  # by network, then by parameter


class DamagedModel(CycleganError):
    """A model file that is damaged or invalid; the message states the reason."""


def rebuild(build: Callable[..., Network], spec: Any, weights: Mapping[str, Tensor], file: Path, what: str) -> Network:
    """Build the network `what` of `file` and load its weights.

    It is fp32, on the CPU and in evaluation mode. `build(**spec)` runs on the meta device and draws no random numbers.
    So a file which claims to be enormous is detected before anything is allocated for it, and loading a model in the
    middle of a training run does not change the run.

    Raises `DamagedModel` for an invalid spec, for names or shapes that do not match the network's, and for non-finite
    weights.
    """
    plausible = isinstance(spec, dict) and all(
        isinstance(name, str) and (isinstance(value, str | bool) or (isinstance(value, int) and 1 <= value <= LARGEST))
        for name, value in spec.items()
    )
    if not plausible:
        raise DamagedModel(f"MODEL: {file} describes no possible {what} ({str(spec)[:200]})")
    try:
        with torch.device("meta"), _Undrawn():
            network = build(**spec)
    except Exception as error:  # arguments from a file: unknown names, wrong types, numbers that no layer accepts
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DamagedModel(f"MODEL: {file} has a {what} that this cyclegan cannot build ({reason})") from error
    empty = network.state_dict()
    wanted, given = ({name: tuple(value.shape) for name, value in held.items()} for held in (empty, weights))
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise DamagedModel(
                f"MODEL: {file} does not fit its own description: {name} of {what} should be "
                f"{wanted.get(name, 'absent')} and is {given.get(name, 'absent')}"
            )
    for name, value in weights.items():
        if value.dtype not in (FRACTIONS if empty[name].is_floating_point() else (torch.int64,)):
            raise DamagedModel(f"MODEL: {file} holds {value.dtype} in {name} of {what}, which is not a type of weights")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DamagedModel(
                f"MODEL: {file} holds weights that are not finite ({name} of {what}); take an earlier one"
            )
    # Copied to memory, since a mapped file may disappear
    kinds = {name: torch.float32 if value.is_floating_point() else value.dtype for name, value in weights.items()}
    network.load_state_dict({name: value.to(kinds[name], copy=True) for name, value in weights.items()}, assign=True)
    left = [n for n, value in (*network.named_parameters(), *network.named_buffers()) if value.is_meta]
    assert not left, f"{what}: {left} are not in a state_dict, so that a file cannot restore them"
    return network.eval()


class _Undrawn(TorchFunctionMode):
    """Skip weight initialisation, which on the meta device only costs 1.3 s of imports by torch."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def grouped(tensors: Mapping[str, Tensor], prefix: str = "") -> Weights:
    """Group `{"<prefix>ab.stem.weight": …}` to `{"ab": {"stem.weight": …}}`, dropping other names."""
    groups: Weights = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            group, _, rest = name.removeprefix(prefix).partition(".")
            groups.setdefault(group, {})[rest] = value
    return groups
