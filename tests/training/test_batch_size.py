"""Memory: the largest batch that fits is found, kept and said; where memory runs out, a sentence says what to lower."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from cyclegan.config import AUTO, TrainConfig, flatten, resolve
from cyclegan.errors import CycleganError, UsageError
from cyclegan.methods.base import Images, Losses
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.training import batch_size, train
from cyclegan.training.batch_size import explain_out_of_memory, largest, try_steps, with_batch_size
from cyclegan.training.distributed.ranks import SingleProcess
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.setup import resolve_run
from tests.support.run_files import read_status

CPU = torch.device("cpu")
Tiny = Callable[..., TrainConfig]


class Budget:
    """A device with `room` bytes, of which a step takes `base` and for each picture `each`; the last is a cliff."""

    most = 1024

    def __init__(self, room: int, base: int = 0, each: int = 10) -> None:
        self.bytes, self.base, self.each = room, base, each
        self.asked: list[int] = []

    def need(self, pictures: int) -> int | None:
        self.asked.append(pictures)
        need = self.base + self.each * pictures
        return need if need <= 2 * self.bytes else None  # where it runs out of memory, nobody knows how much it needs

    def room(self) -> int:
        return self.bytes


@pytest.mark.parametrize("room", [0, 5, 10, 19, 20, 37, 50, 64, 70, 129, 10_000])
@pytest.mark.parametrize("base", [0, 7, 45])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 33])
def test_the_largest_that_fits_is_found_and_never_one_that_does_not(room: int, base: int, most: int) -> None:
    scale = Budget(room, base)
    assert largest(scale, most) == max((n for n in range(1, most + 1) if base + 10 * n <= room), default=0)
    assert max(scale.asked) <= most
    assert len(set(scale.asked)) == len(scale.asked) <= 12


def test_no_more_are_tried_than_make_sense_on_a_device() -> None:
    scale = Budget(10**9)
    scale.most = 6
    assert largest(scale, 100) == 6
    assert max(scale.asked) == 6


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Budget:
    """A processor on which a step of 3 pictures fits and one of 4 does not."""
    found = Budget(35, base=2)
    monkeypatch.setitem(batch_size.PROBES, "cpu", lambda run: found)
    return found


def resolved(config: TrainConfig, run: Path) -> ResolvedRun:
    return resolve_run(config, run, None, SingleProcess())


@pytest.mark.slow
def test_the_number_that_was_found_is_what_the_run_holds_from_then_on(
    tmp_path: Path, tiny: Tiny, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cyclegan"):
        run = train(tiny(batch_size="auto", epochs=2, decay_epochs=1), tmp_path / "run")
    assert "--batch-size auto: 3; a step takes about" in caplog.text
    assert yaml.safe_load((run / "config.yaml").read_text())["batch_size"] == 3
    assert read_status(run)["steps"] == 3  # epochs of 5 // 3 steps
    state = torch.load(run / "checkpoints" / "state-00000003.pt", weights_only=True)
    assert state["config"]["batch_size"] == 3

    budget.bytes = 1000  # another machine: the run keeps its number, and nothing is tried
    budget.asked.clear()
    train(tiny(batch_size="auto", steps=4), run)
    assert budget.asked == []
    assert yaml.safe_load((run / "config.yaml").read_text())["batch_size"] == 3


@pytest.mark.slow
def test_a_run_with_auto_is_the_run_with_that_number(tmp_path: Path, tiny: Tiny, budget: Budget) -> None:
    runs = [train(tiny(batch_size=size, steps=2), tmp_path / str(size)) for size in ("auto", 3)]
    one, two = ((run / "checkpoints" / "generators-00000002.safetensors").read_bytes() for run in runs)
    assert one == two


class Trying(Budget):
    """A device on which a step of 5 pictures fits, as is found by playing it."""

    def __init__(self, run: ResolvedRun) -> None:
        super().__init__(room=59)
        self.run = run

    def need(self, pictures: int) -> int | None:
        assert pictures in self.asked or try_steps(self.run, pictures)  # as on a GPU, once for each
        return super().need(pictures)


@pytest.mark.slow
def test_a_real_attempt_draws_nothing_from_the_random_numbers_of_the_run(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(batch_size.PROBES, "cpu", Trying)
    run = resolved(tiny(batch_size="auto", steps=1), tmp_path / "run")
    weights = [parameter.clone() for parameter in run.method.parameters()]
    before = torch.get_rng_state()
    found = with_batch_size(run)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.config.batch_size == 5
    assert found.config.steps == 1
    for was, now in zip(weights, run.method.parameters(), strict=True):
        assert torch.equal(was, now)


@pytest.mark.slow
def test_parts_are_what_has_to_fit_and_the_batch_is_a_multiple_of_them(
    tmp_path: Path, tiny: Tiny, budget: Budget
) -> None:
    budget.bytes = 25
    run = resolved(tiny(batch_size="auto", accumulate=2), tmp_path / "run")
    assert with_batch_size(run).config.batch_size == 4
    budget.bytes = 1000
    assert with_batch_size(run).config.batch_size == 4  # the larger folder has 5 pictures


def test_a_number_that_is_given_is_not_questioned(tmp_path: Path, tiny: Tiny, budget: Budget) -> None:
    run = resolved(tiny(batch_size=8), tmp_path / "run")
    assert with_batch_size(run) is run
    assert budget.asked == []


def test_where_not_even_one_picture_fits_it_is_said_before_anything_is_written(
    tmp_path: Path, tiny: Tiny, budget: Budget
) -> None:
    budget.bytes = 3
    with pytest.raises(CycleganError, match=r"--batch-size auto: a step with one picture .* --checkpoint-activations"):
        train(tiny(batch_size="auto"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_attempt_that_runs_out_of_memory_is_one_that_does_not_fit_and_other_faults_are_raised(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = resolved(tiny(batch_size="auto", steps=1), tmp_path / "run")
    monkeypatch.setattr(CycleGAN, "discriminator_losses", lambda *_: run_out())
    assert not try_steps(run, 1)

    def fault(*_: object) -> Losses:
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(CycleGAN, "discriminator_losses", fault)
    with pytest.raises(RuntimeError, match="illegal"):
        try_steps(run, 1)


def test_on_a_processor_a_number_is_asked_for_before_anything_is_written(tmp_path: Path, tiny: Tiny) -> None:
    sentence = "--batch-size auto: needs a CUDA GPU, .* this run is on cpu; give a number, such as --batch-size 3$"
    with pytest.raises(UsageError, match=sentence) as caught:
        train(tiny(batch_size="auto", accumulate=3), tmp_path / "run")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_number_where_it_could_not_be_found(tmp_path: Path, tiny: Tiny) -> None:
    run = train(tiny(batch_size=2, steps=1), tmp_path / "run")
    train(tiny(batch_size="auto", steps=2), run)  # on a processor, as if begun on a GPU
    assert yaml.safe_load((run / "config.yaml").read_text())["batch_size"] == 2


def test_auto_is_a_word_in_every_place_a_configuration_comes_from() -> None:
    config = TrainConfig(batch_size="auto")  # type: ignore[arg-type]
    assert config.batch_size == AUTO
    assert flatten(config)["batch_size"] == "auto"
    assert resolve([flatten(config)]) == config
    assert resolve([{"batch_size": "auto", "accumulate": 3}]).batch_size == AUTO
    with pytest.raises(UsageError, match="--batch-size: -1 is not a number to give; use auto"):
        resolve([{"batch_size": -1}])


# Where memory runs out


def run_out(words: str = "") -> None:
    if words:
        raise torch.OutOfMemoryError(words)
    torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("words", "needed"),
    [("", 2**20), ("CUDA out of memory. Tried to allocate 3072.00 GiB. GPU 0 has a total capacity of 5 GiB", 3072)],
    ids=["processor", "gpu"],
)
def test_out_of_memory_is_a_sentence_with_what_it_needs_and_what_to_lower(words: str, needed: int, tiny: Tiny) -> None:
    with (
        pytest.raises(CycleganError) as caught,
        explain_out_of_memory(tiny(batch_size=8, accumulate=2), CPU, lambda: 7),
    ):
        run_out(words)
    sentence = str(caught.value)
    assert sentence.startswith("out of memory at step 7 with --batch-size 8 and --crop-size 32: at least ")
    figure = float(sentence.partition("at least ")[2].partition(" GiB")[0])
    assert needed <= figure < needed + 100  # and what the process holds
    for way in ("--checkpoint-activations", "--accumulate 4", "--batch-size 4", "--precision bf16", "--crop-size"):
        assert way in sentence
    assert "\n" not in sentence
    assert caught.value.exit_code == 1


def test_only_what_a_run_has_not_done_yet_is_offered(tiny: Tiny) -> None:
    config = replace(tiny(batch_size=1), checkpoint_activations=True, precision="bf16")
    with pytest.raises(CycleganError) as caught, explain_out_of_memory(config, CPU, lambda: 0):
        run_out()
    offered = str(caught.value).partition("can be had; ")[2]
    for way in ("--checkpoint-activations", "--accumulate", "--batch-size", "--precision"):
        assert way not in offered
    assert "a smaller --crop-size" in offered


def test_auto_is_offered_only_where_it_can_be_given(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        with pytest.raises(CycleganError) as caught, explain_out_of_memory(tiny(batch_size=8), CPU, lambda: 0):
            run_out()
        return str(caught.value)

    assert "--batch-size 4" in said()
    assert "--batch-size auto" not in said()
    monkeypatch.setitem(batch_size.PROBES, "cpu", Trying)
    assert "--batch-size auto, in a new run" in said()


def test_other_errors_are_left_alone(tiny: Tiny) -> None:
    for error in (RuntimeError("an illegal memory access"), UsageError("out of memory"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, explain_out_of_memory(tiny(), CPU, lambda: 0):
            raise error
        assert caught.value is error


@pytest.mark.slow
def test_a_run_that_is_out_of_memory_keeps_its_last_state_and_says_why(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = CycleGAN.discriminator_losses
    steps = iter(range(1000))

    def hungry(self: CycleGAN, batch: Images, images: Images) -> Losses:
        if next(steps) == 2:
            run_out()
        return judge(self, batch, images)

    monkeypatch.setattr(CycleGAN, "discriminator_losses", hungry)
    with pytest.raises(CycleganError, match="out of memory at step 2 with --batch-size 2"):
        train(tiny(steps=4, batch_size=2, state_every=1), tmp_path / "run")
    status = read_status(tmp_path / "run")
    assert status["status"] == "failed"
    assert status["reason"].startswith("out of memory at step 2")
    monkeypatch.undo()
    train(tiny(steps=4, batch_size=1, state_every=1), tmp_path / "run")
    assert read_status(tmp_path / "run")["status"] == "done"
