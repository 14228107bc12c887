"""What `cyclegan evaluate MODEL` measures: a model, and the pictures that its run held out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cyclegan.config import PICTURE_FOLDERS, TrainConfig, resolve
from cyclegan.config.safe_yaml import read_run_config
from cyclegan.data.pairing import PAIRINGS
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.paired import by_stem, matched
from cyclegan.evaluation.protocol import chosen_on
from cyclegan.evaluation.selection import read_best
from cyclegan.models import Model, is_run, load_model
from cyclegan.system.files import file_sha256
from cyclegan.translation import Translator
from cyclegan.translation.noise import NoiseSampler

log = logging.getLogger("cyclegan")

# one 2 with letters on both sides, so that a number in a name, as in batch2 or set_2_b, divides nothing
_PAIR = re.compile(r"(?P<a>[^2]*[^\W\d_])2(?P<b>[^\W\d_][^2]*)")


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, the pictures it is measured on, and the folder of its run where it has one."""

    model: Model
    domains: PictureSets
    config: TrainConfig
    run: Path | None
    which: str  # "last" of a run, "best by …", or "as named"
    chosen: Mapping[str, Any] | None = None  # of the best, which pictures they were chosen on, as best.json has it

    @property
    def names(self) -> dict[str, str]:
        """What to call the domains."""
        return domain_names(self.config, tuple(self.domains.train))

    def size(self) -> int:
        """The side of the squares that the model learned from."""
        return int(self.model.info.get("crop_size", 256))

    def engines(self, device: str, precision: str) -> dict[str, Translator | NoiseSampler]:
        """An engine for each direction of the model; `UsageError` for one that takes other than RGB."""
        return {key: self._engine(key, device, precision) for key in self.model.generators}

    def truths(self, held_out: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
        """The right translations of `held_out` by direction, where the pictures come in pairs."""
        return paired_truths(self.domains, held_out, map(Direction.parse, self.model.generators))

    def _engine(self, key: str, device: str, precision: str) -> Translator | NoiseSampler:
        generator: Any = self.model.generators[key]
        if Direction.parse(key).from_noise:
            return NoiseSampler(generator, device=device, precision=precision)
        engine = Translator(generator, device=device, precision=precision, info=self.model.info)
        if engine.in_channels != 3:
            raise UsageError(
                f"MODEL: it takes pictures of {engine.in_channels} channels, and what is measured here has 3"
            )
        return engine

    def checkpoint(self) -> dict[str, Any]:
        """The file that was measured, for the protocol."""
        path = self.model.path
        said: dict[str, Any] = {
            "file": str(path),
            "which": self.which,
            "step": self.model.info.get("step"),
            "sha256": file_sha256(path),
        }
        if self.chosen is not None:
            counts = {domain: about["count"] for domain, about in self.chosen.items()}
            said["chosen_on"] = {**counts, "these": self._chosen_on_these()}
        return said

    def best(self) -> dict[str, EvaluatedModel]:
        """The best generators that the run has kept, by what they are the best; damaged ones are passed over."""
        assert self.run is not None
        found = {}
        for metric, entry in read_best(self.run).items():
            try:
                model = load_model(self.run / entry["file"])
            except CycleganError as error:
                log.warning("passed over: %s", error)
                continue
            found[metric] = replace(self, model=model, which=f"best by {metric}", chosen=entry.get("chosen_on"))
        return found

    def is_the_same_as(self, other: EvaluatedModel) -> bool:
        """Whether both models have the same weights, as the best one and the last one may."""
        mine, theirs = (nn.ModuleDict(subject.model.generators).state_dict() for subject in (self, other))
        return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())

    def held_out(self, size: int, most: int | None) -> dict[str, ImageSet]:
        """The held-out pictures by domain, as squares; `UsageError` where a run has held none out."""
        return self._squares(self.domains.test, size, most, "held out")

    def training(self, size: int, most: int) -> dict[str, ImageSet]:
        """`most` of the pictures learned from by domain, those that drew the lowest lots."""
        return self._squares(self.domains.train, size, most, "learned from")

    def _chosen_on_these(self) -> bool:
        """Whether the best were chosen on some of the pictures that are held out here, or, if not surely, False."""
        assert self.chosen is not None
        held_out = self.domains.test
        here = {d: ImageSet.of(held_out[d], self.size(), about["count"]) for d, about in self.chosen.items()}
        return chosen_on(here) == self.chosen

    def _squares(self, found: Mapping[str, FileList], size: int, most: int | None, what: str) -> dict[str, ImageSet]:
        for domain, pictures in found.items():
            if not len(pictures):
                raise UsageError(
                    f"no pictures of {domain.upper()} are {what}; give other ones by --test-{domain}, or train with a "
                    "--holdout"
                )
        return {domain: ImageSet.of(pictures, size, most) for domain, pictures in found.items()}


