"""Stand-in methods, which no file of the package knows: one folder with noise in, aligned pairs, and one way only.

`python -m tests.support.stand_ins COMMAND …` is `cyclegan` with these in its tables, also as one of several processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cyclegan.config import option
from cyclegan.directions import Direction
from cyclegan.losses import build_adversarial, l1
from cyclegan.methods import METHODS, Images, Losses, Method
from cyclegan.networks import GENERATORS, Noise, NoiseGenerator


@dataclass(frozen=True)
class UpOptions:
    """Options of this network alone."""

    noise_dim: int = option(6, "Length of the noise.", minimum=1, fixed=True)
    noise: str = option("normal", "Distribution of the noise.", fixed=True)


class Up(NoiseGenerator):
    """A linear layer and one enlargement."""

    Options = UpOptions

    def __init__(
        self, *, out_channels: int = 3, size: int = 32, channels: int = 4, noise_dim: int = 6, noise: str = "normal"
    ) -> None:
        super().__init__()
        self.noise = Noise(noise_dim, noise)
        self.side, self.channels = size // 2, channels
        self.first = nn.Linear(noise_dim, channels * self.side**2)
        self.last = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        planes = self.first(z).relu().reshape(len(z), self.channels, self.side, self.side)
        return self.last(nn.functional.interpolate(planes, scale_factor=2.0)).float().tanh()


@dataclass(frozen=True)
class AdversarialOptions:
    """Adversarial loss alone."""

    adversarial: str = option("lsgan", "Adversarial loss.")


class FromNoise(Method):
    """The game from noise to pictures."""

    Options = AdversarialOptions
    domains = ("b",)
    generator = "up"

    def __init__(self, make_generator: Any, make_discriminator: Any, *, adversarial: str) -> None:
        super().__init__()
        self.generators = nn.ModuleDict({"zb": make_generator("zb")})
        self.discriminators = nn.ModuleDict({"b": make_discriminator("b")})
        self.adversarial = build_adversarial(adversarial)

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        fake = self.generators["zb"](self.inputs(Direction.parse("zb"), batch))
        yield {"fake_b": fake}, {"adversarial_b": self.adversarial.generator(self.discriminators["b"], fake)}

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        loss = self.adversarial.discriminator(self.discriminators["b"], batch["b"], images["fake_b"])
        return {"discriminator_b": loss}


class Conditional(nn.Module):
    """A discriminator of pairs, given one half of them."""

    def __init__(self, discriminator: nn.Module, condition: Tensor) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.condition = condition

    def forward(self, pictures: Tensor) -> Any:
        return self.discriminator(torch.cat([self.condition, pictures], 1))


class Pairs(Method):
    """The conditional game on pairs."""

    Options = AdversarialOptions
    pairing = "aligned"
    generator = "resnet_6blocks"

    def __init__(self, make_generator: Any, make_discriminator: Any, *, adversarial: str) -> None:
        super().__init__()
        self.generators = nn.ModuleDict({"ab": make_generator("ab")})
        self.discriminators = nn.ModuleDict({"b": make_discriminator("b", in_channels=6)})
        self.adversarial = build_adversarial(adversarial)

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        fake = self.generators["ab"](batch["a"])
        seeing = Conditional(self.discriminators["b"], batch["a"])
        yield (
            {"fake_b": fake},
            {"adversarial_b": self.adversarial.generator(seeing, fake), "l1_b": 10 * l1(fake, batch["b"])},
        )

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        seeing = Conditional(self.discriminators["b"], batch["a"])
        return {"discriminator_b": self.adversarial.discriminator(seeing, batch["b"], images["fake_b"])}

    def judge(self, domain: str, pictures: Tensor, batch: Images) -> Any:
        return self.discriminators[domain].forward(torch.cat([batch["a"], pictures], 1))

    def columns(self, direction: Direction, batch: Images, run: Any) -> Images:
        return super().columns(direction, batch, run) | {"truth": batch["b"]}


class OneWay(Method):
    """One direction, and little change."""

    Options = AdversarialOptions
    generator = "resnet_6blocks"

    def __init__(self, make_generator: Any, make_discriminator: Any, *, adversarial: str) -> None:
        super().__init__()
        self.generators = nn.ModuleDict({"ab": make_generator("ab")})
        self.discriminators = nn.ModuleDict({"b": make_discriminator("b")})
        self.adversarial = build_adversarial(adversarial)

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        fake = self.generators["ab"](batch["a"])
        adversarial = self.adversarial.generator(self.discriminators["b"], fake)
        yield {"fake_b": fake}, {"adversarial_b": adversarial, "keep_a": l1(fake, batch["a"])}

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        loss = self.adversarial.discriminator(self.discriminators["b"], batch["b"], images["fake_b"])
        return {"discriminator_b": loss}


STAND_INS: dict[str, type[Method]] = {"from-noise": FromNoise, "pairs": Pairs, "one-way": OneWay}


def register() -> None:
    """Put the stand-ins into the tables of this process."""
    METHODS.update(STAND_INS)
    GENERATORS["up"] = Up


if __name__ == "__main__":
    from cyclegan.cli import main

    register()
    main()
