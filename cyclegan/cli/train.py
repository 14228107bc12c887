"""`cyclegan train`: its options are the fields of `TrainConfig` and of every method's options dataclass."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
import yaml
from click.core import ParameterSource

from cyclegan.cli.param_types import NumberOr
from cyclegan.config import PRESETS, TrainConfig, flatten, resolve
from cyclegan.config.options import members_of, types_of, words_of
from cyclegan.config.safe_yaml import read_yaml
from cyclegan.errors import UsageError, lookup, reason_of
from cyclegan.losses import ADVERSARIAL_LOSSES, RECONSTRUCTION_LOSSES
from cyclegan.methods import METHODS, options_of, with_networks
from cyclegan.networks import DISCRIMINATORS, GENERATORS, network_options
from cyclegan.networks.layers import INITS
from cyclegan.training.storage.run_directory import default_run, read_config

# Options whose values are the names in a table; the tables need torch, which training needs anyway.
TABLES: dict[str, Mapping[str, Any]] = {
    "method": METHODS,
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
    "init": INITS,
    "adversarial": ADVERSARIAL_LOSSES,
    "reconstruction": RECONSTRUCTION_LOSSES,
}
_ARGUMENTS = "cyclegan.words"
_PATH = click.Path(path_type=Path)

EPILOG = """The command line takes precedence over the environment (CYCLEGAN_TRAIN_BATCH_SIZE=4), then come --config,
--preset and the defaults shown here. Running the same command again continues where the run stopped."""


def _type(owner: type, item: Field[Any]) -> Any:
    kind = next(kind for kind in members_of(types_of(owner)[item.name]) if kind is not NoneType)
    if words_of(item):
        return NumberOr(*words_of(item), least=int(item.metadata["minimum"]))
    if item.name in TABLES:
        names = [*TABLES[item.name], *([item.default] if item.default not in TABLES[item.name] else [])]  # auto
        return click.Choice(names)
    if get_origin(kind) is Literal:
        return click.Choice(list(get_args(kind)))
    return kind  # a type that click knows


def _option(owner: type, item: Field[Any]) -> click.Option:
    flag = "--" + item.name.replace("_", "-")
    boolean = types_of(owner)[item.name] is bool
    return click.Option(
        [f"{flag}/--no-{flag[2:]}" if boolean else flag],
        type=_type(owner, item),
        default=item.default,
        help=item.metadata["help"],
        metavar=item.metadata["metavar"],
    )


class _KeepsArguments(click.Command):
    """Command that keeps its arguments, for the processes that it starts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def _options(function: Callable[..., None]) -> click.Command:
    """Make `function` a command with the options of the config, every method and every network."""
    declared: dict[str, click.Option] = {}
    networks = map(network_options, (*GENERATORS.values(), *DISCRIMINATORS.values()))
    for owner in (TrainConfig, *(method.Options for method in METHODS.values()), *networks):
        for item in fields(owner):
            if item.metadata:
                declared.setdefault(item.name, _option(owner, item))
    own = click.command("train", cls=_KeepsArguments, epilog=EPILOG)(function)
    own.params = [*own.params, *declared.values()]
    return own


@_options
@click.option("-o", "--output", type=_PATH, metavar="RUN", help="Directory of the run; by default runs/<a>2<b>.")
@click.option("--resume", type=_PATH, metavar="RUN", help="Continue this run; needs no other option.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="paper", help="Set of values to start from.")
@click.option("--config", type=_PATH, metavar="FILE", help="YAML file with any of these options.")
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Processes on this machine that train together, each on its own GPU; as torchrun --nproc-per-node.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@click.pass_context
def command(
    ctx: click.Context,
    output: Path | None,
    resume: Path | None,
    preset: str,
    config: Path | None,
    nproc: int,
    dry_run: bool,
    **values: Any,
) -> None:
    """Learn to translate between two folders of pictures.

    \b
    cyclegan train --a horses --b zebras
    cyclegan train --resume runs/horses2zebras
    """  # noqa: D301
    if resume and output:
        raise UsageError("--resume and -o both name the run; give one of them")
    preset_given = ctx.get_parameter_source("preset") is not ParameterSource.DEFAULT
    if resume and preset_given:
        raise UsageError("--preset: --resume keeps the values of the run; leave the preset out")
    given = [
        {name: value for name, value in values.items() if ctx.get_parameter_source(name) is source}
        for source in (ParameterSource.ENVIRONMENT, ParameterSource.COMMANDLINE)
    ]
    file = read_config_file(config) if config else {}
    in_file = file.pop("preset", preset)
    base = read_config(resume) if resume else lookup(PRESETS, preset if preset_given else in_file, "--preset")
    layers = [base, file, *given]
    names = {
        name: next((layer[name] for layer in reversed(layers) if name in layer), getattr(TrainConfig, name))
        for name in ("method", "generator", "discriminator")
    }
    options = options_of(**names)
    resolved = with_networks(resolve(layers, options))
    for name, value in flatten(resolved, options).items():
        if name in TABLES:  # click has checked the command line, but not a file
            lookup(TABLES[name], value, "--" + name.replace("_", "-"))
    if dry_run:
        click.echo(yaml.safe_dump(flatten(resolved, options), sort_keys=False, allow_unicode=True), nl=False)
        return

    run = resume or output or default_run(resolved)
    rank = os.environ.get("RANK")  # set by torchrun or our launcher
    if nproc > 1 and rank is None:
        from cyclegan.training.distributed.launch import launch

        launch(nproc, ["train", *ctx.meta[_ARGUMENTS]], run)
        return

    from cyclegan.training import train

    train(resolved, run)
    if rank in (None, "0"):
        click.echo(run)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a flat mapping from a YAML file; `UsageError` for anything else, code in tags included."""
    try:
        values = read_yaml(path)
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read ({reason_of(error)})") from None
    except ValueError as error:
        raise UsageError(f"--config {path}: is not plain YAML: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"--config {path}: must hold `name: value` lines, such as batch_size: 4")
    return {key.replace("-", "_"): value for key, value in values.items()}
