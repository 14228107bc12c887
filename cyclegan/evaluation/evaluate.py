"""The evaluations of `cyclegan evaluate`: of a model, of folders, and of the figures themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations, repeat
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
from cyclegan.evaluation.features import AUTO, JUDGE, Wanted, choose, load_extractor
from cyclegan.evaluation.features.classifier import DOMAINS, FEWEST, MOST, find_classifier
from cyclegan.evaluation.gallery import write_gallery
from cyclegan.evaluation.image_set import ImageSet, centre_square
from cyclegan.evaluation.metrics.class_share import find_classes, parse_classes
from cyclegan.evaluation.metrics.label_maps import read_colours
from cyclegan.evaluation.metrics.lpips import LPIPS
from cyclegan.evaluation.metrics.metric import Evaluation, Measured, Setup, Tools
from cyclegan.evaluation.metrics.paired import matched
from cyclegan.evaluation.metrics.perceptual import perceptual_distance
from cyclegan.evaluation.printing import classifier_note, direction_lines, protocol_lines, side_by_side
from cyclegan.evaluation.protocol import of_method, of_pictures, to_record
from cyclegan.evaluation.self_test import MOST as MOST_PLANTED
from cyclegan.evaluation.self_test import measure_planted, size_of_sets
from cyclegan.figures import FIGURES, in_words, key_of
from cyclegan.images import list_images, read_image, stored_size
from cyclegan.models import is_run
from cyclegan.system.devices import is_exact, pick_device, prepare
from cyclegan.translation import Translator

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class Options:
    """Options of all evaluations, named as on the command line.

    `sets_of` finds the pictures of a configuration, as its method reads them.
    """

    sets_of: Callable[[TrainConfig], PictureSets]
    features: Wanted
    places: Mapping[str, str | None]  # options that name pictures
    seed: int
    size: int | None
    max_pictures: int | None
    truth: Path | None
    labels: Path | None
    lpips: tuple[Path, Path] | None
    classes: str | None
    threshold: float
    device: str
    precision: str


@dataclass(frozen=True)
class Result:
    """An evaluation: its stored record (see `protocol.to_record`), and lines to print."""

    record: dict[str, Any]
    lines: tuple[str, ...]
    run: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # of the domains
    failure: str | None = None  # a sentence, if the self-test has failed


def measure_model(path: Path, direction: str | None, options: Options) -> Result:
    """Evaluate a run or one of its checkpoints, in one direction or in all.

    Of a run the last generators are measured, and the best ones that it has kept; RUN/gallery shows translations by the
    last ones. `--truth` holds the true translations for the first direction. Raises `UsageError` and `CycleganError`
    with messages for the command line.
    """
    device, tools = _prepared(options)
    model = load_evaluated_model(path, options.places, options.sets_of)
    engines = model.engines(options.device, options.precision)
    directions = tuple(engines) if direction is None else (Direction.choose(engines, direction, path).key,)
    size = options.size or int(model.model.info.get("crop_size", 256))
    held_out = {
        domain: images.read()
        for domain, images in _sets(model.sets.test, size, options.max_pictures, "held out").items()
    }
    training = _sets(model.sets.train, size, MOST, "learned from")
    tools = _with_features(tools, options, training, device)
    truth = paired_truths(model.sets, held_out, map(Direction.parse, engines))
    if options.truth is not None:
        source = Direction.parse(directions[0]).source
        if source not in held_out:
            raise UsageError(f"--truth: {directions[0]} has no input pictures, so there is no truth; leave it out")
        images = _in_order_of(held_out[source], options.truth, "--truth")
        truth[directions[0]] = ImageSet(images.root, images.names, size, nearest=options.labels is not None, whole=True)
    evaluator = Evaluator(tools, directions, held_out, training, truth)
    evaluation = evaluator.measure(engines, directions)
    method = {
        "directions": list(directions),
        "pictures": _by_role(model.sets, held_out, training),
        "truth": None if options.truth is None else str(options.truth),
        "computed": {"device": str(device), "precision": options.precision},
        **of_method(tools, size),
    }
    measured = [(model, evaluation)]
    record = to_record(evaluation, {"checkpoint": model.checkpoint(), **method})
    if is_run(path):
        translators = {key: engine for key, engine in engines.items() if isinstance(engine, Translator)}
        step = int(model.model.info.get("step", 0))
        try:
            write_gallery(path / "gallery", held_out, translators, tools.classifier, step=step, which=model.which)
        except OSError as error:  # the figures are returned nevertheless
            log.warning("the gallery of translations could not be written (%s)", reason_of(error))
        for metric, other in model.best().items():
            # Equal weights are measured once: the best may be the last, or the best by two figures
            known = [found for earlier, found in measured if earlier.has_the_weights_of(other)]
            others = other.engines(options.device, options.precision)
            found = known[0] if known else evaluator.measure(others, directions)
            measured.append((other, found))
            record.setdefault("best", {})[metric] = to_record(found, {"checkpoint": other.checkpoint(), **method})
    names, lines = model.names, list[str]()
    for each in map(Direction.parse, directions):
        shown = direction_lines(evaluation, each, names, sure=_sure(tools))
        lines += [in_words(each, names), *(f"  {line}" for line in shown), ""]
    if len(measured) > 1:
        columns = [(each.checkpoint(), found.figures) for each, found in measured]
        lines += [*side_by_side(columns, names, directions), ""]
    return Result(record, (*lines, *_epilogue(record["protocol"])), model.run, names)


def measure_folders(
    fake: Path, real: Path | None, source: Path | None, direction: Direction, options: Options
) -> Result:
    """Evaluate the pictures in `fake` against those in `real`, their truths, or both.

    `source` holds the untranslated inputs under the same names. They were translated in `direction`.
    """
    if real is None and options.truth is None:
        raise UsageError("--fake alone compares with nothing; give --real DIR, --truth DIR, or both")
    if real is None and options.classes is not None:
        raise UsageError("--classes compares with real pictures; give --real DIR too")
    device, tools = _prepared(options)
    evaluation = Evaluation({}, {})
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
        if given:  # pictures to train a judge on
            config = resolve([given])
            files = options.sets_of(config).train
            training = {domain: ImageSet.of(file_list, size, MOST) for domain, file_list in files.items()}
            names = domain_names(config, tuple(files))
        learned = {path.resolve() for images in training.values() for path in images.paths()}
        for option, judged in (("--real", reals), ("--source", sources)):
            shared = [] if judged is None else [path for path in judged.paths() if path.resolve() in learned]
            if judged is not None and shared:
                raise UsageError(
                    f"{option}: {len(shared)} of {len(judged)} pictures in {judged.root} are among those that train "
                    "the judge; give held-out ones"
                )
        tools = _with_features(tools, options, training, device)
        setup = Setup(direction, tools, reals, sources, training.get(direction.target))
        inputs = repeat(None) if sources is None else sources.batches()
        pairs = zip(fakes.batches(), inputs, strict=sources is not None)
        evaluation = measure_batches(setup, (Measured(*pair, extractor=tools.extractor) for pair in pairs))
        for role, images in (("translated", fakes), ("real", reals), ("untranslated", sources)):
            if images is not None:
                pictures[role] = of_pictures(images, len(list_images(images.root)))
    elif options.labels is None and choose(options.features.name) != JUDGE:
        tools = _with_features(tools, options, {}, device)  # for the perceptual distance from the truth
    if options.truth is not None:
        setup = Setup(direction, tools)
        batches = _with_truths(fake, options.truth, options.size, nearest=options.labels is not None)
        evaluation = measure_batches(setup, batches, setup.given | {"truth"}) | evaluation
        count = len(_names_in(fake, "--fake"))
        pictures["with a truth"] = {"folder": str(fake), "count": count, "of": count, "unreadable": 0}
    truth = None if options.truth is None else str(options.truth)
    protocol = {"pictures": pictures, "truth": truth, **of_method(tools, size)}
    keyed = evaluation.renamed(partial(key_of, direction=direction))
    lines = direction_lines(keyed, direction, names, sure=_sure(tools))
    return Result(to_record(evaluation, protocol), (*lines, *_epilogue(protocol)))


def check_figures(path: Path | None, direction: str | None, options: Options) -> Result:
    """Measure planted sets of the pictures of a run, or of `options.places`, and check the order of every figure.

    Raises `UsageError` for too few pictures, or pictures of one domain alone.
    """
    device, tools = _prepared(options)
    size, names = options.size, dict[str, str]()
    if path is not None:
        model = load_evaluated_model(path, options.places, options.sets_of)
        sets, names, size = model.sets, dict(model.names), size or int(model.model.info.get("crop_size", 256))
    else:
        config = resolve([{name: value for name, value in options.places.items() if value is not None}])
        sets = options.sets_of(config)
        names = domain_names(config, tuple(sets.train))
    known = [source + target for source, target in permutations(sets.train, 2)]
    if not known:
        raise UsageError("--self-test: it needs pictures of two domains; give --data DIR, or --a and --b")
    directions = known if direction is None else [Direction.choose(known, direction, path or "--data").key]
    size = size or _common_size({f"--test-{domain}": files.root for domain, files in sets.test.items()})
    most = options.max_pictures or 2 * MOST_PLANTED
    held_out = {domain: images.read() for domain, images in _sets(sets.test, size, most, "held out").items()}
    training = _sets(sets.train, size, MOST, "learned from")
    sets_by_direction = {
        each: (held_out[each.source], held_out[each.target], training[each.target])
        for each in map(Direction.parse, directions)
    }
    for each, found in sets_by_direction.items():
        size_of_sets(each, *found)  # first: a judge takes minutes
    tools = _with_features(tools, options, training, device)
    record: dict[str, Any] = {}
    lines, broken = list[str](), list[str]()
    for each, found in sets_by_direction.items():
        test = measure_planted(each, tools, *found)
        record[each.key] = test.record()
        lines += [f"{in_words(each, names)}, sets of {test.count} pictures", *test.lines(), ""]
        broken += [f"{FIGURES[name].label} {each.key} ({', '.join(of)})" for name, of in test.broken().items()]
    protocol = {"pictures": _by_role(sets, held_out, training), **of_method(tools, size)}
    failure = None
    if broken:
        failure = f"--self-test: figures are in the wrong order: {'; '.join(broken)}; choose other --features"
    return Result({"self_test": record, "protocol": protocol}, (*lines, *_epilogue(protocol)), None, names, failure)


def _prepared(options: Options) -> tuple[torch.device, Tools]:
    """Device, and settings of the metrics with their files loaded; `UsageError` for invalid ones."""
    device = pick_device(options.device)
    prepare(device, exact=is_exact(options.precision))
    if options.truth is None and (options.labels or options.lpips):
        raise UsageError(f"--{'labels' if options.labels else 'lpips'} compares with the truth; give --truth DIR too")
    colours = None if options.labels is None else read_colours(options.labels)
    lpips = LPIPS(*options.lpips) if options.lpips else None
    if options.classes is not None:
        parse_classes(options.classes)
    return device, Tools(colours=colours, lpips=lpips, seed=options.seed, threshold=options.threshold)


def _with_features(tools: Tools, options: Options, training: Mapping[str, ImageSet], device: torch.device) -> Tools:
    """Add the networks that see pictures: of features, of named classes, and a judge if pictures can train one."""
    wanted = replace(options.features, name=choose(options.features.name))
    if options.features.name == AUTO and wanted.weights is not None:
        raise UsageError("--weights belong to one network; name it by --features too, such as --features lite0")
    if wanted.name == JUDGE:
        if not training:
            raise UsageError(
                "--features judge: it is trained on real pictures of both domains, other than those it judges; give "
                "--data DIR, or --a and --b, or use --features lite0 or inception"
            )
        classes = find_classes(options.classes, device)  # first: a judge takes minutes
        judge = find_classifier(training, seed=options.seed, device=device)
        return replace(tools, extractor=judge.extractor(), classifier=judge, classes=classes)
    extractor = load_extractor(wanted, device)
    classes = find_classes(options.classes, device, extractor)
    tools = replace(tools, extractor=extractor, classes=classes, perceptual=perceptual_distance(extractor))
    few = [pictures for pictures in training.values() if len(pictures) < FEWEST]
    if few:
        log.warning("no judge: %s has only %d pictures to train it on", few[0].root, len(few[0]))
    if few or len(training) != DOMAINS:
        return tools
    return replace(tools, classifier=find_classifier(training, seed=options.seed, device=device))


def _sure(tools: Tools) -> bool:
    """False where there is a judge that is not sure."""
    return tools.classifier is None or tools.classifier.is_sure


def _sets(files: Mapping[str, FileList], size: int, most: int | None, role: str) -> dict[str, ImageSet]:
    """Image sets by domain, of at most `most` pictures in hash order; `UsageError` for an empty one."""
    for domain, pictures in files.items():
        if not len(pictures):
            raise UsageError(
                f"no pictures of {domain.upper()} are {role}; give other ones by --test-{domain}, or train with a "
                "--holdout"
            )
    return {domain: ImageSet.of(pictures, size, most) for domain, pictures in files.items()}


def _by_role(
    sets: PictureSets, held_out: Mapping[str, ImageSet], training: Mapping[str, ImageSet]
) -> dict[str, dict[str, Any]]:
    """The pictures of an evaluation for its protocol, by role and domain."""
    roles = (("held out", held_out, sets.test), ("learned from", training, sets.train))
    return {
        f"{role} {domain.upper()}": of_pictures(images, len(files[domain]))
        for role, by_domain, files in roles
        for domain, images in by_domain.items()
    }


def _names_in(folder: Path, option: str) -> list[str]:
    """List the pictures below a folder; `UsageError`, naming the option, if there are none."""
    if not folder.is_dir():
        raise UsageError(f"{option}: {folder} is not a folder; name the one that holds the pictures")
    names = list_images(folder)
    if not names:
        raise UsageError(f"{option}: {folder} holds no picture; name the folder that holds them")
    return names


def _common_size(folders: Mapping[str, Path]) -> int:
    """Shorter side of the pictures in all folders (by option), from headers; `UsageError` for several sizes."""
    sizes: dict[tuple[int, int], Path] = {}
    for option, folder in folders.items():
        for name in _names_in(folder, option):
            sizes.setdefault(stored_size(folder / name), folder / name)
    if len(sizes) > 1:
        (first, path), (second, other) = list(sizes.items())[:2]
        raise UsageError(
            f"the pictures are of different sizes ({path} is {first[1]}×{first[0]}, {other} is "
            f"{second[1]}×{second[0]}); give --size N to scale all to squares of N pixels"
        )
    return min(next(iter(sizes)))


def _in_order_of(pictures: ImageSet, folder: Path, option: str) -> ImageSet:
    """Pictures of `folder` with the names of `pictures`, in the same order; `UsageError` if one is missing."""
    names = matched(pictures.names, _names_in(folder, option), folder, option)
    return ImageSet(folder, names, pictures.size, whole=True)


def _with_truths(fake: Path, truth: Path, size: int | None, *, nearest: bool) -> Iterator[Measured]:
    """Yield each picture of `fake` with its namesake in `truth`, as stored or cropped to `size`.

    `nearest` is for label maps, which must not get new colours. Raises `UsageError` for names that do not match and for
    pictures of different sizes.
    """
    names = _names_in(fake, "--fake")
    truths = matched(names, _names_in(truth, "--truth"), truth, "--truth")
    for name, true_name in zip(names, truths, strict=True):
        picture, target = read_image(fake / name), read_image(truth / true_name)
        if size is not None:
            picture, target = (centre_square(image, size, nearest=nearest) for image in (picture, target))
        if picture.shape != target.shape:
            raise UsageError(
                f"--truth: {truth / true_name} is {target.shape[1]}×{target.shape[0]} and {fake / name} is "
                f"{picture.shape[1]}×{picture.shape[0]}; give a truth of the same size, or --size N to scale both"
            )
        fakes, targets = (torch.from_numpy(np.array(image, order="C"))[None] for image in (picture, target))
        yield Measured(fakes.permute(0, 3, 1, 2), truth=targets.permute(0, 3, 1, 2))


def _epilogue(protocol: Mapping[str, Any]) -> Iterator[str]:
    note = classifier_note(protocol)
    yield from () if note is None else (note,)
    yield from protocol_lines(protocol)
