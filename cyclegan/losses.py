"""Adversarial losses, and reconstruction losses for cycle and identity terms.

A generative adversarial network is a game of two players (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661).
The discriminator D sees real pictures x and fakes y = G(…) and learns to tell them apart; the generator G learns to
fool it. Neither minimises a fixed function: each loss changes as the other network learns. The aim is the equilibrium
where the fakes are distributed like the real pictures. There the best D can do is to output one half everywhere,
since p_real / (p_real + p_fake) = 1/2 wherever the two densities agree; G then gets no signal from it.

The losses below differ in the gradient that G receives on the way there:

- `bce` reads D's score as log odds. For an optimal D the game measures the Jensen-Shannon divergence. Where D is
  confident, the original min-max form has no gradient left for G, so G maximises log D(y) instead ("non-saturating").
- `lsgan` regresses the scores to 1 and 0. A fake that D scores far above 1 is pulled back as well, and one that is
  clearly detected is pulled in proportion to its distance: the gradient does not vanish. CycleGAN's choice.
- `hinge` stops training D on pictures that it already separates by a margin; G maximises D's raw score.
- `wgan-gp` makes D a critic instead of a classifier: its mean difference between real and fake, maximised over all
  functions of slope at most 1, is the Wasserstein distance between them: how far probability has to be moved. It has a
  gradient even where real and fake do not overlap, provided that the slope is bounded, which the penalty enforces.

A loss takes the discriminator and not its output, so that a loss with a gradient penalty can call it again.
Discriminators return raw scores (N, 1, h, w), or a list of these, one per scale; all scales have the same weight. All
arithmetic is fp32 or better, under autocast too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.errors import lookup
from cyclegan.figures import EQUILIBRIUM
from cyclegan.system import rng
from cyclegan.system.pixels import full_precision

Scores = Tensor | list[Tensor]
Discriminator = Callable[[Tensor], Any]  # a discriminator, or a wrapper, such as one that augments its input


class AdversarialLoss(ABC):
    """Base of adversarial losses: a subclass defines three elementwise terms of raw scores."""

    equilibrium: float | None  # mean `score` where real and fake cannot be told apart; None: undefined
    double_backward = False  # True where a gradient of D is itself differentiated, which a compiled D cannot do

    def __init__(self, *, gradient_penalty: float = 10.0) -> None:
        self.gradient_penalty = gradient_penalty  # used only by losses with such a penalty

    @abstractmethod
    def generator_term(self, fake: Tensor) -> Tensor:
        """The generator's loss."""

    @abstractmethod
    def real_term(self, real: Tensor) -> Tensor:
        """The discriminator's loss on real pictures."""

    @abstractmethod
    def fake_term(self, fake: Tensor) -> Tensor:
        """The discriminator's loss on fakes."""

    def scale(self, raw: Tensor) -> Tensor:
        """Raw scores on a readable scale."""
        return raw

    def generator(self, discriminator: Discriminator, fake: Tensor) -> Tensor:
        """The generator's loss for NCHW fakes, a scalar with gradients to them."""
        return _mean(self.generator_term, discriminator(fake))

    def discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss for NCHW real pictures and (detached) fakes, a scalar."""
        on_real, on_fake = _scores(discriminator, real, fake.detach())
        return _mean(self.real_term, on_real) + _mean(self.fake_term, on_fake)

    def score(self, outputs: Scores) -> Tensor:
        """Discriminator scores on the scale of `equilibrium`: elementwise, or (N, scales) for a list."""
        if isinstance(outputs, Tensor):
            return self.scale(full_precision(outputs))
        return torch.stack([self.scale(full_precision(raw)).flatten(1).mean(1) for raw in outputs], dim=1)


class LeastSquares(AdversarialLoss):
    """LSGAN (Mao et al. 2017, https://arxiv.org/abs/1611.04076), equation 9 with a = 0, b = c = 1:

        L_D = ½ E[(D(x) − 1)²] + ½ E[D(y)²]
        L_G = E[(D(y) − 1)²]

    The paper halves L_G as well; CycleGAN does not, and its weight of the cycle is relative to this.
    """

    equilibrium = EQUILIBRIUM["lsgan"]

    def generator_term(self, fake: Tensor) -> Tensor:
        return (fake - 1).square()

    def real_term(self, real: Tensor) -> Tensor:
        return 0.5 * (real - 1).square()

    def fake_term(self, fake: Tensor) -> Tensor:
        return 0.5 * fake.square()


class CrossEntropy(AdversarialLoss):
    """Original GAN loss, non-saturating (Goodfellow et al. 2014, section 3); σ is the logistic function:

        L_D = −½ E[log σ(D(x))] − ½ E[log(1 − σ(D(y)))]
        L_G = −E[log σ(D(y))]

    Computed by −log σ(r) = softplus(−r), which neither overflows nor loses digits. At the equilibrium both are log 2.
    """

    equilibrium = EQUILIBRIUM["bce"]

    def generator_term(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake)

    def real_term(self, real: Tensor) -> Tensor:
        return 0.5 * F.softplus(-real)

    def fake_term(self, fake: Tensor) -> Tensor:
        return 0.5 * F.softplus(fake)

    def scale(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()


class Hinge(AdversarialLoss):
    """Hinge loss, the margin of a support vector machine.

    Lim & Ye 2017, https://arxiv.org/abs/1705.02894; Miyato et al. 2018, https://arxiv.org/abs/1802.05957 (eq. 16, 17):

        L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(y))]
        L_G = −E[D(y)]
    """

    equilibrium = EQUILIBRIUM["hinge"]

    def generator_term(self, fake: Tensor) -> Tensor:
        return -fake

    def real_term(self, real: Tensor) -> Tensor:
        return F.relu(1 - real)

    def fake_term(self, fake: Tensor) -> Tensor:
        return F.relu(1 + fake)


class Wasserstein(AdversarialLoss):
    """Wasserstein GAN loss (Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875) with gradient penalty
    (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3):

        L_D = E[D(y)] − E[D(x)] + λ E[(‖∇D(z)‖₂ − 1)²],   z = u x + (1 − u) y,   u ~ U(0, 1) for each picture
        L_G = −E[D(y)]

    −L_D estimates the distance between real and fake, so it should fall during training; the scores themselves are
    only defined up to a constant. The penalty differentiates the critic's score of each picture separately, so a
    critic must not use batch norm, which mixes pictures.
    """

    equilibrium = None
    double_backward = True

    def generator_term(self, fake: Tensor) -> Tensor:
        return -fake

    def real_term(self, real: Tensor) -> Tensor:
        return -real

    def fake_term(self, fake: Tensor) -> Tensor:
        return fake

    def discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        difference = super().discriminator(discriminator, real, fake)
        return difference + self.gradient_penalty * self.penalty(discriminator, real, fake)

    def penalty(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """E[(‖∇D(z)‖₂ − 1)²]; u is drawn per picture (`cyclegan.system.rng`), the same on every device."""
        real, fake = full_precision(real), full_precision(fake)
        u = rng.uniform(len(real), 1, 1, 1).to(real)
        slope = _gradient(discriminator, u * real + (1 - u) * fake).flatten(1)
        return (torch.linalg.vector_norm(slope, dim=1) - 1).square().mean()


class WithR1:
    """R1 penalty for any loss: makes D flat at real pictures (Mescheder et al. 2018, equation 9,
    https://arxiv.org/abs/1801.04406):

        L_D + γ/2 E[‖∇D(x)‖²]

    Without the penalty D may stay steep at the equilibrium and keep pushing the generator away from it. With it the
    game converges locally.
    """

    double_backward = True

    def __init__(self, loss: AdversarialLoss, gamma: float) -> None:
        self.loss = loss
        self.gamma = gamma
        self.equilibrium = loss.equilibrium
        self.generator = loss.generator
        self.score = loss.score

    def discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """The wrapped discriminator loss plus the penalty on real pictures."""
        penalty = _gradient(discriminator, full_precision(real)).flatten(1).square().sum(1).mean()
        return self.loss.discriminator(discriminator, real, fake) + self.gamma / 2 * penalty


ADVERSARIAL_LOSSES: dict[str, type[AdversarialLoss]] = {
    "lsgan": LeastSquares,
    "bce": CrossEntropy,
    "hinge": Hinge,
    "wgan-gp": Wasserstein,
}


def build_adversarial(name: str, *, r1: float = 0.0, gradient_penalty: float = 10.0) -> AdversarialLoss | WithR1:
    """The adversarial loss `name`, plus R1 of weight `r1` if above 0; `UsageError` for an unknown name.

    `gradient_penalty` is the weight λ of wgan-gp's penalty; the other losses ignore it.
    """
    loss = lookup(ADVERSARIAL_LOSSES, name, "--adversarial")(gradient_penalty=gradient_penalty)
    return WithR1(loss, r1) if r1 else loss


def l1(image: Tensor, target: Tensor) -> Tensor:
    """E|x − t|: fits the median of the possible outputs, so it is sharper than l2 (Isola et al. 2017)."""
    return (full_precision(image) - full_precision(target)).abs().mean()


def l2(image: Tensor, target: Tensor) -> Tensor:
    """E(x − t)²: fits the mean of the possible outputs, which is blurred where several are likely."""
    return (full_precision(image) - full_precision(target)).square().mean()


RECONSTRUCTION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2}


def _scores(discriminator: Discriminator, real: Tensor, fake: Tensor) -> tuple[Scores, Scores]:
    """Scores of real and fake, in one call (fewer passes over the weights) if that gives the same result.

    It does not with batch norm, nor with spectral norm, whose power iteration runs at every call.
    """
    if not getattr(discriminator, "per_sample", False):
        return discriminator(real), discriminator(fake)
    outputs: Any = discriminator(torch.cat([real, fake.to(real.dtype)]))
    if isinstance(outputs, Tensor):
        return outputs[: len(real)], outputs[len(real) :]
    return [raw[: len(real)] for raw in outputs], [raw[len(real) :] for raw in outputs]


def _mean(term: Callable[[Tensor], Tensor], outputs: Scores) -> Tensor:
    scales = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.stack([term(full_precision(raw)).mean() for raw in scales]).mean()


def _gradient(discriminator: Discriminator, pictures: Tensor) -> Tensor:
    """Differentiable gradient of each picture's score with respect to its pixels, NCHW.

    The score of a picture is its mean over patches and scales, the function that the losses compare; with the sum over
    patches the penalty would depend on the picture's size. Autocast is off: the squared gradient of millions of small
    numbers underflows in half precision.
    """
    with torch.autocast(pictures.device.type, enabled=False), torch.enable_grad():
        pictures = pictures.detach().requires_grad_()
        outputs: Any = discriminator(pictures)
        scales = [outputs] if isinstance(outputs, Tensor) else outputs
        scores = torch.stack([raw.flatten(1).mean(1) for raw in scales]).mean(0)  # (N,)
        return torch.autograd.grad(scores.sum(), pictures, create_graph=True)[0]
