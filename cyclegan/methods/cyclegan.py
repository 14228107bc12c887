"""CycleGAN: two translators that must undo each other (Zhu et al. 2017, https://arxiv.org/abs/1703.10593)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from cyclegan.config import option
from cyclegan.errors import UsageError, lookup
from cyclegan.losses import RECONSTRUCTION_LOSSES, AdversarialLoss, Discriminator, WithR1, build_adversarial
from cyclegan.methods.base import Images, Losses, MakeNetwork, Method
from cyclegan.methods.diffaug import Augmented, parse_policies
from cyclegan.methods.image_pool import ImagePool


@dataclass(frozen=True)
class CycleGANOptions:
    """Options of CycleGAN alone."""

    adversarial: str = option("lsgan", "Adversarial loss: lsgan, bce, hinge or wgan-gp.")
    lambda_cycle: float = option(10.0, "Weight of the way there and back.", minimum=0)
    lambda_identity: float = option(
        0.5, "Weight of leaving alone what is already there, relative to the cycle's.", minimum=0
    )
    reconstruction: str = option("l1", "How the way back is compared with the start: l1 or l2.")
    pool_size: int = option(50, "Earlier fakes kept for the discriminators.", minimum=0)
    r1: float = option(0.0, "Weight of the R1 penalty on real pictures (Mescheder 2018).", minimum=0)
    gradient_penalty: float = option(10.0, "Weight of the penalty of wgan-gp.", minimum=0)
    diffaug: str = option(
        "", "For few pictures, change what discriminators see: color,translation,cutout.", metavar="NAMES"
    )
    cycle_noise: float = option(
        0.0, "Against hidden signals: noise on translations before the way back, σ in levels of 255.", minimum=0
    )


class CycleGAN(Method):
    """Generators G = `ab` and F = `ba`, discriminators D_A and D_B, and

        L(G, F, D_A, D_B) = L_GAN(G, D_B) + L_GAN(F, D_A)
                          + λ ( ‖F(G(a)) − a‖ + ‖G(F(b)) − b‖ )                cycle consistency
                          + λ λ_id ( ‖F(a) − a‖ + ‖G(b) − b‖ )                 identity

    The adversarial terms alone ask only that G(a) look like *some* picture of B: any permutation of the translations
    would do as well. That F must find a again ties each translation to its own picture. The identity term (section
    5.2 of the paper) asks that a translator leave alone what already belongs to its target, which keeps colours.

    With `lambda_identity` 0 the two identity forwards are not computed.
    """

    Options = CycleGANOptions
    adversarial: AdversarialLoss | WithR1

    def __init__(self, make_generator: MakeNetwork, make_discriminator: MakeNetwork, **values: Any) -> None:
        super().__init__()
        self.options = options = CycleGANOptions(**values)
        self.generators = nn.ModuleDict({direction: make_generator(direction) for direction in ("ab", "ba")})
        self.discriminators = nn.ModuleDict({domain: make_discriminator(domain) for domain in ("a", "b")})
        there = self.generators["ab"]
        if options.lambda_identity and there.in_channels != there.out_channels:
            raise UsageError(
                f"--lambda-identity {options.lambda_identity:g}: a translator from {there.in_channels} to "
                f"{there.out_channels} channels cannot leave a picture alone; give --lambda-identity 0"
            )
        self.pools = nn.ModuleDict({"a": ImagePool(options.pool_size), "b": ImagePool(options.pool_size)})
        self.adversarial = build_adversarial(
            options.adversarial, r1=options.r1, gradient_penalty=options.gradient_penalty
        )
        self.distance = lookup(RECONSTRUCTION_LOSSES, options.reconstruction, "--reconstruction")
        self.policies = parse_policies(options.diffaug)
        self.augmented = bool(self.policies)

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        for start, end in ("ab", "ba"):
            images = self._images(start, end, batch)
            yield images, self._generator_losses(start, end, batch, images)

    def _generator_losses(self, start: str, end: str, batch: Images, images: Images) -> Losses:
        weight, losses = self.options.lambda_cycle, {}
        if self.options.lambda_identity:
            distance = self.distance(images[f"identity_{end}"].float(), batch[end])
            losses[f"identity_{end}"] = weight * self.options.lambda_identity * distance
        losses[f"adversarial_{end}"] = self.adversarial.generator(self._augmented(end), images[f"fake_{end}"])
        losses[f"cycle_{start}"] = weight * self.distance(images[f"rec_{start}"].float(), batch[start])
        return losses

    def _images(self, start: str, end: str, batch: Images) -> Images:
        """The cycle from one domain, and the identity image of the same generator."""
        there, back = self.generators[start + end], self.generators[end + start]
        images = {}
        if not self.options.lambda_identity:
            fake = there(batch[start])
        elif there.per_sample:
            # In one call: larger batches keep the processor or the GPU busier (11-19 % less time for a step of the
            # demo on one core). Every picture is computed by itself, so the result is the same.
            both = there(torch.cat([batch[start], batch[end]]))
            fake, images[f"identity_{end}"] = both.split([len(batch[start]), len(batch[end])])
        else:
            fake, images[f"identity_{end}"] = there(batch[start]), there(batch[end])
        # A translation that hides its original in invisible detail (Chu et al. 2017, https://arxiv.org/abs/1712.02950)
        # gains nothing once that drowns in noise of its size (Bashkirova et al. 2019, https://arxiv.org/abs/1908.01517)
        sigma = self.options.cycle_noise * 2 / 255
        noisy = fake + sigma * torch.randn_like(fake) if sigma else fake
        return images | {f"fake_{end}": fake, f"rec_{start}": back(noisy)}

    def _augmented(self, domain: str) -> Discriminator:
        discriminator = self.discriminators[domain]
        return Augmented(discriminator, self.policies) if self.policies else discriminator

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        losses = {}
        for domain in self.discriminators:
            fake = cast(ImagePool, self.pools[domain]).query(images[f"fake_{domain}"])
            loss = self.adversarial.discriminator(self._augmented(domain), batch[domain], fake)
            losses[f"discriminator_{domain}"] = loss
        return losses
