"""Validation of the metadata in untrusted model files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.models.rebuild import DamagedModel

OLDEST_DOMAINS = {"a": "", "b": ""}  # of files that do not name theirs
_STEPS = 2**53  # above this, floats, such as those of charts, cannot represent every step
_LONGEST = 4096  # characters of a name; the limit of file systems
_TYPES = frozenset({"bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"})


def checked_info(info: Any, file: Path) -> dict[str, Any]:
    """Validate `info` of a model (see `model_info`); `DamagedModel` if it is invalid."""
    if not _is_info(info):
        raise DamagedModel(f"MODEL: {file} says of itself what no model of ours does; fetch or save it again")
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


def checked_config(config: Mapping[Any, Any], file: Path) -> Mapping[str, Any]:
    """Validate the configuration in a state; `DamagedModel` if it is not flat."""
    if not all(isinstance(name, str) and _is_plain(value) for name, value in config.items()):
        raise DamagedModel(f"MODEL: {file} holds a configuration that is none; take an earlier one")
    return config


def _is_info(info: Any) -> TypeGuard[dict[str, Any]]:
    domains = info.get("domains", OLDEST_DOMAINS) if isinstance(info, dict) else None
    return (
        isinstance(domains, dict)
        and all(isinstance(name, str) for pair in domains.items() for name in pair)
        and all(isinstance(key, str) for key in info)
        and all(_is_plain(value) for name, value in info.items() if name not in ("domains", "ranges"))
        and all(isinstance(info.get(name, ""), str) for name in ("method", "best_by", *domains))
        and all(_is_size(info.get(name, 1)) for name in ("load_size", "crop_size"))
        and _is_step(info.get("step", 0))
        and _are_ranges(info.get("ranges"), domains)
    )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST)


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < _STEPS


def _is_size(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value <= 2**24)


def _are_ranges(value: Any, domains: Iterable[str]) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not all(isinstance(value.get(domain), str) for domain in domains):
        return False
    return value.get("dtype") is None or (isinstance(value["dtype"], str) and value["dtype"] in _TYPES)
