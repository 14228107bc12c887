"""Everything that only training needs; nothing here is loaded to translate."""

from cyclegan.training.restarts import train

__all__ = ["train"]
