"""Metrics are measured where what they need is there, and one more is one more line of the table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cyclegan.directions import Direction
from cyclegan.evaluation.evaluator import Evaluator
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.evaluation.printing import direction_lines, side_by_side
from cyclegan.evaluation.selection import parse_criteria
from cyclegan.figures import FIGURES, LOWER, Figure
from tests.evaluation.examples import Engine, colours
from tests.support.documents import example

SAME = Engine(lambda x: x)


class Grey:
    """A generator of one folder: picture n is of the level n."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def sample(self, first: int, count: int) -> Tensor:
        self.asked.append((first, count))
        levels = torch.arange(first, first + count).float() / 127.5 - 1
        return levels[:, None, None, None].expand(-1, 3, 32, 32)


def stems(found: dict[str, float], ending: str) -> set[str]:
    assert all(name.endswith(f"_{ending}") for name in found)
    return {name.removesuffix(f"_{ending}") for name in found}


def test_a_generator_that_takes_noise_is_measured_by_what_needs_no_input(sets: dict[str, ImageSet]) -> None:
    generator = Grey()
    evaluator = Evaluator(Tools(colours(), batch=4), ["zb"], {"b": sets["testB"]}, {"b": sets["trainB"]})
    found = evaluator.measure({"zb": generator}).figures
    assert generator.asked == [(0, 4), (4, 2)]  # as many as there are real pictures, each once
    distances = {f"{name}{part}" for name in ("fid", "kid", "kid_std") for part in ("", "_real")}
    statistics = {f"{name}{part}" for name in ("diversity", "nearest", "checkerboard") for part in ("", "_real")}
    assert stems(found, "zb") == distances | statistics


def test_one_way_has_no_cycle_and_without_training_pictures_nothing_is_nearest(sets: dict[str, ImageSet]) -> None:
    held_out = {"a": sets["testA"], "b": sets["testB"]}
    found = Evaluator(Tools(colours()), ["ab"], held_out, {}).measure({"ab": SAME}).figures
    assert not [name for name in found if name.startswith(("cycle", "nearest", "judge", "psnr")) or "_real" in name[:8]]
    assert {"fid_ab", "fid_source_ab", "luminance_correlation_ab", "identity_l1_b"} <= set(found)


def test_pictures_with_a_truth_have_paired_figures(sets: dict[str, ImageSet]) -> None:
    held_out = {"a": sets["testA"], "b": sets["testB"]}
    found = Evaluator(Tools(colours()), ["ab"], held_out, {}, {"ab": sets["testA"]}).measure({"ab": SAME}).figures
    assert (found["ssim_ab"], found["l1_ab"], found["within_ab"]) == (pytest.approx(1), 0, 1)
    assert not {"lpips_ab", "pixel_accuracy_ab"} & set(found)  # whose network and colours are not there


def test_a_metric_that_is_added_to_the_table_is_measured_printed_and_can_choose(
    sets: dict[str, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "brightness", example("Brightness"))
    monkeypatch.setitem(FIGURES, "brightness", Figure("brightness", "{:.1f}", LOWER, compared=True))
    evaluator = Evaluator(Tools(colours()), ["ab"], {"a": sets["testA"], "b": sets["testB"]}, {})
    white, black = (evaluator.measure({"ab": Engine(lambda x, level=level: x * 0 + level)}) for level in (1, -1))
    assert (white.figures["brightness_ab"], black.figures["brightness_ab"]) == (255, 0)
    low, high = white.intervals["brightness_real_ab"]
    assert low < white.figures["brightness_real_ab"] < high
    (line,) = (line for line in direction_lines(white, Direction("a", "b"), {}) if "brightness" in line)
    real = f"{white.figures['brightness_real_ab']:.1f}"
    assert line.split() == ["brightness", "255.0", "(255.0", "to", "255.0)", real]
    columns = [({"which": name, "step": 1}, found.figures) for name, found in (("white", white), ("black", black))]
    assert "brightness, A to B" in "\n".join(side_by_side(columns, {}, ["ab"]))
    (criterion,) = parse_criteria("brightness", ["ab"])
    assert criterion.improves(criterion.value(black.figures), criterion.value(white.figures))
