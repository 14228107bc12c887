"""Evaluation while training: how good the translations are, which generators are the best, and when to stop.

Every --evaluate-every steps the generators translate held-out pictures, with the figures that `cyclegan evaluate`
gives. For each held-out picture of a domain they translate eight times (there, back, back with noise, and what is in
the domain already, both ways); a step of batch 1 does so six times, with gradients, which is three times as dear. With
128 pictures of each domain that comes to 40 to 50 steps. Nothing of the training changes: no weight, no random draw.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
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
from cyclegan.evaluation.evaluator import Evaluator, tasks_of
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
from cyclegan.training.distributed.ranks import LostError, Ranks, SingleProcess
from cyclegan.training.evaluation.best_model import BestModel
from cyclegan.training.evaluation.sharded import ShardedTranslator, Stopping, StopRequested, require_same
from cyclegan.training.signals import Interrupted, interruptible
from cyclegan.training.update.compilation import uncompiled
from cyclegan.translation import Translator

log = logging.getLogger("cyclegan")

# Pictures that go through a generator together for each one of a training step. Without gradients eight need less
# memory than a step keeps of one, so that a run which fits on a card goes on fitting.
AT_ONCE = 8
_TROUBLE = (CycleganError, OSError, torch.OutOfMemoryError)  # that costs a look and not the run


class PeriodicEvaluation:
    """Looks at the generators now and then, on `held_out` squares, by a judge that learns from `training` squares.

    `names` are those of the domains, `every` and `steps` say when to look, `batch` how many pictures go together. Each
    process of `ranks` translates a part; the first alone writes, and its figures decide.
    """

    def __init__(
        self,
        keeper: BestModel,
        held_out: Mapping[str, ImageSet],
        training: Mapping[str, ImageSet],
        names: Mapping[str, str],
        *,
        every: int,
        steps: int,
        device: torch.device,
        precision: str,
        batch: int,
        ranks: Ranks | None = None,
        truths: Mapping[str, ImageSet] | None = None,
    ) -> None:
        self.truths = truths
        self.keeper = keeper
        self.held_out = held_out
        self.training = training
        self.names = names
        self.every = every
        self.steps = steps
        self.device = device
        self.precision = precision
        self.batch = batch
        self.ranks = ranks or SingleProcess()
        self.step = 0  # of the last look
        self._chosen_on = chosen_on(held_out)  # before any of them turns out to be unreadable
        self._judge: DomainClassifier | None = None
        self._evaluator: Evaluator | None = None

    @property
    def exhausted(self) -> bool:
        """Whether nothing has become better for as long as --patience allows."""
        return self.keeper.exhausted

    def reason(self, step: int) -> str:
        """Why the run ends at `step`, and how it would go on; empty at its last step, which needs no reason."""
        return self.keeper.reason if self.exhausted and step < self.steps else ""

    def due(self, step: int) -> bool:
        """Whether it is time to look: at multiples of --evaluate-every and at the end, once."""
        return step > self.step and (step % self.every == 0 or step == self.steps)

    def evaluate(
        self, step: int, generators: nn.ModuleDict, info: dict[str, Any], tracker: Recorder, stop: Stopping = False
    ) -> float:
        """Measure `generators`, put on record and keep what is better; the seconds that it took.

        `info` goes into the files of generators. A look that fails, for want of readable pictures or of memory, is a
        warning and counts for nothing; one that is cut off by a request to stop is made up for when the run goes on.
        """
        began = time.perf_counter()
        try:
            figures = self._measure(generators, stop)
        except (StopRequested, Interrupted) as event:
            if self.ranks.world > 1 and isinstance(event, Interrupted):
                raise  # the others may be asking each other something else by now
            log.info("the evaluation of step %d is left for when the run goes on", step)
        except LostError:
            raise
        except _TROUBLE as error:
            if self.ranks.world > 1 and not getattr(
                error, "raised_on_all", False
            ):  # the others would wait for this process
                raise CycleganError(f"step {step} could not be evaluated ({error})") from error
            log.warning("step %d could not be evaluated (%s); training goes on", step, error)
        else:
            self._take_in(step, figures, generators, info, tracker)
            tracker.log(step, {"speed/evaluation_seconds": time.perf_counter() - began})
        return time.perf_counter() - began

    def finish(self, step: int, generators: nn.ModuleDict, tracker: Recorder, stop: Stopping = False) -> None:
        """The training is over: say why, if early, and leave a gallery of what the last generators make.

        A request to stop breaks that off; the next start makes up for it.
        """
        if reason := self.reason(step):
            log.info("ended at step %d of %d: %s", step, self.steps, reason)
        folder = self.keeper.run / "gallery"
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
        """The step of the last look, and what decides about the best and about the end."""
        return {"step": self.step, **self.keeper.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on; from the beginning, where the run was not evaluated so far."""
        if state:
            self.step = int(state["step"])
            self.keeper.load_state_dict(state)

    def _take_in(
        self, step: int, figures: dict[str, float], generators: nn.ModuleDict, info: dict[str, Any], tracker: Recorder
    ) -> None:
        values = {criterion.name: criterion.value(figures) for criterion in self.keeper.criteria}
        said = ", ".join(self.keeper.compare(step, values))
        log.info("step %d: %s; %s", step, summary_line(figures, self.names, tuple(generators)), said)
        tracker.log(step, {f"evaluation/{name}": value for name, value in (figures | values).items()})
        best = self.ranks.on_rank_zero(lambda: self.keeper.keep(step, values, figures, generators, info))
        if best is not None:
            tracker.model(step, best, best=True)
        # By a judge of its own, where there is no common cache, another process may have seen them otherwise
        self.keeper.load_state_dict(self.ranks.on_rank_zero(self.keeper.state_dict))
        self.step = step

    def _measure(self, generators: nn.ModuleDict, stop: Stopping) -> dict[str, float]:
        if self.ranks.all_reduce_max(bool(stop)) or not self.ranks.on_rank_zero(lambda: self._ready(generators, stop)):
            raise StopRequested
        self._find_judge()  # by the other processes
        require_same(self.held_out.values(), self.ranks)
        engines = {
            way: ShardedTranslator(engine, stop, self.ranks) for way, engine in self._engines(generators).items()
        }
        with uncompiled(generators):
            figures = self._find_evaluator(generators).measure(engines)
        for squares in self.training.values():
            squares.forget()  # of these the evaluator has kept the features
        return self.ranks.on_rank_zero(lambda: figures)

    def _ready(self, generators: nn.ModuleDict, stop: Stopping) -> bool:
        """Do what takes minutes the first time; whether that came to its end before a request to stop."""
        try:
            with interruptible(stop):
                self._find_evaluator(generators)
        except Interrupted:
            return False
        except (OSError, torch.OutOfMemoryError) as error:  # of the first process, which the others are to hear of
            raise CycleganError(str(error)) from error
        return True

    def _find_judge(self) -> DomainClassifier:
        """The judge, taught or from the cache, at the first look: a run that ends before it needs none."""
        if self._judge is None:
            # Of seed 0, as the command has it, so that runs of different seeds have the same judge
            self._judge = find_classifier(self.training, device=self.device)
            if not self._judge.is_sure:
                log.warning(
                    "the judge tells only %.0f %% of real pictures rightly, so that its figures mean little",
                    100 * self._judge.accuracy,
                )
            self.keeper.begin({"judge": self._judge.sha256, "chosen_on": self._chosen_on})
        return self._judge

    def _find_evaluator(self, generators: nn.ModuleDict) -> Evaluator:
        if self._evaluator is None:
            tools = Tools(self._find_judge().extractor(), self._judge, batch=self.batch)
            self._evaluator = Evaluator(tasks_of(generators, self.held_out, self.training, self.truths), tools)
        return self._evaluator

    def _engines(self, generators: nn.ModuleDict) -> dict[str, Translator]:
        return {
            way: Translator(cast(GeneratorLike, generator), device=self.device, precision=self.precision)
            for way, generator in generators.items()
        }


