"""Training of the judge on real pictures of two domains, degraded at random.

The two folders often differ in how their files were made: other cameras, compression, scaling. A classifier would learn
that first, and then call every clean picture a zebra. So each training picture is cropped, mirrored, brightened,
blurred, made noisy or compressed at random, alike for both domains.
"""

from __future__ import annotations

import copy
import io
import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from cyclegan.evaluation.features import scaling

SIDE = 64  # pixels of the input of the judge
CHANNELS = 128
FEATURES = 2 * CHANNELS
BATCH = 64
STEPS = 400
CHECK_EVERY = 40  # steps between two validations, which decide when to stop
PATIENCE = 4  # validations without improvement
RATE = 3e-3  # peak; it rises for a tenth of the steps and then falls to zero
# Random degradations: share of pictures compressed, and the JPEG qualities; share blurred, and the greatest weight of
# the blur; greatest noise, in levels of 255. CUT: smallest crop, as a share of the side. LIGHT: greatest change of
# brightness and contrast.
COMPRESSED, QUALITIES = 0.3, (50, 95)
BLURRED, BLUR = 0.3, 1.0
NOISE = 8.0
# Upsampling convolutions leave patterns that repeat every 2 or 4 pixels (Odena et al. 2016,
# https://distill.pub/2016/deconv-checkerboard), and a judge that never saw one takes it for stripes: of 120 real horses
# it took 14 % for zebras, with a pattern of 20 levels 33 %, and preferred generators with a checkerboard to better
# ones. Trained with patterns on pictures of both domains, it takes 11 and 12 %. Share of pictures, and greatest
# deviation in levels:
PATTERNED, PATTERN = 0.5, 24.0
PERIOD = 4
CUT = 0.75
LIGHT = 0.2

resize = partial(scaling.resize, side=SIDE)


