"""Interface between a method and the training loop.

A method owns its networks (generators and discriminators) and declares the losses of each side, the domains it reads
and the columns of its sample grids. Devices, optimizers, precision, processes and logging belong to the loop, which
trains every method by the same step (`cyclegan.training.update.step`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cyclegan.directions import Direction
from cyclegan.losses import AdversarialLoss, Scores, WithR1

Images = dict[str, Tensor]
Losses = dict[str, Tensor]
MakeNetwork = Callable[..., Any]
Run = Callable[[str, Tensor], Tensor]  # `Direction.key` and input of a generator -> its output


class Method(nn.Module):
    """Base of methods: generators and discriminators with their losses.

    A subclass is constructed as `cls(make_generator, make_discriminator, **options)`: two factories, and the fields of
    its `Options` dataclass. `make_generator(key)` takes a `Direction.key` and returns a generator from pictures of the
    source, or from noise, to pictures of the target; `make_discriminator(domain)` returns a discriminator of pictures
    of a domain. `in_channels` and `out_channels` override the channels of the domains.

    Batches are NCHW in [-1, 1] by domain, one for each of `domains`. Images are named by kind and domain: `fake_b` is
    a generator's output for domain B, `rec_a` a reconstruction, `identity_a` a real A through the generator into A.
    """

    # Declarations, read before anything is built
    Options: ClassVar[type]  # frozen dataclass of this method's own options of `train`
    domains: ClassVar[tuple[str, ...]] = ("a", "b")  # domains whose folders are read
    pairing: ClassVar[str] = "unpaired"  # a name in `cyclegan.data.pairing.PAIRINGS`
    generator: ClassVar[str] = "resnet_9blocks"  # default of --generator
    discriminator: ClassVar[str] = "patch"  # default of --discriminator
    equal_channels: ClassVar[bool] = True  # all domains are read with the same number of channels

    # Attributes of an instance
    generators: nn.ModuleDict  # by direction key; averaged, saved for inference, exported
    discriminators: nn.ModuleDict  # by the domain that it judges; needed only to train, may be empty
    adversarial: AdversarialLoss | WithR1 | None = None  # the loss whose scores are reported
    augmented: bool = False  # discriminators see randomly augmented pictures

    @property
    def directions(self) -> tuple[Direction, ...]:
        return tuple(Direction.parse(key) for key in self.generators)

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the generators' optimizer; a method with helper networks on that side adds theirs."""
        return self.generators.parameters()

    def discriminator_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the discriminators' optimizer."""
        return self.discriminators.parameters()

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        """Yield images by name, and weighted losses whose sum the generators minimise; the keys name the curves.

        A method whose losses are sums of parts that share no computation yields them one by one: the gradients of one
        turn are computed before the next turn, so that only one has to be in memory.
        """
        raise NotImplementedError

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        """Weighted scalars whose sum the discriminators minimise; no gradient may reach the generators."""
        raise NotImplementedError

    def inputs(self, direction: Direction, batch: Images) -> Tensor:
        """The input of a generator: pictures of its source, or fresh noise, a vector for each picture of `batch`."""
        if not direction.from_noise:
            return batch[direction.source]
        target = batch[direction.target]
        noise: Any = self.generators[direction.key].noise
        drawn: Tensor = noise.draw(len(target)).to(target.device, non_blocking=True)
        return drawn

    def judge(self, domain: str, pictures: Tensor, batch: Images) -> Scores:
        """Raw scores of the discriminator of `domain`; a conditional one also sees `batch`."""
        scores: Scores = self.discriminators[domain].forward(pictures)  # not its compiled form, made for training
        return scores

    def columns(self, direction: Direction, batch: Images, run: Run) -> Images:
        """Columns of a sample grid of `direction` by heading: real, fake, reconstructed and identity.

        `run(key, pictures)` translates. Columns without a generator for them, or for their channels, are left out.
        """
        real = self.inputs(direction, batch)
        fake = run(direction.key, real)
        if direction.from_noise:
            return {"fake": fake}
        columns = {"real": real, "fake": fake}
        if direction.reverse is not None and direction.reverse.key in self.generators:
            reverse = direction.reverse.key
            columns["reconstructed"] = run(reverse, fake)
            spec: Any = self.generators[reverse].spec
            if spec["in_channels"] == real.shape[1]:
                columns["identity"] = run(reverse, real)
        return columns

    @torch.no_grad()
    def scores(self, batch: Images, images: Images) -> Images:
        """Mean score of each discriminator on real and on fake pictures, `{"a/real": scalar, …}`.

        For the least-squares and the cross-entropy loss 1 means "real" and 0 "fake"; at the equilibrium (Goodfellow et
        al. 2014, https://arxiv.org/abs/1406.2661) both are one half. Computed in evaluation mode, which changes no
        running statistics and no power iteration of a spectral norm, and has no dropout.
        """
        if self.adversarial is None:
            return {}
        self.discriminators.eval()
        scores = {
            f"{domain}/{kind}": self.adversarial.score(self.judge(domain, pictures, batch)).mean()
            for domain in self.discriminators
            for kind, pictures in (("real", batch[domain]), ("fake", images[f"fake_{domain}"]))
        }
        self.discriminators.train()
        return scores


class KeepsFakes(nn.Module):
    """Earlier fakes in the state of a run, divided into lanes by place in the batch."""

    def deal(self, total: int) -> None:
        """Redistribute the fakes over lanes for batches of `total` places."""
        raise NotImplementedError

    def keep(self, places: Iterable[int]) -> None:
        """Drop all lanes except those of `places`, which belong to this process."""
        raise NotImplementedError

    def join(self, state: Mapping[str, Any]) -> None:
        """Add the lanes of another process, from its `get_extra_state()`."""
        raise NotImplementedError

    def nbytes(self, picture: int) -> int:
        """Upper bound of the memory in bytes, for pictures of `picture` bytes."""
        raise NotImplementedError
