"""The small parts of training: rates, averages, guards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cyclegan.errors import CycleganError
from cyclegan.training.distributed.ranks import SingleProcess
from cyclegan.training.loop_io.device_loader import DeviceLoader
from cyclegan.training.loop_io.health import PATIENCE, NonFiniteGuard, RunningMeans, UnreadableImages
from cyclegan.training.loop_io.progress import Bar, Lines, open_progress, summary
from cyclegan.training.loop_io.samples import grid, visible
from cyclegan.training.update.ema import EMA, NoEMA, build_ema
from cyclegan.training.update.optimizers import rate_factor
from cyclegan.training.update.precision import Precision

CPU = torch.device("cpu")


def test_the_rate_is_constant_and_then_falls_linearly_to_zero():
    rates = [rate_factor(step, steps=10, decay_steps=4) for step in range(10)]
    assert rates == [1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rate_factor(9, steps=10, decay_steps=0) == 1


def test_an_average_of_constant_weights_is_those_weights_and_follows_a_change():
    generators = nn.ModuleDict({"ab": nn.Linear(1, 1)})
    ema = build_ema(generators, 0.9)
    assert isinstance(ema, EMA)
    start = generators["ab"].weight.item()
    for step in range(1, 101):
        ema.update(step)
    assert ema.generators["ab"].weight.item() == pytest.approx(start)
    with torch.no_grad():
        generators["ab"].weight.fill_(start + 1)
    ema.update(101)
    assert ema.generators["ab"].weight.item() == pytest.approx(start + 0.1, abs=1e-5)


def test_the_first_weights_do_not_linger_in_an_average():
    generators = nn.ModuleDict({"ab": nn.Linear(1, 1)})
    ema = EMA(generators, 0.999)
    with torch.no_grad():
        generators["ab"].weight.fill_(7.0)
    for step in range(1, 200):
        ema.update(step)
    assert ema.generators["ab"].weight.item() == pytest.approx(7.0, abs=1e-3)


def test_without_averaging_the_generators_themselves_are_used():
    generators = nn.ModuleDict({"ab": nn.Linear(1, 1)})
    none = build_ema(generators, 0.0)
    assert isinstance(none, NoEMA)
    assert none.generators is generators
    assert none.state_dict() == {}


def test_an_average_that_is_switched_on_later_starts_from_the_present_weights():
    generators = nn.ModuleDict({"ab": nn.Linear(1, 1)})
    ema = EMA(generators, 0.9)
    with torch.no_grad():
        generators["ab"].weight.fill_(7.0)
    ema.load_state_dict({})
    assert ema.generators["ab"].weight.item() == 7.0


def test_ten_bad_steps_in_a_row_stop_a_run_and_nine_do_not():
    guard = NonFiniteGuard(CPU)
    bad, good = torch.tensor(True), torch.tensor(False)
    for _ in range(3):
        for _ in range(PATIENCE - 1):
            guard.update(bad)
        guard.update(good)
    assert guard.check() == 3 * (PATIENCE - 1)
    for _ in range(PATIENCE):
        guard.update(bad)
    guard.update(good)  # a row that ended before anybody looked counts as well
    with pytest.raises(CycleganError, match=r"10 steps in a row .* --precision fp32"):
        guard.check()


def test_a_resumed_guard_knows_the_total_and_starts_a_fresh_row():
    guard, resumed = NonFiniteGuard(CPU), NonFiniteGuard(CPU)
    for _ in range(PATIENCE - 1):
        guard.update(torch.tensor(True))
    resumed.load_state_dict(guard.state_dict())
    resumed.update(torch.tensor(True))
    assert resumed.check() == PATIENCE


def test_averages_go_on_where_a_state_was_saved():
    first, second = RunningMeans(SingleProcess()), RunningMeans(SingleProcess())
    first.update({"loss": torch.tensor(1.0)})
    first.gather()
    second.load_state_dict(first.state_dict())
    second.update({"loss": torch.tensor(2.0)})
    assert second.read() == {"loss": 1.5}
    assert second.read() == {}


def test_each_of_several_processes_goes_on_with_its_own_sums_and_another_number_with_their_means():
    def ranks(rank: int, world: int) -> SingleProcess:
        made = SingleProcess()
        made.rank, made.world = rank, world
        made.gather = lambda own: [own, {"loss": torch.tensor(4.0)}]  # type: ignore[method-assign]
        return made

    first = RunningMeans(ranks(0, 2))
    first.update({"loss": torch.tensor(1.0)})
    first.gather()
    for rank, world, expected in ((0, 2, 1.0), (1, 2, 4.0), (0, 1, 2.5), (2, 4, 2.5)):
        resumed = RunningMeans(ranks(rank, world))
        resumed.load_state_dict(first.state_dict())
        assert resumed.read() == {"loss": expected}


@pytest.mark.parametrize("sums", [{"loss": 1.0}, {"loss": torch.zeros(2)}, {"loss": "x"}, []])
def test_what_are_no_sums_is_refused(sums: object):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        RunningMeans(SingleProcess()).load_state_dict({"sums": sums, "count": 1})


def test_averages_of_a_state_from_before_several_processes_were_kept_are_taken_up():
    averages = RunningMeans(SingleProcess())
    averages.load_state_dict({"sums": {"loss": torch.tensor(3.0)}, "count": 2})
    assert averages.read() == {"loss": 1.5}


def test_more_than_a_twentieth_of_unreadable_pictures_stops_a_run_with_the_list(caplog):
    pictures = UnreadableImages(40, crop_size=32)
    pictures.update([("x.png", "truncated")], [])
    pictures.update([("x.png", "truncated"), ("y.png", "text")], [])
    assert [record.message for record in caplog.records] == [
        "x.png cannot be read (truncated); other pictures take its place",
        "y.png cannot be read (text); other pictures take its place",
    ]
    with pytest.raises(
        CycleganError, match=r"3 of 40 pictures cannot be read.*\n  x.png: truncated\n  y.png: text\n  z"
    ):
        pictures.update([("z.png", "empty")], [])


def test_pictures_smaller_than_the_crop_are_said_once(caplog):
    pictures = UnreadableImages(40, crop_size=32)
    pictures.update([], [("x.png", "20×30"), ("y.png", "9×9")])
    pictures.update([], [("y.png", "9×9")])
    assert [record.message for record in caplog.records] == [
        "x.png has 20×30 pixels, less than --crop-size 32; it, and any other as small, is scaled up"
    ]


FIGURES = {
    "loss/cycle_a": 1.0,
    "loss/cycle_b": 2.0,
    "loss/adversarial_b": 0.25,
    "scores/a/real": 0.5,
    "speed/images_per_second": 4.25,
    "speed/data_wait": 0.014,
}


def test_the_line_says_speed_waiting_and_the_losses_as_means_over_the_domains():
    assert summary(FIGURES) == "4.2 images/s  data wait 1%  cycle 1.500  adversarial 0.250"


def test_without_a_terminal_progress_is_plain_lines_on_stderr(capsys):
    progress = open_progress(0, 10)
    assert isinstance(progress, Lines)
    with progress:
        progress.advance(5)
        progress.report(5, FIGURES)  # too early for a line
        progress.report(10, FIGURES)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"step 10/10  0:00:00 left  {summary(FIGURES)}\n"


def test_on_a_terminal_progress_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with open_progress(2, 10) as progress:
        assert isinstance(progress, Bar)
        progress.advance(7)
        progress.report(7, FIGURES)
        assert progress.bar.tasks[0].completed == 7
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "7/10" in captured.err
    assert summary(FIGURES) in captured.err


def test_bytes_and_fractions_become_the_same_pictures_and_what_is_read_stays_as_it_was():
    bytes_ = torch.arange(256, dtype=torch.uint8).reshape(2, 2, 8, 8)
    fractions = bytes_ / 255
    kept = fractions.clone()
    note = {"unreadable": [], "enlarged": []}
    loader = [{"a": each, "b": each[:, :1]} | note for each in (bytes_, fractions)]
    batches = DeviceLoader(loader, CPU, 2, UnreadableImages(2, crop_size=8))
    one, other = next(batches), next(batches)
    assert torch.equal(fractions, kept)
    for name, channels in (("a", 2), ("b", 1)):
        parts = [torch.cat([part[name] for part in batch]) for batch in (one, other)]
        assert parts[0].shape == (2, channels, 8, 8)
        assert torch.allclose(parts[0], parts[1], atol=1e-6)
    assert (one[0]["a"].min(), one[1]["a"].max()) == (-1, 1)


def test_a_grid_shows_grey_as_grey_and_of_many_channels_the_first_three():
    five, two = torch.rand(1, 5, 4, 4) * 2 - 1, torch.rand(1, 2, 4, 4) * 2 - 1
    assert torch.equal(visible(five), ((five[:, :3] + 1) * 127.5).round().byte())
    assert visible(two).shape == visible(two[:, :1]).shape == (1, 1, 4, 4)
    assert visible(torch.tensor([-1.2, 0.0, 1.2]).reshape(1, 1, 1, 3)).flatten().tolist() == [0, 128, 255]
    grey = visible(two)
    assert grid([grey, grey]).shape == (8, 14, 1)
    mixed = grid([grey, visible(five)])
    assert mixed.shape == (8, 14, 3)
    assert (mixed[2:6, 2:6] == grey[0, 0].numpy()[:, :, None]).all()
    assert (mixed[2:6, 8:12] == visible(five)[0].permute(1, 2, 0).numpy()).all()


@pytest.mark.parametrize("state", [{"scale": "x"}, {"scale": 0.0}, {"scale": float("nan")}, {"_growth_tracker": -1}])
def test_a_loss_scale_that_is_none_is_refused(state: dict[str, object]) -> None:
    precision = Precision(torch.device("cpu"), torch.float16)
    good = {"scale": 4.0, "growth_factor": 0.0, "backoff_factor": "x", "growth_interval": 0, "_growth_tracker": 3}
    precision.load_state_dict(good)
    assert precision.state_dict() == {
        "scale": 4.0,
        "growth_factor": 2.0,  # these are the program's
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 3,
    }
    with pytest.raises(ValueError):  # noqa: PT011 - float's own words, or ours
        precision.load_state_dict(good | state)
