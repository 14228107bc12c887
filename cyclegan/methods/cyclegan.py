"""CycleGAN: two translators that must undo each other (Zhu et al. 2017, https://arxiv.org/abs/1703.10593)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from cyclegan.config import option
from cyclegan.errors import UsageError, lookup
from cyclegan.losses import RECONSTRUCTION_LOSSES, AdversarialLoss, Discriminator, WithR1, build_adversarial
from cyclegan.methods.base import Images, Losses, MakeNetwork, Method
from cyclegan.methods.diffaug import Augmented, parse_policies
from cyclegan.methods.image_pool import ImagePool


@dataclass(frozen=True)
class CycleGANOptions:
    """What only CycleGAN knows."""

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

    def __init__(
        self,
        make_generator: MakeNetwork,
        make_discriminator: MakeNetwork,
        *,
        adversarial: str,
        lambda_cycle: float,
        lambda_identity: float,
        reconstruction: str,
        pool_size: int,
        r1: float,
        gradient_penalty: float,
        diffaug: str,
        cycle_noise: float,
    ) -> None:
        super().__init__()
        self.generators = nn.ModuleDict({direction: make_generator(direction) for direction in ("ab", "ba")})
        self.discriminators = nn.ModuleDict({domain: make_discriminator(domain) for domain in ("a", "b")})
        there = self.generators["ab"]
        if lambda_identity and there.in_channels != there.out_channels:
            raise UsageError(
                f"--lambda-identity {lambda_identity:g}: a translator from {there.in_channels} to "
                f"{there.out_channels} channels cannot leave a picture alone; give --lambda-identity 0"
            )
        self.pools = nn.ModuleDict({"a": ImagePool(pool_size), "b": ImagePool(pool_size)})
        self.adversarial = build_adversarial(adversarial, r1=r1, gradient_penalty=gradient_penalty)
        self.distance = lookup(RECONSTRUCTION_LOSSES, reconstruction, "--reconstruction")
        self.lambda_cycle = lambda_cycle
        self.lambda_identity = lambda_identity
        self.policies = parse_policies(diffaug)
        self.augmented = bool(self.policies)
        self.cycle_noise = cycle_noise * 2 / 255
        self.terms = {  # kind of image -> its loss
            "fake": ("adversarial", self._adversarial),
            "rec": ("cycle", self._cycle),
            "identity": ("identity", self._identity),
        }

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        for start, end in ("ab", "ba"):
            images = self._cycle_from(start, end, batch)
            yield images, self._generator_losses(batch, images)

    def _cycle_from(self, start: str, end: str, batch: Images) -> Images:
        """What begins with the pictures of one domain, and what the same generator must leave alone."""
        there, back = self.generators[start + end], self.generators[end + start]
        images = {}
        if not self.lambda_identity:
            fake = there(batch[start])
        elif there.per_sample:
            # In one call: larger batches keep the processor or the GPU busier (11-19 % less time for a step of the
            # demo on one core). Every picture is computed by itself, so the result is the same.
            both = there(torch.cat([batch[start], batch[end]]))
            fake, images[f"identity_{end}"] = both.split([len(batch[start]), len(batch[end])])
        else:
            fake, images[f"identity_{end}"] = there(batch[start]), there(batch[end])
        return images | {f"fake_{end}": fake, f"rec_{start}": back(self._with_noise(fake))}

    def _with_noise(self, fake: Tensor) -> Tensor:
        """What the way back is given. A translation that carries its original in invisible detail (Chu et al. 2017,
        https://arxiv.org/abs/1712.02950) is of no use there once that detail drowns in noise of the same size
        (Bashkirova et al. 2019, https://arxiv.org/abs/1908.01517).
        """
        return fake + self.cycle_noise * torch.randn_like(fake) if self.cycle_noise else fake

    def _augmented(self, domain: str) -> Discriminator:
        """The discriminator of `domain`, seeing what it is to see."""
        discriminator = self.discriminators[domain]
        return Augmented(discriminator, self.policies) if self.policies else discriminator

    def _generator_losses(self, batch: Images, images: Images) -> Losses:
        """The losses of those images that are given; each kind of image has one."""
        losses = {}
        for name, image in images.items():
            kind, domain = name.split("_")
            loss, term = self.terms[kind]
            losses[f"{loss}_{domain}"] = term(image, domain, batch[domain])
        return losses

    def _adversarial(self, fake: Tensor, domain: str, real: Tensor) -> Tensor:
        return self.adversarial.generator(self._augmented(domain), fake)

    def _cycle(self, rec: Tensor, domain: str, real: Tensor) -> Tensor:
        return self.lambda_cycle * self.distance(rec.float(), real)

    def _identity(self, identity: Tensor, domain: str, real: Tensor) -> Tensor:
        return self.lambda_cycle * self.lambda_identity * self.distance(identity.float(), real)

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        losses = {}
        for domain in self.discriminators:
            fake = cast(ImagePool, self.pools[domain]).query(images[f"fake_{domain}"])
            loss = self.adversarial.discriminator(self._augmented(domain), batch[domain], fake)
            losses[f"discriminator_{domain}"] = loss
        return losses
