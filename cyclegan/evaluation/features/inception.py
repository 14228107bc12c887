"""The Inception-v3 of FID: the network of 2015 with the weights of pytorch-fid.

Published figures are based on the weights of one TensorFlow file. Its network differs from torchvision's in the
pooling alone: averages leave the padding out, and the last block takes the maximum. The layout of the weights is that
of pytorch-fid (https://github.com/mseitzer/pytorch-fid), as is the scaling to 299 pixels: bilinear, not antialiased.
"""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import inception

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.evaluation.features.weights_files import fill, read_weights
from cyclegan.system.files import atomic_write, cache_folder

ADDRESS = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BYTES = 95_628_359
VARIABLE = "CYCLEGAN_INCEPTION"
SIDE = 299
CLASSES = 1008  # of the file; the last layer is loaded and not used
_PIECE = 2**20  # bytes fetched at a time
_TIMEOUT_S = 30  # without data from the server

log = logging.getLogger("cyclegan")


# Mean over 3 × 3 pixels, at the border over those inside the picture
_average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class _BlockA(inception.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_average(x)),
        ]


class _BlockC(inception.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(_average(x)),
        ]


class _BlockE(inception.InceptionE):
    pool: Callable[[Tensor], Tensor] = staticmethod(_average)

    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(single), self.branch3x3_2b(single)], 1),
            torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1),
            self.branch_pool(self.pool(x)),
        ]


class _LastBlock(_BlockE):
    pool = staticmethod(partial(F.max_pool2d, kernel_size=3, stride=1, padding=1))


class FIDInception(inception.Inception3):
    """N × 3 × 299 × 299 in [-1, 1] -> 1008 classes; once `fc` is an identity, the 2048 features of FID."""

    def __init__(self) -> None:
        super().__init__(num_classes=CLASSES, aux_logits=False, init_weights=False)
        self.Mixed_5b = _BlockA(192, pool_features=32)
        self.Mixed_5c = _BlockA(256, pool_features=64)
        self.Mixed_5d = _BlockA(288, pool_features=64)
        self.Mixed_6b = _BlockC(768, channels_7x7=128)
        self.Mixed_6c = _BlockC(768, channels_7x7=160)
        self.Mixed_6d = _BlockC(768, channels_7x7=160)
        self.Mixed_6e = _BlockC(768, channels_7x7=192)
        self.Mixed_7b = _BlockE(1280)
        self.Mixed_7c = _LastBlock(2048)


def load_inception(weights: Path) -> nn.Module:
    """Load the network with `weights`, in evaluation mode; N × 3 × 299 × 299 in [-1, 1] -> N × 2048.

    Raises `UsageError` for a file that is missing or holds something else; no code in it is run.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights are random, and a trainer may be the caller
        network = FIDInception()
    fill(network, read_weights(weights, "--features inception"), weights, "--features inception")
    network.fc = nn.Identity()
    return network.eval()


def prepare(pictures: Tensor) -> Tensor:
    """uint8 NCHW -> the input of the network, scaled as by pytorch-fid."""
    scaled = F.interpolate(pictures.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return scaled * 2 - 1


def find_weights(given: Path | None, *, download: bool) -> Path:
    """Path of the weights: `given`, else $CYCLEGAN_INCEPTION, else a file downloaded before, or now.

    Without `download` nothing is ever fetched; a `UsageError` names the remedies.
    """
    if given is None and os.environ.get(VARIABLE):
        given = Path(os.environ[VARIABLE])
    if given is not None:
        return given
    kept = cache_folder() / "inception" / Path(ADDRESS).name
    if kept.is_file():
        return kept
    if not download:
        raise UsageError(
            f"--features inception: its weights ({BYTES / 1e6:.0f} MB) are not here; give --download to fetch them, "
            f"name a copy of {kept.name} by --weights or {VARIABLE}, or use --features judge, which needs none"
        )
    _download(kept)
    return kept


def _download(target: Path, address: str = ADDRESS, digest: str = SHA256) -> None:
    """Fetch `address` to `target`, complete and with the given digest, or not at all."""
    log.info("fetching %s", address)
    hasher, pieces, received = hashlib.sha256(), [], 0
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:
            total = int(response.headers.get("Content-Length") or 0) or BYTES
            tenths = 0
            while piece := response.read(_PIECE):
                received += len(piece)
                hasher.update(piece)
                pieces.append(piece)
                if received * 10 // total > tenths:
                    tenths = received * 10 // total
                    log.info("%d of %d MB", received // 10**6, total // 10**6)
    except OSError as error:  # no network, no such file, a connection that broke
        raise CycleganError(
            f"--download: {address} could not be fetched ({error}); fetch it elsewhere and name it by --weights"
        ) from error
    if hasher.hexdigest() != digest:
        raise CycleganError(
            f"--download: the file from {address} has the SHA-256 {hasher.hexdigest()}, not {digest}; it was discarded"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, *pieces)
    except OSError as error:
        raise CycleganError(
            f"--download: cannot write {target} ({reason_of(error).lower()}); name another place by CYCLEGAN_CACHE"
        ) from error
