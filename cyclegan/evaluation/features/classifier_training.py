"""Training of the judge on real pictures of two domains, degraded at random, and on pictures of neither.

The two folders often differ in how their files were made: other cameras, compression, scaling. A classifier would learn
that first, and then call every clean picture a zebra. So each training picture is cropped, mirrored, brightened,
blurred, made noisy or compressed at random, alike for both domains.

A classifier that knows two domains alone has to take everything for one of them, speckle too. So a third class holds
what is of neither: spoilt pictures of both domains (`corruptions`) and first attempts at translation
(`early_translations`).
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
from cyclegan.evaluation.features.corruptions import corrupt, repeated, uniform
from cyclegan.evaluation.features.early_translations import early_translations

SIDE = 64  # pixels of the input of the judge
CHANNELS = 128
FEATURES = 2 * CHANNELS
CLASSES = 3  # first domain, second domain, neither
NEITHER = 2
STEPS = 400
CHECK_EVERY = 40  # steps between two validations, which decide when to stop
PATIENCE = 4  # validations without improvement
RATE = 3e-3  # peak; it rises for a tenth of the steps and then falls to zero
REALS, SPOILT, EARLY = 20, 14, 44  # of a batch: real pictures of each domain, spoilt ones, early translations
# Against overfitting: dropped features, probability given to the other classes, decay of weights, averaging of weights
DROPOUT, SMOOTHING, DECAY, AVERAGING = 0.2, 0.05, 0.05, 0.97
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
# deviation in levels, above which it is of neither domain:
PATTERNED, PATTERN = 0.5, 24.0
CUT = 0.75
LIGHT = 0.2
BINS = 10  # of the reliability curve

resize = partial(scaling.resize, side=SIDE)


class ClassifierNetwork(nn.Module):
    """uint8 or float N × 3 × 64 × 64 in [0, 255] -> N × 3 scores: first domain, second domain, neither.

    `temperature` calibrates the probabilities (Guo et al. 2017, https://arxiv.org/abs/1706.04599), `middle` and
    `deviation` are those of the features of real pictures.
    """

    temperature: Tensor
    middle: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, CHANNELS)
        layers: list[nn.Module] = []
        for start, end in pairwise(widths):
            layers += [nn.Conv2d(start, end, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(end), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.scale = nn.BatchNorm1d(FEATURES, affine=False)  # so that the decay of weights meets all channels alike
        self.drop = nn.Dropout(DROPOUT)
        self.head = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("middle", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def features(self, pictures: Tensor) -> Tensor:
        """N × 256, of length √256, for FID, KID and distances.

        In units of the spread of real pictures, so that what real pictures never show is far away; and of one length,
        since the kernel of KID is cubic, and a few loud channels would hide all else: of horses half of which were
        replaced by zebras it kept -8 % of the distance from zebras, where a quarter is right, and keeps 23 % so.
        """
        standard = (self.pooled(pictures) - self.middle) / self.deviation
        return F.normalize(standard, dim=1) * FEATURES**0.5

    def pooled(self, pictures: Tensor) -> Tensor:
        """N × 256: mean and maximum of each channel, since an animal may fill the picture or a corner of it."""
        maps: Tensor = self.body(pictures.float() / 127.5 - 1)
        found: Tensor = self.scale(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.drop(self.pooled(pictures)))
        return scores

    def standardise(self, reals: list[Tensor], device: torch.device) -> None:
        """Set `middle` and `deviation` by real pictures of both domains, the latter within a domain."""
        pooled = [torch.cat([self.pooled(some.to(device)) for some in each.split(256)]) for each in reals]
        means = torch.stack([each.mean(dim=0) for each in pooled])
        self.middle.copy_(means.mean(dim=0))
        spread = torch.stack([each.var(dim=0) for each in pooled]).mean(dim=0).sqrt()
        self.deviation.copy_(spread.clamp(min=0.05 * float(spread.mean())))

    def probabilities(self, pictures: Tensor) -> Tensor:
        """Probabilities of the three classes, from each picture and its mirror image: N × 3."""
        scores: Tensor = (self(pictures) + self(pictures.flip(3))) / 2
        return (scores / self.temperature).softmax(dim=1)


def train_classifier(
    a: Tensor, b: Tensor, *, seed: int, device: torch.device
) -> tuple[ClassifierNetwork, dict[str, Any]]:
    """Train a judge on uint8 N × 3 × 64 × 64 pictures of both domains; deterministic on a CPU, given a seed.

    A tenth of each class (at least two pictures) is for early stopping and for the temperature, another tenth for the
    accuracy and the calibration. Returns the network and its protocol. The global random state is unchanged.
    """
    draws = torch.Generator().manual_seed(seed)
    training, validation, test = map(list, zip(*(_split(pictures, draws) for pictures in (a, b)), strict=True))
    early = early_translations(*training, seed=seed, device=device)
    for part, some in zip((training, validation, test), _split(early, draws), strict=True):
        part.append(some)
    for part in (validation, test):
        part[NEITHER] = torch.cat(
            [part[NEITHER], *(corrupt(part[i], _as_many(part[1 - i], part[i]), draws) for i in (0, 1))]
        )
    # Dropout draws on the device of the network
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = ClassifierNetwork().to(device)
        step = _fit(network, training, validation, draws, device)
    network.eval().requires_grad_(False)
    network.temperature.fill_(_temperature([_scores(network, pictures, device) for pictures in validation]))
    with torch.inference_mode():
        network.standardise(training[:NEITHER], device)
        found = [network.probabilities(pictures.to(device)).cpu() for pictures in test]
    right = [float((found[index].argmax(dim=1) == index).double().mean()) for index in range(CLASSES)]
    protocol: dict[str, Any] = {"accuracy": (right[0] + right[1]) / 2, "neither": right[NEITHER]}
    protocol |= {"seed": seed, "steps": step}
    protocol |= {"learned_from": [*map(len, training)], "marked_with": [*map(len, test)]}
    return network, protocol | calibration(found)


def _fit(
    network: ClassifierNetwork,
    training: list[Tensor],
    validation: list[Tensor],
    draws: torch.Generator,
    device: torch.device,
) -> int:
    """Train until the validation loss of the averaged weights stops falling; keep the best, and return their step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    average = copy.deepcopy(network)
    best, best_loss, best_step, step = copy.deepcopy(network.state_dict()), math.inf, 0, 0
    # Each batch holds as many of A as of B, whatever their numbers
    labels = torch.tensor([0, 1, NEITHER]).repeat_interleave(torch.tensor([REALS, REALS, SPOILT + EARLY])).to(device)
    while step < STEPS and step - best_step <= PATIENCE * CHECK_EVERY:
        network.train()
        for _ in range(min(CHECK_EVERY, STEPS - step)):
            batch = _draw_batch(training, draws).to(device)
            loss = F.cross_entropy(network(batch), labels, label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            _average(average, network, min(AVERAGING, (1 + step) / (10 + step)))  # at first over fewer steps
            step += 1
        loss = _loss([_scores(average, pictures, device) for pictures in validation])
        if loss < best_loss:
            best, best_loss, best_step = copy.deepcopy(average.state_dict()), float(loss), step
    network.load_state_dict(best)
    return best_step


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move weights and statistics of `average` towards those of `network`."""
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        mine.copy_(torch.lerp(theirs, mine, decay) if mine.is_floating_point() else theirs)


def _draw_batch(training: list[Tensor], draws: torch.Generator) -> Tensor:
    """Real pictures of both domains, spoilt ones, and early translations, all degraded."""

    def some(label: int, count: int) -> Tensor:
        return training[label][torch.randint(len(training[label]), (count,), generator=draws)]

    half = SPOILT // 2
    pictures = torch.cat([some(0, half), some(1, half)])
    others = torch.cat([some(1, half), some(0, half)])
    # Spoilt after the degradation, which would else soften it
    spoilt = corrupt(augment(pictures, draws), others, draws)
    clean = augment(torch.cat([some(0, REALS), some(1, REALS), some(NEITHER, EARLY)]), draws)
    return torch.cat([clean, spoilt])


def _loss(scores: list[Tensor]) -> Tensor:
    """Cross entropy of the scores of each class, all classes with one weight."""
    return torch.stack(
        [F.cross_entropy(some, torch.full((len(some),), label)) for label, some in enumerate(scores)]
    ).mean()


def _temperature(scores: list[Tensor]) -> float:
    """The temperature that minimises the cross entropy, between 1/4 and 4."""
    tried = [2 ** (exponent / 8) for exponent in range(-16, 17)]
    return min(tried, key=lambda temperature: float(_loss([some / temperature for some in scores])))


def calibration(probabilities: list[Tensor]) -> dict[str, Any]:
    """Reliability curve and expected calibration error of N × 3 probabilities, by true class.

    The curve has a row per tenth of confidence: mean confidence, share classified correctly, number of pictures
    (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
    """
    surest = [some.double().max(dim=1) for some in probabilities]
    confidence = torch.cat([each.values for each in surest])
    right = torch.cat([(each.indices == label).double() for label, each in enumerate(surest)])
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    rows = [(confidence[bins == index], right[bins == index]) for index in range(BINS)]
    curve = [[float(sure.mean()), float(correct.mean()), len(sure)] for sure, correct in rows if len(sure)]
    error = sum(abs(sure - correct) * count for sure, correct, count in curve) / len(confidence)
    return {
        "calibration_error": error,
        "reliability": [[round(sure, 4), round(correct, 4), n] for sure, correct, n in curve],
    }


def _as_many(pictures: Tensor, like: Tensor) -> Tensor:
    """The first pictures, repeated if need be, as many as in `like`."""
    return pictures[torch.arange(len(like)) % len(pictures)]


def augment(pictures: Tensor, draws: torch.Generator) -> Tensor:
    """Crop, mirror and degrade each of uint8 N × 3 × S × S pictures at random; uint8 again, as a file holds it."""
    count = len(pictures)

    def random(low: float = 0.0, high: float = 1.0) -> Tensor:
        return uniform(count, draws, low, high)

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
def _scores(network: nn.Module, pictures: Tensor, device: torch.device) -> Tensor:
    network.eval()
    return torch.cat([network(batch.to(device)).cpu() for batch in pictures.split(256)])
