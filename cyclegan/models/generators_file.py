"""Generators file: trained generators with the metadata needed to use them, for distribution.

The format is safetensors (https://github.com/huggingface/safetensors): tensors and text, no code. Tensors are named
`ab.<parameter>` and `ba.<parameter>`; the metadata hold

    format    "cyclegan-generators"
    version   "1"
    specs     JSON, the arguments of `build_generator` for each direction
    info      JSON, origin of the weights: step, method, sizes, names and ranges of the two domains
    sha256    over specs, info and every tensor, in the order of their names
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.models.rebuild import NUMBERS, DamagedModel, Weights, checked_info, checked_specs, grouped
from cyclegan.system.files import atomic_write, named_by_text

FORMAT = "cyclegan-generators"
VERSION = "1"


def save_model(path: str | os.PathLike[str], generators: Mapping[str, nn.Module], *, info: Mapping[str, Any]) -> None:
    """Write `generators`, by `Direction.key`, to a generators file atomically. See `model_bytes`.

    Raises `OSError` if it cannot be written; an old file is then intact.
    """
    atomic_write(path, model_bytes(generators, info=info))


def model_bytes(generators: Mapping[str, nn.Module], *, info: Mapping[str, Any]) -> bytes:
    """Serialise `generators`, by `Direction.key`, as a generators file.

    Every generator has `.spec`, the arguments to rebuild it; `info` is any JSON-serialisable mapping. Equal content
    gives an equal file, byte for byte.
    """
    weights = {
        f"{direction}.{name}": value.detach().cpu().contiguous()  # the format does not support channels_last
        for direction, generator in generators.items()
        for name, value in generator.state_dict().items()
    }
    specs = json.dumps({direction: generator.spec for direction, generator in generators.items()}, sort_keys=True)
    about = json.dumps(dict(info), sort_keys=True, allow_nan=False)
    metadata = {"format": FORMAT, "version": VERSION, "specs": specs, "info": about}
    metadata["sha256"] = weights_sha256(weights, f"{specs}\0{about}\0")
    return _sorted_header(save(weights, metadata))


def read_generators(file: Path) -> tuple[dict[str, Any], dict[str, Any], Weights]:
    """Read specs, info and weights of a generators file after checking its digest.

    Raises `DamagedModel` if it is damaged, `UsageError` for a safetensors file of another kind.
    """
    try:
        with named_by_text(file) as named, safe_open(named, framework="pt", device="cpu") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UsageError(f"MODEL: {file} is a safetensors file, but not one of cyclegan's generators")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, MemoryError) as error:
        raise DamagedModel(f"MODEL: {file} is cut short or damaged ({error}); fetch or save it again") from error
    if metadata.get("version") != VERSION:
        raise DamagedModel(
            f"MODEL: {file} has format version {str(metadata.get('version'))[:20]} and this cyclegan reads {VERSION}; "
            "use the cyclegan it was written by"
        )
    odd = next((name for name, value in tensors.items() if value.dtype not in NUMBERS), None)
    if odd is not None:
        raise DamagedModel(
            f"MODEL: {file} holds numbers of type {tensors[odd].dtype} ({odd[:200]!r}), which is not a type of weights"
        )
    specs, info = metadata.get("specs", "{}"), metadata.get("info", "{}")
    if metadata.get("sha256") != weights_sha256(tensors, f"{specs}\0{info}\0"):
        raise DamagedModel(f"MODEL: {file} is damaged, its checksum does not match its content; fetch or save it again")
    by_direction, about = checked_specs(_parsed(specs, file), file), checked_info(_parsed(info, file), file)
    weights = grouped(tensors)
    if not weights or set(by_direction) != set(weights):
        raise DamagedModel(
            f"MODEL: {file} describes generators {sorted(by_direction)} but holds {str(sorted(weights))[:200]}"
        )
    return by_direction, about, weights


def _parsed(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedModel(f"MODEL: {file} has metadata that are not JSON; fetch or save it again") from error


def weights_sha256(weights: Mapping[str, Tensor], before: str = "", *, kinds: bool = True) -> str:
    """SHA-256 over `before` and all of `weights` in the order of their names.

    Each tensor counts with its name and bytes, and with its type and shape unless `kinds` is off; device, memory layout
    and file do not matter.
    """
    hasher = hashlib.sha256(before.encode())
    for name, value in sorted(weights.items()):
        hasher.update((f"{name} {value.dtype} {tuple(value.shape)}\0" if kinds else name).encode())
        hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _sorted_header(data: bytes) -> bytes:
    """Sort the header of safetensors data, whose order varies as the library writes it."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of eight
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
