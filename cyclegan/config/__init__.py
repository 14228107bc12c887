"""What a training run is: one frozen dataclass, presets of it, and the way from flags and files to it.

Nothing here imports torch, so that a command line can be read, checked and printed in a moment.

The keys are flat and the same everywhere: `batch_size` in YAML is `--batch-size` on the command line,
`CYCLEGAN_TRAIN_BATCH_SIZE` in the environment and `TrainConfig(batch_size=…)` in Python. The options that belong to
one method alone (`lambda_cycle`, `pool_size`, …) are declared beside that method and stand in `TrainConfig.options`.
"""

from cyclegan.config.options import check_values, convert, default_of, option
from cyclegan.config.presets import PRESETS
from cyclegan.config.resolve import ALTERNATIVES, flatten, in_steps, known_keys, resolve
from cyclegan.config.train_config import AUTO, PICTURE_FOLDERS, TrainConfig

__all__ = [
    "ALTERNATIVES",
    "AUTO",
    "PICTURE_FOLDERS",
    "PRESETS",
    "TrainConfig",
    "check_values",
    "convert",
    "default_of",
    "flatten",
    "in_steps",
    "known_keys",
    "option",
    "resolve",
]
