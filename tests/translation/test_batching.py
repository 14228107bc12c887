"""Which pictures go together, and how many: chosen, and halved where they do not fit."""

from __future__ import annotations

import logging
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cyclegan.images import Picture, read_image
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.batching import BYTES, Batcher, BatchSizes, Kind
from cyclegan.translation.jobs import Failure
from cyclegan.translation.tiling.single import attempt, nbytes
from tests.models.examples import generator
from tests.translation.examples import Negative, Plain, Small, fp32, picture

WORDS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: error code 12"),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.slow
@pytest.mark.parametrize("error", WORDS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_for_good_and_that_is_said_once(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [picture(tmp_path / f"in/{number:02d}.png", (6, 6), number) for number in range(40)]
    for number in range(8):
        picture(tmp_path / f"in/small{number}.png", (3, 3), number)
        picture(tmp_path / f"in/wide{number}.png", (4, 9), number)  # as large, but of another shape
    network = Small(2 * 6 * 6 * 3, error)
    with caplog.at_level(logging.WARNING, "cyclegan"):
        summary = translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=8)
    assert (summary.translated, summary.failed) == (56, [])
    for number, pixels in enumerate(pictures):
        assert np.array_equal(read_image(tmp_path / f"out/{number:02d}.png"), 255 - pixels)
    # For each of two sizes 8 and 4 were tried once, but for a second batch of 8 that was under way already
    assert sorted(network.refused) in ([4, 4, 8, 8], [4, 4, 8, 8, 8])
    assert network.computed.count(8) == 1  # small pictures still go eight at a time
    assert [record.getMessage() for record in caplog.records] == [
        "8 pictures of 6×6 pixels do not fit in the memory together; going on with 2 at a time"
    ]


@pytest.mark.slow
def test_a_halved_batch_gives_what_a_whole_one_gives(tmp_path: Path) -> None:
    network = generator()

    class Halved(Plain):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return network(x)

    for number in range(4):
        picture(tmp_path / f"in/{number}.png", (16, 12), number)
    translate_folder(fp32(network), tmp_path / "in", tmp_path / "whole", batch_size=4)
    translate_folder(fp32(Halved()), tmp_path / "in", tmp_path / "halved", batch_size=4)
    for number in range(4):
        whole, halved = (read_image(tmp_path / name / f"{number}.png").astype(int) for name in ("whole", "halved"))
        assert np.abs(whole - halved).max() <= 1


@pytest.mark.slow
def test_a_picture_that_does_not_fit_alone_is_listed_and_the_others_are_translated(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"in/{number}.png", (6, 6), number)
    picture(tmp_path / "in/large.png", (60, 50))
    network = Small(150, WORDS[0])
    summary = translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=8)
    assert summary.translated == 4
    assert [name for name, _ in summary.failed] == ["large.png"]
    assert "50×60 pixels are more than fit" in summary.failed[0][1]


@pytest.mark.slow
def test_a_failed_attempt_holds_no_memory_when_the_next_begins(tmp_path: Path) -> None:
    class Wasteful(Plain):
        left: weakref.ref[Tensor] | None = None

        def forward(self, x: Tensor) -> Tensor:
            assert self.left is None or self.left() is None, "the first attempt's activations are still there"
            activations = x + 1
            self.left = weakref.ref(activations)
            if len(x) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return -x

    for number in range(4):
        picture(tmp_path / f"in/{number}.png")
    assert translate_folder(fp32(Wasteful()), tmp_path / "in", tmp_path / "out", batch_size=4).translated == 4


@pytest.mark.parametrize("words", ["a defect", "CUDA error: an illegal memory access was encountered"])
def test_another_failure_of_the_network_is_not_hidden(tmp_path: Path, words: str) -> None:
    class Broken(Plain):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError(words)

    for number in range(3):
        picture(tmp_path / f"in/{number}.png")
    with pytest.raises(RuntimeError, match=words):
        translate_folder(fp32(Broken()), tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("side", "size"), [(1, 8), (64, 8), (128, 4), (181, 2), (182, 1), (256, 1), (4000, 1)])
def test_a_processor_takes_no_more_at_a_time_than_has_the_pixels_of_one_picture_of_256(side: int, size: int) -> None:
    assert BatchSizes(fp32(Negative()), None, 1000)[side, side] == size


