"""Validation of untrusted model files, and reconstruction of their networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, UsageError

LARGEST = 2**16  # channels; a spec with more is not ours, and would only exhaust memory

# Types of weights: floating-point parameters, and the batch counters of BatchNorm
FRACTIONS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
NUMBERS = FRACTIONS | {torch.int64}

OLDEST_DOMAINS = {"a": "", "b": ""}  # of files that do not name their domains
_STEPS = 2**53  # above this, floats, such as those of charts, cannot represent every step
_LONGEST = 4096  # characters of a name; the limit of file systems
_TYPES = frozenset({"bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"})

Network = TypeVar("Network", bound=nn.Module)
Weights = dict[str, dict[str, Tensor]]  # by network, then by parameter


class DamagedModel(CycleganError):
    """A model file that is damaged or invalid; the message states the reason."""


def rebuild(build: Callable[..., Network], spec: Any, weights: Mapping[str, Tensor], file: Path, label: str) -> Network:
    """Build the network `label` of `file` and load its weights.

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
        raise DamagedModel(f"MODEL: {file} describes an impossible {label} ({str(spec)[:200]})")
    try:
        with torch.device("meta"), _Undrawn():
            network = build(**spec)
    except Exception as error:  # arguments from a file: unknown names, wrong types, numbers that no layer accepts
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DamagedModel(f"MODEL: {file} has a {label} that this cyclegan cannot build ({reason})") from error
    empty = network.state_dict()
    wanted, given = ({name: tuple(value.shape) for name, value in held.items()} for held in (empty, weights))
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise DamagedModel(
                f"MODEL: {file} does not fit its own description: {name} of {label} should be "
                f"{wanted.get(name, 'absent')} and is {given.get(name, 'absent')}"
            )
    for name, value in weights.items():
        if value.dtype not in (FRACTIONS if empty[name].is_floating_point() else (torch.int64,)):
            raise DamagedModel(
                f"MODEL: {file} holds {value.dtype} in {name} of {label}, which is not a type of weights"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DamagedModel(
                f"MODEL: {file} holds weights that are not finite ({name} of {label}); take an earlier one"
            )
    # Copied to memory, since a mapped file may disappear
    kinds = {name: torch.float32 if value.is_floating_point() else value.dtype for name, value in weights.items()}
    network.load_state_dict({name: value.to(kinds[name], copy=True) for name, value in weights.items()}, assign=True)
    left = [n for n, value in (*network.named_parameters(), *network.named_buffers()) if value.is_meta]
    assert not left, f"{label}: {left} are not in a state_dict, so that a file cannot restore them"
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
    """Group `{"<prefix><key>.stem.weight": …}` to `{key: {"stem.weight": …}}`, dropping other names."""
    groups: Weights = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            group, _, rest = name.removeprefix(prefix).partition(".")
            groups.setdefault(group, {})[rest] = value
    return groups


def checked_info(info: Any, file: Path) -> dict[str, Any]:
    """Validate `info` of a model (see `model_info`); `DamagedModel` if it is invalid."""
    if not _is_info(info):
        raise DamagedModel(f"MODEL: {file} has invalid metadata; fetch or save it again")
    return info


def checked_specs(specs: Any, file: Path) -> dict[str, Any]:
    """Validate the generators' specs by direction; `DamagedModel` if they are invalid."""
    try:
        if isinstance(specs, dict) and [Direction.parse(key) for key in specs]:
            return specs
        reason = None
    except (TypeError, UsageError) as error:
        reason = error
    raise DamagedModel(f"MODEL: {file} describes no generators by direction; fetch or save it again") from reason


def check_config(config: Mapping[Any, Any], file: Path) -> None:
    """Validate the configuration in a state; `DamagedModel` if it is not flat."""
    if not all(isinstance(name, str) and _is_plain(value) for name, value in config.items()):
        raise DamagedModel(f"MODEL: {file} holds an invalid configuration; take an earlier one")


def _is_info(info: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(info, dict):
        return False
    domains, step = info.get("domains", OLDEST_DOMAINS), info.get("step", 0)
    sizes = info.get("load_size"), info.get("crop_size")
    return (
        isinstance(domains, dict)
        and all(isinstance(name, str) for pair in domains.items() for name in pair)
        and all(isinstance(key, str) for key in info)
        and all(_is_plain(value) for name, value in info.items() if name not in ("domains", "ranges"))
        and all(isinstance(info.get(name, ""), str) for name in ("method", "best_by", *domains))
        and all(type(size) in (int, NoneType) and 0 <= (size or 0) <= 2**24 for size in sizes)
        and type(step) is int
        and 0 <= step < _STEPS
        and _are_ranges(info.get("ranges"), domains)
    )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST)


def _are_ranges(value: Any, domains: Iterable[str]) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not all(isinstance(value.get(domain), str) for domain in domains):
        return False
    return value.get("dtype") is None or (isinstance(value["dtype"], str) and value["dtype"] in _TYPES)
