"""Pictures on their way: gathered by size, bounded in number, all stops at work at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cyclegan.images import Picture, read_picture
from cyclegan.translation import Translator, batching, jobs, pipeline, translate_folder
from cyclegan.translation.batching import BYTES, BatchSizes
from cyclegan.translation.jobs import Job
from cyclegan.translation.pipeline import Buckets
from tests.translation.examples import Negative, Small, files, fp32, picture


def test_two_batches_that_do_not_fit_beside_each_other_are_computed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, lock = threading.Barrier(2, timeout=20), threading.Lock()

    class Crowded(nn.Module):
        """As on a GPU with two streams: the first batch runs alone, the next two meet and fail."""

        calls = at_work = 0

        def forward(self, x: Tensor) -> Tensor:
            with lock:
                self.calls += 1
                call = self.calls
                self.at_work += 1
            try:
                if call in (2, 3):
                    together.wait()
                    if call == 3:  # it is late: what is tried again has to wait for it
                        time.sleep(0.2)
                    raise torch.OutOfMemoryError("CUDA out of memory")
                time.sleep(0.2 if call == 1 else 0.02)  # time enough for another to begin, if it may
                assert self.at_work == 1, f"{self.at_work} batches at once in call {call}"
            finally:
                with lock:
                    self.at_work -= 1
            return -x

    monkeypatch.setattr(pipeline, "_computer", lambda translator: pipeline.ThreadPoolExecutor(2))
    for number in range(12):
        picture(tmp_path / f"in/{number:02d}.png", seed=number)
    network = Crowded()
    summary = translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=1)
    assert (summary.translated, summary.failed) == (12, [])
    assert network.calls == 12 + 2


def test_pictures_of_equal_size_are_computed_together_wherever_they_stand(tmp_path: Path) -> None:
    for number in range(16):
        picture(tmp_path / f"in/{number:02d}.png", (4 + number % 2, 5), number)
    network = Small(10**6, MemoryError())
    translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=4)
    assert network.computed == [4, 4, 4, 4]
    assert len(files(tmp_path / "out")) == 16


def test_writing_does_not_keep_reading_from_going_on(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        picture(tmp_path / f"in/{number:02d}.png")
    last_read = threading.Event()

    def reading(path: str, **options: object) -> Picture:
        if path.endswith("24.png"):  # not one of the first 16, which are asked for before anything is written
            last_read.set()
        return read_picture(path)

    def writing(picture: Picture, suffix: str, **options: object) -> bytes:
        assert last_read.wait(20), "a writer waits for a reader that waits for a thread"
        return b""

    monkeypatch.setattr(pipeline, "_processors", lambda: 2)
    monkeypatch.setattr(jobs, "read_picture", reading)
    monkeypatch.setattr(jobs, "encode_picture", writing)
    assert translate_folder(negative, tmp_path / "in", tmp_path / "out").translated == 30


@pytest.mark.parametrize("mixed", [False, True])
def test_only_so_many_pictures_are_in_memory(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    for number in range(120):
        picture(tmp_path / f"in/{number:03d}.png", (6, 1 + number) if mixed else (6, 4))
    lock, alive, most = threading.Lock(), 0, 0

    def count(change: int) -> None:
        nonlocal alive, most
        with lock:
            alive += change
            most = max(most, alive)

    def reading(path: str, **options: object) -> Picture:
        count(+1)
        return read_picture(path)

    def writing(picture: Picture, suffix: str, **options: object) -> bytes:
        count(-1)
        return b""

    monkeypatch.setattr(pipeline, "_processors", lambda: 2)
    monkeypatch.setattr(jobs, "read_picture", reading)
    monkeypatch.setattr(jobs, "encode_picture", writing)
    translate_folder(negative, tmp_path / "in", tmp_path / "out", batch_size=3)
    assert alive == 0
    # 6 read ahead, 6 and the newest in buckets, 3 ready, two batches computing, 6 and a batch being written
    assert most <= 6 + (6 + 1) + 3 + 2 * 3 + (6 + 3)


def test_pictures_behind_many_that_fail_at_once_are_translated(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AtOnce(ThreadPoolExecutor):
        """Reads faster than anyone can look: all that is asked for is done, and has failed, before the next look."""

        def submit(self, task: Callable[..., object], /, *arguments: object, **options: object) -> Future:
            future = super().submit(task, *arguments, **options)
            wait([future])
            return future

    monkeypatch.setattr(batching, "ThreadPoolExecutor", AtOnce)
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / f"in/{number:02d}.png").write_bytes(b"")
    picture(tmp_path / "in/last.png")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert (summary.translated, len(summary.failed)) == (1, 100)


def _shapes(batches: list[pipeline.Batch]) -> list[list[tuple[int, int]]]:
    return [[(image.height, image.width) for _, image in batch] for batch in batches]


def test_a_bucket_leaves_when_it_is_full_and_the_oldest_when_there_is_no_more_room() -> None:
    buckets = Buckets(BatchSizes(fp32(Negative()), 3, 1000))
    job = Job("a", "a", "b")

    def add(height: int) -> list[list[tuple[int, int]]]:
        return _shapes(buckets.add(job, Picture(np.zeros((height, 2, 3), np.uint8))))

    assert [add(1), add(2), add(1)] == [[], [], []]
    assert add(1) == [[(1, 2)] * 3]
    assert [add(3), add(4), add(5), add(6), add(2)] == [[]] * 5  # six are held, in five sizes
    assert add(7) == [[(2, 2)] * 2]
    assert [_shapes(buckets.oldest())[0][0][0] for _ in range(5)] == [3, 4, 5, 6, 7]
    assert buckets.oldest() == []


def test_large_pictures_are_not_held_back_for_company() -> None:
    buckets = Buckets(BatchSizes(fp32(Negative()), 100, 1000))
    job = Job("a", "a", "b")

    class Large(np.ndarray):
        nbytes = BYTES // 3

    held = [buckets.add(job, Picture(np.zeros((height, 2, 3), np.uint8).view(Large))) for height in (1, 2, 3, 4)]
    assert [_shapes(batches) for batches in held] == [[], [], [], [[(1, 2)]]]
