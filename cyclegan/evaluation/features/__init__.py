"""Feature extractors: networks whose features the metrics compare."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cyclegan.errors import CycleganError, UsageError, did_you_mean
from cyclegan.evaluation.features.efficientnet_lite import (
    HALF_RANGE,
    MIDDLE,
    VARIANTS,
    VERSION,
    EfficientNetLite,
    load_lite,
)
from cyclegan.evaluation.features.program_files import load_program
from cyclegan.evaluation.features.weights_files import fill, read_weights
from cyclegan.system.files import file_sha256

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation
BACKBONE_SIDE = 224
RANDOM = "random"
AUTO, JUDGE, LITE = "auto", "judge", "lite0"


@dataclass(frozen=True)
class Extractor:
    """A function of pictures: uint8 NCHW on any device -> features, float32 N × D on the CPU.

    `name`, `sha256` (of the weights file) and `how` (the preprocessing of pictures) are for the protocol: two figures
    can be compared only if all three agree. `lite` is the network, if it is one whose features give more: scores of
    ImageNet's classes, and maps of several resolutions.
    """

    name: str
    sha256: str
    how: str
    network: Callable[[Tensor], Tensor]
    prepare: Callable[[Tensor], Tensor]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    lite: EfficientNetLite | None = None
    slow: bool = False  # so that features of training pictures are kept on the disk

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        with _exactly(self.device):
            output: Any = self.network(self.prepare(pictures.to(self.device)))
        return check_features(output, len(pictures), self.name).float().cpu()


@contextlib.contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    """Context of true fp32: on a GPU the process may use TF32, whose three digits change FID."""
    if device.type != "cuda":
        yield
        return
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def check_features(output: Any, count: int, name: str) -> Tensor:
    """Check the output of an extractor: finite N × D for `count` pictures; feature maps are averaged over pixels."""
    if isinstance(output, tuple | list) and len(output) == 1:
        output = output[0]
    if not isinstance(output, Tensor) or output.ndim not in (2, 4) or len(output) != count:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"--features {name}: it gave {got} for {count} pictures; it has to give N × D or N × D × H × W features"
        )
    features = output.mean(dim=(2, 3)) if output.ndim == 4 else output
    if not features.isfinite().all():
        raise CycleganError(f"--features {name}: it returned features that are not finite; use another extractor")
    return features


@dataclass(frozen=True)
class Wanted:
    """A request for an extractor: `--features`, and the options that go with it."""

    name: str
    weights: Path | None = None
    download: bool = False
    random: bool = False
    trust: bool = False
    seed: int = 0


def load_extractor(wanted: Wanted, device: torch.device) -> Extractor:
    """Load what `--features` names: a name in EXTRACTORS, a network of torchvision, or a file; else `UsageError`.

    The judge is not among them, as it needs training pictures; see `cyclegan.evaluation.features.classifier`.
    """
    if wanted.name in EXTRACTORS:
        return EXTRACTORS[wanted.name](wanted, device)
    if wanted.name in _backbones():
        return _backbone(wanted, device)
    path = Path(wanted.name)
    if path.suffix or "/" in wanted.name or path.exists():
        network, kind = load_program(path, device, trust=wanted.trust)
        return Extractor(path.name, file_sha256(path), f"{kind}, given [0, 1]", network, _in_zero_one, device)
    hint = did_you_mean(wanted.name, [AUTO, JUDGE, *EXTRACTORS, *_backbones()])
    raise UsageError(
        f"--features: {wanted.name!r} is neither a file nor a known network{hint if 'did you mean' in hint else ''}; "
        f"use {AUTO}, {JUDGE}, {', '.join(EXTRACTORS)}, a network of torchvision such as resnet50, or a TorchScript or "
        "torch.export file"
    )


def _inception(wanted: Wanted, device: torch.device) -> Extractor:
    from cyclegan.evaluation.features import inception

    path = inception.find_weights(wanted.weights, download=wanted.download)
    network = inception.load_inception(path).to(device)
    digest = file_sha256(path)
    known = "the weights of FID" if digest == inception.SHA256 else "weights of your own, not those of FID"
    how = f"bilinear to {inception.SIDE} px without antialiasing, as pytorch-fid; {known}"
    return Extractor("inception", digest, how, network, inception.prepare, device, slow=True)


def lite_extractor(name: str, device: torch.device, weights: Path | None = None, option: str = "") -> Extractor:
    """EfficientNet-Lite `name` with its 1280 features; `option`, for errors, is `--features` unless another is given.

    Without `weights` those of an installed package; `UsageError` if they are missing or damaged.
    """
    option, variant = option or f"--features {name}", VARIANTS[name]
    path = weights or variant.find_weights(option)
    network, digest = load_lite(name, path, option).to(device), file_sha256(path)
    known = f"{variant.package} {VERSION}"
    origin = f"the weights of {known}" if digest == variant.sha256 else f"weights of your own, not those of {known}"
    range_ = f"less {MIDDLE:g} and divided by {HALF_RANGE:g}"
    how = f"bicubic to {variant.side} px, antialiased, 8 bits, {range_}; mean of the last convolution; {origin}"
    return Extractor(name, digest, how, network.features, variant.prepare, device, network, slow=True)


EXTRACTORS: dict[str, Callable[[Wanted, torch.device], Extractor]] = {
    "inception": _inception,
    **dict.fromkeys(VARIANTS, lambda wanted, device: lite_extractor(wanted.name, device, wanted.weights)),
}


def choose(name: str) -> str:
    """Features that `--features` means: `auto` is lite0 where its package is installed, else the judge's.

    A damaged package counts as installed, so that loading it is an error and no silent change of features.
    """
    if name != AUTO:
        return name
    return JUDGE if VARIANTS[LITE].folder is None else LITE


def _backbones() -> list[str]:
    from torchvision import models

    return models.list_models(module=models)


def _backbone(wanted: Wanted, device: torch.device) -> Extractor:
    """A classifier of torchvision, whose features are the input of its last linear layer."""
    from torchvision import models

    if wanted.weights is None and not wanted.random:
        raise UsageError(
            f"--features {wanted.name}: give its weights by --weights FILE (a state_dict, as torchvision has them), "
            "or --random-features for untrained ones, whose figures compare with nothing but themselves"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(wanted.seed)
        options = {"init_weights": False} if wanted.name in ("googlenet", "inception_v3") else {}
        network: nn.Module = models.get_model(wanted.name, weights=None, **options)
    digest = f"{RANDOM}, seed {wanted.seed}"
    if wanted.weights is not None:
        option = f"--features {wanted.name}"
        fill(network, read_weights(wanted.weights, option), wanted.weights, option)
        digest = file_sha256(wanted.weights)
    if not _cut(network):
        raise UsageError(f"--features {wanted.name}: it does not end in a linear layer; use another")
    how = f"bilinear to {BACKBONE_SIDE} px, antialiased, normalised as for ImageNet; the input of the last linear layer"
    return Extractor(wanted.name, digest, how, network.eval().to(device), _as_for_imagenet, device)


def _cut(network: nn.Module) -> bool:
    """Replace the last linear layer by an identity; False if there is none."""
    for name, module in reversed(list(network.named_modules())):
        if isinstance(module, nn.Linear):
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, nn.Identity())
            return True
    return False


def _as_for_imagenet(pictures: Tensor) -> Tensor:
    scaled = F.interpolate(
        pictures.float() / 255, (BACKBONE_SIDE, BACKBONE_SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    mean, std = (torch.tensor(values, device=pictures.device)[:, None, None] for values in IMAGENET)
    return (scaled - mean) / std


def _in_zero_one(pictures: Tensor) -> Tensor:
    return pictures.float() / 255
