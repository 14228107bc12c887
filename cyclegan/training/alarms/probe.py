"""Figures of a few held-out pictures for the alarms, measured every 300 steps.

Not for reports: 8 pictures of each domain show whether something is badly wrong, not how good a run is.

Its cost: 8 translations in each direction, and of 4 of them the reconstruction twice, with noise and without: 32
forward passes of a generator, and 32 of a discriminator. A step of CycleGAN with one picture is worth 12 of a generator
(4 forward, and twice that backward), 18 with the identity term, and 18 of a discriminator. Every 300 steps that is
below 0.9 % of the work, and less with a larger batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn

from cyclegan.evaluation.metrics.cycle import CycleMetrics
from cyclegan.evaluation.metrics.output_statistics import checkerboard, luminance_correlation
from cyclegan.methods import Method
from cyclegan.system import rng
from cyclegan.system.rng import Draws
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.update.precision import Precision

EVERY = 300  # steps
PICTURES = 8  # of each domain
ROUND_TRIPS = 4  # of those


@torch.no_grad()
def probe(
    pictures: Mapping[str, Tensor], generators: nn.ModuleDict, method: Method, precision: Precision, ranks: Ranks
) -> dict[str, float]:
    """Figures of the translations of `pictures`, by domain N × C × H × W in [-1, 1] on the device.

    Each of `ranks` translates a part, and all get the same figures, to the last digit.

    For each direction `ab`: `luminance_correlation_ab` of input and output, in [-1, 1]; `change_ab`, their mean
    difference in levels of 255 (where both have as many channels); `variety_ab`, `variety_source_ab` and
    `variety_real_ab`, the mean difference between two outputs, two inputs and two real pictures of the target, in
    levels; `checkerboard_ab` and `checkerboard_real_ab`; where there is a reverse direction, the figures of the cycle
    of `a`, see `cyclegan.evaluation.metrics.cycle`. For each domain with a discriminator: `verdict_real_a` and
    `verdict_fake_a`, the mean scores, `verdict_spread_a`, the standard deviation over all patches of both, and, where
    the loss has an equilibrium, `accuracy_a`, the share of patches on the right side of it.

    Networks run in evaluation mode and are put back; no random number is drawn from torch's global generator.
    """
    training = [module for module in (*generators.modules(), *method.modules()) if module.training]
    generators.eval()
    method.eval()
    figures: dict[str, float] = {}

    def run(key: str, some: Tensor) -> Tensor:
        # Not the compiled form, which would be compiled once more for this number of pictures
        return ranks.map_sharded(lambda part: generators[key].forward(part).float(), some)

    def scored(domain: str, some: Tensor) -> Tensor:
        def part(places: Tensor) -> Tensor:
            beside = {name: shown[places.clamp(max=len(shown) - 1)] for name, shown in pictures.items()}
            return score(method.judge(domain, some[places], beside))

        return ranks.map_sharded(part, torch.arange(len(some), device=some.device))

    with precision.autocast():
        fakes: dict[str, Tensor] = {}
        for direction in (known for known in method.directions if known.key in generators):
            with rng.at(Draws(seed=0, step=0, first=0, count=PICTURES, total=PICTURES)):
                source = method.inputs(direction, dict(pictures))
            fake = fakes[direction.target] = run(direction.key, source)
            key, real = direction.key, pictures[direction.target]
            figures |= {f"variety_{key}": _variety(fake), f"variety_real_{key}": _variety(real)}
            figures |= _chequered(key, fake, real)
            if direction.from_noise:
                continue
            figures |= {f"variety_source_{key}": _variety(source)} | _changed(key, source, fake)
            if direction.reverse is not None and direction.reverse.key in generators:
                cycle = CycleMetrics()
                cycle.add(source[:ROUND_TRIPS], fake[:ROUND_TRIPS], partial(run, direction.reverse.key))
                figures |= {f"{name}_{direction.source}": value for name, value in cycle.figures().items()}
        if method.adversarial is not None:
            score = method.adversarial.score
            for domain in (domain for domain in method.discriminators if domain in fakes):
                real, fake = (scored(domain, shown[domain]) for shown in (pictures, fakes))
                figures |= _scored(domain, real, fake, method.adversarial.equilibrium)
    for module in training:
        module.training = True
    return ranks.on_rank_zero(lambda: figures)


def _changed(direction: str, source: Tensor, fake: Tensor) -> dict[str, float]:
    correlation = luminance_correlation(in_colour(source), in_colour(fake))
    found = {f"luminance_correlation_{direction}": float(correlation.mean())}
    if source.shape == fake.shape:
        found[f"change_{direction}"] = float((fake - source).abs().mean()) * 127.5
    return found


def _chequered(direction: str, fake: Tensor, real: Tensor) -> dict[str, float]:
    shares, shares_real = checkerboard(in_colour(fake)), checkerboard(in_colour(real))
    if shares is None or shares_real is None:
        return {}
    return {
        f"checkerboard_{direction}": float(shares.mean()),
        f"checkerboard_real_{direction}": float(shares_real.mean()),
    }


def _scored(domain: str, real: Tensor, fake: Tensor, equilibrium: float | None) -> dict[str, float]:
    both = torch.cat([real.flatten(), fake.flatten()])
    found = {
        f"verdict_real_{domain}": float(real.mean()),
        f"verdict_fake_{domain}": float(fake.mean()),
        f"verdict_spread_{domain}": float(both.std()),
    }
    if equilibrium is not None:
        right = (real > equilibrium).float().mean() + (fake < equilibrium).float().mean()
        found[f"accuracy_{domain}"] = float(right) / 2
    return found


def in_colour(pictures: Tensor) -> Tensor:
    """N × 3 × H × W, float32, on the CPU: three channels as they are, any other number as grey of their mean."""
    pictures = pictures.cpu().float()
    return pictures if pictures.shape[1] == 3 else pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def _variety(pictures: Tensor) -> float:
    """The mean absolute difference of two pictures, over all pairs, in levels of 255; 0 for one picture alone."""
    pairs = [float((one - two).abs().mean()) for one, two in combinations(pictures, 2)]
    return 127.5 * sum(pairs) / len(pairs) if pairs else 0.0
