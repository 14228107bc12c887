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

from cyclegan.errors import UsageError
from cyclegan.models.rebuild import DamagedModel, Weights, building, filled, grouped, is_plausible
from cyclegan.models.safe_torch import read_torch
from cyclegan.models.validate import checked_config, checked_info, checked_specs
from cyclegan.networks import build_discriminator
from cyclegan.system.files import file_sha256, named_by_text

FORMAT = "cyclegan-state"
VERSION = 1
_PARTS = {"step": int, "config": dict, "method": dict, "generator_specs": dict, "ema": dict}


def model_info(config: Mapping[str, Any], step: int, ranges: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Build a model's metadata from its run's flat config: method, sizes, domain names; no paths.

    `ranges` are the values of black and white in each domain, `{"a": "100,4000", "b": …, "dtype": "uint16"}`; None,
    which is omitted, stands for the full range of a picture's type.
    """
    folders = {domain: config.get(domain) or f"train{domain.upper()}" for domain in ("a", "b")}
    kept = {key: config[key] for key in ("method", "load_size", "crop_size") if key in config}
    about = {"step": step, **kept, **{domain: Path(folder).name for domain, folder in folders.items()}}
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
    return specs, checked_info(model_info(state["config"], state["step"], state.get("ranges")), file), weights


def read_state_discriminators(file: Path) -> tuple[dict[str, nn.Module], int]:
    """Read the discriminators ("a", "b") and the step of a state."""
    state = _read(file)
    config, specs = state["config"], state["generator_specs"]
    # Domain b is what "ab" makes and what "ba" takes: its pictures have that many channels.
    kept = {key: config[key] for key in ("channels", "norm", "spectral_norm") if key in config}
    if not (is_plausible(kept) and all(isinstance(spec, dict) and is_plausible(spec) for spec in specs.values())):
        raise DamagedModel(f"MODEL: {file} describes no possible discriminators")
    channels = {
        way[at]: spec.get(f"{side}_channels", 3) for way, spec in specs.items() for at, side in enumerate(("in", "out"))
    }
    networks: dict[str, nn.Module] = {}
    for domain, weights in grouped(state["method"], "discriminators.").items():
        with building(file, f"discriminator {domain[:20]}"):
            empty = build_discriminator(config["discriminator"], in_channels=channels.get(domain, 3), **kept)
        networks[domain] = filled(empty, weights, file, f"discriminator {domain}")
    return networks, state["step"]


def foreign(file: Path) -> UsageError:
    """Build the error for a file that is not a model."""
    return UsageError(
        f"MODEL: {file} is neither a generators file nor a checkpoint of cyclegan, and other formats may hold code, so "
        "it is not opened; weights of the reference implementation come in by `cyclegan import-junyanz`"
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
    checked_config(state["config"], file)
    # Beside the networks a method has its pools, whose part is a dict that nobody here looks into
    for part, networks in (("method", ("generators.", "discriminators.")), ("ema", ("",))):
        names = [name for name in state[part] if not isinstance(name, str) or name.startswith(networks)]
        if not all(isinstance(name, str) and isinstance(state[part][name], Tensor) for name in names):
            raise DamagedModel(f"MODEL: {file} has a part {part!r} that is no weights by name")
    return state
