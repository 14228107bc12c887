"""What the two sides of the game minimise, and how a way back is compared with its start.

A generative adversarial network is a game of two players (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661).
The discriminator D sees real pictures x and fakes y = G(…), and learns to tell them apart; the generator G learns to
be believed. Neither minimises a fixed function: each one's loss moves when the other learns. What one hopes for is
the equilibrium where the fakes are distributed as the real pictures are. There the best D can do is to say one half
to everything, since p_real / (p_real + p_fake) = 1/2 wherever the two densities agree; it no longer tells G anything.

The losses below differ in what G feels on the way there:

- `bce` reads D's verdict as log odds. For an optimal D the game measures the Jensen-Shannon divergence. Where D is
  sure, the original min-max form has no gradient left for G, so G maximises log D(y) instead ("non-saturating").
- `lsgan` asks for the numbers 1 and 0. A fake that D finds far too real is pulled back as well, and a fake that is
  clearly unmasked is pulled in proportion to its distance: a gradient that does not fade. CycleGAN's choice.
- `hinge` stops teaching D about pictures it already tells apart by a margin, and G climbs D's raw verdict.
- `wgan-gp` drops the verdict: D is a critic whose mean difference between real and fake, among all functions of slope
  at most 1, is the Wasserstein distance between them: how far probability has to be carried. It has a gradient even
  where real and fake have nothing in common, provided the critic's slope is really held, which is its penalty.

A loss takes the discriminator and not its output, so that a penalty which needs to look inside it is that loss's
own business. Discriminators give raw verdicts, a tensor (N, 1, h, w) or a list of such, one per scale; each scale
weighs the same. All arithmetic is fp32 or better, under autocast too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.errors import lookup
from cyclegan.system import rng

Verdicts = Tensor | list[Tensor]
Discriminator = Callable[[Tensor], Any]  # a discriminator, or one that is shown its pictures in some other way


class AdversarialLoss(ABC):
    """One way to score the game. A subclass gives the three terms, each for raw verdicts of one scale, elementwise."""

    equilibrium: float | None  # the mean `score` where real and fake can no longer be told apart; None: undefined
    double_backward = False  # True where a gradient of D is itself differentiated, which a compiled D cannot do

    def __init__(self, *, gradient_penalty: float = 10.0) -> None:
        self.gradient_penalty = gradient_penalty  # for the losses that have one

    @abstractmethod
    def generator_term(self, fake: Tensor) -> Tensor:
        """What the generator minimises."""

    @abstractmethod
    def real_term(self, real: Tensor) -> Tensor:
        """What the discriminator minimises on real pictures."""

    @abstractmethod
    def fake_term(self, fake: Tensor) -> Tensor:
        """What the discriminator minimises on fakes."""

    def scale(self, raw: Tensor) -> Tensor:
        """Raw verdicts as a person reads them."""
        return raw

    def generator(self, discriminator: Discriminator, fake: Tensor) -> Tensor:
        """The generator's loss for NCHW fakes, a scalar with gradients to them."""
        return _mean(self.generator_term, discriminator(fake))

    def discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss for NCHW real pictures and fakes, a scalar; no gradient reaches the fakes' maker."""
        on_real, on_fake = _judge(discriminator, real, fake.detach())
        return _mean(self.real_term, on_real) + _mean(self.fake_term, on_fake)

    def score(self, outputs: Verdicts) -> Tensor:
        """What a discriminator said, on the scale of `equilibrium`: elementwise, or (N, scales) for a list."""
        if isinstance(outputs, Tensor):
            return self.scale(_exact(outputs))
        return torch.stack([self.scale(_exact(raw)).flatten(1).mean(1) for raw in outputs], dim=1)


class LeastSquares(AdversarialLoss):
    """LSGAN (Mao et al. 2017, https://arxiv.org/abs/1611.04076), equation 9 with a = 0, b = c = 1:

        L_D = ½ E[(D(x) − 1)²] + ½ E[D(y)²]
        L_G = E[(D(y) − 1)²]

    The paper halves L_G as well; CycleGAN does not, and its weight of the cycle is relative to this.
    """

    equilibrium = 0.5

    def generator_term(self, fake: Tensor) -> Tensor:
        return (fake - 1).square()

    def real_term(self, real: Tensor) -> Tensor:
        return 0.5 * (real - 1).square()

    def fake_term(self, fake: Tensor) -> Tensor:
        return 0.5 * fake.square()


