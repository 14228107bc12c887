"""Pictures from noise: a generator that takes no picture, a device and a precision."""

from __future__ import annotations

import torch
from torch import Tensor

from cyclegan.networks import NoiseGenerator, pick_precision, place_networks
from cyclegan.system import rng
from cyclegan.system.devices import autocast, is_exact, pick_device
from cyclegan.system.rng import Draws
from cyclegan.translation.translator import evaluating


class NoiseSampler:
    """Draws pictures; picture i is a function of the seed and of i, whatever the batch."""

    def __init__(
        self, generator: NoiseGenerator, *, device: str | torch.device = "auto", precision: str = "auto", seed: int = 0
    ) -> None:
        self.device = pick_device(str(device))
        self.dtype = pick_precision(precision, self.device)
        self.generator = place_networks(generator, self.device, exact=is_exact(precision))
        self.seed = seed

    def sample(self, first: int, count: int) -> Tensor:
        """The `count` pictures from number `first` on: NCHW in [-1, 1], float32, on the device."""
        with rng.at(Draws(seed=self.seed, step=0, first=first, count=count, total=first + count)):
            return self.unit(self.generator.noise.draw(count))

    @torch.inference_mode()
    def unit(self, noise: Tensor) -> Tensor:
        """Noise, N × dim -> NCHW in [-1, 1], float32, on the device."""
        with evaluating(self.generator), autocast(self.device, self.dtype):
            made: Tensor = self.generator(noise.to(self.device))
        return made.float()
