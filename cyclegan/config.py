"""What a training run is: one frozen dataclass, presets of it, and the way from flags and files to it.

Nothing here imports torch, so that a command line can be read, checked and printed in a moment.

The keys are flat and the same everywhere: `batch_size` in YAML is `--batch-size` on the command line,
`CYCLEGAN_TRAIN_BATCH_SIZE` in the environment and `TrainConfig(batch_size=…)` in Python. The options that belong to
one method alone (`lambda_cycle`, `pool_size`, …) are declared beside that method and stand in `TrainConfig.options`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cyclegan.errors import UsageError, choose, nearest


def option(
    default: Any, help: str, *, minimum: float | None = None, fixed: bool = False, metavar: str | None = None
) -> Any:
    """A dataclass field that is also a command-line option.

    `fixed` marks what a run cannot change once it has weights; `minimum` is checked wherever the value comes from.
    """
    metadata = {"help": help, "minimum": minimum, "fixed": fixed, "metavar": metavar}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run. Building one checks every value and raises `UsageError` with one sentence.

    The defaults are the recipe of Zhu et al. 2017 (https://arxiv.org/abs/1703.10593), which is also the preset
    `paper`: 100 epochs at a constant rate and 100 of linear decay, batch 1, load 286, crop 256, a 9-block ResNet.
    """

    # The two sets of pictures
    a: str | None = option(None, "Folder with the pictures of domain A.", metavar="DIR")
    b: str | None = option(None, "Folder with the pictures of domain B.", metavar="DIR")
    data: str | None = option(
        None, "Instead of --a and --b: a folder with trainA, trainB, testA, testB.", metavar="DIR"
    )
    test_a: str | None = option(None, "Held-out pictures of A; without it a share of --a is held out.", metavar="DIR")
    test_b: str | None = option(None, "Held-out pictures of B; without it a share of --b is held out.", metavar="DIR")
    holdout: float = option(0.05, "Share of each folder held out for samples (at least 8 pictures).", minimum=0)

    # What the networks see of them
    load_size: int = option(286, "Shorter side, in pixels, that pictures are scaled to.", minimum=1)
    crop_size: int = option(256, "Side, in pixels, of the random square cut from that.", minimum=8, fixed=True)
    flip: bool = option(True, "Mirror half of the pictures left to right.")
    augment: str | None = option(
        None, "YAML file with an albumentations pipeline instead of the above.", metavar="FILE"
    )
    workers: int = option(2, "Processes that read pictures; 0 reads in the training process.", minimum=0)

    # The game and its players
    method: str = option("cyclegan", "The game that is played.", fixed=True)
    generator: str = option("resnet_9blocks", "Generator network.", fixed=True)
    discriminator: str = option("patch", "Discriminator network.", fixed=True)
    channels: int = option(64, "Width of the networks: channels of their first layer.", minimum=1, fixed=True)
    norm: Literal["instance", "batch", "none"] = option("instance", "Normalisation layers.", fixed=True)
    spectral_norm: bool = option(False, "Bound the discriminators' Lipschitz constant (Miyato 2018).", fixed=True)
    upsampling: Literal["transposed", "resize"] = option(
        "transposed", "How generators enlarge: as in the paper, or without checkerboard.", fixed=True
    )
    dropout: bool = option(False, "Dropout in the generators.", fixed=True)
    init: str = option("normal", "Initial weights; normal is N(0, 0.02).")

    # How it learns
    steps: int | None = option(
        None, "Updates of each side; the second half decays unless --decay-steps says.", minimum=0
    )
    decay_steps: int | None = option(None, "The last of these steps, with a linearly falling rate.", minimum=0)
    epochs: int | None = option(100, "Passes over the larger folder at a constant rate.", minimum=0)
    decay_epochs: int | None = option(100, "Further passes with a linearly falling rate.", minimum=0)
    batch_size: int = option(1, "Pictures of each domain per step, over all processes.", minimum=1)
    accumulate: int = option(
        1, "Split each batch into this many parts to save memory; gradients are averaged.", minimum=1
    )
    lr_generator: float = option(2e-4, "Adam's learning rate of the generators.", minimum=0)
    lr_discriminator: float = option(2e-4, "Adam's learning rate of the discriminators.", minimum=0)
    beta1: float = option(0.5, "Adam's first moment.", minimum=0)
    beta2: float = option(0.999, "Adam's second moment.", minimum=0)
    clip_gradient: float = option(0.0, "Largest gradient norm of each side; 0 does not clip.", minimum=0)
    ema_decay: float = option(
        0.0, "Average the generators' weights with this decay, e.g. 0.999; 0 does not.", minimum=0
    )
    seed: int = option(0, "Everything random follows from this number.", minimum=0)

    # On what it runs
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "auto is bf16 where the hardware has it.")
    compile: Literal["auto", "on", "off"] = option("auto", "torch.compile; auto where the run is long enough to pay.")

    # What it leaves behind
    log_every: int = option(20, "Steps between two rows of figures.", minimum=1)
    sample_every: int = option(500, "Steps between two grids of sample pictures; 0 makes none.", minimum=0)
    samples: int = option(4, "Held-out pictures of each domain in a grid.", minimum=1)
    state_every: int = option(500, "Steps between two saved states.", minimum=1)
    generators_every: int = option(0, "Keep the generators of every so many steps; 0 keeps the newest.", minimum=0)
    wandb: Literal["auto", "online", "offline", "disabled"] = option(
        "auto", "Weights & Biases; auto is online where a key is known, else offline."
    )
    wandb_project: str = option("cyclegan", "Project of the Weights & Biases run.")

    # What only this method knows, e.g. {"lambda_cycle": 10.0}
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainConfig:
        """The preset called `name` with some of its values changed: `TrainConfig.preset("fast", a="x", b="y")`."""
        options = changes.pop("options", {})
        return replace(resolve([choose(PRESETS, name, "preset"), changes]), options=options)

    def __post_init__(self) -> None:
        if self.steps is not None:  # the defaults count in epochs, and a run has one length
            for name in ("epochs", "decay_epochs"):
                object.__setattr__(self, name, None)
        check_values(self)
        if self.crop_size > self.load_size:
            raise UsageError(
                f"--crop-size {self.crop_size} is larger than --load-size {self.load_size}; "
                "lower the first or raise the second"
            )
        if self.batch_size % self.accumulate:
            raise UsageError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}; choose a divisor of it"
            )
        if self.holdout >= 1:
            raise UsageError(f"--holdout {self.holdout:g} leaves nothing to train on; give a share below 1")
        if self.seed >= 2**63:
            raise UsageError("--seed: that number is too large; give one below 2^63")
        if self.decay_steps is not None and self.steps is None:
            raise UsageError("--decay-steps says nothing without --steps; give both, or --decay-epochs")
        for name in ("beta1", "beta2", "ema_decay"):
            if getattr(self, name) >= 1:
                raise UsageError(f"--{name.replace('_', '-')} must be below 1")


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # To see whether it works at all: 103 instead of 1879 GFLOP a step, and a fifth of the steps.
    "fast": {
        "generator": "resnet_6blocks",
        "channels": 32,
        "load_size": 143,
        "crop_size": 128,
        "upsampling": "resize",
        "ema_decay": 0.999,
        "epochs": 20,
        "decay_epochs": 20,
    },
    # The drawn animals of `cyclegan data demo` on two processor cores in minutes: narrow networks, twice the rate.
    "demo": {
        "generator": "resnet_6blocks",
        "channels": 16,
        "load_size": 64,
        "crop_size": 64,
        "upsampling": "resize",
        "ema_decay": 0.998,
        "lr_generator": 4e-4,
        "lr_discriminator": 4e-4,
        "steps": 3000,
        "sample_every": 250,
        "state_every": 250,
    },
}

