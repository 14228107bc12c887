"""How many pictures go together: chosen, and halved where they do not fit."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cyclegan.images import read_image
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.batching import BatchSizes
from tests.models.examples import generator
from tests.translation.examples import Negative, Small, fp32, picture

WORDS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: error code 12"),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


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


def test_a_halved_batch_gives_what_a_whole_one_gives(tmp_path: Path) -> None:
    network = generator()

    class Halved(nn.Module):
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


def test_a_picture_that_does_not_fit_alone_is_listed_and_the_others_are_translated(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"in/{number}.png", (6, 6), number)
    picture(tmp_path / "in/large.png", (60, 50))
    network = Small(150, WORDS[0])
    summary = translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=8)
    assert summary.translated == 4
    assert [name for name, _ in summary.failed] == ["large.png"]
    assert "50×60 pixels are more than fit" in summary.failed[0][1]


def test_a_failed_attempt_holds_no_memory_when_the_next_begins(tmp_path: Path) -> None:
    class Wasteful(nn.Module):
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
    class Broken(nn.Module):
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