def test_a_size_that_is_asked_for_is_taken_whatever_the_pictures() -> None:
    sizes = BatchSizes(fp32(Negative()), 7, 3)
    assert (sizes[10, 10], sizes[4000, 3000], sizes.most) == (7, 7, 7)


@pytest.mark.parametrize(("pictures", "size"), [(1, 1), (7, 1), (20, 5), (1000, 8)])
def test_a_small_job_is_cut_into_several_batches_so_that_its_parts_overlap(pictures: int, size: int) -> None:
    assert BatchSizes(fp32(Negative()), None, pictures)[16, 16] == size


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Translator:
    """As if on a GPU with 8 GiB free, on which a picture of 256² takes 64 MiB at its peak."""
    translator = fp32(Negative())
    translator.device = torch.device("cuda")
    peak = [2**30]  # held at most so far: by the loading of the weights, say
    monkeypatch.setattr(translator, "batch", lambda pictures: peak.append(2**28 + 2**26) or pictures)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.clear())
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: max(peak))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**28)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**28 + 2**32)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**32, 2**35))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return translator


@pytest.mark.parametrize(
    ("size", "together"), [((64, 64), 32), ((256, 256), 32), ((512, 512), 8), ((512, 1024), 4), ((4096, 4096), 1)]
)
def test_a_gpu_takes_what_its_free_memory_allows_and_no_more_than_keeps_it_busy(
    gpu: Translator, size: tuple[int, int], together: int
) -> None:
    assert BatchSizes(gpu, None, 1000)[size] == together


@pytest.mark.parametrize(("free", "together"), [(2**30, 4), (2**26, 1)])
def test_a_gpu_whose_memory_is_taken_gets_smaller_batches(
    gpu: Translator, monkeypatch: pytest.MonkeyPatch, free: int, together: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**35))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**28)
    assert BatchSizes(gpu, None, 1000)[256, 256] == together


def test_a_gpu_on_which_not_even_the_probe_fits_computes_one_at_a_time(
    gpu: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batch(pictures: list[np.ndarray]) -> list[np.ndarray]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "batch", batch)
    assert BatchSizes(gpu, None, 1000)[32, 32] == 1


def _batcher(most: int, **options: Any) -> Batcher[Any]:
    return Batcher(BatchSizes(fp32(Negative()), most, None), **options)


def _kind(height: int, width: int = 2, dtype: str = "uint8") -> Kind:
    return (height, width, 3), np.dtype(dtype)


def _ready(batcher: Batcher[Any]) -> list[list[Any]]:
    """Items taken while nothing that waits for company is asked for."""
    taken = iter(lambda: batcher.take(partial=False), None)
    return [batch.items for batch in taken]


def test_a_batch_leaves_when_it_is_full_and_the_oldest_when_there_is_no_more_room() -> None:
    batcher = _batcher(3)

    def add(height: int) -> list[list[int]]:
        batcher.add(height, _kind(height), 1)
        return _ready(batcher)

    assert [add(1), add(2), add(1)] == [[], [], []]
    assert add(1) == [[1, 1, 1]]
    assert [add(3), add(4), add(5), add(6), add(2)] == [[]] * 5  # six are held, in five sizes
    assert add(7) == [[2, 2]]
    assert [batch.items for batch in iter(batcher.take, None)] == [[3], [4], [5], [6], [7]]


def test_what_has_another_type_or_another_width_is_of_another_kind() -> None:
    batcher = _batcher(2)
    for number, kind in enumerate(
        [_kind(1, 2), _kind(2, 1), _kind(1, 2, "uint16"), _kind(1, 2), _kind(1, 2, "uint16")]
    ):
        batcher.add(number, kind, 1)
    assert _ready(batcher) == [[0, 3], [2, 4]]


