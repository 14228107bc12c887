"""Periodic evaluation during training, which chooses the best generators and stops early.

Every --evaluate-every steps the generators translate held-out pictures, with the figures of `cyclegan evaluate`. Each
held-out picture of a domain takes eight translations (forward, back, back with noise, and identity, both ways); a step
of batch 1 takes six, with gradients, which cost three times as much. With 128 pictures of each domain an evaluation
costs 40 to 50 steps. It changes nothing of the training: no weight, no random draw.
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
from cyclegan.evaluation.features.classifier import DOMAINS, FEWEST, MOST, DomainClassifier, find_classifier
from cyclegan.evaluation.gallery import FILE as GALLERY
from cyclegan.evaluation.gallery import write_gallery
from cyclegan.evaluation.image_set import ImageSet, batch_size
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.evaluation.printing import summary_line
from cyclegan.evaluation.protocol import chosen_on
from cyclegan.evaluation.selection import parse_criteria, read_best
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
    sets: PictureSets | None = None  # that hold the truths of aligned pairs
    step: int = 0  # of the last evaluation
    _judge: DomainClassifier | None = None
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
            figures = self._measure(generators, stop)
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
            self._record(step, figures, generators, info, tracker)
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
                judge, engines = self._find_judge(), self._engines(generators)
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
        self, step: int, figures: dict[str, float], generators: nn.ModuleDict, info: dict[str, Any], tracker: Recorder
    ) -> None:
        values = {criterion.name: criterion.value(figures) for criterion in self.best.criteria}
        comparison = ", ".join(self.best.compare(step, values))
        sure = self._judge is None or self._judge.is_sure
        shares = f"{summary_line(figures, self.names, tuple(generators))}; " if sure else ""
        log.info("step %d: %s%s", step, shares, comparison)
        tracker.log(step, {f"evaluation/{name}": value for name, value in (figures | values).items()})
        best = self.ranks.on_rank_zero(lambda: self.best.keep(step, values, figures, generators, info))
        if best is not None:
            tracker.model(step, best, best=True)
        # Another rank may have other figures, by a judge of its own where there is no common cache
        self.best.load_state_dict(self.ranks.on_rank_zero(self.best.state_dict))
        self.step = step

    def _measure(self, generators: nn.ModuleDict, stop: Stopping) -> dict[str, float]:
        if self.ranks.all_reduce_max(bool(stop)) or not self.ranks.on_rank_zero(lambda: self._ready(generators, stop)):
            raise StopRequested
        self._find_judge()  # on the other ranks
        require_same(self.held_out.values(), self.ranks)
        engines = {
            way: ShardedTranslator(engine, stop, self.ranks) for way, engine in self._engines(generators).items()
        }
        with uncompiled(generators):
            figures = self._find_evaluator(generators).measure(engines)
        for images in self.training.values():
            images.forget()  # the evaluator has kept their features
        return self.ranks.on_rank_zero(lambda: figures)

    def _ready(self, generators: nn.ModuleDict, stop: Stopping) -> bool:
        """Prepare the evaluator, minutes at the first time; whether that ended before a request to stop."""
        try:
            with interruptible(stop):
                self._find_evaluator(generators)
        except Interrupted:
            return False
        except (OSError, torch.OutOfMemoryError) as error:  # of rank 0, which the others must hear of
            raise CycleganError(str(error)) from error
        return True

    def _find_judge(self) -> DomainClassifier:
        """The judge, trained or from the cache, at the first evaluation: a run that ends before needs none."""
        if self._judge is None:
            # Seed 0, as in the command, so that runs of different seeds have the same judge
            self._judge = find_classifier(self.training, device=self.device)
            if not self._judge.is_sure:
                log.warning(
                    "the judge classifies only %.0f %% of real pictures correctly, so its figures mean little",
                    100 * self._judge.accuracy,
                )
            self.best.begin({"judge": self._judge.sha256, "chosen_on": self._chosen_on})
        return self._judge

    def _find_evaluator(self, generators: nn.ModuleDict) -> Evaluator:
        if self._evaluator is None:
            tools = Tools(self._find_judge().extractor(), self._judge, batch=self.batch)
            directions = map(Direction.parse, generators)
            truths = {} if self.sets is None else paired_truths(self.sets, self.held_out, directions)
            self._evaluator = Evaluator(tools, generators, self.held_out, self.training, truths)
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

    Where no judge can be trained there is none, which one line of the log says. Raises `UsageError` for a --metric
    that cannot choose, and for a --patience without evaluations; `CycleganError` for a damaged best.json.
    """
    config, directions = run.config, tuple(run.method.generators)
    criteria = parse_criteria(config.metric, directions)
    if not config.evaluate_every or run.steps < config.evaluate_every:
        return NoEvaluation()
    size = config.crop_size
    held_out = {domain: ImageSet.of(some, size, config.evaluate_pictures) for domain, some in run.sets.test.items()}
    training = {domain: ImageSet.of(some, size, MOST) for domain, some in run.sets.train.items()}
    obstacle = next(obstacles(config, run.kinds, held_out, training), None)
    if obstacle is not None and config.patience:
        raise UsageError(
            f"--patience {config.patience} counts evaluations, and there can be none: {obstacle}; leave it out"
        )
    if obstacle is not None:
        log.info("no evaluation while training: %s", obstacle)
        return NoEvaluation()
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
        sets=run.sets,
    )


def _step_of(gallery: Path) -> int | None:
    """The step of a gallery, None where there is no valid one."""
    try:
        return int(json.loads(gallery.read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


FEWEST_HELD_OUT = 2  # one picture has no distribution to compare


def obstacles(
    config: TrainConfig, kinds: InputKinds, held_out: Mapping[str, ImageSet], training: Mapping[str, ImageSet]
) -> Iterator[str]:
    """Reasons for which there can be no evaluation, each a clause. Reads headers, and nothing else."""
    if len(training) != DOMAINS:
        yield f"a judge tells {DOMAINS} domains apart, and there are pictures of {len(training)}"
    for domain in held_out:
        name, known, asked = domain.upper(), training[domain], held_out[domain]
        if kinds[domain].depends_on != InputKind().depends_on:
            yield f"the judge sees 8-bit RGB of --range full, and the pictures of {name} are shown otherwise"
        if len(known) < FEWEST:
            yield f"{len(known)} training pictures of {name} are too few to train a judge, which needs {FEWEST}"
        if len(asked) < FEWEST_HELD_OUT:
            yield f"{len(asked)} pictures of {name} are held out, and it takes {FEWEST_HELD_OUT}; see --holdout"
        # Scaled pictures are decoded whole anyway; those that crops are cut from may be slides of many GB
        if not config.load_size and any(map(_is_large, (*known.paths(), *asked.paths()))):
            yield f"pictures of {name} are so large that they are read in parts, and a judge sees whole ones"


def _is_large(path: Path) -> bool:
    try:
        return is_large(read_header(path))
    except UnreadableImage:  # skipped with a warning when it is read
        return False
