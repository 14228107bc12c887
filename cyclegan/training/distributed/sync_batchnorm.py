"""Batch normalisation over the pictures of all ranks, equal to that of one process with all of them."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as exchange
from torch import Tensor, nn

from cyclegan.training.distributed.ranks import Ranks


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with mean and variance over all ranks, which have equal shares of the batch.

    Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167. torch's own `SyncBatchNorm` is for GPUs alone. Gradients,
    and gradients of gradients, pass through the exchange.
    """

    group: ClassVar[dist.ProcessGroup | None] = None  # of the class, since deepcopy cannot copy it

    def forward(self, input: Tensor) -> Tensor:
        """NCHW -> NCHW."""
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        world = dist.get_world_size()
        # Two passes: the difference of mean square and squared mean would lose digits
        mean = exchange.all_reduce(x.mean((0, 2, 3)), group=self.group) / world
        centred = x - mean[:, None, None]
        variance = exchange.all_reduce(centred.square().mean((0, 2, 3)), group=self.group) / world
        self._remember(mean.detach(), variance.detach(), world * x.numel() / x.shape[1])
        scaled = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var), share)


def convert_sync_batchnorm(module: nn.Module, ranks: Ranks) -> None:
    """Make every batch normalisation in `module` one over all `ranks`."""
    if ranks.world == 1:
        return
    SyncBatchNorm.group = ranks.data
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            # In place: names, weights and references to the layer stay as they are
            layer.__class__ = SyncBatchNorm
