"""The two things that `cyclegan evaluate` does: measure a model on what its run held out, or two folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import TrainConfig, resolve
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.directions import Direction
from cyclegan.errors import UsageError, reason_of
from cyclegan.evaluation import protocol
from cyclegan.evaluation.evaluate_folders import common_size, in_order_of, names_in, translated, with_truths
from cyclegan.evaluation.evaluated_model import EvaluatedModel, domain_names, load_evaluated_model
from cyclegan.evaluation.evaluator import Evaluator, measure_batches, tasks_of
from cyclegan.evaluation.features import Extractor, Wanted, load_extractor
from cyclegan.evaluation.features.classifier import DOMAINS, FEWEST, MOST, DomainClassifier, find_classifier
from cyclegan.evaluation.gallery import write_gallery
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.label_maps import read_colours
from cyclegan.evaluation.metrics.lpips import LPIPS
from cyclegan.evaluation.metrics.metric import THRESHOLD, Reference, Setup, Task, Tools
from cyclegan.evaluation.printing import classifier_note, protocol_lines, side_by_side, way
from cyclegan.figures import in_words, key_of
from cyclegan.models import is_run
from cyclegan.system.devices import is_exact, pick_device, prepare
from cyclegan.translation import Translator
from cyclegan.translation.noise import NoiseSampler

JUDGE = "judge"

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class Options:
    """Options of both ways of measuring, in the words of the command line.

    `sets_of` finds the pictures of a configuration, as its method reads them.
    """

    sets_of: Callable[[TrainConfig], PictureSets]
    features: Wanted = field(default_factory=lambda: Wanted(JUDGE))
    size: int | None = None
    seed: int = 0
    max_pictures: int | None = None
    truth: Path | None = None
    labels: Path | None = None
    lpips: tuple[Path, Path] | None = None
    threshold: float = THRESHOLD
    device: str = "auto"
    precision: str = "auto"
    places: Mapping[str, str | None] = field(default_factory=dict)  # the options that name pictures

    def tools(self) -> Tools:
        """The settings of metrics, and the files that they need, which are read now. `UsageError` for bad ones."""
        if self.truth is None and (self.labels or self.lpips):
            raise UsageError(f"--{'labels' if self.labels else 'lpips'} compares with the truth; give --truth DIR too")
        return Tools(
            colours=None if self.labels is None else read_colours(self.labels),
            lpips=None if self.lpips is None else LPIPS(*self.lpips),
            seed=self.seed,
            threshold=self.threshold,
        )


@dataclass(frozen=True)
class Result:
    """Figures by name, how they came about, and both as lines to read."""

    figures: dict[str, float]
    protocol: dict[str, Any]
    lines: tuple[str, ...]
    run: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # of the domains
    best: dict[str, tuple[dict[str, float], dict[str, Any]]] = field(default_factory=dict)  # figures and protocol


def measure_model(path: Path, directions: tuple[str, ...] | None, options: Options) -> Result:
    """The figures of the model in `path`, a run or one of its checkpoints, in `directions`, or all that it has.

    Of a run the last generators are measured, beside them the best that it has kept, and RUN/gallery shows what the
    last ones make. `--truth` holds the answers for the first direction. Raises `UsageError` and `CycleganError` in the
    words of the command.
    """
    device = _prepared(options)
    tools = options.tools()
    subject = load_evaluated_model(path, options.places, options.sets_of)
    engines = subject.engines(options.device, options.precision)
    lacking = [direction for direction in directions or () if direction not in engines]
    if lacking:
        raise UsageError(f"--direction {lacking[0]}: {path} holds only {' and '.join(engines)}; ask for that")
    directions = directions or tuple(engines)
    size = options.size or subject.size()
    held_out = {domain: squares.read() for domain, squares in subject.held_out(size, options.max_pictures).items()}
    training = subject.training(size, MOST)
    extractor, judge = _judges(options, training, device)
    truth = subject.truths(held_out)
    if options.truth is not None:
        source = Direction.parse(directions[0]).source
        if source not in held_out:
            raise UsageError(f"--truth: {directions[0]} translates no pictures, so that nothing is right; leave it out")
        there = in_order_of(held_out[source], options.truth, "--truth")
        truth[directions[0]] = ImageSet(there.root, there.names, size, nearest=options.labels is not None, whole=True)
    tools = replace(tools, extractor=extractor, classifier=judge)
    evaluator = Evaluator(tasks_of(directions, held_out, training, truth), tools)
    figures = evaluator.measure(engines, directions)
    domains = subject.domains
    method = {
        "directions": list(directions),
        "pictures": {
            f"{role} {domain.upper()}": protocol.of_pictures(squares, len(there[domain]))
            for role, some, there in (("held out", held_out, domains.test), ("learned from", training, domains.train))
            for domain, squares in some.items()
        },
        "truth": None if options.truth is None else str(options.truth),
        "computed": {"device": str(device), "precision": options.precision},
        **protocol.of_method(tools, size),
    }
    measured, best = [(subject, figures)], {}
    if is_run(path):
        _write_gallery(path, subject, held_out, engines, judge)
        for metric, other in subject.best().items():
            # Measured once only, where the last, or those that are the best by two figures, are the same
            known = [found for one, found in measured if one.is_the_same_as(other)]
            others = other.engines(options.device, options.precision)
            found = known[0] if known else evaluator.measure(others, directions)
            measured.append((other, found))
            best[metric] = (found, {"checkpoint": other.checkpoint(), **method})
    said = {"checkpoint": subject.checkpoint(), **method}
    lines = _model_lines(measured, said, directions, subject.names)
    return Result(figures, said, tuple(lines), subject.run, subject.names, best)


def measure_folders(
    fake: Path, real: Path | None, source: Path | None, direction: Direction, options: Options
) -> Result:
    """The figures of the pictures in `fake` beside those in `real`, and beside their truth where there is one.

    `source` holds the untranslated inputs, by the same names. `direction` says which domain they were translated to.
    """
    if real is None and options.truth is None:
        raise UsageError("--fake alone compares with nothing; give --real DIR, --truth DIR, or both")
    device = _prepared(options)
    tools = options.tools()
    figures: dict[str, float] = {}
    said: dict[str, Any] = {"pictures": {}, "truth": None if options.truth is None else str(options.truth)}
    names: dict[str, str] = {}
    size = options.size
    if real is not None:
        named = {"--fake": fake, "--real": real} | ({"--source": source} if source else {})
        size = size or common_size(named)
        fakes, reals = (_some(folder, option, size, options) for option, folder in list(named.items())[:2])
        sources = None if source is None else in_order_of(fakes, source, "--source").read()
        training, names = _domains(options, size)
        for option, judged in (("--real", reals), ("--source", sources)):
            if judged is not None:
                _refuse_learned(option, judged, training)
        extractor, judge = _judges(options, training, device)
        tools = replace(tools, extractor=extractor, classifier=judge)
        task = Task(direction, reals, sources, training.get(direction.target))
        figures = measure_batches(Setup(Reference(task, tools)), translated(fakes, sources, extractor))
        for role, squares in (("translated", fakes), ("real", reals), ("untranslated", sources)):
            if squares is not None:
                said["pictures"][role] = protocol.of_pictures(squares, len(names_in(squares.root, f"--{role}")))
    if options.truth is not None:
        setup = Setup(Reference(Task(direction), tools))
        pairs = with_truths(fake, options.truth, options.size, nearest=options.labels is not None)
        figures = measure_batches(setup, pairs, setup.given | {"truth"}) | figures
        count = len(names_in(fake, "--fake"))
        said["pictures"]["with a truth"] = {"folder": str(fake), "count": count, "of": count, "unreadable": 0}
    said |= protocol.of_method(tools, size)
    lines = way({key_of(name, direction): value for name, value in figures.items()}, direction, names)
    return Result(figures, said, (*lines, *_epilogue(said)))


def _prepared(options: Options) -> torch.device:
    device = pick_device(options.device)
    prepare(device, exact=is_exact(options.precision))
    return device


def _some(folder: Path, option: str, size: int, options: Options) -> ImageSet:
    return ImageSet.of(FileList(folder, tuple(names_in(folder, option))), size, options.max_pictures).read()


def _domains(options: Options, size: int) -> tuple[dict[str, ImageSet], dict[str, str]]:
    """The pictures that a judge may learn from, and what the domains are called, where --data or --a and --b say so."""
    given = {name: value for name, value in options.places.items() if value is not None}
    if not given:
        return {}, {}
    config = resolve([given])
    found = options.sets_of(config).train
    return {domain: ImageSet.of(some, size, MOST) for domain, some in found.items()}, domain_names(config, tuple(found))


def _refuse_learned(option: str, judged: ImageSet, training: Mapping[str, ImageSet]) -> None:
    """`UsageError` where a judge would judge pictures that it learned from, and of course know them."""
    learned = {path.resolve() for squares in training.values() for path in squares.paths()}
    known = sum(path.resolve() in learned for path in judged.paths())
    if known:
        raise UsageError(
            f"{option}: {known} of {len(judged)} pictures in {judged.root} are among those that the judge learns from; "
            "give held-out ones"
        )


def _judges(
    options: Options, training: Mapping[str, ImageSet], device: torch.device
) -> tuple[Extractor, DomainClassifier | None]:
    """What gives the features, and the judge, where there are pictures enough to teach one."""
    wanted = options.features
    if wanted.name != JUDGE:  # first, since it may fail, and a judge takes minutes
        extractor = load_extractor(wanted, device)
        few = [squares for squares in training.values() if len(squares) < FEWEST]
        if few:
            log.warning("no judge: %s has only %d pictures to learn from", few[0].root, len(few[0]))
        able = len(training) == DOMAINS and not few
        return extractor, find_classifier(training, seed=options.seed, device=device) if able else None
    if not training:
        raise UsageError(
            "--features judge: it learns from real pictures of both domains, others than it judges; give --data DIR, "
            "or --a and --b, or use --features inception"
        )
    judge = find_classifier(training, seed=options.seed, device=device)
    return judge.extractor(), judge


def _write_gallery(
    run: Path,
    subject: EvaluatedModel,
    held_out: Mapping[str, ImageSet],
    engines: Mapping[str, Translator | NoiseSampler],
    judge: DomainClassifier | None,
) -> None:
    """Pictures for people to look at; a folder that cannot be written to is no reason to keep back the figures."""
    step = int(subject.model.info.get("step", 0))
    try:
        takers = {key: engine for key, engine in engines.items() if isinstance(engine, Translator)}
        write_gallery(run / "gallery", held_out, takers, judge, step=step, which=subject.which)
    except OSError as error:
        log.warning("the gallery of translations could not be written (%s)", reason_of(error))


def _model_lines(
    measured: list[tuple[EvaluatedModel, dict[str, float]]],
    said: Mapping[str, Any],
    directions: tuple[str, ...],
    names: Mapping[str, str],
) -> Iterator[str]:
    """All of the first; beside it what tells it from the others, if there are any."""
    figures = measured[0][1]
    for direction in map(Direction.parse, directions):
        yield in_words(direction, names)
        yield from (f"  {line}" for line in way(figures, direction, names))
        yield ""
    if len(measured) > 1:
        yield from side_by_side([(one.checkpoint(), found) for one, found in measured], names, directions)
        yield ""
    yield from _epilogue(said)


def _epilogue(said: Mapping[str, Any]) -> Iterator[str]:
    about = classifier_note(said)
    if about is not None:
        yield about
    yield from protocol_lines(said)
