"""Reusable scratch memory."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

_local = threading.local()


def scratch(name: str, *shape: int) -> Tensor:
    """Uninitialised fp32 tensor, the same memory for each call with `name` in this thread.

    So it stays in the cache. Fresh memory comes from the system page by page, which takes longer than its use.
    """
    size = math.prod(shape)
    held: dict[str, Tensor] = _local.__dict__
    if name not in held or held[name].numel() < size:
        with torch.inference_mode(False):  # a tensor made in inference mode cannot be written to outside it
            held[name] = torch.empty(size)
    return held[name][:size].view(shape)
