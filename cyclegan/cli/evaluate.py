"""`cyclegan evaluate`: the quality of translations, in figures and in words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cyclegan.config import PICTURE_FOLDERS, TrainConfig
from cyclegan.errors import CycleganError, UsageError

if TYPE_CHECKING:
    from cyclegan.evaluation.evaluate import Options

log = logging.getLogger("cyclegan")

_PATH = click.Path(path_type=Path)


def _folder_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `train` for folders, for pictures that have moved and for models without a run."""
    for item in reversed(fields(TrainConfig)):
        if item.name in PICTURE_FOLDERS:
            flag = f"--{item.name.replace('_', '-')}"
            command = click.option(flag, metavar="DIR", help=f"As in train: {item.metadata['help']}")(command)
    return command


@click.command("evaluate")
@click.argument("models", nargs=-1, type=_PATH, metavar="[MODEL …]")
@click.option("--fake", type=_PATH, metavar="DIR", help="Translated pictures, instead of MODEL.")
@click.option("--real", type=_PATH, metavar="DIR", help="Real pictures of the domain that --fake was translated to.")
@click.option("--source", type=_PATH, metavar="DIR", help="Sources of the pictures in --fake, under the same names.")
@click.option("--truth", type=_PATH, metavar="DIR", help="Ground truth under the same names, with any suffix.")
@click.option(
    "--direction",
    help="Only this direction, such as ab; with --fake that of the pictures, by default ab.",
)
@click.option(
    "--features",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="judge, lite0, lite1, lite2, inception, a network of torchvision, or a TorchScript or torch.export file; "
    "auto is lite0 if installed, else judge.",
)
@click.option("--weights", type=_PATH, metavar="FILE", help="Weights of inception, lite0 or another named network.")
@click.option("--download", is_flag=True, help="Download the weights of inception, once, if they are missing.")
@click.option("--random-features", is_flag=True, help="Allow an untrained network of torchvision.")
@click.option("--trust-features", is_flag=True, help="Run the program in the file that --features names.")
@click.option("--size", type=click.IntRange(8), help="Side of the compared square crops; by default the model's.")
@click.option("--max-pictures", type=click.IntRange(2), help="Largest number of held-out pictures of each domain.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random numbers.")
@click.option("--threshold", default=16.0, show_default=True, help="Largest error of a right pixel, in levels of 255.")
@click.option("--labels", type=_PATH, metavar="FILE", help="Colours of a label map (YAML): adds accuracy and IoU.")
@click.option("--lpips", type=_PATH, nargs=2, metavar="ALEXNET LINEAR", help="Weights of LPIPS: adds it to --truth.")
@click.option("--classes", metavar="NAMES", help="ImageNet classes (zebra,sorrel): adds the share of pictures of them.")
@_folder_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", show_default=True, help="Of the translation: auto, fp32, bf16 or fp16.")
@click.option("--output", type=_PATH, metavar="FILE", help="File for figures and protocol; else RUN/evaluation.json.")
@click.option("--verdict", is_flag=True, help="Add a verdict in words: does it work?")
@click.option(
    "--name",
    "names",
    type=(str, str),
    multiple=True,
    metavar="DOMAIN WORDS",
    help="For --verdict: name of the pictures of a domain, in the plural.",
)
@click.option(
    "--score",
    "scores",
    type=(str, _PATH),
    multiple=True,
    metavar="DIRECTION FILE",
    help="For --verdict: output of `cyclegan data demo-score --json` for drawn pictures; it decides.",
)
@click.option("--seeds", is_flag=True, help="Measure several runs that differ in --seed alone, and their spread.")
@click.option("--longer", metavar="COMMAND", help="For --verdict: advised command to train {run} for more {steps}.")
@click.option(
    "--self-test",
    is_flag=True,
    help="Instead of translations measure planted failures, and check that every figure puts them in order.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines to read.")
