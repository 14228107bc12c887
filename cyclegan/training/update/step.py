"""One training step, the same for every method and every loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cyclegan.methods import Images, Method
from cyclegan.system import rng
from cyclegan.system.rng import Draws
from cyclegan.training.update.precision import Precision

# Begins to average the gradients of some parameters, in place, and a loss over ranks; returns a function that waits for
# that and returns the loss
Average = Callable[[list[nn.Parameter], Tensor], Callable[[], Tensor]]


def no_average(parameters: list[nn.Parameter], loss: Tensor) -> Callable[[], Tensor]:
    """The `Average` of a single process, which has nothing to do."""
    return lambda: loss


@dataclass(frozen=True)
class Side:
    """Parameters and optimizer of the generators or of the discriminators."""

    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    clip: float


@dataclass(frozen=True)
class StepResult:
    """Results of one step, all still on the device: nothing has waited for it."""

    figures: dict[str, Tensor]  # losses by their own names under loss/, gradient norms under gradient_norm/
    batch: Images  # the last part of the batch
    images: Images  # generated from it, detached
    skipped: Tensor  # bool scalar: a loss or gradient was not finite and that side was not updated


def train_step(
    method: Method,
    generators: Side,
    discriminators: Side,
    parts: Sequence[Images],
    precision: Precision,
    average: Average = no_average,
    drawing: Sequence[Draws | None] = (),
) -> StepResult:
    """Update the generators, then the discriminators, each once, on a batch that comes in equal `parts`.

    Gradients are averaged over the parts, so that any number of parts gives the same step, and by `average` over ranks.
    `drawing` holds the random draws of each part; without it they are torch's.
    """
    drawing = drawing or [None] * len(parts)
    # The discriminators are fixed while the generators move: their weights need no gradient.
    method.discriminators.requires_grad_(False)
    made: list[Images] = []
    figures: dict[str, Tensor] = {}
    generator_loss = torch.zeros((), device=precision.device)
    with precision.autocast():  # around all parts: weights are cast once
        for part, numbers in zip(parts, drawing, strict=True):
            detached: Images = {}
            with rng.at(numbers):
                for images, losses in method.generator_turns(part):
                    generator_loss = generator_loss + _backward(losses, len(parts), figures, precision)
                    detached |= {name: image.detach() for name, image in images.items()}
            made.append(detached)
    averaged = average(generators.parameters, generator_loss)  # under way while the discriminators compute

    # The discriminators learn from the images made before the generators moved: one forward pass serves both.
    method.discriminators.requires_grad_(True)
    discriminator_loss = torch.zeros((), device=precision.device)
    with precision.autocast():
        for part, images, numbers in zip(parts, made, drawing, strict=True):
            with rng.at(numbers):
                losses = method.discriminator_losses(part, images)
                discriminator_loss = discriminator_loss + _backward(losses, len(parts), figures, precision)
    generator_norm, generator_skipped = precision.update(
        generators.optimizer, generators.parameters, averaged(), generators.clip
    )
    discriminator_norm, discriminator_skipped = precision.update(
        discriminators.optimizer,
        discriminators.parameters,
        average(discriminators.parameters, discriminator_loss)(),
        discriminators.clip,
    )
    precision.end_step()

    figures["gradient_norm/generators"] = generator_norm
    figures["gradient_norm/discriminators"] = discriminator_norm
    return StepResult(figures, parts[-1], made[-1], generator_skipped | discriminator_skipped)


def _backward(losses: Images, parts: int, figures: dict[str, Tensor], precision: Precision) -> Tensor:
    """Accumulate gradients of the sum of `losses` over `parts`; adds each, detached, to `figures`."""
    if not losses:  # of a method without discriminators
        return torch.zeros((), device=precision.device)
    total = torch.stack(list(losses.values())).sum() / parts
    precision.backward(total)
    for name, value in losses.items():
        share = value.detach() / parts
        figures[f"loss/{name}"] = figures[f"loss/{name}"] + share if f"loss/{name}" in figures else share
    return total.detach()