# Two ways to say one thing: a later layer that uses the one silences what an earlier layer said by the other.
ALTERNATIVES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"steps", "decay_steps"}), frozenset({"epochs", "decay_epochs"})),
    (frozenset({"data"}), frozenset({"a", "b", "test_a", "test_b"})),
)


def resolve(layers: Sequence[Mapping[str, Any]], method_options: type | None = None) -> TrainConfig:
    """The config of flat `layers` laid over each other, the last one winning.

    `method_options` is the options dataclass of the chosen method. Unknown keys, values of the wrong type and
    contradictions within one layer raise `UsageError`.
    """
    known = known_keys(method_options)
    merged: dict[str, Any] = {}
    for layer in layers:
        for key in layer:
            if key not in known:
                raise UsageError(f"unknown option {key!r}{nearest(key, known)}")
        for pair in ALTERNATIVES:
            used = [{key for key in side if layer.get(key) is not None} for side in pair]
            if all(used):
                raise UsageError(f"{_flags(used[0])} and {_flags(used[1])} exclude each other; give one of them")
            for side, other in zip(used, reversed(pair), strict=True):
                if side:
                    merged.update(dict.fromkeys(other))
        if layer.get("steps") is not None:
            merged["decay_steps"] = None  # an earlier layer's belongs to an earlier length; without a word it is half
        merged.update(layer)
    own = {item.name for item in fields(TrainConfig)}
    options = {key: merged.pop(key) for key in list(merged) if key not in own}
    converted = {
        item.name: convert(TrainConfig, item.name, merged[item.name])
        for item in fields(TrainConfig)
        if item.name in merged
    }
    if method_options is not None:
        options = {key: convert(method_options, key, value) for key, value in options.items()}
        check_values(method_options(**options))
    return TrainConfig(**converted, options=options)


