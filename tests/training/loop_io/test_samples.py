"""Grids of sample pictures, and who makes and writes them where processes are several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cyclegan.config import TrainConfig
from cyclegan.methods import Method
from cyclegan.networks import build_generator
from cyclegan.training.distributed.ranks import SingleProcess
from cyclegan.training.loop_io.samples import write_grids


class Sharing(SingleProcess):
    """One of two processes, which counts what is shared out, and does the part of the other as well."""

    world = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.shared: list[int] = []

    def map_sharded(self, do: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        self.shared.append(len(batch))
        return torch.cat([do(part) for part in batch.chunk(2)])


@pytest.mark.parametrize(("ways", "shared"), [(("ab", "ba"), [3, 3, 3] * 2), (("ab",), [3])])
def test_all_translations_of_a_grid_are_shared_out_and_the_first_writes(
    tmp_path: Path, ways: tuple[str, ...], shared: list[int]
) -> None:
    config = TrainConfig(precision="fp32")
    method = Method()
    method.generators = nn.ModuleDict({way: build_generator("resnet_6blocks", channels=4) for way in ways})
    real = {domain: torch.rand(3, 3, 16, 16) for domain in "ab"}
    where = tmp_path, 7, torch.device("cpu"), config
    first, second = Sharing(0), Sharing(1)
    columns = ("real", "fake", "reconstructed", "identity")[: len(shared) // len(ways) + 1]
    names = [f"{way[0]}2{way[1]}" for way in ways]
    expected = {name: (tmp_path / f"{name}-00000007.png", columns) for name in names}
    assert write_grids(method, method.generators, real, *where, second) == {}
    assert not list(tmp_path.iterdir())
    assert write_grids(method, method.generators, real, *where, first) == expected
    assert sorted(tmp_path.iterdir()) == sorted(path for path, _ in expected.values())
    assert first.shared == second.shared == shared
