"""Unpaired image translation: two folders of pictures in, two trained translators out.

>>> from cyclegan import TrainConfig, Translator, train
>>> run = train(TrainConfig(a="horses", b="zebras"))          # doctest: +SKIP
>>> zebra = Translator.load(run)(picture_of_a_horse)          # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan.config import TrainConfig as TrainConfig
    from cyclegan.training import train as train
    from cyclegan.translation import Translator as Translator

__version__ = "0.1.0"
__all__ = ["TrainConfig", "Translator", "__version__", "train"]
_MODULES = {"TrainConfig": "cyclegan.config", "Translator": "cyclegan.translation", "train": "cyclegan.training"}


def __getattr__(name: str) -> Any:
    # Imported on first use (PEP 562), so that the command line answers --help without waiting for torch.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
