"""InstanceNorm statistics shared by all parts (tiles) of one picture.

A part normalised by its own mean and deviation gets other colours than its neighbour. Here all parts are normalised by
the same statistics, which were collected from some or all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cyclegan.networks.layers import GeneratorLike, InstanceNorm
from cyclegan.system.pixels import full_precision

CHUNK = 2**18  # numbers summed at a time, so that they stay in the cache; the sums are added in double precision


class NormWindow(NamedTuple):
    """Window of a part that statistics are collected from, in pixels of the part."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass
class Scope:
    """Current mode of all norms of one network; by default they only normalise."""

    size: tuple[int, int] = (0, 0)  # height and width of the parts in pixels; feature maps are smaller in proportion
    windows: Sequence[NormWindow] = ()  # one per part of the batch, to collect from; empty: collect nothing
    pooled: bool = False  # normalise by the pooled statistics of this batch instead of the known ones


@dataclass
class Sums:
    """Σ x, Σ x² and count per channel, in double precision, x relative to `origin`.

    The origin is the first value of each channel, so that no digits are lost to a large mean.
    """

    total: Tensor
    squares: Tensor
    count: int = 0
    origin: Tensor | None = None

    @classmethod
    def empty(cls, channels: int, device: torch.device) -> Sums:
        """Sums of no values."""
        total, squares = torch.zeros(2, channels, dtype=torch.float64, device=device)
        return cls(total, squares)

    def add(self, x: Tensor) -> None:
        """Add the values of C,H,W."""
        if self.origin is None:
            self.origin = full_precision(x[:, :1, :1]).clone()
        rows = max(1, CHUNK // max(1, x.shape[0] * x.shape[2]))
        for part in x.split(rows, dim=1):
            # torch sums pairwise, which is as exact as double precision in at most a fifth of its time
            away = (part - self.origin).flatten(1)
            self.total += away.sum(1).double()
            self.squares += away.square_().sum(1).double()
            self.count += away.shape[1]

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (C,) each."""
        assert self.origin is not None, "statistics of nothing"
        mean = self.total / self.count
        return mean + self.origin[:, 0, 0], (self.squares / self.count - mean.square()).clamp(min=0)


class SharedNorm(InstanceNorm):
    """InstanceNorm with one mean and variance per channel for all parts of a picture."""

    def __init__(self, channels: int, eps: float, scope: Scope) -> None:
        super().__init__(channels, eps)
        self.scope = scope
        self.sums: Sums | None = None
        self.mean: Tensor | None = None  # (C,), fp32 or better, as is `variance`
        self.variance: Tensor | None = None
        # Last pooled mean and variance, in double precision, and their correction towards the whole picture: a term
        # and a factor
        self._pooled: tuple[Tensor, Tensor] | None = None
        self._lacking: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:  # NCHW of any range
        mean, variance = self.statistics(x)
        with torch.autocast(x.device.type, enabled=False):
            # Batch norm in evaluation does just this, for any type and layout of x
            return torch.batch_norm(x, None, None, mean, variance, False, 0.0, self.eps, x.is_cuda)

    def mean_and_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and 1 / sqrt(variance + ε) to normalise NCHW `x` by, (N, C) each."""
        mean, variance = self.statistics(x)
        both = torch.stack([mean, (variance + self.eps).rsqrt()])[:, None].expand(2, len(x), -1).contiguous()
        return both[0], both[1]

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) to normalise NCHW `x` by, after collecting from it per `Scope`."""
        scope = self.scope
        if scope.windows:
            assert len(scope.windows) == len(x), (len(scope.windows), len(x))
            self.sums = self.sums or Sums.empty(self.channels, x.device)
            for part, window in zip(x, scope.windows, strict=True):
                self.sums.add(part[:, *_shares(window, scope.size, part.shape)])
        if scope.pooled:
            self._settle_pooled(torch.promote_types(x.dtype, torch.float32))
        assert self.mean is not None, "no statistics are known yet"
        assert self.variance is not None
        return self.mean, self.variance

    def correct(self) -> float:
        """Set the correction of pooled statistics from all that was collected since the last pooling.

        Returns the distance of the collected statistics from those in use: the root mean square over channels of the
        difference of means, in deviations, or of the log ratio of deviations if that is larger.
        """
        assert self.sums is not None, "nothing was collected"
        assert self._pooled is not None
        assert self.mean is not None
        assert self.variance is not None
        mean, variance = self.sums.mean_and_variance()
        off = (mean - self.mean) / (variance + self.eps).sqrt()
        spread = ((variance + self.eps) / (self.variance + self.eps)).log() / 2
        self._lacking = mean - self._pooled[0], (variance + self.eps) / (self._pooled[1] + self.eps)
        self.sums = None
        return float(torch.stack([off, spread]).square().mean(1).sqrt().max())

    def _settle_pooled(self, dtype: torch.dtype) -> None:
        assert self.sums is not None
        mean, variance = self._pooled = self.sums.mean_and_variance()
        if self._lacking is not None:
            mean = mean + self._lacking[0]
            variance = ((variance + self.eps) * self._lacking[1] - self.eps).clamp(min=0)
        self.mean, self.variance, self.sums = mean.to(dtype), variance.to(dtype), None


class SharedStatistics:
    """Generator for the parts of one picture, with shared InstanceNorm statistics.

    `network` shares the weights of `generator`, but has modules of its own, in evaluation mode: settings made here
    affect no other use of the generator, in this thread or another, and need not be undone. Other norms have no
    per-picture statistics, so a generator without InstanceNorm works as well. A generator that is not an `nn.Module`
    is used unchanged.
    """

    def __init__(self, generator: GeneratorLike) -> None:
        self.network = generator
        self.norms: list[SharedNorm] = []  # in the order of the layers
        self._scope = Scope()
        if not isinstance(generator, nn.Module):
            return
        own = [*generator.parameters(), *generator.buffers()]
        network = self.network = copy.deepcopy(generator, {id(tensor): tensor for tensor in own})
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, InstanceNorm):
                    self.norms.append(SharedNorm(child.channels, child.eps, self._scope))
                    setattr(module, name, self.norms[-1])
        network.eval()

    def pooling(self, size: tuple[int, int], windows: Sequence[NormWindow]) -> AbstractContextManager[None]:
        """Normalise one batch of parts of `size` by the pooled statistics of its windows.

        These are known from then on. If the windows cover a picture, they are the statistics of the picture.
        """
        return self._within(Scope(size, windows, pooled=True))

    def collecting(self, size: tuple[int, int], windows: Sequence[NormWindow]) -> AbstractContextManager[None]:
        """Normalise a batch by the known statistics, and collect its windows for `correct`."""
        return self._within(Scope(size, windows))

    def correct(self) -> float:
        """Correct the next pooling for the difference of its windows from all that was collected.

        Returns the distance of the worst layer, see `SharedNorm.correct`.
        """
        return max(norm.correct() for norm in self.norms)

    def forget(self) -> None:
        """Drop unfinished sums, after an error while collecting."""
        for norm in self.norms:
            norm.sums = None

    @contextmanager
    def _within(self, scope: Scope) -> Iterator[None]:
        vars(self._scope).update(vars(scope))
        try:
            yield
        finally:
            vars(self._scope).update(vars(Scope()))


def _shares(window: NormWindow, size: tuple[int, int], shape: torch.Size) -> tuple[slice, slice]:
    """Slices of a window in a feature map of `shape` (C, h, w), at least one value per axis."""
    slices = []
    for start, stop, whole, have in zip(window[:2], window[2:], size, shape[1:], strict=True):
        first = min(start * have // whole, have - 1)
        slices.append(slice(first, max(stop * have // whole, first + 1)))
    return slices[0], slices[1]
