"""Features of training pictures on the disk: computed once, and again for whatever may have changed them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.kept_features import features_of
from cyclegan.evaluation.image_set import ImageSet
from tests.evaluation.examples import colours, folder, squares


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def seen() -> list[int]:
    """Numbers of pictures that the network was shown."""
    return []


@pytest.fixture
def slow(seen: list[int]) -> Extractor:
    quick = colours()

    def network(x: Tensor) -> Tensor:
        seen.append(len(x))
        return quick.network(x)

    return replace(quick, network=network, slow=True)


def pictures(tmp_path: Path) -> ImageSet:
    return squares(tmp_path / "b", 16)


def test_they_are_computed_once_for_files_and_a_network(tmp_path: Path, slow: Extractor, seen: list[int]) -> None:
    folder(tmp_path / "b", "b", 4, side=16)
    first = features_of(slow, pictures(tmp_path))
    again = pictures(tmp_path)
    assert torch.equal(features_of(slow, again), first)
    assert torch.equal(first, torch.cat([slow(batch) for batch in pictures(tmp_path).batches()]))
    assert seen == [4, 4]  # the second time for this test alone
    assert not again._kept  # nor was a picture read
    for other in (replace(slow, sha256="1" * 64), replace(slow, how="otherwise"), replace(slow, name="other")):
        features_of(other, pictures(tmp_path))
    features_of(slow, squares(tmp_path / "b", 8))
    os.utime(next((tmp_path / "b").iterdir()), (1, 1))
    features_of(slow, pictures(tmp_path))
    folder(tmp_path / "b", "b", 1, start=4, side=16)
    features_of(slow, pictures(tmp_path))
    assert seen[2:] == [4, 4, 4, 4, 4, 5]


def test_damaged_ones_are_computed_again(tmp_path: Path, slow: Extractor, seen: list[int], cache: Path) -> None:
    folder(tmp_path / "b", "b", 3, side=16)
    wanted = features_of(slow, pictures(tmp_path))
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:-5], b"", b"{}"):
        file.write_bytes(damaged)
        assert torch.equal(features_of(slow, pictures(tmp_path)), wanted)
    assert seen == [3] * 4
    assert file.read_bytes() == whole


def test_nothing_is_kept_of_a_quick_network_an_unreadable_picture_or_in_a_place_that_cannot_be_written(
    tmp_path: Path, slow: Extractor, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path / "b", "b", 3, side=16)
    features_of(replace(slow, slow=False), pictures(tmp_path))
    (tmp_path / "b" / "x.png").write_text("not a picture")
    for _ in range(2):
        assert len(features_of(slow, pictures(tmp_path))) == 3
    assert caplog.text.count("skipped: ") == 2
    assert not cache.exists()
    (tmp_path / "b" / "x.png").unlink()
    (tmp_path / "file").touch()
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "file"))
    assert len(features_of(slow, pictures(tmp_path))) == 3
