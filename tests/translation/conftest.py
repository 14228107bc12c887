"""What several tests of jobs start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.translation import Summary, Translator, translate_folder
from tests.translation.examples import Negative, fp32, picture


@pytest.fixture
def negative() -> Translator:
    return fp32(Negative())


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Summary]:
    """Translate the folder `in` of eight pictures into `out`."""
    for number in range(8):
        picture(tmp_path / f"in/{number}.png", seed=number)

    def translate(translator: Translator, **options: object) -> Summary:
        return translate_folder(translator, tmp_path / "in", tmp_path / "out", **options)  # type: ignore[arg-type]

    return translate