def test_large_items_are_not_held_back_for_company() -> None:
    batcher = _batcher(100)
    held = []
    for height in (1, 2, 3, 4):
        batcher.add(height, _kind(height), BYTES // 3)
        held.append(_ready(batcher))
    assert held == [[], [], [], [[1]]]


def test_what_goes_alone_waits_for_an_idle_device_and_keeps_its_place_unless_it_was_there_before() -> None:
    batcher = _batcher(2)
    batcher.add_alone("alone")
    for number in range(2):
        batcher.add(number, _kind(1), 1)
    assert batcher.take(idle=False) is None
    taken = batcher.take()
    assert taken is not None
    assert (taken.items, taken.size) == (["alone"], None)
    batcher.add_alone("again", first=True)
    assert batcher.take(idle=False) is None
    assert _ready(batcher) == [["again"], [0, 1]]


@pytest.mark.slow
def test_a_batch_that_became_too_large_since_it_was_full_is_taken_in_parts() -> None:
    sizes = BatchSizes(fp32(Negative()), 5, None)
    batcher: Batcher[int] = Batcher(sizes)
    for number in range(10):
        batcher.add(number, _kind(6, 6), 1)
    assert sizes.fit(lambda part: list(part) if len(part) < 3 else None, [Picture(np.zeros((6, 6, 3)))] * 5)
    assert _ready(batcher) == [[0, 1], [2, 3], [4], [5, 6], [7, 8], [9]]


def test_what_was_begun_too_long_ago_is_not_kept_back_by_what_there_is_more_of() -> None:
    now = 0.0
    batcher = _batcher(4, patience=1.0, clock=lambda: now)
    batcher.add("odd", _kind(9), 1)
    served: list[list[str]] = []
    for _ in range(100):  # each time a whole batch of the others comes, and one is computed
        now += 0.3
        for _ in range(4):
            batcher.add("usual", _kind(1), 1)
        batch = batcher.take()
        assert batch is not None
        served.append(batch.items)
    assert served[:6].count(["odd"]) == 1
    impatient = _batcher(4, clock=lambda: now)  # without an end to its patience it would be
    impatient.add("odd", _kind(9), 1)
    now += 1000
    assert _ready(impatient) == []


class Server:
    """A server in miniature: threads that ask for translations, and one that computes."""

    def __init__(self, translator: Translator, most: int) -> None:
        self._translator = translator
        self._sizes = BatchSizes(translator, most, None)
        self._batcher: Batcher[tuple[Picture, Future[Picture | Failure | None]]] = Batcher(self._sizes, patience=0.05)
        self._closed = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def translate(self, picture: Picture) -> Picture | Failure | None:
        """Called by any thread."""
        answer: Future[Picture | Failure | None] = Future()
        self._batcher.add((picture, answer), picture.kind, nbytes(picture))
        return answer.result(60)

    def close(self) -> None:
        self._closed = True
        self._thread.join()

    def _serve(self) -> None:
        while not self._closed:
            if self._batcher.wait(0.05) and (batch := self._batcher.take()):
                pictures = [picture for picture, _ in batch.items]
                compute = partial(attempt, self._translator)
                made = compute(pictures) or self._sizes.fit(compute, pictures)
                for (_, answer), result in zip(batch.items, made, strict=True):
                    answer.set_result(result)


@pytest.mark.slow
def test_a_server_gives_everyone_the_translation_of_the_picture_that_was_sent() -> None:
    sides = [(6, 6), (4, 9), (9, 4), (6, 7), (5, 5)]
    network = Small(4 * 6 * 6 * 3, MemoryError())  # which the larger batches do not fit into
    server = Server(fp32(network), 8)

    def client(seed: int) -> int:
        rng, right = np.random.default_rng(seed), 0
        for _ in range(25):
            pixels = rng.integers(0, 256, (*sides[rng.integers(len(sides))], 3), dtype=np.uint8)
            made = server.translate(Picture(pixels))
            assert isinstance(made, Picture)
            right += np.array_equal(made.pixels, 255 - pixels)
        return right

    try:
        with ThreadPoolExecutor(12) as clients:
            assert sum(clients.map(client, range(12))) == 12 * 25
        unfit = server.translate(Picture(np.zeros((90, 90, 3), np.uint8)))
        wrong = server.translate(Picture(np.zeros((6, 6, 5), np.uint8)))
    finally:
        server.close()
    assert unfit is None
    assert wrong == Failure("ValueError", "it has 5 channels and the model takes 3")
    assert sum(network.computed) == 12 * 25
    assert max(network.computed) > 1  # some went together
