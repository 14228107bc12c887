"""All that decides a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cyclegan.config.options import check_values, converted, option, words_of
from cyclegan.config.presets import PRESETS, overlay
from cyclegan.errors import UsageError, lookup

AUTO = -1  # as a batch size: to be found, once, before anything is counted by it


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
    load_size: int = option(
        286, "Shorter side, in pixels, that pictures are scaled to; 0 cuts from them as they are.", minimum=0
    )
    crop_size: int = option(256, "Side, in pixels, of the random square cut from that.", minimum=8, fixed=True)
    flip: bool = option(True, "Mirror half of the pictures left to right.")
    augment: str | None = option(
        None, "YAML file with an albumentations pipeline instead of the above.", metavar="FILE"
    )
    range: str = option(
        "full", "Numbers that are black and white: full, minmax, percentile:1,99 or LO,HI.", fixed=True, metavar="RANGE"
    )
    workers: int = option(2, "Processes that read pictures; 0 reads in the training process.", minimum=0)
    worker_timeout: int = option(
        300, "Seconds a picture may keep a reader that is waited for; 0 sets no limit.", minimum=0
    )
    cache: Literal["auto", "ram", "disk", "off"] = option(
        "auto", "Keep pictures decoded and scaled; auto where they fit, first in memory."
    )

    # The game and its players
    method: str = option("cyclegan", "The game that is played.", fixed=True)
    generator: str = option("auto", "Generator network; auto is the method's own, resnet_9blocks.", fixed=True)
    discriminator: str = option("auto", "Discriminator network; auto is the method's own, patch.", fixed=True)
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
    beta1: float = option(0.5, "Adam's first moment.", minimum=0)
    beta2: float = option(0.999, "Adam's second moment.", minimum=0)
    clip_gradient: float = option(0.0, "Largest gradient norm of each side; 0 does not clip.", minimum=0)
    ema_decay: float = option(
        0.0, "Average the generators' weights with this decay, e.g. 0.999; 0 does not.", minimum=0
    )
    seed: int = option(0, "Everything random follows from this number.", minimum=0)

    # On what it runs
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto is the fastest that learns as well; fp32 is exact."
    )
    compile: Literal["auto", "on", "off"] = option("auto", "torch.compile; auto where the run is long enough to pay.")
    timeout: int = option(600, "Seconds that processes (torchrun) wait for one another before they end.", minimum=1)
    gradient_dtype: Literal["fp32", "bf16"] = option(
        "fp32", "Numbers that gradients travel in between processes; bf16 halves the bytes."
    )
    checkpoint_activations: bool = option(False, "Save memory: compute the generators' inner layers twice.")

    # What it leaves behind
    log_every: int = option(20, "Steps between two rows of figures.", minimum=1)
    sample_every: int = option(500, "Steps between two grids of sample pictures; 0 makes none.", minimum=0)
    samples: int = option(4, "Held-out pictures of each domain in a grid.", minimum=1)
    state_every: int = option(500, "Steps between two saved states.", minimum=1)
    generators_every: int = option(0, "Keep the generators of every so many steps; 0 keeps the newest.", minimum=0)
    evaluate_every: int = option(5000, "Steps between two evaluations on held-out pictures; 0 makes none.", minimum=0)
    evaluate_pictures: int = option(
        128, "Held-out pictures of each domain that an evaluation takes, at most.", minimum=2
    )
    metric: str = option(
        "kid", "Figures to keep the best generators by, such as kid,judge_ab; the first decides.", metavar="NAMES"
    )
    patience: int = option(
        0, "Stop after so many evaluations in a row without a better first --metric; 0 never does.", minimum=0
    )
    on_alarm: Literal["warn", "stop", "restart"] = option(
        "warn", "When a run goes wrong: say so, end it, or begin anew with another seed, early on and twice at most."
    )
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
        known = {item.name for item in fields(cls)} - {"options"}
        return cls(**converted(cls, overlay([lookup(PRESETS, name, "preset"), changes], known)), options=options)

    def __post_init__(self) -> None:
        if self.steps is not None:  # the defaults count in epochs, and a run has one length
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
            raise UsageError("--decay-steps says nothing without --steps; give both, or --decay-epochs")
        if self.patience and not self.evaluate_every:
            raise UsageError(
                f"--patience {self.patience} counts evaluations, and --evaluate-every 0 makes none; give a number of "
                "steps to --evaluate-every, or leave --patience out"
            )
        for name in ("beta1", "beta2", "ema_decay"):
            if getattr(self, name) >= 1:
                raise UsageError(f"--{name.replace('_', '-')} must be below 1")