def paired_truths(
    sets: PictureSets, held_out: Mapping[str, ImageSet], directions: Iterable[Direction]
) -> dict[str, ImageSet]:
    """The right translations by direction: the partners of `held_out`, in their order. None where nothing is paired."""
    if not PAIRINGS[sets.pairing].whole:
        return {}
    found = {}
    for direction in directions:
        if direction.source in held_out:
            inputs, partners = held_out[direction.source], sets.test[direction.target]
            by_name = by_stem(partners.names, partners.root, "MODEL")
            names = matched(inputs.names, by_name, partners.root, "MODEL")
            found[direction.key] = ImageSet(partners.root, names, inputs.size, whole=True)
    return found


def domain_names(config: TrainConfig, domains: Sequence[str]) -> dict[str, str]:
    """What to call the domains: the folders of --a and --b, the two words in the name of a --data, or A and B.

    A folder `horse2zebra` has horse and zebra in it; the words are left as they are, in whatever language.
    """
    pair = _PAIR.fullmatch(Path(config.data).name) if config.data else None
    words = pair.groupdict() if pair else {}
    folders = {domain: config.folder(domain) for domain in domains}
    return {d: Path(folder).name if folder else words.get(d, d.upper()) for d, folder in folders.items()}


def load_evaluated_model(
    path: Path, places: Mapping[str, str | None], sets_of: Callable[[TrainConfig], PictureSets]
) -> EvaluatedModel:
    """The model in `path` with the pictures of its run, or those that `places`, by option, name.

    `sets_of` finds the pictures of a configuration, as its method reads them. Raises `UsageError` for what is no model,
    has no run beside it and no places given, or whose pictures have gone.
    """
    model = load_model(path)
    run = _run_of(path)
    given = {name: value for name, value in places.items() if value is not None}
    stored: dict[str, Any] = {}
    if run is not None:
        kept = (*PICTURE_FOLDERS, "holdout", "method")
        stored = {name: value for name, value in _config(run).items() if name in kept}
    elif not given:
        raise UsageError(
            f"MODEL: {path} is not in a run, so nothing says what it is measured on; give --data DIR, or --a and --b"
        )
    else:
        stored = {"method": model.info.get("method", TrainConfig.method)}
    if given:
        stored = {name: value for name, value in stored.items() if name not in PICTURE_FOLDERS} | given
    config = resolve([stored])
    try:
        domains = sets_of(config)
    except UsageError as error:
        if given or run is None:
            raise
        raise UsageError(
            f"{error} (as {run / 'config.yaml'} says; if they have moved, give --data, or --a and --b)"
        ) from None
    if is_run(path):
        return EvaluatedModel(model, domains, config, run, "last")
    metric = model.info.get("best_by")
    chosen = None
    if metric is not None and run is not None:
        chosen = read_best(run).get(metric, {}).get("chosen_on")
    return EvaluatedModel(model, domains, config, run, f"best by {metric}" if metric else "as named", chosen)


def _run_of(path: Path) -> Path | None:
    for folder in (path, path.absolute().parent.parent):
        if is_run(folder) and (folder / "config.yaml").is_file():
            return folder
    return None


def _config(run: Path) -> dict[str, Any]:
    try:
        return read_run_config(run)
    except (OSError, ValueError):
        file = run / "config.yaml"
        raise UsageError(f"{file} is damaged; give --data DIR, or --a and --b, to say what to measure on") from None
