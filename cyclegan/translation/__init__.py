"""Translation with a trained generator: pictures (`Translator`) and folders (`translate_folder`)."""

from cyclegan.translation.folder import Summary, translate_folder
from cyclegan.translation.translator import Translator

__all__ = ["Summary", "Translator", "translate_folder"]
