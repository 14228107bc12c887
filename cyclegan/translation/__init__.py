"""Pictures through a trained generator: one by one (`Translator`), or a folder at a time (`translate_folder`)."""

from cyclegan.translation.folder import translate_folder
from cyclegan.translation.job.progress import Summary
from cyclegan.translation.translator import Translator

__all__ = ["Summary", "Translator", "translate_folder"]
