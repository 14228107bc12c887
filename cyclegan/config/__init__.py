"""Training configuration: one frozen dataclass, its presets, and its resolution from flags and files.

Nothing here imports torch, so that a command line is parsed, checked and printed without delay.

The keys are flat and the same everywhere: `batch_size` in YAML is `--batch-size` on the command line,
`CYCLEGAN_TRAIN_BATCH_SIZE` in the environment and `TrainConfig(batch_size=…)` in Python. Options of one method alone
(`lambda_cycle`, `pool_size`, …) are declared with that method and held in `TrainConfig.options`.
"""

from cyclegan.config.options import NoOptions, option
from cyclegan.config.presets import PRESETS
from cyclegan.config.train_config import AUTO, PICTURE_FOLDERS, TrainConfig, flatten, in_steps, resolve

__all__ = ["AUTO", "PICTURE_FOLDERS", "PRESETS", "NoOptions", "TrainConfig", "flatten", "in_steps", "option", "resolve"]
