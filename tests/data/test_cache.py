import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.config import TrainConfig
from cyclegan.data import cache as module
from cyclegan.data.cache import (
    Cache,
    DiskCache,
    MemoryCache,
    choose_cache,
    estimate,
    open_cache,
    pictures_folder,
)
from cyclegan.data.dataset import build_loader
from cyclegan.data.kinds import PLAIN
from cyclegan.data.sets import FileList, find_sets
from cyclegan.data.transforms import build_transform
from tests.support.batches import load_batches, load_bytes

Folder = Callable[..., Path]


@pytest.fixture
def config(folder: Folder) -> TrainConfig:
    a, b = folder("horses", 5, size=24), folder("zebras", 4, size=20)
    return TrainConfig(a=str(a), b=str(b), load_size=20, crop_size=16, workers=0, holdout=0, cache="disk")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, logger="cyclegan")
    return tmp_path / "cache/pictures-v2"


def files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


def opened(config: TrainConfig, ranks: int = 1) -> Cache:
    sets = find_sets(config, ("a", "b"), "unpaired")
    return open_cache(config, sets, {"a": PLAIN, "b": PLAIN}, build_transform(config), ranks=ranks)


@pytest.mark.parametrize(
    ("need", "memory", "disk", "kind"),
    [
        (100, 300, 0, "ram"),
        (100, 299, 400, "disk"),
        (100, 299, 399, "off"),
        (0, 0, 0, "ram"),
        (1, 0, 0, "off"),
        (10**12, 10**12, 10**13, "disk"),
    ],
)
def test_memory_is_used_up_to_a_third_then_the_disk_up_to_a_quarter(
    need: int, memory: int, disk: int, kind: str
) -> None:
    assert choose_cache(need, memory, disk) == kind


def test_auto_goes_by_the_machine(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, cache="auto")
    need = (5 + 4) * 20 * 20 * 3
    for memory, disk, kind in ((3 * need, 0, MemoryCache), (3 * need - 1, 4 * need, DiskCache), (0, 0, Cache)):
        monkeypatch.setattr(module, "available_memory", lambda memory=memory: memory)
        monkeypatch.setattr(module, "_free", lambda folder, disk=disk: disk)
        assert type(opened(config)) is kind
    monkeypatch.setattr(module, "available_memory", lambda: 6 * need - 1)
    assert type(opened(config, ranks=1)) is MemoryCache
    assert type(opened(config, ranks=2)) is Cache


def test_what_pictures_take_is_estimated_from_some_of_them(tmp_path: Path) -> None:
    for number in range(100):
        Image.new("RGB", (80, 40) if number % 2 else (40, 80)).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "00.png").write_text("dear diary")
    pictures = FileList(tmp_path, tuple(sorted(path.name for path in tmp_path.iterdir())))
    assert estimate(pictures, 20) == 100 * 20 * 40 * 3
    assert estimate(pictures, None) == 100 * 40 * 80 * 3
    assert estimate(FileList(tmp_path, ("00.png",)), 20) == 0


