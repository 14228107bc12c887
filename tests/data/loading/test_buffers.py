import gc
import mmap
import multiprocessing
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from cyclegan.data.loading.buffers import BatchLayout, SharedBuffers, SharedFile


def in_another_process(work: Callable[[], None]) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.process
def test_what_one_process_writes_another_reads() -> None:
    file = SharedFile(100)
    memory = file.map(mmap.PROT_READ)
    in_another_process(lambda: file.write(b"zebra", 95))
    assert file.read(10, 90) == b"\0\0\0\0\0zebra"
    assert memory[95:] == b"zebra"
    pickle.loads(pickle.dumps(file)).write(b"horse", 0)
    assert memory[:5] == b"horse"


def test_nothing_is_written_beyond_the_end() -> None:
    with pytest.raises(AssertionError, match="98, 5, 100"):
        SharedFile(100).write(b"zebra", 98)


def test_a_slot_is_free_again_when_the_last_view_of_it_is_gone() -> None:
    slots = SharedBuffers(2, (3, 4))
    assert [slots.take(), slots.take(), slots.take()] == [0, 1, None]
    whole = slots.lend(0)
    part = whole[1]
    del whole
    gc.collect()
    assert slots.take() is None
    del part
    assert slots.take() == 0


@pytest.mark.process
def test_what_is_drawn_into_a_slot_is_lent_without_a_copy() -> None:
    slots = SharedBuffers(2, (3, 4))
    slots.take()
    slot = slots.take()
    assert slot is not None

    def draw() -> None:
        slots[slot][...] = np.arange(12).reshape(3, 4)

    in_another_process(draw)
    tensor = slots.lend(slot)
    assert tensor.tolist() == np.arange(12).reshape(3, 4).tolist()
    pickle.loads(pickle.dumps(slots))[slot][0, 0] = 99
    assert tensor[0, 0] == 99


def test_memory_that_runs_out_leaves_fewer_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = SharedBuffers(2, (3, 4))
    assert slots.take() == 0

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SharedFile, "write", full)
    assert slots.take() is None


def test_slots_hold_numbers_of_any_type() -> None:
    slots = SharedBuffers(3, (2, 2), np.float32)
    assert [slots.take(), slots.take()] == [0, 1]
    pickle.loads(pickle.dumps(slots))[1][...] = [[0.25, 1], [-3, 1e9]]
    assert slots.lend(1).tolist() == [[0.25, 1], [-3, 1e9]]
    assert not slots[0].any()


@pytest.mark.parametrize("channels", [(3,), (3, 1), (1, 5, 2)])
def test_a_step_is_split_into_its_domains_without_a_copy(channels: tuple[int, ...]) -> None:
    layout = BatchLayout(2, channels, 4, np.dtype(np.float32))
    step = np.arange(np.prod(layout.shape), dtype=np.float32).reshape(layout.shape)
    parts = layout.split(step)
    assert [part.shape for part in parts] == [(2, planes, 4, 4) for planes in channels]
    assert np.concatenate([part.ravel() for part in parts]).tolist() == step.ravel().tolist()
    assert all(np.shares_memory(part, step) for part in parts)
    assert layout.nbytes == step.nbytes
