"""Estimate of a network's memory use, measured on a small picture."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclegan.translation.tiling.axis import rounded
from cyclegan.translation.translator import Translator

# Factor for what is not a tensor between torch operators: copies in other layouts, convolution workspaces and
# allocator overhead. Measured against the memory of the process, see docs/large-pictures.md.
MARGIN = 1.6


PROBE = 128  # side of the measured picture, if the network takes so small a one

_known: weakref.WeakKeyDictionary[Translator, float] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def network_bytes(translator: Translator, height: int, width: int) -> int:
    """Peak memory of the network on one picture of this size, without weights."""
    generator = translator.generator
    rows, columns = (max(rounded(pixels, generator.multiple), generator.smallest) for pixels in (height, width))
    with _lock:
        if translator not in _known:
            _known[translator] = _bytes_per_pixel(translator)
    return int(_known[translator] * rows * columns)


def _bytes_per_pixel(translator: Translator) -> float:
    """Measure a copy of the network on a small picture on the CPU, without side effects.

    For a callable that is not a module only input and output are counted.
    """
    generator = translator.generator
    side = max(PROBE, generator.smallest)
    # A CPU in bf16 keeps fp32 copies as well
    dtype = torch.float32 if translator.device.type == "cpu" else translator.dtype
    if not isinstance(generator, nn.Module):
        return MARGIN * dtype.itemsize * (generator.in_channels + generator.out_channels)
    network = copy.deepcopy(generator).cpu().eval().to(dtype)
    picture = torch.zeros(1, generator.in_channels, side, side, dtype=dtype)
    with torch.inference_mode(), _Alive() as alive:
        network(picture)
    return MARGIN * (alive.most + picture.nbytes) / side**2


class _Alive(TorchFunctionMode):
    """Track the bytes of all live tensors returned by torch functions."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._tensors: dict[int, int] = {}  # tensors per storage

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._tensors:
            self._now += size
            self.most = max(self.most, self._now)
        self._tensors[key] = self._tensors.get(key, 0) + 1
        weakref.finalize(tensor, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._tensors[key] -= 1
        if not self._tensors[key]:
            del self._tensors[key]
            self._now -= size
