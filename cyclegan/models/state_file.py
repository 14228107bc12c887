"""Reader of models in a training state (`state-*.pt`), independent of training code.

A state is a dict saved by torch: `step`, `config` (flat), `method` (its state_dict, with `generators.ab.…` and
`discriminators.a.…`), `generator_specs`, `ranges` (see `model_info`), `ema` (`ab.…`, empty without averaging), and
parts for the training loop only. Beside it lies `state-*.pt.sha256`, in the format of `sha256sum`: loading by torch
detects truncation, but not a flipped bit.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.models.rebuild import (
    OLDEST_DOMAINS,
    DamagedModel,
    Weights,
    check_config,
    checked_info,
    checked_specs,
    grouped,
    rebuild,
)
from cyclegan.models.safe_torch import read_torch
from cyclegan.networks import build_discriminator
from cyclegan.system.files import file_sha256, named_by_text

FORMAT = "cyclegan-state"
VERSION = 1
_PARTS = {"step": int, "config": dict, "method": dict, "generator_specs": dict, "ema": dict}


def model_info(
    config: Mapping[str, Any], step: int, ranges: Mapping[str, Any] | None, domains: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Build a model's metadata from its run's flat config: method, sizes, domain names; no paths.

    `ranges` are the values of black and white in each domain, `{"a": "100,4000", "b": …, "dtype": "uint16"}`; None,
    which is omitted, stands for the full range of a picture's type. `domains` are the names of the folders; a state
    without them has two, whose folders the config names.
    """
    kept: dict[str, Any] = {key: config[key] for key in ("method", "load_size", "crop_size") if key in config}
    if domains is None:
        kept |= {name: Path(config.get(name) or f"train{name.upper()}").name for name in OLDEST_DOMAINS}
    else:
        kept |= {**domains, "domains": dict(domains)}
    about = {"step": step, **kept}
    return about if ranges is None else about | {"ranges": dict(ranges)}


def read_state_generators(file: Path) -> tuple[dict[str, Any], dict[str, Any], Weights]:
    """Read specs, info and weights of the generators in a state, averaged if available.

    Raises `DamagedModel` if it is damaged, `UsageError` for a file of another kind.
    """
    state = _read(file)
    weights = grouped(state["ema"]) or grouped(state["method"], "generators.")
    specs = {direction: spec for direction, spec in state["generator_specs"].items() if direction in weights}
    if not specs:
        raise DamagedModel(f"MODEL: {file} holds no generators")
    domains = state.get("domains")
    if domains is not None and not (isinstance(domains, dict) and all(isinstance(one, str) for one in domains)):
        raise DamagedModel(f"MODEL: {file} names no domains")
    info = model_info(state["config"], state["step"], state.get("ranges"), domains)
    return specs, checked_info(info, file), weights


def read_state_discriminators(file: Path) -> tuple[dict[str, nn.Module], int]:
    """Read the discriminators ("a", "b") and the step of a state."""
    state = _read(file)
    specs = state.get("discriminator_specs") or _inferred_specs(state)
    networks: dict[str, nn.Module] = {}
    for domain, weights in grouped(state["method"], "discriminators.").items():
        spec = specs.get(domain) if isinstance(specs, dict) else None
        networks[domain] = rebuild(build_discriminator, spec, weights, file, f"discriminator {domain[:20]}")
    return networks, state["step"]


def _inferred_specs(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Infer discriminator specs that a state lacks, with the channels of the generators from and to each domain."""
    config, channels = state["config"], dict.fromkeys(OLDEST_DOMAINS, 3)
    for key, spec in state["generator_specs"].items():
        direction = Direction.parse(key)
        if isinstance(spec, dict):
            channels |= {direction.source: spec.get("in_channels", 3), direction.target: spec.get("out_channels", 3)}
    kept = {key: config[key] for key in ("channels", "norm", "spectral_norm") if key in config}
    return {
        domain: {"name": config.get("discriminator"), "in_channels": count, **kept}
        for domain, count in channels.items()
    }


def foreign(file: Path) -> UsageError:
    """Build the error for a file that is not a model."""
    return UsageError(
        f"MODEL: {file} is neither a generators file nor a checkpoint of cyclegan, and other formats may hold code, so "
        "it is not opened; weights of the reference implementation are read by `cyclegan import-junyanz`"
    )


def _read(file: Path) -> dict[str, Any]:
    """Read and validate a state; tensors stay on disk (mmap), so that its optimizers cost nothing."""
    note = file.with_name(file.name + ".sha256")
    try:
        if note.exists() and note.read_text().split()[:1] != [file_sha256(file)]:
            raise DamagedModel(f"MODEL: {file} is damaged, its checksum is not the one in {note.name}")
        with named_by_text(file) as named:
            state = read_torch(named, mmap=True)
    except pickle.UnpicklingError as error:
        raise DamagedModel(
            f"MODEL: {file} is damaged or holds code beside its tensors; it was refused, nothing in it was run"
        ) from error
    except (OSError, ValueError) as error:
        raise DamagedModel(f"MODEL: {file} is cut short or damaged ({error})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise foreign(file)
    if state.get("version") != VERSION:
        raise DamagedModel(
            f"MODEL: {file} has format version {str(state.get('version'))[:20]} and this cyclegan reads {VERSION}; "
            "use the cyclegan it was written by"
        )
    for part, kind in _PARTS.items():
        if not isinstance(state.get(part), kind):
            raise DamagedModel(f"MODEL: {file} lacks its part {part!r}")
    checked_specs(state["generator_specs"], file)
    check_config(state["config"], file)
    # Beside the networks a method has its pools, whose part is a dict that is not checked here
    for part, networks in (("method", ("generators.", "discriminators.")), ("ema", ("",))):
        names = [name for name in state[part] if not isinstance(name, str) or name.startswith(networks)]
        if not all(isinstance(name, str) and isinstance(state[part][name], Tensor) for name in names):
            raise DamagedModel(f"MODEL: {file} has a part {part!r} that does not hold weights by name")
    return state
