"""The judge: a small classifier of our own that tells two domains apart.

It needs no network, and its figure says something plain: the share of pictures taken for the target. It learns once
per data set from real pictures of both. What comes before its last layer are features for FID, KID and distances.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
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
from cyclegan.evaluation.features.classifier_training import SIDE, ClassifierNetwork, resize, train_classifier
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.figures import SURE
from cyclegan.models import weights_sha256
from cyclegan.system.files import atomic_write, cache_folder

VERSION = 2  # of all that a cached judge depends on beside the pictures, the size and the seed
DOMAINS = 2  # that it tells apart
FEWEST = 10  # pictures of a domain: two to stop by, two to be marked with, the rest to learn from
MOST = 1000  # pictures of a domain it learns from: more make it slower to read them and hardly better

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class DomainClassifier:
    """Tells pictures of two domains apart.

    `accuracy` is the share told rightly, the mean over both domains, of real pictures that it neither learned from nor
    was stopped by; `about` is its protocol.
    """

    network: ClassifierNetwork
    accuracy: float
    sha256: str
    about: dict[str, Any]
    device: torch.device
    domains: tuple[str, str]

    @property
    def is_sure(self) -> bool:
        """True if it tells the domains apart well enough for its verdict to mean something."""
        return self.accuracy >= SURE

    @torch.inference_mode()
    def verdict(self, pictures: Tensor) -> Tensor:
        """Classify uint8 N × 3 × S × S pictures as of the second domain or not: N booleans, on the CPU."""
        return self.network.verdict(resize(pictures).to(self.device)).cpu()

    def share(self, verdicts: Tensor, domain: str) -> float:
        """The share of `verdicts` that are for `domain`."""
        return float(self._of(domain, verdicts.double().mean()))

    @torch.inference_mode()
    def probability(self, pictures: Tensor, domain: str) -> Tensor:
        """For each picture the probability that it is of `domain`, by it and its mirror image: N, float64.

        Of the second domain it is above one half where, and only where, `verdict` says so.
        """
        seen = resize(pictures).to(self.device)
        both = self.network(seen) + self.network(seen.flip(3))
        return self._of(domain, torch.sigmoid(both.double().cpu() / 2))

    def _of(self, domain: str, second: Tensor) -> Tensor:
        return (1 - second, second)[self.domains.index(domain)]

    def extractor(self) -> Extractor:
        """Its features, 256 of them, for FID, KID and distances."""
        how = f"bicubic to {SIDE} px, antialiased, 8 bits; what comes before the last layer of the judge"
        return Extractor("judge", self.sha256, how, self.network.features, resize, self.device)


def find_classifier(
    training: Mapping[str, ImageSet], *, seed: int = 0, device: torch.device | None = None
) -> DomainClassifier:
    """The judge of `training`, pictures of two domains: from the cache, or else a new one.

    It must never have seen what it is going to judge, so give training pictures and never held-out ones. They go the
    way of what it judges, as equal squares. Cached judges lie below `cyclegan.system.files.cache_folder()`, by
    the names, sizes and times of the files, the size of the squares and the seed; where that cannot be written to, it
    learns again next time. Raises `UsageError` for fewer than 10 pictures of a domain, and for one domain alone.
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
    network, about = _read(file) or _teach(a, b, seed, device, file)
    network.eval().requires_grad_(False).to(device)
    # Without types and shapes, as in all figures so far: they compare where this is the same
    digest = weights_sha256(network.state_dict(), kinds=False)
    return DomainClassifier(network, float(about["accuracy"]), digest, about, device, (first, last))


def _teach(
    a: ImageSet, b: ImageSet, seed: int, device: torch.device, file: Path
) -> tuple[ClassifierNetwork, dict[str, Any]]:
    """Train a judge, and keep it in `file` if that can be."""
    log.info(
        "teaching a judge to tell %s from %s by %d + %d pictures, once for this data set; some minutes on a processor",
        *(a.root, b.root, len(a), len(b)),
    )
    began = time.monotonic()
    pictures = [torch.cat([resize(batch) for batch in some.batches()]) for some in (a, b)]
    network, learned = train_classifier(*pictures, seed=seed, device=device)
    about = {"version": VERSION, **learned, "squares": a.size, "seconds": round(time.monotonic() - began, 1)}
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, save(tensors, {"about": json.dumps(about)}), durable=False)
    except OSError as error:
        log.warning("the judge could not be kept in %s (%s); it will learn anew", file.parent, reason_of(error))
    log.info("the judge tells %.1f %% of other pictures rightly", 100 * about["accuracy"])
    return network, about


def _read(file: Path) -> tuple[ClassifierNetwork, dict[str, Any]] | None:
    """A judge from the cache; None where there is none, or none that is whole."""
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            about = json.loads((opened.metadata() or {})["about"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and a trainer may be asking
            network = ClassifierNetwork()
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):  # not there, cut short, of another version
        return None
    return network, about


def _key(a: ImageSet, b: ImageSet, seed: int) -> str:
    """A name for all that a judge depends on. Times too: raw pixels have equal sizes whatever they show."""
    hasher = hashlib.sha256(f"{VERSION} {seed} {a.size} {b.size}\n".encode())
    for pictures in (a, b):
        for name, path in zip(pictures.names, pictures.paths(), strict=True):
            facts = (-1, -1)
            with contextlib.suppress(OSError):  # a link to nowhere is passed over in reading
                status = path.stat()
                facts = (status.st_size, status.st_mtime_ns)
            hasher.update(os.fsencode(name) + repr(facts).encode())
        hasher.update(b"\n")
    return hasher.hexdigest()[:40]
