"""Pictures as equal squares, each the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan.data.sets import FileList
from cyclegan.errors import CycleganError
from cyclegan.evaluation import image_set
from cyclegan.evaluation.image_set import ImageSet, centre_square
from cyclegan.images import UnreadableImage


def test_a_square_is_the_middle_of_the_picture() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 200
    assert (centre_square(picture, 10) == 200).all()
    assert centre_square(picture, 10) is not picture
    same = picture[:, :10]
    assert centre_square(same, 10) is same


def test_scaling_down_averages_and_of_label_maps_takes_no_new_colour() -> None:
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::2] = 200
    assert abs(centre_square(fine, 16).astype(int) - 100).max() <= 12
    assert set(np.unique(centre_square(fine, 16, nearest=True))) <= {0, 200}


def test_what_was_forgotten_is_read_anew(tmp_path: Path) -> None:
    for number, level in enumerate((10, 20)):
        Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(tmp_path / f"{number}.png")
    some = ImageSet(tmp_path, ["0.png", "1.png"], 16).read()
    Image.fromarray(np.full((16, 16, 3), 30, np.uint8)).save(tmp_path / "1.png")
    assert [int(picture.max()) for picture in torch.cat(list(some.batches()))] == [10, 20]
    some.forget()
    assert [int(picture.max()) for picture in torch.cat(list(some.batches()))] == [10, 30]


def test_a_set_comes_in_the_same_order_whatever_the_batches_and_whether_kept(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = FileList(folder("many", 30), tuple(f"{number:03d}.png" for number in range(30)))
    some = ImageSet.of(pictures, 8, 20)
    assert len(some) == 20
    assert set(ImageSet.of(pictures, 8, 10).names) < set(some.names)
    first = torch.cat(list(some.batches(7)))
    monkeypatch.setattr(image_set, "_KEPT_BYTES", 0)
    unkept = ImageSet.of(pictures, 8, 20)
    again = [torch.cat(list(which.batches(count))) for which in (some, unkept, unkept) for count in (1, 20)]
    assert all(torch.equal(first, other) for other in again)
    assert not unkept._kept
    assert len(some._kept) == 20
    assert first.shape == (20, 3, 8, 8)


def test_what_cannot_be_read_is_passed_over_unless_the_set_has_to_be_whole(
    folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = folder("few", 4)
    (path / "001.png").write_bytes(b"no picture")
    names = tuple(f"{number:03d}.png" for number in range(4))
    found = ImageSet(path, names, 8).read()
    assert found.names == ("000.png", "002.png", "003.png")
    assert (len(found), found.unreadable) == (3, 1)
    assert sum(len(batch) for batch in found.batches()) == 3
    assert caplog.text.count("skipped") == 1
    with pytest.raises(UnreadableImage):
        ImageSet(path, names, 8, whole=True).read()
    with pytest.raises(CycleganError, match="none of the 1 pictures"):
        ImageSet(path, ("001.png",), 8).read()


def test_only_some_pictures_are_read_ahead(tmp_path: Path) -> None:
    for number in range(40):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number:03d}.png")
    found = ImageSet(tmp_path, [f"{number:03d}.png" for number in range(40)], 8)
    read: list[str] = []
    inner = found._read

    def counted(name: str) -> torch.Tensor | None:
        read.append(name)
        return inner(name)

    found._read = counted  # type: ignore[method-assign]
    batches = found.batches(1)
    next(batches)
    assert len(read) < 20
