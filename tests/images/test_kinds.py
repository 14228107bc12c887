from pathlib import Path

import numpy as np
import pytest

from cyclegan.images import decode_picture, encode_picture, read_header, read_picture
from tests.images.kinds import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_kind_of_picture_is_read_as_it_was_stored(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(kind.data)
    picture = read_picture(path)
    assert picture.pixels.dtype == kind.pixels.dtype
    assert picture.pixels.dtype.isnative
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.shape == kind.pixels.shape
    if kind.exact:
        assert np.array_equal(picture.pixels, kind.pixels)
    else:  # within blocks; at their edges the halved colour is blurred
        assert np.abs(picture.pixels.astype(int) - kind.pixels)[4::8, 4::8].max() < 16
    assert (picture.alpha is None) == (kind.alpha is None)
    if kind.alpha is not None:
        assert picture.alpha.dtype == kind.alpha.dtype
        assert np.array_equal(picture.alpha, kind.alpha)
    header = read_header(path)
    assert (header.height, header.width, header.channels) == picture.pixels.shape
    assert header.dtype == picture.pixels.dtype
    assert (header.format, header.mode) == (picture.details.format, picture.details.mode)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_kind_of_picture_is_written_as_it_was_read(kind: Kind) -> None:
    picture = decode_picture(kind.data, "source")
    again = decode_picture(encode_picture(picture, kind.suffix), "again")
    assert again.pixels.dtype == picture.pixels.dtype
    assert again.pixels.shape == picture.pixels.shape
    lossy = not kind.exact
    if not lossy and kind.suffix != ".webp":
        assert np.array_equal(again.pixels, picture.pixels)
    else:
        shown = slice(None) if picture.alpha is None else picture.alpha[4::8, 4::8] > 0
        difference = np.abs(again.pixels.astype(int) - picture.pixels)[4::8, 4::8][shown]
        assert difference.max() < 16
    assert (again.alpha is None) == (picture.alpha is None)
    if picture.alpha is not None:
        assert np.array_equal(again.alpha, picture.alpha)
    assert again.details.format == picture.details.format
    kept = dict(picture.details.container)
    if kind.name == "tiff-1":  # a code for black and white alone
        kept["compression"] = 5
    assert again.details.container == kept
