"""How the pictures of a step lie in memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """How the pictures of a step lie one behind the other: those of A, then those of B, each channel a plane."""

    batch: int  # pictures of each domain
    channels: tuple[int, int]  # of a picture of A, and of one of B
    size: int  # of the crop
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a step."""
        return self.batch * sum(self.channels), self.size, self.size

    @property
    def nbytes(self) -> int:
        """Of a step."""
        return math.prod(self.shape) * self.dtype.itemsize

    def split(self, step: Any) -> tuple[Any, Any]:
        """An array or tensor of `shape` as those of A and of B, batch × channels × size × size, not copied."""
        planes = self.batch * self.channels[0]
        a, b = (
            part.reshape(self.batch, channels, self.size, self.size)
            for part, channels in zip((step[:planes], step[planes:]), self.channels, strict=True)
        )
        return a, b
