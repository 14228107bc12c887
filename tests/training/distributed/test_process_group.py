"""What processes that train together can ask each other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan.training.distributed.process_group import open_ranks
from cyclegan.training.distributed.ranks import SingleProcess
from tests.training.distributed.test_ranks import launch
from tests.training.group import averaged, normalised

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    place = tmp_path_factory.mktemp("group")
    done = launch(2, "tests.training.group", place)
    assert done.returncode == 0, done.stderr
    return [json.loads((place / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_gradients_and_losses_are_means_over_the_processes(found) -> None:
    mean = [value + 150.5 for value in range(96)]
    for one in found:
        assert one["averaged in None"] == [mean, 0.5, None]
        numbers, loss, _ = one["averaged in torch.bfloat16"]
        assert numbers == pytest.approx(mean, rel=2**-7)
        assert set(one["averaged in torch.bfloat16"][0]) != set(mean)  # 8 digits of two
        assert loss == 0.5
    assert found[0]["averaged in torch.bfloat16"] == found[1]["averaged in torch.bfloat16"]
    assert averaged(SingleProcess()) == [[float(value) for value in range(96)], 0.0, None]


def test_a_request_to_stop_reaches_all_at_the_same_step_one_later(found) -> None:
    assert found[0]["asked"] == found[1]["asked"] == [0, 0, 15, 0]


def test_values_are_gathered_averaged_and_compared(found) -> None:
    for rank, one in enumerate(found):
        assert one["first"] == {"rank": 0, "tensor": [1, 1]}
        assert one["every"] == [0, 1]
        assert one["gathered"] == ([0, 1] if rank == 0 else [])
        assert one["mean"] == {"a": 0.5, "b": 5.0}
        assert one["most"] == 1.5


def test_an_error_of_one_ends_all_and_is_said_once(found) -> None:
    for rank, one in enumerate(found):
        kind, words, step, said, code = one["first error"]
        assert (kind, step, said, code) == ("Restart", 300, rank == 1, 1)
        assert "checkerboard" in words
        assert one["error of one"] == ["UsageError", "only here", None, rank == 0, 2]
        assert one["error of both"] == ["UsageError", "in 0", None, rank == 1, 2]


def test_pictures_are_shared_out_and_everybody_has_them_all(found) -> None:
    for one in found:
        assert one["shared out"] == [[2.0 * value for value in range(15)], [3]]
        assert one["shared out of the processor"] == one["shared out"]
        assert one["one shared out"] == [[2.0, 2.0, 2.0]]


def test_all_begin_with_the_weights_of_the_first(found) -> None:
    assert found[0]["spread"] == found[1]["spread"]
    assert found[0]["spread"][1] == 7


def test_the_first_speaks_for_all_and_each_for_itself(found) -> None:
    assert "".join(found[0]["said"]) == "of all\nof rank 0\n"
    assert "".join(found[1]["said"]) == "of rank 1\n"


@pytest.mark.parametrize("penalty", [False, True])
def test_batch_normalisation_is_over_the_pictures_of_all(found, penalty: bool) -> None:
    whole, parts = normalised(SingleProcess(), penalty), [one[f"normalised {penalty}"] for one in found]
    assert np.allclose(parts[0]["made"] + parts[1]["made"], whole["made"], rtol=0, atol=1e-9)
    for one, two, both in zip(parts[0]["gradients"], parts[1]["gradients"], whole["gradients"], strict=True):
        assert np.allclose(np.add(one, two), both, rtol=1e-8, atol=1e-9)
    for part in parts:
        assert all(np.allclose(a, b, atol=1e-12) for a, b in zip(part["buffers"], whole["buffers"], strict=True))


def test_without_torchrun_one_process_is_alone() -> None:
    with open_ranks(1, torch.bfloat16) as ranks:
        assert (ranks.rank, ranks.world) == (0, 1)
        assert ranks.raise_on_all(lambda: 3) == ranks.on_rank_zero(lambda: 3) == 3
        assert ranks.delayed_max(15) == ranks.all_reduce_max(15) == 15
        assert ranks.mean({"a": 1.0}) == {"a": 1.0}
        assert ranks.gather(1) == ranks.all_gather(1) == [1]
