"""Looks at the generators by several processes: what one alone meets with, the others must not wait for."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cyclegan.errors import CycleganError
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.training.distributed.ranks import SingleProcess
from cyclegan.training.evaluation.periodic import PeriodicEvaluation
from cyclegan.training.evaluation.sharded import require_same
from cyclegan.training.signals import Interrupted


class Two(SingleProcess):
    """One of two processes, of which the other says `others` whatever it is asked."""

    world = 2

    def __init__(self, others: Any = None) -> None:
        self.others = others

    def all_gather(self, value: Any) -> list[Any]:
        return [value, value if self.others is None else self.others]


def look(monkeypatch: pytest.MonkeyPatch, error: BaseException, ranks: SingleProcess) -> float:
    """A look that meets with `error`."""

    def fail(*arguments: object) -> dict[str, float]:
        raise error

    monkeypatch.setattr(PeriodicEvaluation, "_measure", fail)
    device, keeper = torch.device("cpu"), SimpleNamespace()
    options = {"every": 1, "steps": 2, "device": device, "precision": "fp32", "batch": 1}
    evaluation = PeriodicEvaluation(keeper, {}, {}, {}, ranks=ranks, features="judge", **options)  # type: ignore[arg-type]
    return evaluation.evaluate(1, nn.ModuleDict(), {}, SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [OSError("disk"), torch.OutOfMemoryError("memory"), CycleganError("only here")])
def test_trouble_of_one_alone_ends_it_and_is_a_warning_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    with pytest.raises(CycleganError, match=rf"step 1 could not be evaluated \({error}\)"):
        look(monkeypatch, error, Two())
    with caplog.at_level(logging.WARNING, "cyclegan"):
        look(monkeypatch, error, SingleProcess())
    assert caplog.messages == [f"step 1 could not be evaluated ({error}); training goes on"]


def test_trouble_of_all_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    error = CycleganError("everywhere")
    error.raised_on_all = True
    with caplog.at_level(logging.WARNING, "cyclegan"):
        look(monkeypatch, error, Two())
    assert caplog.messages == ["step 1 could not be evaluated (everywhere); training goes on"]


def test_who_breaks_off_among_several_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        look(monkeypatch, Interrupted(signal.SIGTERM), Two())
    look(monkeypatch, Interrupted(signal.SIGTERM), SingleProcess())


def test_pictures_that_not_every_process_can_read_are_noticed_by_all(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "3.png").write_text("no picture")
    squares = [ImageSet(tmp_path, ["1.png", "2.png", "3.png"], 8)]
    require_same(squares, SingleProcess())
    require_same(squares, Two())
    require_same(squares, Two(others=[("1.png", "2.png")]))
    with pytest.raises(CycleganError, match="not every process can read the same held-out pictures") as caught:
        require_same(squares, Two(others=[("1.png", "2.png", "3.png")]))
    assert caught.value.raised_on_all