class ClassifierNetwork(nn.Module):
    """uint8 or float N × 3 × 64 × 64 in [0, 255] -> N scores, above 0 for B; `features` are the input of its head."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, CHANNELS)
        layers: list[nn.Module] = []
        for start, end in pairwise(widths):
            layers += [nn.Conv2d(start, end, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(end), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.scale = nn.BatchNorm1d(FEATURES, affine=False)  # so that a few large channels do not dominate distances
        self.head = nn.Linear(FEATURES, 1)

    def features(self, pictures: Tensor) -> Tensor:
        """N × 256: mean and maximum of each channel, since an animal may fill the picture or a corner of it."""
        maps: Tensor = self.body(pictures.float() / 127.5 - 1)
        found: Tensor = self.scale(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(pictures))
        return scores[:, 0]

    def verdict(self, pictures: Tensor) -> Tensor:
        """Classify each picture together with its mirror image: N booleans, true for B."""
        return self(pictures) + self(pictures.flip(3)) > 0


def train_classifier(
    a: Tensor, b: Tensor, *, seed: int, device: torch.device
) -> tuple[ClassifierNetwork, dict[str, Any]]:
    """Train a judge on uint8 N × 3 × 64 × 64 pictures of both domains; deterministic on a CPU, given a seed.

    A tenth of each domain (at least two pictures) is for early stopping, another tenth for the accuracy, the mean of
    the two shares classified correctly. Returns the network and its protocol. The global random state is unchanged.
    """
    draws = torch.Generator().manual_seed(seed)
    training, validation, test = zip(*(_split(pictures, draws) for pictures in (a, b)), strict=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ClassifierNetwork().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    best, best_loss, best_step, step = copy.deepcopy(network.state_dict()), math.inf, 0, 0
    # Each batch holds as many of A as of B, whatever their numbers
    labels = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)]).to(device)
    while step < STEPS and step - best_step <= PATIENCE * CHECK_EVERY:
        network.train()
        for _ in range(min(CHECK_EVERY, STEPS - step)):
            half = (BATCH // 2,)
            batch = torch.cat([images[torch.randint(len(images), half, generator=draws)] for images in training])
            loss = F.binary_cross_entropy_with_logits(network(augment(batch, draws).to(device)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        scores = [_scores(network, pictures, device) for pictures in validation]
        validation_loss = float(F.softplus(scores[0]).mean() + F.softplus(-scores[1]).mean()) / 2
        if validation_loss < best_loss:
            best, best_loss, best_step = copy.deepcopy(network.state_dict()), validation_loss, step
    network.load_state_dict(best)
    network.eval().requires_grad_(False)
    with torch.inference_mode():
        of_b = [float(network.verdict(pictures.to(device)).double().mean()) for pictures in test]
    protocol = {"accuracy": (1 - of_b[0] + of_b[1]) / 2, "seed": seed, "steps": best_step}
    return network, protocol | {"learned_from": [*map(len, training)], "marked_with": [*map(len, test)]}


def augment(pictures: Tensor, draws: torch.Generator) -> Tensor:
    """Crop, mirror and degrade each of uint8 N × 3 × S × S pictures at random; uint8 again, as a file holds it."""
    count = len(pictures)

    def random(low: float = 0.0, high: float = 1.0) -> Tensor:
        return (torch.rand(count, generator=draws) * (high - low) + low)[:, None, None, None]

    scale, mirror = random(CUT, 1).flatten(), (random() < 0.5).flatten().float() * 2 - 1
    margin = 1 - scale
    shift = [margin * random(-1, 1).flatten() for _ in range(2)]
    grid = torch.zeros(count, 2, 3)
    grid[:, 0, 0], grid[:, 1, 1] = scale * mirror, scale
    grid[:, 0, 2], grid[:, 1, 2] = shift
    sampling_grid = F.affine_grid(grid, list(pictures.shape), align_corners=False)
    x = F.grid_sample(pictures.float(), sampling_grid, padding_mode="reflection", align_corners=False)
    x = (x - 127.5) * random(1 - LIGHT, 1 + LIGHT) + 127.5 * random(1 - LIGHT, 1 + LIGHT)
    # A blur of 3 × 3 pixels, mixed in with a random weight
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    x = torch.lerp(x, blurred, random(0, BLUR) * (random() < BLURRED))
    x = x + repeated(x, draws) * random(0, PATTERN) * (random() < PATTERNED)
    x = x + torch.randn(x.shape, generator=draws) * random(0, NOISE)
    result = x.round().clamp(0, 255).to(torch.uint8)
    chosen = (random() < COMPRESSED).flatten().nonzero().flatten().tolist()
    qualities = torch.randint(QUALITIES[0], QUALITIES[1] + 1, (count,), generator=draws).tolist()
    for index in chosen:
        result[index] = _compressed(result[index], qualities[index])
    return result


def repeated(pictures: Tensor, draws: torch.Generator) -> Tensor:
    """Random pattern of 4 × 4 pixels, tiled over each N × 3 × H × W picture; mean 0, deviation about 1."""
    count, channels, height, width = pictures.shape
    tile = torch.randn(count, channels, PERIOD, PERIOD, generator=draws)
    tile = tile - tile.mean(dim=(2, 3), keepdim=True)
    return tile.repeat(1, 1, -(-height // PERIOD), -(-width // PERIOD))[:, :, :height, :width]


def _compressed(picture: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy())).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)


def _split(pictures: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures for training, for early stopping, and for the accuracy."""
    tenth = max(2, len(pictures) // 10)
    order = torch.randperm(len(pictures), generator=draws)
    return pictures[order[2 * tenth :]], pictures[order[:tenth]], pictures[order[tenth : 2 * tenth]]


@torch.inference_mode()
def _scores(network: ClassifierNetwork, pictures: Tensor, device: torch.device) -> Tensor:
    network.eval()
    return torch.cat([network(batch.to(device)).cpu() for batch in pictures.split(256)])
