"""A model under evaluation, with the pictures that its run held out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cyclegan.config import PICTURE_FOLDERS, TrainConfig, resolve
from cyclegan.config.safe_yaml import read_run_config
from cyclegan.data.pairing import PAIRINGS
from cyclegan.data.sets import PictureSets
from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.paired import matched
from cyclegan.evaluation.protocol import chosen_on
from cyclegan.evaluation.selection import read_best
from cyclegan.models import Model, is_run, load_model
from cyclegan.system.files import file_sha256
from cyclegan.translation import Translator
from cyclegan.translation.noise import NoiseSampler

log = logging.getLogger("cyclegan")

# One 2 with letters on both sides, so that a number in a name, as in batch2 or set_2_b, does not split it
_PAIR = re.compile(r"(?P<a>[^2]*[^\W\d_])2(?P<b>[^\W\d_][^2]*)")


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its pictures, and its run if it has one."""

    model: Model
    sets: PictureSets
    names: Mapping[str, str]  # of the domains
    run: Path | None
    which: str  # "last" of a run, "best by …", or "as named"
    entry: Mapping[str, Any] = field(default_factory=dict)  # of the best: theirs in best.json

    def engines(self, device: str, precision: str) -> dict[str, Translator | NoiseSampler]:
        """Build an engine for each direction; `UsageError` for a generator whose input is not RGB."""
        engines: dict[str, Translator | NoiseSampler] = {}
        generators: Mapping[str, Any] = self.model.generators
        for key, generator in generators.items():
            if Direction.parse(key).from_noise:
                engines[key] = NoiseSampler(generator, device=device, precision=precision)
                continue
            engines[key] = engine = Translator(generator, device=device, precision=precision, info=self.model.info)
            if engine.in_channels != 3:
                raise UsageError(f"MODEL: it takes pictures of {engine.in_channels} channels, but evaluation needs 3")
        return engines

    def checkpoint(self) -> dict[str, Any]:
        """Protocol entry of the measured file; of the best with the pictures and the evaluations that chose it."""
        path, step = self.model.path, self.model.info.get("step")
        protocol: dict[str, Any] = {"file": str(path), "which": self.which, "step": step, "sha256": file_sha256(path)}
        if {"recent", "spread"} <= self.entry.keys():
            # Runs of before did not count their evaluations
            names = [name for name in ("value", "recent", "spread", "evaluations") if name in self.entry]
            protocol["in_training"] = {name: self.entry[name] for name in names}
        if (chosen := self.entry.get("chosen_on")) is not None:
            counts = {domain: entry["count"] for domain, entry in chosen.items()}
            # Only their names are compared, so any size will do
            current = {domain: ImageSet.of(self.sets.test[domain], 1, count) for domain, count in counts.items()}
            protocol["chosen_on"] = {**counts, "these": chosen_on(current) == chosen}
        return protocol

    def best(self) -> dict[str, EvaluatedModel]:
        """Load the best generators of the run by criterion, without damaged ones."""
        assert self.run is not None
        found = {}
        for metric, entry in read_best(self.run).items():
            try:
                model = load_model(self.run / entry["file"])
            except CycleganError as error:
                log.warning("skipped: %s", error)
                continue
            found[metric] = replace(self, model=model, which=f"best by {metric}", entry=entry)
        return found

    def has_the_weights_of(self, other: EvaluatedModel) -> bool:
        """True if all weights are equal, as those of the best and the last may be."""
        mine, theirs = (nn.ModuleDict(each.model.generators).state_dict() for each in (self, other))
        return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def paired_truths(
    sets: PictureSets, held_out: Mapping[str, ImageSet], directions: Iterable[Direction]
) -> dict[str, ImageSet]:
    """True translations by direction: the partners of `held_out`, in the same order; empty for unpaired data."""
    found: dict[str, ImageSet] = {}
    for direction in directions if PAIRINGS[sets.pairing].whole else ():
        if direction.source in held_out:
            inputs, partners = held_out[direction.source], sets.test[direction.target]
            names = matched(inputs.read().names, partners.names, partners.root, "MODEL")  # without unreadable inputs
            found[direction.key] = ImageSet(partners.root, names, inputs.size, whole=True)
    return found


def domain_names(config: TrainConfig, domains: Sequence[str]) -> dict[str, str]:
    """Names of the domains from --a and --b, or the name of --data; else A and B.

    A folder `horse2zebra` gives horse and zebra, unchanged and in any language.
    """
    pair = _PAIR.fullmatch(Path(config.data).name) if config.data else None
    words = pair.groupdict() if pair else {}
    folders = {domain: config.folder(domain) for domain in domains}
    return {d: Path(folder).name if folder else words.get(d, d.upper()) for d, folder in folders.items()}


def load_evaluated_model(
    path: Path, places: Mapping[str, str | None], sets_of: Callable[[TrainConfig], PictureSets]
) -> EvaluatedModel:
    """Load a model with the pictures of its run, or those of `places`, by option.

    `sets_of` finds the pictures of a configuration, as its method reads them. Raises `UsageError` for a file that is
    not a model, a model with neither a run nor `places`, and missing pictures.
    """
    model = load_model(path)
    folders = (path, path.absolute().parent.parent)
    run = next((folder for folder in folders if is_run(folder) and (folder / "config.yaml").is_file()), None)
    given = {name: value for name, value in places.items() if value is not None}
    if run is not None:
        kept = ("holdout", "method") if given else (*PICTURE_FOLDERS, "holdout", "method")
        stored = {name: value for name, value in _config(run).items() if name in kept}
    elif given:
        stored = {"method": model.info.get("method", TrainConfig.method)}
    else:
        raise UsageError(
            f"MODEL: {path} is not in a run, so nothing says what it is measured on; give --data DIR, or --a and --b"
        )
    config = resolve([stored | given])
    try:
        sets = sets_of(config)
    except UsageError as error:
        if given or run is None:
            raise
        raise UsageError(
            f"{error} (as {run / 'config.yaml'} says; if they have moved, give --data, or --a and --b)"
        ) from None
    names = domain_names(config, tuple(sets.train))
    metric = None if is_run(path) else model.info.get("best_by")
    if metric is None:
        return EvaluatedModel(model, sets, names, run, "last" if is_run(path) else "as named")
    entry = {} if run is None else read_best(run).get(metric, {})
    return EvaluatedModel(model, sets, names, run, f"best by {metric}", entry)


def _config(run: Path) -> dict[str, Any]:
    try:
        return read_run_config(run)
    except (OSError, ValueError):
        file = run / "config.yaml"
        raise UsageError(f"{file} is damaged; give --data DIR, or --a and --b, to say what to measure on") from None
