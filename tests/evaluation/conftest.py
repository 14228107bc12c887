"""Pictures of two domains that no test changes."""

from __future__ import annotations

import pytest

from cyclegan.evaluation.image_set import ImageSet
from cyclegan.images import list_images
from tests.evaluation.examples import data_set


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageSet]:
    """`trainA` and `trainB` of 12 pictures, `testA` and `testB` of 6."""
    root = data_set(tmp_path_factory.mktemp("data"), train=12, test=6, side=32)
    return {
        name: ImageSet(root / name, list_images(root / name), 32) for name in ("trainA", "trainB", "testA", "testB")
    }