def test_the_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: Path) -> None:
    assert pictures_folder() == place
    monkeypatch.delenv("CYCLEGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert pictures_folder() == tmp_path / "xdg/cyclegan/pictures-v2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert pictures_folder() == tmp_path / "home/.cache/cyclegan/pictures-v2"


def test_what_is_kept_is_said(config: TrainConfig, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind, words in (
        ("ram", "keeping 9 pictures decoded in memory, 0 MB"),
        ("disk", f"keeping 9 pictures decoded in {place}, 0 MB"),
        ("off", "9 pictures, 0 MB decoded, are decoded anew each time"),
    ):
        caplog.clear()
        opened(replace(config, cache=kind))
        assert caplog.messages == [words]
        assert caplog.records[0].levelno == logging.INFO


def test_memory_that_is_too_little_is_said_once_and_used_as_far_as_it_goes(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_bytes(replace(config, cache="off"))
    caplog.clear()
    monkeypatch.setattr(module, "available_memory", lambda: 2 * 4000)  # half of it holds three pictures
    config = replace(config, cache="ram")
    loader = build_loader(config, find_sets(config, ("a", "b"), "unpaired"), start=0, stop=12)
    assert [batch["a"].numpy().tobytes() + batch["b"].numpy().tobytes() for batch in loader] == expected
    (warning,) = caplog.messages
    assert "--cache ram" in warning
    assert sum(loader.dataset.cache.get(number) is not None for number in range(9)) == 3


def test_a_system_that_grants_no_memory_is_a_warning(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr(module, "MemoryCache", refused)
    assert type(opened(replace(config, cache="ram"))) is Cache
    assert "file too large" in caplog.messages[0]


def test_a_second_run_finds_what_the_first_has_kept(config: TrainConfig, place: Path) -> None:
    expected = load_bytes(config)
    found = {path: path.stat().st_mtime_ns for path in files(place)}
    assert len(found) == 9
    assert load_bytes(config) == expected
    assert {path: path.stat().st_mtime_ns for path in files(place)} == found


def test_a_picture_that_has_changed_is_read_anew(config: TrainConfig, place: Path) -> None:
    victim = Path(config.a or "") / "000.bmp"
    Image.new("RGB", (24, 24), "red").save(victim)
    load_batches(config)
    before = victim.stat()
    Image.new("RGB", (24, 24), "blue").save(victim)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert victim.stat().st_size == before.st_size
    assert load_bytes(config) == load_bytes(replace(config, cache="off"))
    assert len(files(place)) == 11


def test_load_sizes_and_pipelines_do_not_share_pictures(config: TrainConfig, place: Path, tmp_path: Path) -> None:
    (tmp_path / "augment.yaml").write_text("- CenterCrop: {height: 16, width: 16}")
    for count, other in (
        (9, config),
        (18, replace(config, load_size=17)),
        (27, replace(config, augment=str(tmp_path / "augment.yaml"))),
    ):
        assert load_bytes(other) == load_bytes(replace(other, cache="off"))
        assert len(files(place)) == count


def test_pictures_damaged_on_disk_are_rebuilt_without_a_word(
    config: TrainConfig, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_bytes(config)
    for path in files(place):
        path.write_bytes(path.read_bytes()[:-1])
    caplog.clear()
    assert load_bytes(config) == expected
    assert len({path.stat().st_size for path in files(place)} - {40 + 20 * 20 * 3}) == 0
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("cache", ["disk", "auto"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_that_cannot_be_written_to_is_said_once_and_done_without(
    cache: str, workers: int, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd, caplog
) -> None:
    expected = load_bytes(replace(config, cache="off"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "file/cache"))
    monkeypatch.setattr(module, "available_memory", lambda: 0)
    caplog.clear()
    capfd.readouterr()
    assert load_bytes(replace(config, cache=cache, workers=workers)) == expected
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "CYCLEGAN_CACHE" in record.message
    assert "not a directory" in record.message
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_is_full_at_the_start_is_noticed(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import resource

    def limited(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    limited(20 * 20 * 3 - 1)
    try:
        assert type(opened(config)) is Cache
    finally:
        limited(before)
    assert "file too large" in caplog.messages[0]


def test_a_link_to_nowhere_has_no_key_and_is_unreadable_as_ever(config: TrainConfig) -> None:
    (Path(config.a or "") / "link.png").symlink_to("gone")
    cache = opened(config)
    assert isinstance(cache, DiskCache)
    assert [key for key in cache.keys if key is None] == [None]
    assert load_bytes(config) == load_bytes(replace(config, cache="off"))


def test_keys_are_of_whole_paths(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.a is not None
    assert config.b is not None
    monkeypatch.chdir(Path(config.a).parent)
    relative = replace(config, a=Path(config.a).name, b=Path(config.b).name)
    first, second = (opened(each) for each in (config, relative))
    assert isinstance(first, DiskCache)
    assert isinstance(second, DiskCache)
    assert list(first.keys) == list(second.keys)
    assert len(np.unique(first.keys)) == 9
