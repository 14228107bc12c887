import multiprocessing
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cyclegan.data import cache as stores
from cyclegan.data.cache import Cache, DiskCache, MemoryCache, Prepared
from cyclegan.data.loading.buffers import SharedFile
from cyclegan.system import files
from tests.support.pictures import random_pixels


def picture(seed: int, height: int = 6, width: int = 5) -> Prepared:
    return Prepared(random_pixels(height, width, seed=seed), 60, 50 + seed)


def same(found: Prepared | None, expected: Prepared) -> bool:
    return found is not None and found[1:] == expected[1:] and np.array_equal(found.pixels, expected.pixels)


def in_other_processes(*work: Callable[[], None]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=each) for each in work]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    kinds: dict[str, Callable[[], Cache]] = {
        "memory": lambda: MemoryCache(4, 1000),
        "disk": lambda: DiskCache(tmp_path, ["aa0", "aa1", "bb2", None]),
    }
    return kinds[request.param]()


def test_a_picture_comes_back_as_it_was_kept(cache: Cache) -> None:
    assert cache.get(1) is None
    cache.put(1, picture(1))
    cache.put(0, Prepared(picture(2, 8).pixels[1:7, ::-1], 8, 9))  # a view that is not contiguous
    assert same(cache.get(1), picture(1))
    assert same(cache.get(0), Prepared(picture(2, 8).pixels[1:7, ::-1], 8, 9))
    assert cache.get(2) is None


def test_nobody_can_write_to_a_picture_that_is_kept(cache: Cache) -> None:
    cache.put(1, picture(1))
    found = cache.get(1)
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found.pixels[0, 0] = 0


@pytest.mark.process
def test_processes_share_what_any_of_them_keeps(cache: Cache) -> None:
    copy = pickle.loads(pickle.dumps(cache))  # what a spawned process is given
    everything = [picture(0), picture(1), picture(2)]

    def keep_all() -> None:
        for place, each in enumerate(everything):
            cache.put(place, each)

    in_other_processes(keep_all, keep_all, keep_all)
    for place, each in enumerate(everything):
        assert same(cache.get(place), each)
        assert same(copy.get(place), each)


def test_the_null_object_keeps_nothing() -> None:
    Cache().put(0, picture(0))
    assert Cache().get(0) is None


def test_a_full_buffer_keeps_what_it_has_and_takes_what_still_fits() -> None:
    cache = MemoryCache(4, 200)
    for place in range(3):
        cache.put(place, picture(place))  # 90 bytes each
        cache.put(place, picture(place))  # twice takes no more room
    assert same(cache.get(0), picture(0))
    assert same(cache.get(1), picture(1))
    assert cache.get(2) is None
    cache.put(3, picture(3, 2, 3))
    assert same(cache.get(3), picture(3, 2, 3))


@pytest.mark.process
def test_a_process_that_dies_while_it_holds_the_lock_holds_nobody_up() -> None:
    cache = MemoryCache(2, 1000)

    def die() -> None:
        stores.fcntl.lockf(cache._file.descriptor, stores.fcntl.LOCK_EX)
        os._exit(0)

    in_other_processes(die)
    cache.put(0, picture(0))
    assert same(cache.get(0), picture(0))


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_memory_that_runs_out_is_as_if_it_were_full(write: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = MemoryCache(3, 1000)
    cache.put(0, picture(0))
    writing, left = SharedFile.write, iter(range(write))

    def failing(self: SharedFile, data: bytes, offset: int) -> None:
        if next(left) == write - 1:
            raise OSError(28, "No space left on device")
        writing(self, data, offset)

    monkeypatch.setattr(SharedFile, "write", failing)
    cache.put(1, picture(1))
    cache.put(2, picture(2))
    monkeypatch.undo()
    assert same(cache.get(0), picture(0))
    assert cache.get(1) is None
    assert cache.get(2) is None


def damaged(change: Callable[[bytes], bytes], folder: Path) -> DiskCache:
    """A cache, as a process meets it that opens it, whose one file `change` has been at."""
    DiskCache(folder, ["aa0"]).put(0, picture(0))
    path = folder / "aa/aa0"
    path.write_bytes(change(path.read_bytes()))
    return DiskCache(folder, ["aa0"])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data + b"\0",
        lambda data: bytes(len(data)),  # what a file system may leave after a power failure
        lambda data: data[:8] + struct.pack("<I", stores.VERSION + 1) + data[12:],  # another version
        lambda data: b"another!" + data[8:],
        lambda data: data[:32] + b"zzzz" + data[36:],
    ],
    ids=["bit", "cut", "header", "empty", "longer", "zeros", "version", "magic", "type"],
)
def test_a_damaged_file_counts_as_not_there_and_is_written_anew(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    cache = damaged(change, tmp_path)
    assert cache.get(0) is None
    cache.put(0, picture(0))
    assert same(DiskCache(tmp_path, ["aa0"]).get(0), picture(0))


def test_a_picture_without_a_key_is_not_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, [None])
    cache.put(0, picture(0))
    assert cache.get(0) is None
    assert list(tmp_path.iterdir()) == []


def test_after_a_write_that_failed_no_other_is_tried(tmp_path: Path) -> None:
    (tmp_path / "aa").touch()  # where a folder should be
    cache = DiskCache(tmp_path, ["aa0", "bb1"])
    cache.put(0, picture(0))
    cache.put(1, picture(1))
    assert cache.get(0) is None
    assert [path.name for path in tmp_path.iterdir()] == ["aa"]


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    DiskCache(tmp_path, ["aa0"]).put(0, picture(0))
    assert list((tmp_path / "aa").iterdir()) == []


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_pictures_of_any_kind_are_kept(channels: int, cache: Cache) -> None:
    fractions = np.random.default_rng(0).random((3, 4, channels)).astype(np.float32)
    cache.put(0, Prepared(np.zeros((1, 1, 1), np.uint8), 1, 1))  # so that what follows begins at an odd place
    cache.put(1, Prepared(fractions, 30, 40))
    cache.put(2, Prepared((fractions * 255).astype(np.uint8), 5, 6))
    found = cache.get(1)
    assert found is not None
    assert found.pixels.dtype == np.float32
    assert found.pixels.flags.aligned
    assert same(found, Prepared(fractions, 30, 40))
    assert same(cache.get(2), Prepared((fractions * 255).astype(np.uint8), 5, 6))
