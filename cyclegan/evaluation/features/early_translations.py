"""Early translations of a small CycleGAN, from which the judge learns what is of neither domain.

A generator that is a few hundred steps old draws speckle with the local statistics of the target, since its patch
discriminator sees no more. That is a failure which no filter imitates: of the translations of 1500 steps on
horse2zebra, which no person would take for zebras, a judge that knows only filtered pictures as failures finds 2 %
to be neither horse nor zebra. So the judge watches such a game (Zhu et al. 2017, https://arxiv.org/abs/1703.10593)
on its own training pictures. It is a game of its own and not that of the run, so that one judge serves all runs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cyclegan.networks.layers import initialise
from cyclegan.networks.patchgan import PatchDiscriminator
from cyclegan.networks.resnet import ResNetGenerator
from cyclegan.system.pixels import to_bytes, to_unit

UPSAMPLINGS = "transposed", "resize"  # a game with each, as the one leaves checkerboards and the other blur
STEPS = 500  # of each game; the judge takes 9 % of the translations above for zebras, and 56 % after 300 steps
GREY = 0.1  # share of the steps, the first ones, whose translations are grey
BATCH = 2
CHANNELS, BLOCKS = 8, 4  # of the generators; with 16 they take twice the time, and the judge 36 % for zebras
DISCRIMINATOR_CHANNELS = 16
RATE, BETAS = 4e-4, (0.5, 0.99)
LAMBDA_CYCLE, LAMBDA_IDENTITY = 10.0, 5.0


def early_translations(a: Tensor, b: Tensor, *, seed: int, device: torch.device) -> Tensor:
    """Translations of uint8 N × 3 × 64 × 64 pictures of both domains, by two games: uint8 M × 3 × 64 × 64.

    They go both ways, and come from all steps but the first. The global random state is unchanged. Deterministic on a
    CPU, given a seed.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        draws = torch.Generator().manual_seed(seed)
        return torch.cat([_play((a, b), upsampling, draws, device) for upsampling in UPSAMPLINGS])


def _play(pictures: tuple[Tensor, Tensor], upsampling: str, draws: torch.Generator, device: torch.device) -> Tensor:
    """The translations of one game, in the order of its steps."""
    generators = [ResNetGenerator(blocks=BLOCKS, channels=CHANNELS, upsampling=upsampling) for _ in pictures]
    discriminators = [PatchDiscriminator(layers=2, channels=DISCRIMINATOR_CHANNELS) for _ in pictures]
    optimizers = []
    for networks in (nn.ModuleList(generators), nn.ModuleList(discriminators)):
        initialise(networks, "normal", 0.02)
        optimizers.append(torch.optim.Adam(networks.to(device).parameters(), RATE, BETAS))
    translations = []
    for step in range(STEPS):
        reals = [to_unit(some[torch.randint(len(some), (BATCH,), generator=draws)]).to(device) for some in pictures]
        loss, fakes = torch.zeros((), device=device), []
        # generators[0] translates the first domain, discriminators[1] scores what it makes
        for own, other in ((0, 1), (1, 0)):
            fake, same = generators[own](torch.cat([reals[own], reals[other]])).split(BATCH)
            fakes.append(fake.detach())
            loss = loss + (discriminators[other](fake) - 1).square().mean()
            loss = loss + LAMBDA_CYCLE * (generators[other](fake) - reals[own]).abs().mean()
            loss = loss + LAMBDA_IDENTITY * (same - reals[other]).abs().mean()
        _descend(optimizers[0], loss)
        scores = [discriminators[other](torch.cat([fakes[own], reals[other]])) for own, other in ((0, 1), (1, 0))]
        targets = torch.cat([torch.zeros(BATCH), torch.ones(BATCH)]).to(device)[:, None, None, None]
        _descend(optimizers[1], sum(((score - targets).square().mean() for score in scores), torch.zeros(())) / 2)
        if step >= GREY * STEPS:
            translations += [to_bytes(fake).cpu() for fake in fakes]
    return torch.cat(translations)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