class CrossEntropy(AdversarialLoss):
    """The original game with the non-saturating generator (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661,
    section 3), σ the logistic function:

        L_D = −½ E[log σ(D(x))] − ½ E[log(1 − σ(D(y)))]
        L_G = −E[log σ(D(y))]

    By −log σ(r) = softplus(−r), which neither overflows nor loses digits. At the equilibrium both are log 2.
    """

    equilibrium = 0.5

    def generator_term(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake)

    def real_term(self, real: Tensor) -> Tensor:
        return 0.5 * F.softplus(-real)

    def fake_term(self, fake: Tensor) -> Tensor:
        return 0.5 * F.softplus(fake)

    def scale(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()


class Hinge(AdversarialLoss):
    """The margin of a support vector machine (Lim & Ye 2017, https://arxiv.org/abs/1705.02894; Miyato et al. 2018,
    https://arxiv.org/abs/1802.05957, equations 16 and 17):

        L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(y))]
        L_G = −E[D(y)]
    """

    equilibrium = 0.0

    def generator_term(self, fake: Tensor) -> Tensor:
        return -fake

    def real_term(self, real: Tensor) -> Tensor:
        return F.relu(1 - real)

    def fake_term(self, fake: Tensor) -> Tensor:
        return F.relu(1 + fake)


class Wasserstein(AdversarialLoss):
    """WGAN (Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875) with the gradient penalty of Gulrajani et al. 2017
    (https://arxiv.org/abs/1704.00028, equation 3):

        L_D = E[D(y)] − E[D(x)] + λ E[(‖∇D(z)‖₂ − 1)²],   z = u x + (1 − u) y,   u ~ U(0, 1) for each picture
        L_G = −E[D(y)]

    −L_D estimates the distance between real and fake, so it should fall as training goes on; the verdicts themselves
    are only defined up to a constant. The penalty differentiates the critic's verdict on each picture by itself:
    batch norm, which mixes pictures, has no place in such a critic.
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
        """E[(‖∇D(z)‖₂ − 1)²]. u is drawn for each picture (`cyclegan.system.rng`), the same on every device."""
        real, fake = _exact(real), _exact(fake)
        u = rng.uniform(len(real), 1, 1, 1).to(real)
        slope = _gradient(discriminator, u * real + (1 - u) * fake).flatten(1)
        return (torch.linalg.vector_norm(slope, dim=1) - 1).square().mean()


class WithR1:
    """Any loss, and a discriminator that is flat where the real pictures are (Mescheder et al. 2018,
    https://arxiv.org/abs/1801.04406, equation 9):

        L_D + γ/2 E[‖∇D(x)‖²]

    At the equilibrium D should have nothing left to teach; without a penalty it may stay steep there and throw the
    generator out again for ever. With it the game converges locally.
    """

    double_backward = True

    def __init__(self, loss: AdversarialLoss, gamma: float) -> None:
        self.loss = loss
        self.gamma = gamma
        self.equilibrium = loss.equilibrium
        self.generator = loss.generator
        self.score = loss.score

    def discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """The wrapped loss of the discriminator, with the penalty on the real pictures."""
        penalty = _gradient(discriminator, _exact(real)).flatten(1).square().sum(1).mean()
        return self.loss.discriminator(discriminator, real, fake) + self.gamma / 2 * penalty


ADVERSARIAL_LOSSES: dict[str, type[AdversarialLoss]] = {
    "lsgan": LeastSquares,
    "bce": CrossEntropy,
    "hinge": Hinge,
    "wgan-gp": Wasserstein,
}


def build_adversarial(name: str, *, r1: float = 0.0, gradient_penalty: float = 10.0) -> AdversarialLoss | WithR1:
    """The adversarial loss `name`, with R1 of weight `r1` if that is above 0; `UsageError` for an unknown name.

    `gradient_penalty` is the weight λ of wgan-gp's own penalty and means nothing to the others.
    """
    loss = lookup(ADVERSARIAL_LOSSES, name, "--adversarial")(gradient_penalty=gradient_penalty)
    return WithR1(loss, r1) if r1 else loss


def l1(image: Tensor, target: Tensor) -> Tensor:
    """E|x − t|: the median of what is possible, hence sharper than the squared error (Isola et al. 2017)."""
    return (_exact(image) - _exact(target)).abs().mean()


def l2(image: Tensor, target: Tensor) -> Tensor:
    """E(x − t)²: the mean of what is possible, which is blurred where several things are."""
    return (_exact(image) - _exact(target)).square().mean()


RECONSTRUCTION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2}


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _judge(discriminator: Discriminator, real: Tensor, fake: Tensor) -> tuple[Verdicts, Verdicts]:
    """The verdicts on both, in one call where each picture is judged by itself: the same, and fewer passes over
    the weights. With batch norm, or a spectral norm that is followed from call to call, it would not be the same.
    """
    if not getattr(discriminator, "per_sample", False):
        return discriminator(real), discriminator(fake)
    outputs: Any = discriminator(torch.cat([real, fake.to(real.dtype)]))
    if isinstance(outputs, Tensor):
        return outputs[: len(real)], outputs[len(real) :]
    return [raw[: len(real)] for raw in outputs], [raw[len(real) :] for raw in outputs]


def _mean(term: Callable[[Tensor], Tensor], outputs: Verdicts) -> Tensor:
    scales = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.stack([term(_exact(raw)).mean() for raw in scales]).mean()


def _gradient(discriminator: Discriminator, pictures: Tensor) -> Tensor:
    """∇ of the verdict on each picture with respect to its pixels, NCHW, itself differentiable.

    The verdict on a picture is the mean over its patches and scales, which is the function the losses compare; the
    sum over patches would make the penalty's meaning depend on the picture's size. Outside autocast: a squared
    gradient of millions of small numbers does not survive half precision.
    """
    with torch.autocast(pictures.device.type, enabled=False), torch.enable_grad():
        pictures = pictures.detach().requires_grad_()
        outputs: Any = discriminator(pictures)
        scales = [outputs] if isinstance(outputs, Tensor) else outputs
        verdicts = torch.stack([raw.flatten(1).mean(1) for raw in scales]).mean(0)  # (N,)
        return torch.autograd.grad(verdicts.sum(), pictures, create_graph=True)[0]
