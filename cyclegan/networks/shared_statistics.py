"""One set of InstanceNorm statistics for a picture that goes through a generator in parts.

A part normalised by its own mean and deviation comes out in other colours than its neighbour. Here all parts are
normalised by the same numbers, which were collected from some of them or from all.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cyclegan.networks.layers import GeneratorLike, InstanceNorm, full_precision

CHUNK = 2**18  # numbers that are summed at a time, which stay in the cache; the sums are added in double precision


class NormWindow(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right` of a part, in its pixels: what of it counts."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass
class Scope:
    """What all norms of one network are to do now."""

    size: tuple[int, int] = (0, 0)  # height and width of the parts in pixels, which a feature map has a share of
    windows: Sequence[NormWindow] = ()  # one for each part of the batch, to collect from; none: collect nothing
    pooled: bool = False  # normalise by what is being collected, all parts together, rather than by what is known


@dataclass
class Sums:
    """Σ x, Σ x² and how many, of each channel, in double precision, x counted from `origin`.

    That is the first number there is of a channel: the digits are spent on how the others differ from it.
    """

    total: Tensor
    squares: Tensor
    count: int = 0
    origin: Tensor | None = None

    @classmethod
    def empty(cls, channels: int, device: torch.device) -> Sums:
        """Of nothing yet."""
        total, squares = torch.zeros(2, channels, dtype=torch.float64, device=device)
        return cls(total, squares)

    def add(self, x: Tensor) -> None:
        """Take in C,H,W."""
        if self.origin is None:
            self.origin = full_precision(x[:, :1, :1]).clone()
        rows = max(1, CHUNK // max(1, x.shape[0] * x.shape[2]))
        for part in x.split(rows, dim=1):
            # torch adds pairwise, so this is as good as sums in double precision, in a fifth of their time or less
            away = (part - self.origin).flatten(1)
            self.total += away.sum(1).double()
            self.squares += away.square_().sum(1).double()
            self.count += away.shape[1]

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of each channel."""
        assert self.origin is not None, "statistics of nothing"
        mean = self.total / self.count
        return mean + self.origin[:, 0, 0], (self.squares / self.count - mean.square()).clamp(min=0)


class SharedNorm(InstanceNorm):
    """An InstanceNorm that all parts of a picture go through with the same mean and variance of each channel."""

    def __init__(self, channels: int, eps: float, scope: Scope) -> None:
        super().__init__(channels, eps)
        self.scope = scope
        self.sums: Sums | None = None
        self.mean: Tensor | None = None  # (C,), fp32 or better, as is `variance`
        self.variance: Tensor | None = None
        # What was collected last together, in double precision, and what it lacks to the whole: to be added, to be
        # multiplied by
        self._pooled: tuple[Tensor, Tensor] | None = None
        self._lacking: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:  # NCHW of any range
        mean, variance = self.statistics(x)
        with torch.autocast(x.device.type, enabled=False):
            # Batch norm in use is just this: given numbers for each channel, whatever the type and layout of x
            return torch.batch_norm(x, None, None, mean, variance, False, 0.0, self.eps, x.is_cuda)

    def mean_and_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What NCHW `x` is to be normalised by, as (N, C) each: its mean and 1 / sqrt(variance + ε)."""
        mean, variance = self.statistics(x)
        both = torch.stack([mean, (variance + self.eps).rsqrt()])[:, None].expand(2, len(x), -1).contiguous()
        return both[0], both[1]

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) to normalise NCHW `x` by, after collecting from it what the scope says."""
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
        """Compare what was collected since with what the last parts that were taken together had.

        Returns how far they are from those in use, the means in deviations, or the logarithms of these if they are
        further: the root of the mean square over channels.
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


@dataclass
class SharedStatistics:
    """A generator for the parts of one picture.

    `network` has the weights of `generator` itself, no copies, but modules of its own, in evaluation mode: what is
    set here reaches no other use of the generator, in this thread or another, and there is nothing to put back.
    Norms other than InstanceNorm have no statistics of a picture; a generator without any works all the same. What is
    no module is taken as it is: nothing in it can be reached.
    """

    generator: GeneratorLike
    network: GeneratorLike = field(init=False)
    norms: list[SharedNorm] = field(init=False)  # in the order of the layers

    def __post_init__(self) -> None:
        self.network = self.generator
        self._scope = Scope()
        self.norms = []
        if not isinstance(self.generator, nn.Module):
            return
        own = [*self.generator.parameters(), *self.generator.buffers()]
        network = self.network = copy.deepcopy(self.generator, {id(tensor): tensor for tensor in own})
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, InstanceNorm):
                    self.norms.append(SharedNorm(child.channels, child.eps, self._scope))
                    setattr(module, name, self.norms[-1])
        network.eval()

    @contextlib.contextmanager
    def pooling(self, size: tuple[int, int], windows: Sequence[NormWindow]) -> Iterator[None]:
        """In here one batch of parts of `size` is normalised by the statistics of its windows, all taken together.

        They are known from then on. With windows that cover a picture, they are those of the picture.
        """
        with self._doing(Scope(size, windows, pooled=True)):
            yield

    @contextlib.contextmanager
    def collecting(self, size: tuple[int, int], windows: Sequence[NormWindow]) -> Iterator[None]:
        """In here a batch is normalised by what is known, and its windows are added to what `correct` compares."""
        with self._doing(Scope(size, windows)):
            yield

    def correct(self) -> float:
        """Have the next pooling make up for what its windows lack to all that was collected.

        Returns how far the layer that is worst off was from those in use, see `SharedNorm.correct`.
        """
        return max(norm.correct() for norm in self.norms)

    def forget(self) -> None:
        """Drop what was collected and not yet settled: after an error in the midst of it."""
        for norm in self.norms:
            norm.sums = None

    @contextlib.contextmanager
    def _doing(self, scope: Scope) -> Iterator[None]:
        own = self._scope
        own.size, own.windows, own.pooled = scope.size, scope.windows, scope.pooled
        try:
            yield
        finally:
            own.size, own.windows, own.pooled = (0, 0), (), False


def _shares(window: NormWindow, size: tuple[int, int], shape: torch.Size) -> tuple[slice, slice]:
    """Where a window of a part lies in a feature map of `shape` (C, h, w): at least one number of each axis."""
    slices = []
    for start, stop, whole, have in zip(window[:2], window[2:], size, shape[1:], strict=True):
        first = min(start * have // whole, have - 1)
        slices.append(slice(first, max(stop * have // whole, first + 1)))
    return slices[0], slices[1]