class NoEvaluation:
    """No evaluation: the generators are not looked at, and a run ends at its last step."""

    exhausted = False

    def reason(self, step: int) -> str:
        """None: it ends at its last step."""
        return ""

    def due(self, step: int) -> bool:
        """Never."""
        return False

    def evaluate(
        self, step: int, generators: nn.ModuleDict, info: dict[str, Any], tracker: Recorder, stop: Stopping = False
    ) -> float:
        """Nothing to look with."""
        return 0.0

    def finish(self, step: int, generators: nn.ModuleDict, tracker: Recorder, stop: Stopping = False) -> None:
        """Nothing to leave."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What was found while there was an evaluation is on the disk."""


def open_evaluation(
    config: TrainConfig,
    domains: PictureSets,
    views: InputKinds,
    run: Path,
    device: torch.device,
    directions: tuple[str, ...],
    ranks: Ranks | None = None,
) -> PeriodicEvaluation | NoEvaluation:
    """What looks at generators in `directions` as `config`, with its length in steps, says.

    Of the pictures nothing but headers is read here. Where there can be no judge there is no evaluation, which one line
    says. Raises `UsageError` for a --metric that cannot choose, and for a --patience without evaluations;
    `CycleganError` for a damaged best.json.
    """
    assert config.steps is not None
    criteria = parse_criteria(config.metric, directions)
    if not config.evaluate_every or config.steps < config.evaluate_every:
        return NoEvaluation()
    size = config.crop_size
    held_out = {domain: ImageSet.of(some, size, config.evaluate_pictures) for domain, some in domains.test.items()}
    training = {domain: ImageSet.of(some, size, MOST) for domain, some in domains.train.items()}
    obstacle = next(obstacles(config, views, held_out, training), None)
    if obstacle is not None and config.patience:
        raise UsageError(
            f"--patience {config.patience} counts evaluations, and there can be none: {obstacle}; leave it out"
        )
    if obstacle is not None:
        log.info("no evaluation while training: %s", obstacle)
        return NoEvaluation()
    read_best(run)
    return PeriodicEvaluation(
        BestModel(run, criteria, config.patience),
        held_out,
        training,
        domain_names(config, tuple(training)),
        every=config.evaluate_every,
        steps=config.steps,
        device=device,
        precision=config.precision,
        batch=min(batch_size(size), AT_ONCE * config.batch_size // config.accumulate),
        ranks=ranks,
        truths=paired_truths(domains, held_out, map(Direction.parse, directions)),
    )


def _step_of(gallery: Path) -> int | None:
    """The step that a gallery is of; None where there is none that is whole."""
    try:
        return int(json.loads(gallery.read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


FEWEST_HELD_OUT = 2  # of one picture there is no distance


def obstacles(
    config: TrainConfig, views: InputKinds, held_out: Mapping[str, ImageSet], training: Mapping[str, ImageSet]
) -> Iterator[str]:
    """Why the pictures cannot be evaluated on, if so: each reason a clause. Headers are read, and nothing else."""
    if len(training) != DOMAINS:
        yield f"a judge tells {DOMAINS} domains apart, and there are pictures of {len(training)}"
    for domain in held_out:
        name, known, asked = domain.upper(), training[domain], held_out[domain]
        if views[domain].depends_on != InputKind().depends_on:
            yield f"the judge sees 8-bit RGB of --range full, and the pictures of {name} are shown otherwise"
        if len(known) < FEWEST:
            yield f"{len(known)} pictures of {name} to learn from are too few to teach a judge, which takes {FEWEST}"
        if len(asked) < FEWEST_HELD_OUT:
            yield f"{len(asked)} pictures of {name} are held out, and it takes {FEWEST_HELD_OUT}; see --holdout"
        # Scaled pictures are decoded whole anyway; those that squares are cut from may be slides of many GB
        if not config.load_size and any(map(_is_large, (*known.paths(), *asked.paths()))):
            yield f"pictures of {name} are so large that they are read in parts, and a judge sees whole ones"


def _is_large(path: Path) -> bool:
    try:
        return is_large(read_header(path))
    except UnreadableImage:  # passed over with a warning when its turn comes
        return False
