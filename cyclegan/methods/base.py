"""The contract between a method and the training loop.

A method owns its networks (generators and discriminators), says what each side minimises, what it reads and what it is
shown by. It knows nothing of devices, optimizers, precision, processes or logging; those belong to the loop, which
trains every method by the same step (`cyclegan.training.update.step`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cyclegan.directions import Direction
from cyclegan.losses import AdversarialLoss, Verdicts, WithR1

Images = dict[str, Tensor]
Losses = dict[str, Tensor]
MakeNetwork = Callable[..., Any]
Run = Callable[[str, Tensor], Tensor]  # key of a direction, its input -> what that generator makes of it


class Method(nn.Module):
    """A game between generators and discriminators.

    A subclass is constructed as `cls(make_generator, make_discriminator, **options)`: two factories, and the fields of
    its `Options` dataclass. `make_generator("ab")` returns a generator that takes pictures with the channels of A and
    makes some with those of B, `make_generator("zb")` one that makes pictures of B from noise,
    `make_discriminator("a")` a discriminator of pictures of A; `in_channels` and `out_channels` may be given to say
    otherwise.

    Batches are `{"a": real_a, "b": real_b}`, NCHW in [-1, 1], with a key for each of `domains`. Images go by name:
    `fake_b` is what the generators made for domain B, `rec_a` the way back, `identity_a` what the generator into A
    makes of a real A.
    """

    # Declarations, read before anything is built
    Options: ClassVar[type]  # frozen dataclass of what only this method takes; its fields become options of `train`
    domains: ClassVar[tuple[str, ...]] = ("a", "b")  # whose folders it reads
    pairing: ClassVar[str] = "unpaired"  # a name in `cyclegan.data.pairing.PAIRINGS`
    generator: ClassVar[str] = "resnet_9blocks"  # the network unless --generator says otherwise
    discriminator: ClassVar[str] = "patch"
    equal_channels: ClassVar[bool] = True  # all domains are shown with one number of channels

    # What an object owns
    generators: nn.ModuleDict  # by key of its direction: averaged, saved for inference, exported
    discriminators: nn.ModuleDict  # by the domain that it judges; needed only to train, may be empty
    adversarial: AdversarialLoss | WithR1 | None = None  # what reads the discriminators' verdicts
    augmented: bool = False  # the discriminators see pictures altered at random

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The direction of each generator."""
        return tuple(Direction.parse(key) for key in self.generators)

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """What the generators' optimizer updates. A method with helper networks on that side adds them here."""
        return self.generators.parameters()

    def discriminator_parameters(self) -> Iterator[nn.Parameter]:
        """What the discriminators' optimizer updates."""
        return self.discriminators.parameters()

    def generator_turns(self, batch: Images) -> Iterator[tuple[Images, Losses]]:
        """Images by name, and weighted scalars whose sum the generators minimise; the keys name the curves.

        A method whose losses are sums of parts that share no computation yields them one by one: the gradients of one
        turn are taken before the next is computed, so that only one has to be in memory.
        """
        raise NotImplementedError

    def discriminator_losses(self, batch: Images, images: Images) -> Losses:
        """Weighted scalars the discriminators minimise the sum of. No gradient may reach the generators."""
        raise NotImplementedError

    def inputs(self, direction: Direction, batch: Images) -> Tensor:
        """The input of a generator for `batch`: pictures of its source, or fresh noise, one vector for each picture."""
        if not direction.from_noise:
            return batch[direction.source]
        target = batch[direction.target]
        noise: Any = self.generators[direction.key].noise
        drawn: Tensor = noise.draw(len(target)).to(target.device, non_blocking=True)
        return drawn

    def judge(self, domain: str, pictures: Tensor, batch: Images) -> Verdicts:
        """The raw verdict of the discriminator of `domain`; `batch` is what a conditional one compares with."""
        verdict: Verdicts = self.discriminators[domain].forward(pictures)  # past a compiled form, made for training
        return verdict

    def columns(self, direction: Direction, batch: Images, run: Run) -> Images:
        """The columns of a sample grid of `direction` by their headings: real, fake, reconstructed and identity.

        `run("ab", pictures)` translates. Left out are those that there is no generator for, or none that takes such
        pictures.
        """
        real = self.inputs(direction, batch)
        fake = run(direction.key, real)
        if direction.from_noise:
            return {"fake": fake}
        columns = {"real": real, "fake": fake}
        if direction.reverse is not None and direction.reverse.key in self.generators:
            back = direction.reverse.key
            columns["reconstructed"] = run(back, fake)
            spec: Any = self.generators[back].spec
            if spec["in_channels"] == real.shape[1]:
                columns["identity"] = run(back, real)
        return columns

    @torch.no_grad()
    def scores(self, batch: Images, images: Images) -> Images:
        """Mean verdict of each discriminator on real and on fake pictures, `{"a/real": scalar, …}`.

        This is the balance of the game. For the least-squares and the cross-entropy loss 1 means "real" and 0 "fake";
        at the equilibrium (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661) both curves meet at one half,
        where the discriminator can no longer tell. Computed in evaluation mode, so that looking changes nothing:
        no running statistics, no power iteration of a spectral norm, no dropout.
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
    """Memory of earlier fakes that is part of the state of a run, divided into lanes by place in the batch."""

    def deal(self, total: int) -> None:
        """Divide what is held anew for batches of `total` places."""
        raise NotImplementedError

    def keep(self, places: Iterable[int]) -> None:
        """Forget all lanes but those of `places`, which this process sees."""
        raise NotImplementedError

    def join(self, state: Mapping[str, Any]) -> None:
        """Take in the lanes of another process from its `get_extra_state()`."""
        raise NotImplementedError

    def nbytes(self, picture: int) -> int:
        """Bytes that it holds at most, of pictures of `picture` bytes."""
        raise NotImplementedError
