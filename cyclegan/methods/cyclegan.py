"""CycleGAN: two generators trained to invert each other (Zhu et al. 2017, https://arxiv.org/abs/1703.10593)."""

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
    lambda_cycle: float = option(10.0, "Weight of the cycle-consistency term.", minimum=0)
    lambda_identity: float = option(0.5, "Weight of the identity term, relative to that of the cycle.", minimum=0)
    reconstruction: str = option("l1", "Distance between reconstruction and original: l1 or l2.")
    pool_size: int = option(50, "Earlier fakes kept for the discriminators.", minimum=0)
    r1: float = option(0.0, "Weight of the R1 penalty on real pictures (Mescheder 2018).", minimum=0)
    gradient_penalty: float = option(10.0, "Weight of the penalty of wgan-gp.", minimum=0)
    diffaug: str = option(
        "", "Differentiable augmentation, for few pictures: color,translation,cutout.", metavar="NAMES"
    )
    cycle_noise: float = option(
        0.0,
        "Noise on translations before they are translated back, against hidden signals; σ in levels of 255.",
        minimum=0,
    )


class CycleGAN(Method):
    """Generators G = `ab` and F = `ba`, discriminators D_A and D_B, and

        L(G, F, D_A, D_B) = L_GAN(G, D_B) + L_GAN(F, D_A)
                          + λ ( ‖F(G(a)) − a‖ + ‖G(F(b)) − b‖ )                cycle consistency
                          + λ λ_id ( ‖F(a) − a‖ + ‖G(b) − b‖ )                 identity

    The adversarial terms alone require only that G(a) looks like *some* picture of B: any permutation of the
    translations would do as well. The cycle term, by which F must recover a, ties each translation to its own picture.
    The identity term (section 5.2 of the paper) requires a generator to leave pictures of its target unchanged, which
    preserves colours.

    With `lambda_identity` 0 the two identity forwards are not computed.
    """

    Options = CycleGANOptions
    adversarial: AdversarialLoss | WithR1

    def __init__(self, make_generator: MakeNetwork, make_discriminator: MakeNetwork, **values: Any) -> None:
        super().__init__()
        self.options = options = CycleGANOptions(**values)
        self.generators = nn.ModuleDict({direction: make_generator(direction) for direction in ("ab", "ba")})
        self.discriminators = nn.ModuleDict({domain: make_discriminator(domain) for domain in ("a", "b")})
        forward = self.generators["ab"]
        if options.lambda_identity and forward.in_channels != forward.out_channels:
            raise UsageError(
                f"--lambda-identity {options.lambda_identity:g}: a translator from {forward.in_channels} to "
                f"{forward.out_channels} channels cannot leave a picture alone; give --lambda-identity 0"
            )
        self.pools = nn.ModuleDict({"a": ImagePool(options.pool_size), "b": ImagePool(options.pool_size)})
        self.adversarial = build_adversarial(
            options.adversarial, r1=options.r1, gradient_penalty=options.gradient_penalty
        )
        self.distance = lookup(RECONSTRUCTION_LOSSES, options.reconstruction, "--reconstruction")
        self.policies = parse_policies(options.diffaug)
        self.augmented = bool(self.policies)

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        for source, target in ("ab", "ba"):
            images = self._images(source, target, batch)
            yield images, self._generator_losses(source, target, batch, images)

    def _generator_losses(self, source: str, target: str, batch: Images, images: Images) -> Losses:
        weight, losses = self.options.lambda_cycle, {}
        if self.options.lambda_identity:
            distance = self.distance(images[f"identity_{target}"].float(), batch[target])
            losses[f"identity_{target}"] = weight * self.options.lambda_identity * distance
        losses[f"adversarial_{target}"] = self.adversarial.generator(self._augmented(target), images[f"fake_{target}"])
        losses[f"cycle_{source}"] = weight * self.distance(images[f"rec_{source}"].float(), batch[source])
        return losses

    def _images(self, source: str, target: str, batch: Images) -> Images:
        """Images of the cycle from `source`, and the identity image of the same generator."""
        forward, reverse = self.generators[source + target], self.generators[target + source]
        images = {}
        if not self.options.lambda_identity:
            fake = forward(batch[source])
        elif forward.per_sample:
            # In one call: larger batches use the processor or the GPU better (11-19 % less time for a step of the
            # demo on one core). Every picture is computed by itself, so the result is the same.
            both = forward(torch.cat([batch[source], batch[target]]))
            fake, images[f"identity_{target}"] = both.split([len(batch[source]), len(batch[target])])
        else:
            fake, images[f"identity_{target}"] = forward(batch[source]), forward(batch[target])
        # A translation that hides its original in invisible detail (Chu et al. 2017, https://arxiv.org/abs/1712.02950)
        # gains nothing once noise of that size covers it (Bashkirova et al. 2019, https://arxiv.org/abs/1908.01517)
        sigma = self.options.cycle_noise * 2 / 255
        noisy = fake + sigma * torch.randn_like(fake) if sigma else fake
        return images | {f"fake_{target}": fake, f"rec_{source}": reverse(noisy)}

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
