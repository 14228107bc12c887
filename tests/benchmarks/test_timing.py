"""What is made of seconds: medians, spread, ratios, shares, and a table of them."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from benchmarks import machine, timing
from benchmarks.cases.scale import bandwidth_of, foretell
from benchmarks.cases.translate import psnr
from benchmarks.memory import Memory
from cyclegan.errors import UsageError


def test_a_result_is_a_median_its_spread_and_how_many_times_as_fast() -> None:
    row = timing.result("ours", [2.0, 1.0, 4.0, 3.0, 100.0], [6.0, 6.0, 7.0])
    assert row["median_s"] == 3.0
    assert row["spread"] == pytest.approx((4 - 2) / 3)  # quartiles 2 and 4; the odd one out does not count
    assert row["ratio_to_baseline"] == 2.0
    assert timing.result("once", [2.0], [2.0])["spread"] == 0


def test_variants_take_turns() -> None:
    order: list[str] = []

    def turn(name: str, value: float) -> float:
        order.append(name)
        return value

    measured = timing.alternate({"a": lambda: turn("a", 1), "b": lambda: turn("b", 2)}, repeats=3)
    assert order == ["a", "b"] * 3
    assert measured == {"a": [1, 1, 1], "b": [2, 2, 2]}


def test_a_turn_is_long_enough_to_be_timed_and_no_longer() -> None:
    assert timing.group_size(0.05) == 5
    assert timing.group_size(12.0) == 1
    assert timing.group_size(1e-9) == 100


def test_the_share_of_the_floor_is_against_the_best_rate_in_that_precision() -> None:
    measured = {"fp32": {"convolution": 100.0, "matrix_product": 200.0}, "copy_gb_per_s": 9.0}
    assert machine.share_of_floor(100e9, 2.0, "fp32", measured) == pytest.approx(0.25)
    assert machine.share_of_floor(100e9, 2.0, "bf16", measured) is None


def test_the_table_leaves_out_what_nobody_measured_and_shows_gaps() -> None:
    rows = [timing.result("textbook", [1.5], [1.5]), timing.result("ours", [0.5], [1.5], peak_memory_gib=1.25)]
    head, _, first, second = timing.table(rows).splitlines()
    assert "PSNR" not in head
    assert "of floor" not in head
    assert first.split() == ["textbook", "1.5", "s", "0.0%", "1.00", "×", "–"]
    assert second.split() == ["ours", "500", "ms", "0.0%", "3.00", "×", "1.25"]
    assert len(head) == len(first) == len(second)


def test_a_record_that_could_not_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--json"):
        timing.json_path(tmp_path / "file" / "record.json", "train")


def test_the_command_is_recorded_without_paths_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/home/me/scripts/benchmark.py", "data", "--source", "/data/horses", "--json=/tmp/x.json", "--size", "64"]
    monkeypatch.setattr("sys.argv", words)
    assert machine.command() == "benchmark.py data --source horses --json=x.json --size 64"


def test_psnr_is_over_all_pixels_of_all_pictures() -> None:
    black = torch.zeros(4, 4, 3, dtype=torch.uint8).numpy()
    assert psnr([(black, black)]) == 100
    assert psnr([(black, black + 255)]) == 0
    assert psnr([(black, black), (black, black + 255)]) == pytest.approx(3.0103)  # half of the error


def test_the_model_of_a_ring_gives_back_the_averaging_it_was_made_from() -> None:
    measured = {1: {}, 4: {"average": [3.0, 2.0, 9.0]}}
    bandwidth = bandwidth_of(measured, 400)
    assert bandwidth == 2 * 3 / 4 * 400 / 3.0
    assert foretell(1.0, 400, bandwidth, 4) == pytest.approx(1.0 + 3.0)
    assert foretell(1.0, 400, bandwidth, 1) == 1.0
    assert bandwidth_of({1: measured[4]}, 400) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system keeps no such account")
def test_the_peak_of_memory_is_what_was_taken_and_not_what_was_there() -> None:
    memory = Memory(torch.device("cpu"))
    memory.forget()
    with mmap.mmap(-1, 2**26) as held:  # 64 MiB, which no allocator can have had before
        for _ in range(64):
            held.write(b"x" * 2**20)
    assert memory.peak() == pytest.approx(1 / 16, abs=0.02)
    memory.forget()
    assert memory.peak() < 1 / 32
