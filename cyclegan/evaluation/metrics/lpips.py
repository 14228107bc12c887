"""LPIPS: weighted differences of the features of AlexNet (Zhang et al. 2018, https://arxiv.org/abs/1801.03924).

It needs two files of weights, which we may not redistribute.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.evaluation.features.weights_files import fill, read_weights
from cyclegan.evaluation.metrics.metric import Measured, Metric
from cyclegan.system.files import file_sha256
from cyclegan.system.pixels import to_unit

# Layers of `features` in torchvision's AlexNet (ReLUs) whose outputs are compared, with their channels
TAPS = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet, for pictures in [-1, 1]
OPTION = "--lpips"
SMALLEST = 64  # pixels: smaller pictures shrink to nothing in the last layers


class LPIPS(nn.Module):
    """Two batches of uint8 N × 3 × H × W -> N distances, 0 where they are equal.

    `backbone` is torchvision's state_dict of AlexNet, `linear` the `alex.pth` of the lpips package, version 0.1.
    """

    def __init__(self, backbone: Path, linear: Path) -> None:
        from torchvision.models import alexnet

        super().__init__()
        with torch.random.fork_rng(devices=[]):  # initial weights are random
            network = alexnet(weights=None)
        fill(network, read_weights(backbone, OPTION), backbone, OPTION)
        self.features = network.features
        weights = read_weights(linear, OPTION)
        for index, channels in enumerate(TAPS.values()):
            weight = weights.get(f"lin{index}.model.1.weight")
            if weight is None or weight.shape != (1, channels, 1, 1):
                raise UsageError(
                    f"{OPTION}: {linear} is not the alex.pth of the lpips package; give the weights of AlexNet first "
                    "and that file second"
                )
            self.register_buffer(f"weight{index}", weight)
        self.sha256 = f"{file_sha256(backbone)} {file_sha256(linear)}"
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        if min(pictures.shape[-2:]) < SMALLEST:
            raise UsageError(f"{OPTION}: LPIPS needs pictures of {SMALLEST} pixels or more; leave it out")
        total = torch.zeros(len(pictures), device=pictures.device)
        for index, (ours, theirs) in enumerate(zip(self._features(pictures), self._features(others), strict=True)):
            difference = (ours - theirs) ** 2 * self.get_buffer(f"weight{index}")
            total = total + difference.sum(dim=1).mean(dim=(1, 2))
        return total

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """The features of each tap, scaled to length 1 at each pixel."""
        shift, scale = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (SHIFT, SCALE))
        x = (to_unit(pictures) - shift) / scale
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                features.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return features


class PerceptualDistance(Metric):
    """The mean LPIPS of translations and their truths."""

    needs = frozenset({"truth", "lpips"})
    gives = ("lpips",)

    @torch.inference_mode()
    def add(self, batch: Measured) -> None:
        network = self.setup.tools.lpips
        assert network is not None
        assert batch.truth is not None
        for picture, truth in zip(batch.fake, batch.truth, strict=True):
            self.parts.append(network(*(image[None].contiguous() for image in (picture, truth))))