def command(
    models: tuple[Path, ...],
    fake: Path | None,
    real: Path | None,
    source: Path | None,
    direction: str | None,
    features: str,
    weights: Path | None,
    download: bool,
    random_features: bool,
    trust_features: bool,
    seed: int,
    output: Path | None,
    verdict: bool,
    names: tuple[tuple[str, str], ...],
    scores: tuple[tuple[str, Path], ...],
    seeds: bool,
    longer: str | None,
    self_test: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure MODEL, a run or one of its checkpoints, on held-out pictures; or compare --fake with --real.

    FID and KID compare the translations with real pictures. The judge, a small classifier trained once on the training
    pictures, gives the share of translations taken for the target. --truth adds figures for pictures with known ground
    truth. Figures and their protocol are printed together, and stored in RUN/evaluation.json or the file of --output.
    For a run, the last generators are measured and beside them the best that it has kept, and RUN/gallery is written.
    --verdict adds a conclusion in words. With --seeds several runs of one recipe are measured, each as by itself, and
    the mean and the standard deviation of their figures are printed. The last lines are a sentence to quote in a paper,
    and what a paper would miss.

    --self-test measures the figures themselves, on the pictures of a run or of --data: real pictures with planted
    failures have to be worse than untranslated ones, and real ones of the target better. It fails if a figure that is
    relied on by default puts them in another order.
    """
    model = models[0] if models else None
    if len(models) > 1 and not seeds:
        raise UsageError("MODEL: name one; --seeds measures several runs that differ in nothing but --seed")
    if seeds and (fake is not None or verdict or self_test):
        raise UsageError(
            "--seeds measures runs, without a verdict; leave out --fake, --verdict and --self-test, or --seeds"
        )
    if self_test:
        if fake or real or source or verdict or any(options[name] for name in ("truth", "labels", "lpips")):
            raise UsageError(
                "--self-test measures the figures and no translations; leave out --fake, --real, --source, --truth, "
                "--labels, --lpips and --verdict, or --self-test"
            )
        if model is None and not any(options[name] for name in PICTURE_FOLDERS):
            raise UsageError("--self-test changes real pictures; name a RUN, or give --data DIR, or --a and --b")
    elif (model is None) == (fake is None):
        raise UsageError("name one thing to measure: MODEL, or --fake DIR with --real DIR or --truth DIR")
    if model is not None and (real is not None or source is not None):
        raise UsageError("--real and --source go with --fake; a MODEL is measured on the pictures of its run")
    if not verdict and (names or scores or longer):
        raise UsageError("--name, --score and --longer are about the verdict; give --verdict too")
    if verdict and (as_json or model is None):
        raise UsageError("--verdict says in words what a MODEL has learned; leave out --json and --fake, or --verdict")
    from cyclegan.config.safe_yaml import read_run_config
    from cyclegan.directions import DEFAULT, Direction
    from cyclegan.evaluation.evaluate import Options, check_figures, measure_folders, measure_model
    from cyclegan.evaluation.features import Wanted
    from cyclegan.evaluation.protocol import store
    from cyclegan.report.verdict import LONGER, read_scores, verdict_lines
    from cyclegan.training.setup import sets_of

    demo_scores = read_scores(scores)
    wanted = Wanted(features, weights, download, random_features, trust_features, seed)
    folders = {name: options.pop(name) for name in PICTURE_FOLDERS}
    settings = Options(sets_of, wanted, folders, seed, **options)
    if seeds:
        _measure_seeds(models, direction, settings, output, as_json)
        return
    if self_test:
        result = check_figures(model, direction, settings)
    elif model is not None:
        result = measure_model(model, direction, settings)
    else:
        assert fake is not None
        result = measure_folders(fake, real, source, Direction.parse(direction or DEFAULT), settings)
    _warn_of_few(result.record)
    # The figures of a checkpoint are stored only with --output: evaluation.json of a run is about its newest generators
    if output is None and result.run is not None and result.run == model:
        output = result.run / "evaluation.json"
    if output is not None:
        store(output, result.record)
    if as_json:
        click.echo(json.dumps(result.record, ensure_ascii=False).encode(errors="backslashreplace"))
    for line in () if as_json else result.lines:
        click.echo(line)
    if model is not None and not self_test and not as_json:
        config = {} if result.run is None else read_run_config(result.run)
        _print_quotable([result.record], [config.get("seed")], result.names)
    if output is not None and not as_json:
        click.echo(f"stored in {output}")
    if verdict:
        click.echo()
        nouns = dict(result.names) | dict(names)
        for line in verdict_lines(result.record, result.run, nouns, demo_scores, longer or LONGER):
            click.echo(line)
    if result.failure is not None:
        raise CycleganError(result.failure)


def _measure_seeds(
    paths: tuple[Path, ...], direction: str | None, settings: Options, output: Path | None, as_json: bool
) -> None:
    """Measure runs of one recipe, each as by itself, and print the spread of their figures."""
    from cyclegan.evaluation.evaluate import measure_model
    from cyclegan.evaluation.printing import classifier_note, protocol_lines
    from cyclegan.evaluation.protocol import store
    from cyclegan.report.paper import WANTED, over_seeds, require_seeds, seeds_lines
    from cyclegan.report.recipes import SEED, labelled, option
    from cyclegan.report.run_record import read_record

    runs = labelled([read_record(path) for path in paths])
    require_seeds(runs)
    if len(runs) < WANTED:
        log.warning("a table of a paper needs %d seeds, and there are %d", WANTED, len(runs))
    results = []
    for path in paths:
        results.append(measure_model(path, direction, settings))
        store(path / "evaluation.json", results[-1].record)
    _warn_of_few(results[0].record)
    figures = over_seeds([result.record for result in results])
    record = {"seeds": figures, "runs": {str(path): it.record for path, it in zip(paths, results, strict=True)}}
    if output is not None:
        store(output, record)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace"))
        return
    protocol = {name: value for name, value in results[0].record["protocol"].items() if name != "checkpoint"}
    for line in seeds_lines(figures, [run.label for run in runs], results[0].names, protocol["directions"]):
        click.echo(line)
    click.echo()
    for line in filter(None, (classifier_note(protocol), *protocol_lines(protocol))):
        click.echo(line)
    seeds = [option(run.record, SEED) for run in runs]
    _print_quotable([result.record for result in results], seeds, results[0].names)
    for path in (*(path / "evaluation.json" for path in paths), *([output] if output else ())):
        click.echo(f"stored in {path}")


def _warn_of_few(record: Mapping[str, Any]) -> None:
    """Warn where figures were measured on fewer pictures than they need."""
    from cyclegan.report.paper import too_few

    if few := too_few(record.get("metrics", {}), record["protocol"]):
        log.warning("%s", few)


def _print_quotable(records: Sequence[Mapping[str, Any]], seeds: Sequence[Any], names: Mapping[str, str]) -> None:
    """Print the sentences to quote on the evaluations of runs, each with its seed."""
    from cyclegan.directions import Direction
    from cyclegan.report.paper import quotable
    from cyclegan.report.tables import measured_columns

    directions = [Direction.parse(key) for key in records[0]["protocol"]["directions"]]
    for line in quotable([measured_columns(record) for record in records], seeds, directions, names):
        click.echo(line)
