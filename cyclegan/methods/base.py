"""What the training loop expects of a method.

A method is a game: it owns the players (generators and discriminators) and says what each side minimises. It knows
nothing of devices, optimizers, precision, processes or logging; those belong to the loop, which plays every method
by the same step (`cyclegan.training.update.step`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Images = dict[str, Tensor]
Losses = dict[str, Tensor]
MakeNetwork = Callable[..., nn.Module]


class Method(nn.Module):
    """A game between generators and discriminators.

    A subclass is constructed as `cls(make_generator, make_discriminator, **options)`: two factories, and the fields of
    its `Options` dataclass. `make_generator("ab")` returns a generator that takes pictures with the channels of A and
    makes some with those of B, `make_discriminator("a")` a discriminator of pictures of A; `in_channels` and
    `out_channels` may be given to say otherwise.

    Batches are `{"a": real_a, "b": real_b}`, NCHW in [-1, 1]. Images go by name: `fake_b` is what the generators
    made for domain B, `rec_a` the way back, `identity_a` what the generator into A makes of a real A.
    """

    domains: ClassVar[tuple[str, ...]] = ("a", "b")  # whose folders of pictures it reads
    pairing: ClassVar[str] = "unpaired"  # how their pictures go together, a name in `cyclegan.data.pairing.PAIRINGS`
    equal_channels: ClassVar[bool] = True  # a grey domain beside an RGB one is shown in three channels as well

    Options: type  # frozen dataclass of what only this method knows; its fields become command-line options
    adversarial: Any  # the loss whose verdicts `scores` reports

    generators: nn.ModuleDict  # averaged, saved for inference, exported; keys "ab", "ba"
    discriminators: nn.ModuleDict  # needed only to train; discriminators["a"] judges domain A

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """What the generators' optimizer updates. A method with helper networks on that side adds them here."""
        return self.generators.parameters()

    def discriminator_parameters(self) -> Iterator[nn.Parameter]:
        """What the discriminators' optimizer updates."""
        return self.discriminators.parameters()

    def generate(self, batch: Images) -> Images:
        """Every image the losses need, by name, with gradients."""
        raise NotImplementedError

    def generator_losses(self, batch: Images, images: Images) -> Losses:
        """Weighted scalars the generators minimise the sum of; the keys are the names of the curves."""
        raise NotImplementedError

    def turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        """The images and losses of the generators' side in turns that share no computation, all of them once.

        The gradients of one turn are taken before the next is computed, so that only one has to be in memory. A
        method whose losses are sums of such parts yields them one by one.
        """
        images = self.generate(batch)
        yield images, self.generator_losses(batch, images)

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        """Weighted scalars the discriminators minimise the sum of. No gradient may reach the generators."""
        raise NotImplementedError

    @torch.no_grad()
    def scores(self, batch: Images, images: Images) -> Images:
        """Mean verdict of each discriminator on real and on fake pictures, `{"a/real": scalar, …}`.

        This is the balance of the game. For the least-squares and the cross-entropy loss 1 means "real" and 0 "fake";
        at the equilibrium (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661) both curves meet at one half,
        where the discriminator can no longer tell. Computed in evaluation mode, so that looking changes nothing:
        no running statistics, no power iteration of a spectral norm, no dropout.
        """
        self.discriminators.eval()
        scores = {
            f"{domain}/{kind}": self.adversarial.verdict(discriminator(pictures)).mean()
            for domain, discriminator in self.discriminators.items()
            for kind, pictures in (("real", batch[domain]), ("fake", images[f"fake_{domain}"]))
        }
        self.discriminators.train()
        return scores
