import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclegan.config import TrainConfig
from cyclegan.data import cache
from cyclegan.data.dataset import build_loader
from cyclegan.data.held_out import held_out_pictures
from cyclegan.data.kinds import find_kinds
from cyclegan.data.loading import regions as large
from cyclegan.data.loading.regions import OPEN, LargePictures, is_large, sampled_parts
from cyclegan.data.sets import find_sets
from cyclegan.images import UnreadableImage, open_regions, read_header, read_picture, regions
from tests.support.batches import load_bytes

Slides = Callable[..., Path]
LIMIT = 10_000  # bytes, in place of 64 MB


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", LIMIT)
    monkeypatch.setattr(regions, "SMALL", LIMIT)


@pytest.fixture
def slides(tmp_path: Path) -> Slides:
    """`slides(name, dtype, channels, count)` makes a folder of tiled TIFFs of about 100 × 120 pixels."""
    import tifffile

    def make(name: str, dtype: str = "uint8", channels: int = 3, count: int = 3) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(ord(name[0]))
        for number in range(count):
            high = 1 if dtype == "float32" else np.iinfo(dtype).max
            pixels = (rng.random((100 + number, 120, channels)) * high).astype(dtype)
            tifffile.imwrite(
                folder / f"{number}.tif",
                pixels if channels > 1 else pixels[:, :, 0],
                tile=(32, 48),
                compression="zlib",
                photometric="rgb" if channels == 3 else "minisblack",
                planarconfig="contig" if channels > 1 else None,
            )
        return folder

    return make


def config(a: Path, b: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {"load_size": 0, "crop_size": 16, "workers": 0, "holdout": 0.0, "seed": 5, "cache": "off"}
    return TrainConfig(a=str(a), b=str(b), **(values | changes))


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint16", 1), ("float32", 5)])
@pytest.mark.parametrize("flip", [True, False])
def test_squares_read_as_parts_are_those_cut_from_the_whole(
    dtype: str, channels: int, flip: bool, slides: Slides, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(slides("a", dtype, channels), slides("b", dtype, channels), flip=flip)
    in_parts = load_bytes(settings, stop=9)
    assert len(set(in_parts)) == 9
    monkeypatch.setattr(large, "LARGE", 2**30)
    assert load_bytes(settings, stop=9) == in_parts


def test_the_whole_of_a_large_picture_is_never_decoded(slides: Slides, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.data import dataset
    from cyclegan.data import held_out as examples

    settings = config(slides("a"), slides("b"))
    for module in (dataset, examples):
        monkeypatch.setattr(module, "read_picture", None)
    assert len(load_bytes(settings, stop=9)) == 9
    shown = held_out_pictures(find_sets(settings, ("a", "b"), "unpaired"), settings, 3)["a"]
    monkeypatch.undo()
    middles = {read_picture(path).pixels[42 + number // 2 : 58 + number // 2, 52:68].tobytes()
               for number, path in enumerate(sorted(Path(settings.a or "").iterdir()))}  # fmt: skip
    assert {picture.permute(1, 2, 0).numpy().tobytes() for picture in shown} == middles


@pytest.mark.process
def test_forked_workers_open_their_own_readers(slides: Slides) -> None:
    settings = config(slides("a"), slides("b"))
    assert load_bytes(replace(settings, workers=2), stop=9) == load_bytes(settings, stop=9)


@pytest.mark.slow
def test_spawned_workers_open_their_own_readers(tmp_path: Path, folder: Callable[..., Path]) -> None:
    (tmp_path / "large").mkdir()
    whole = np.lib.format.open_memmap(tmp_path / "large/0.npy", "w+", np.uint8, (4800, 4800, 3))
    whole[:] = np.arange(4800)[:, None, None] % 251  # 69 MB: the limits of a spawned process are the usual ones
    whole.flush()
    settings = config(tmp_path / "large", folder("b", 2, 40))
    assert load_bytes(replace(settings, workers=1), stop=3, context="spawn") == load_bytes(settings, stop=3)


def test_a_picture_with_a_side_below_the_crop_is_enlarged_though_it_is_large(slides: Slides) -> None:
    a = slides("a", count=2)
    np.save(a / "strip.npy", np.full((8, 2000, 3), 7, np.uint8))
    settings = config(a, slides("b"), batch_size=3)
    domains = find_sets(settings, ("a", "b"), "unpaired")
    (batch,) = build_loader(settings, domains, start=0, stop=1)
    assert batch["enlarged"] == [(str(a / "strip.npy"), "2000×8")]
    assert sum(bool((picture == 7).all()) for picture in batch["a"]) == 1


def test_the_last_readers_stay_open_and_the_others_are_closed(slides: Slides, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = slides("a", count=OPEN + 1)
    paths = sorted(folder.iterdir())
    opened: list[Path] = []
    closed: list[int] = []

    def opening(path: Path) -> Any:
        opened.append(path)
        found = open_regions(path)
        close = found.close
        monkeypatch.setattr(found, "close", lambda: (closed.append(paths.index(path)), close()), raising=False)
        return found

    monkeypatch.setattr(large, "open_regions", opening)
    readers = LargePictures(len(paths))
    for place in [*range(OPEN), 0, OPEN, 0, 2]:
        assert readers.reader(place, paths[place]) is not None
    assert opened == paths
    assert closed == [1]
    copy = pickle.loads(pickle.dumps(readers))
    assert copy.reader(3, paths[3]) is not None
    assert opened == [*paths, paths[3]]
    del readers, copy
    assert sorted(closed) == [0, 1, 2, 3, 3, 4]


def test_what_can_only_be_decoded_whole_is_held_by_nobody(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "large.bmp"
    Image.new("RGB", (100, 100), "red").save(path)
    readers = LargePictures(1)
    first = readers.reader(0, path)
    assert first is not None
    assert first.read(0, 0, 2, 2)[0].tolist() == [[[255, 0, 0]] * 2] * 2
    assert readers.reader(0, path) is None


def test_what_cannot_be_read_is_said_each_time(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("dear diary")
    readers = LargePictures(1)
    for _ in range(2):
        with pytest.raises(UnreadableImage, match="not a picture"):
            readers.reader(0, tmp_path / "text.tif")


def test_a_range_is_measured_on_nine_squares_of_a_large_picture(
    slides: Slides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "_SIDE", 10)
    folder = slides("a", "uint16", 1, count=1)
    whole = read_picture(folder / "0.tif").pixels
    parts = [part.pixels for part in sampled_parts(folder / "0.tif")]
    corners = [(top, left) for top in (0, 45, 90) for left in (0, 55, 110)]
    assert all(
        np.array_equal(part, whole[top : top + 10, left : left + 10])
        for part, (top, left) in zip(parts, corners, strict=True)
    )
    settings = config(folder, slides("b", "uint16", 1), range="minmax")
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    assert find_kinds(settings, find_sets(settings, ("a", "b"), "unpaired"))["a"].rule.text == f"{low},{high}"


def test_large_pictures_are_not_reckoned_with_in_the_cache(slides: Slides) -> None:
    settings = config(slides("a"), slides("b"))
    assert is_large(read_header(Path(settings.a or "") / "0.tif"))
    domains = find_sets(settings, ("a", "b"), "unpaired")
    assert cache.estimate(domains.train["a"], None, in_parts=True) == 0
    assert cache.estimate(domains.train["a"], None) == 3 * 101 * 120 * 3
