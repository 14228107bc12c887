"""Images and losses of all turns of a step together."""

from __future__ import annotations

from cyclegan.methods.base import Images, Losses, Method


def images_and_losses(method: Method, batch: Images) -> tuple[Images, Losses]:
    """The images and the losses of the generators' side."""
    images: Images = {}
    losses: Losses = {}
    for made, terms in method.generator_turns(batch):
        images |= made
        losses |= terms
    return images, losses