def known_keys(method_options: type | None = None) -> set[str]:
    """The flat keys a config may hold."""
    keys = {item.name for item in fields(TrainConfig)} - {"options"}
    return keys | ({item.name for item in fields(method_options)} if method_options else set())


def flatten(config: TrainConfig, method_options: type | None = None) -> dict[str, Any]:
    """The flat dict that `resolve` turns into an equal config; with `method_options`, their defaults written out."""
    values = {item.name: getattr(config, item.name) for item in fields(config) if item.name != "options"}
    defaults = {item.name: item.default for item in fields(method_options)} if method_options else {}
    return values | defaults | dict(config.options)


def in_steps(config: TrainConfig, steps_per_epoch: int) -> TrainConfig:
    """The same config with its length counted in steps, which is the only measure the loop knows."""
    if config.steps is not None:
        decay = config.steps // 2 if config.decay_steps is None else config.decay_steps
        if decay > config.steps:
            raise UsageError(f"--decay-steps {decay} is more than --steps {config.steps}; lower it")
        return replace(config, decay_steps=decay)
    steady, decay = ((count or 0) * steps_per_epoch for count in (config.epochs, config.decay_epochs))
    return replace(config, steps=steady + decay, decay_steps=decay, epochs=None, decay_epochs=None)


def convert(owner: type, name: str, value: Any) -> Any:
    """`value` as the type that field `name` of dataclass `owner` has, or `UsageError` naming the option."""
    wanted = get_type_hints(owner)[name]
    choices = _members(wanted)
    if value is None and type(None) in choices:
        return None
    for kind in choices:
        if get_origin(kind) is Literal:
            # YAML reads a bare off as False
            value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
            if value in get_args(kind):
                return value
        elif kind in (bool, str) and isinstance(value, kind):
            return value
        elif kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value  # as it is: a float would lose digits beyond 2^53
        elif kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)  # YAML reads 2e-4 as text
            except (ValueError, OverflowError):
                continue
            if kind is float and math.isfinite(number):
                return number
            if number.is_integer():
                return int(number)
    expected = " or ".join(_describe(kind) for kind in choices if kind is not type(None))
    raise UsageError(f"{_flags([name])}: {value!r} is not {expected}")


def check_values(settings: Any) -> None:
    """Hold the fields of a dataclass of options against type and minimum; `UsageError` names the first that fails."""
    for item in fields(settings):
        if not item.metadata:
            continue
        value = getattr(settings, item.name)
        convert(type(settings), item.name, value)
        minimum = item.metadata["minimum"]
        if minimum is not None and value is not None and value < minimum:
            raise UsageError(f"{_flags([item.name])} must be at least {minimum:g}, not {value:g}")


def default_of(item: Field[Any]) -> Any:
    """The default of a dataclass field, None where there is none."""
    return None if item.default is MISSING else item.default


def _members(wanted: Any) -> tuple[Any, ...]:
    return get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]


def _flags(names: Any) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in sorted(names))
