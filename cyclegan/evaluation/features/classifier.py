"""The judge: a small classifier of pictures of one domain, of the other, and of neither.

It needs no download, and its figures have a plain meaning: the shares of pictures taken for the target and for neither
domain. It is trained once per data set, on real pictures of both domains and on failures made of them. What its last
layer sees, standardised by real pictures and of one length, are features for FID, KID and distances.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cyclegan.errors import UsageError, reason_of
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.classifier_training import (
    NEITHER,
    SIDE,
    ClassifierNetwork,
    resize,
    train_classifier,
)
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.figures import SURE
from cyclegan.models import weights_sha256
from cyclegan.system.files import atomic_write, cache_folder

VERSION = 3  # of everything that a cached judge depends on besides pictures, size and seed
DOMAINS = 2  # number that it tells apart
FEWEST = 10  # pictures of a domain: two for early stopping, two for the accuracy, the rest for training
MOST = 1000  # training pictures of a domain: more take longer to read and hardly improve it

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class DomainClassifier:
    """Classifier of pictures of two domains and of neither.

    `accuracy` is the share classified correctly, the mean over both domains, of real pictures used neither for training
    nor for early stopping; `protocol` describes its training and its calibration.
    """

    network: ClassifierNetwork
    accuracy: float
    sha256: str
    protocol: dict[str, Any]
    device: torch.device
    domains: tuple[str, str]

    @property
    def is_sure(self) -> bool:
        """True if it tells the domains apart well enough for its verdict to mean something."""
        return self.accuracy >= SURE

    @torch.inference_mode()
    def verdict(self, pictures: Tensor) -> Tensor:
        """Classify uint8 N × 3 × S × S pictures: N indices of domains, or `NEITHER`, on the CPU.

        A picture is of neither domain unless the probability of one is above one half.
        """
        surest = self._probabilities(pictures)[:, :NEITHER].max(dim=1)
        return surest.indices.where(surest.values > 0.5, torch.tensor(NEITHER))

    def share(self, verdicts: Tensor, domain: str | None) -> float:
        """The share of `verdicts` that are for `domain`, or for neither (None)."""
        label = NEITHER if domain is None else self.domains.index(domain)
        return float((verdicts == label).double().mean())

    @torch.inference_mode()
    def probability(self, pictures: Tensor, domain: str) -> Tensor:
        """Probability that each picture is of `domain`, from it and its mirror image: N, float64.

        It is above one half exactly where `verdict` is for that domain.
        """
        return self._probabilities(pictures)[:, self.domains.index(domain)]

    def _probabilities(self, pictures: Tensor) -> Tensor:
        return self.network.probabilities(resize(pictures).to(self.device)).cpu().double()

    def extractor(self) -> Extractor:
        """Extractor of its 256 features, for FID, KID and distances."""
        what = "what the last layer of the judge sees, in units of the spread of real pictures, of length √D"
        how = f"bicubic to {SIDE} px, antialiased, 8 bits; {what}"
        return Extractor("judge", self.sha256, how, self.network.features, resize, self.device)


def find_classifier(
    training: Mapping[str, ImageSet], *, seed: int = 0, device: torch.device | None = None
) -> DomainClassifier:
    """Load the judge of two domains from the cache, or train a new one on `training`.

    It must not have seen what it is going to judge, so give training pictures and never held-out ones. They are cropped
    and scaled like what it judges. Cached judges lie below `cyclegan.system.files.cache_folder()`, by the names, sizes
    and times of the files, the image size and the seed; if that folder is not writable, the judge is trained again next
    time. Raises `UsageError` for fewer than 10 pictures of a domain, and for one domain alone.
    """
    device = device or torch.device("cpu")
    if len(training) != DOMAINS:
        raise UsageError(
            f"the judge tells {DOMAINS} domains apart, and there are pictures of {len(training)}; use other "
            "--features, such as inception"
        )
    for pictures in training.values():
        if len(pictures) < FEWEST:
            raise UsageError(
                f"the judge needs at least {FEWEST} pictures of each domain to learn from, and {pictures.root} has "
                f"{len(pictures)}; use other --features, such as inception"
            )
    (first, a), (last, b) = training.items()
    file = cache_folder() / "judges" / f"{_key(a, b, seed)}.safetensors"
    network, protocol = _read(file) or _train(a, b, seed, device, file)
    network.eval().requires_grad_(False).to(device)
    # Without types and shapes, as in all evaluations so far: figures compare only if this digest is equal
    digest = weights_sha256(network.state_dict(), kinds=False)
    return DomainClassifier(network, float(protocol["accuracy"]), digest, protocol, device, (first, last))


def _train(
    a: ImageSet, b: ImageSet, seed: int, device: torch.device, file: Path
) -> tuple[ClassifierNetwork, dict[str, Any]]:
    """Train a judge, and store it in `file` if possible."""
    log.info(
        "training a judge to tell %s from %s on %d + %d pictures, once for this data set; minutes on a processor",
        *(a.root, b.root, len(a), len(b)),
    )
    began = time.monotonic()
    pictures = [torch.cat([resize(batch) for batch in images.batches()]) for images in (a, b)]
    network, facts = train_classifier(*pictures, seed=seed, device=device)
    protocol = {"version": VERSION, **facts, "squares": a.size, "seconds": round(time.monotonic() - began, 1)}
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, save(tensors, {"about": json.dumps(protocol)}), durable=False)
    except OSError as error:
        log.warning("the judge could not be stored in %s (%s); it will be trained again", file.parent, reason_of(error))
    log.info(
        "the judge classifies %.1f %% of other real pictures correctly, and finds %.1f %% of failures to be neither",
        100 * protocol["accuracy"],
        100 * protocol["neither"],
    )
    return network, protocol


def _read(file: Path) -> tuple[ClassifierNetwork, dict[str, Any]] | None:
    """Read a judge from the cache; None if it is missing or damaged."""
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            protocol = json.loads((opened.metadata() or {})["about"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        with torch.random.fork_rng(devices=[]):  # initial weights are random, and a trainer may be the caller
            network = ClassifierNetwork()
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):  # missing, cut short, of another version
        return None
    return network, protocol


def _key(a: ImageSet, b: ImageSet, seed: int) -> str:
    """Key of everything that a judge depends on."""
    facts = f"{VERSION} {seed} {a.size} {b.size}".encode()
    return hashlib.sha256(b"\n\n".join([facts, a.stamp(), b.stamp()])).hexdigest()[:40]
