"""The two measurings of `cyclegan evaluate`: of a model, and of folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cyclegan.config import TrainConfig, resolve
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.directions import Direction
from cyclegan.errors import UsageError, reason_of
from cyclegan.evaluation.evaluated_model import domain_names, load_evaluated_model, paired_truths
from cyclegan.evaluation.evaluator import Evaluator, measure_batches
from cyclegan.evaluation.features import Wanted, load_extractor
from cyclegan.evaluation.features.classifier import DOMAINS, FEWEST, MOST, find_classifier
from cyclegan.evaluation.gallery import write_gallery
from cyclegan.evaluation.image_set import ImageSet, centre_square
from cyclegan.evaluation.metrics.label_maps import read_colours
from cyclegan.evaluation.metrics.lpips import LPIPS
from cyclegan.evaluation.metrics.metric import Measured, Setup, Tools
from cyclegan.evaluation.metrics.paired import matched
from cyclegan.evaluation.printing import classifier_note, direction_lines, protocol_lines, side_by_side
from cyclegan.evaluation.protocol import answer, of_method, of_pictures
from cyclegan.figures import in_words, key_of
from cyclegan.images import list_images, read_image, stored_size
from cyclegan.models import is_run
from cyclegan.system.devices import is_exact, pick_device, prepare
from cyclegan.translation import Translator

JUDGE = "judge"

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class Options:
    """Options of both measurings, in the words of the command line.

    `sets_of` finds the pictures of a configuration, as its method reads them.
    """

    sets_of: Callable[[TrainConfig], PictureSets]
    features: Wanted
    places: Mapping[str, str | None]  # the options that name pictures
    seed: int
    size: int | None
    max_pictures: int | None
    truth: Path | None
    labels: Path | None
    lpips: tuple[Path, Path] | None
    threshold: float
    device: str
    precision: str


@dataclass(frozen=True)
class Result:
    """An evaluation as it is stored, see `protocol.answer`, and as lines to read."""

    answer: dict[str, Any]
    lines: tuple[str, ...]
    run: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # of the domains


def measure_model(path: Path, direction: str | None, options: Options) -> Result:
    """Measure a run or one of its checkpoints, in one direction or in all that it has.

    Of a run the last generators are measured, beside them the best that it has kept, and RUN/gallery shows what the
    last ones make. `--truth` holds the answers for the first direction. Raises `UsageError` and `CycleganError` in the
    words of the command.
    """
    device, tools = _prepared(options)
    model = load_evaluated_model(path, options.places, options.sets_of)
    engines = model.engines(options.device, options.precision)
    directions = tuple(engines) if direction is None else (Direction.choose(engines, direction, path).key,)
    size = options.size or int(model.model.info.get("crop_size", 256))
    held_out = {
        domain: some.read() for domain, some in _sets(model.sets.test, size, options.max_pictures, "held out").items()
    }
    training = _sets(model.sets.train, size, MOST, "learned from")
    tools = _with_features(tools, options, training, device)
    truth = paired_truths(model.sets, held_out, map(Direction.parse, engines))
    if options.truth is not None:
        source = Direction.parse(directions[0]).source
        if source not in held_out:
            raise UsageError(f"--truth: {directions[0]} translates no pictures, so that nothing is right; leave it out")
        right = _in_order_of(held_out[source], options.truth, "--truth")
        truth[directions[0]] = ImageSet(right.root, right.names, size, nearest=options.labels is not None, whole=True)
    evaluator = Evaluator(tools, directions, held_out, training, truth)
    figures = evaluator.measure(engines, directions)
    roles = (("held out", held_out, model.sets.test), ("learned from", training, model.sets.train))
    method = {
        "directions": list(directions),
        "pictures": {
            f"{role} {domain.upper()}": of_pictures(pictures, len(found[domain]))
            for role, some, found in roles
            for domain, pictures in some.items()
        },
        "truth": None if options.truth is None else str(options.truth),
        "computed": {"device": str(device), "precision": options.precision},
        **of_method(tools, size),
    }
    measured = [(model, figures)]
    stored = answer(figures, {"checkpoint": model.checkpoint(), **method})
    if is_run(path):
        translators = {key: engine for key, engine in engines.items() if isinstance(engine, Translator)}
        step = int(model.model.info.get("step", 0))
        try:
            write_gallery(path / "gallery", held_out, translators, tools.classifier, step=step, which=model.which)
        except OSError as error:  # no reason to keep back the figures
            log.warning("the gallery of translations could not be written (%s)", reason_of(error))
        for metric, other in model.best().items():
            # Measured once only, where the last, or those that are the best by two figures, are the same
            known = [found for one, found in measured if one.has_the_weights_of(other)]
            others = other.engines(options.device, options.precision)
            found = known[0] if known else evaluator.measure(others, directions)
            measured.append((other, found))
            stored.setdefault("best", {})[metric] = answer(found, {"checkpoint": other.checkpoint(), **method})
    names, lines = model.names, list[str]()
    for each in map(Direction.parse, directions):
        lines += [in_words(each, names), *(f"  {line}" for line in direction_lines(figures, each, names)), ""]
    if len(measured) > 1:
        columns = [(one.checkpoint(), found) for one, found in measured]
        lines += [*side_by_side(columns, names, directions), ""]
    return Result(stored, (*lines, *_epilogue(stored["protocol"])), model.run, names)


def measure_folders(
    fake: Path, real: Path | None, source: Path | None, direction: Direction, options: Options
) -> Result:
    """Measure the pictures in `fake` by those in `real`, by their truth, or by both.

    `source` holds the untranslated inputs, by the same names. `direction` says which domain they were translated to.
    """
    if real is None and options.truth is None:
        raise UsageError("--fake alone compares with nothing; give --real DIR, --truth DIR, or both")
    device, tools = _prepared(options)
    figures: dict[str, float] = {}
    pictures: dict[str, Any] = {}
    names: dict[str, str] = {}
    size = options.size
    if real is not None:
        named = {"--fake": fake, "--real": real} | ({"--source": source} if source else {})
        size = size or _common_size(named)
        fakes, reals = (
            ImageSet.of(FileList(folder, tuple(_names_in(folder, option))), size, options.max_pictures).read()
            for option, folder in (("--fake", fake), ("--real", real))
        )
        sources = None if source is None else _in_order_of(fakes, source, "--source").read()
        training: dict[str, ImageSet] = {}
        given = {name: value for name, value in options.places.items() if value is not None}
        if given:  # what a judge may learn from
            config = resolve([given])
            found = options.sets_of(config).train
            training = {domain: ImageSet.of(some, size, MOST) for domain, some in found.items()}
            names = domain_names(config, tuple(found))
        learned = {path.resolve() for some in training.values() for path in some.paths()}
        for option, judged in (("--real", reals), ("--source", sources)):
            known = [] if judged is None else [path for path in judged.paths() if path.resolve() in learned]
            if judged is not None and known:
                raise UsageError(
                    f"{option}: {len(known)} of {len(judged)} pictures in {judged.root} are among those that the judge "
                    "learns from; give held-out ones"
                )
        tools = _with_features(tools, options, training, device)
        setup = Setup(direction, tools, reals, sources, training.get(direction.target))
        inputs = repeat(None) if sources is None else sources.batches()
        pairs = zip(fakes.batches(), inputs, strict=sources is not None)
        figures = measure_batches(setup, (Measured(*pair, extractor=tools.extractor) for pair in pairs))
        for role, some in (("translated", fakes), ("real", reals), ("untranslated", sources)):
            if some is not None:
                pictures[role] = of_pictures(some, len(list_images(some.root)))
    if options.truth is not None:
        setup = Setup(direction, tools)
        batches = _with_truths(fake, options.truth, options.size, nearest=options.labels is not None)
        figures = measure_batches(setup, batches, setup.given | {"truth"}) | figures
        count = len(_names_in(fake, "--fake"))
        pictures["with a truth"] = {"folder": str(fake), "count": count, "of": count, "unreadable": 0}
    truth = None if options.truth is None else str(options.truth)
    protocol = {"pictures": pictures, "truth": truth, **of_method(tools, size)}
    lines = direction_lines({key_of(name, direction): value for name, value in figures.items()}, direction, names)
    return Result(answer(figures, protocol), (*lines, *_epilogue(protocol)))


def _prepared(options: Options) -> tuple[torch.device, Tools]:
    """The device, and settings of metrics with the files that they need; `UsageError` for bad ones."""
    device = pick_device(options.device)
    prepare(device, exact=is_exact(options.precision))
    if options.truth is None and (options.labels or options.lpips):
        raise UsageError(f"--{'labels' if options.labels else 'lpips'} compares with the truth; give --truth DIR too")
    colours = None if options.labels is None else read_colours(options.labels)
    lpips = LPIPS(*options.lpips) if options.lpips else None
    return device, Tools(colours=colours, lpips=lpips, seed=options.seed, threshold=options.threshold)


def _with_features(tools: Tools, options: Options, training: Mapping[str, ImageSet], device: torch.device) -> Tools:
    """Add the features, and the judge, where there are pictures enough to teach one."""
    if options.features.name == JUDGE:
        if not training:
            raise UsageError(
                "--features judge: it learns from real pictures of both domains, others than it judges; give --data "
                "DIR, or --a and --b, or use --features inception"
            )
        judge = find_classifier(training, seed=options.seed, device=device)
        return replace(tools, extractor=judge.extractor(), classifier=judge)
    tools = replace(tools, extractor=load_extractor(options.features, device))  # it may fail, and a judge takes minutes
    few = [pictures for pictures in training.values() if len(pictures) < FEWEST]
    if few:
        log.warning("no judge: %s has only %d pictures to learn from", few[0].root, len(few[0]))
    if few or len(training) != DOMAINS:
        return tools
    return replace(tools, classifier=find_classifier(training, seed=options.seed, device=device))


def _sets(found: Mapping[str, FileList], size: int, most: int | None, what: str) -> dict[str, ImageSet]:
    """Pictures by domain, of more than `most` those with the lowest lots; `UsageError` where there are none."""
    for domain, pictures in found.items():
        if not len(pictures):
            raise UsageError(
                f"no pictures of {domain.upper()} are {what}; give other ones by --test-{domain}, or train with a "
                "--holdout"
            )
    return {domain: ImageSet.of(pictures, size, most) for domain, pictures in found.items()}


def _names_in(folder: Path, option: str) -> list[str]:
    """The pictures below a folder; `UsageError`, naming the option, where there is none."""
    if not folder.is_dir():
        raise UsageError(f"{option}: {folder} is not a folder; name the one that holds the pictures")
    names = list_images(folder)
    if not names:
        raise UsageError(f"{option}: {folder} holds no picture; name the folder that holds them")
    return names


def _common_size(folders: Mapping[str, Path]) -> int:
    """The shorter side of the pictures in all folders, by option, from headers; `UsageError` for several sizes."""
    sizes: dict[tuple[int, int], Path] = {}
    for option, folder in folders.items():
        for name in _names_in(folder, option):
            sizes.setdefault(stored_size(folder / name), folder / name)
    if len(sizes) > 1:
        (first, here), (second, there) = list(sizes.items())[:2]
        raise UsageError(
            f"the pictures are of different sizes ({here} is {first[1]}×{first[0]}, {there} is "
            f"{second[1]}×{second[0]}); give --size N to scale all to squares of N pixels"
        )
    return min(next(iter(sizes)))


def _in_order_of(pictures: ImageSet, folder: Path, option: str) -> ImageSet:
    """Those in `folder` with the names of `pictures`, in their order; `UsageError` where one lacks."""
    names = matched(pictures.names, _names_in(folder, option), folder, option)
    return ImageSet(folder, names, pictures.size, whole=True)


def _with_truths(fake: Path, truth: Path, size: int | None, *, nearest: bool) -> Iterator[Measured]:
    """Each picture of `fake` with that of the same name in `truth`, as stored, or as squares of `size`.

    `nearest` is for label maps, which may get no new colours. Raises `UsageError` for names that do not match and for
    pictures of different sizes.
    """
    names = _names_in(fake, "--fake")
    truths = matched(names, _names_in(truth, "--truth"), truth, "--truth")
    for name, true_name in zip(names, truths, strict=True):
        picture, right = read_image(fake / name), read_image(truth / true_name)
        if size is not None:
            picture, right = (centre_square(image, size, nearest=nearest) for image in (picture, right))
        if picture.shape != right.shape:
            raise UsageError(
                f"--truth: {truth / true_name} is {right.shape[1]}×{right.shape[0]} and {fake / name} is "
                f"{picture.shape[1]}×{picture.shape[0]}; give a truth of the same size, or --size N to scale both"
            )
        made, wanted = (torch.from_numpy(np.array(image, order="C"))[None] for image in (picture, right))
        yield Measured(made.permute(0, 3, 1, 2), truth=wanted.permute(0, 3, 1, 2))


def _epilogue(protocol: Mapping[str, Any]) -> Iterator[str]:
    note = classifier_note(protocol)
    yield from () if note is None else (note,)
    yield from protocol_lines(protocol)
