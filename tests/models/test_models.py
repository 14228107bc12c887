"""What MODEL may mean, and which file of a run it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cyclegan.errors import UsageError
from cyclegan.models import DamagedModel, is_run, load_discriminators, load_model
from tests.models.examples import generator, generators_file, same, state, state_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Generators of steps 1 (seed 1) and 2 (seed 2), states of steps 2 (seed 12) and 3 (seed 13)."""
    checkpoints = tmp_path / "run" / "checkpoints"
    for step in (1, 2):
        generators_file(checkpoints / f"generators-{step:08d}.safetensors", seed=step)
    for step in (2, 3):
        state_file(checkpoints / f"state-{step:08d}.pt", state(10 + step, step))
    return tmp_path / "run"


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_a_run_stands_for_its_newest_generators(run: Path) -> None:
    model = load_model(run)
    assert same(model.generators["ab"], generator(2))
    assert model.path == run / "checkpoints/generators-00000002.safetensors"
    assert model.damaged == ()


def test_newest_means_the_most_steps_however_many_digits_they_have(run: Path) -> None:
    generators_file(run / "checkpoints/generators-100000000.safetensors", seed=4)
    generators_file(run / "checkpoints/generators-99999999.safetensors", seed=3)
    assert same(load_model(run).generators["ab"], generator(4))


def test_damaged_generators_are_passed_over_with_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    _damage(run / "checkpoints/generators-00000002.safetensors")
    with caplog.at_level(logging.WARNING, "cyclegan"):
        model = load_model(run)
    assert same(model.generators["ab"], generator(1))
    assert len(model.damaged) == 1
    assert "generators-00000002" in model.damaged[0]
    assert "generators-00000002" in caplog.text


def test_without_sound_generators_a_run_stands_for_its_newest_sound_state(run: Path) -> None:
    for file in (run / "checkpoints").glob("generators-*"):
        _damage(file)
    assert same(load_model(run).generators["ab"], generator(13))
    _damage(run / "checkpoints/state-00000003.pt")
    model = load_model(run)
    assert same(model.generators["ab"], generator(12))
    assert len(model.damaged) == 3


def test_of_a_run_in_which_nothing_is_sound_the_newest_says_why(run: Path) -> None:
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(b"")
    with pytest.raises(
        DamagedModel, match=r"no file in .* can be used; error of the newest: .*00000002.safetensors is empty"
    ):
        load_model(run)


def test_what_an_interrupted_write_leaves_is_not_taken_for_a_model(run: Path) -> None:
    (run / "checkpoints/.tmp-x9k2").write_bytes(b"half of a newer one")
    assert load_model(run).path.name == "generators-00000002.safetensors"


def test_the_discriminators_of_a_run_are_those_of_its_newest_sound_state(run: Path) -> None:
    assert load_discriminators(run)[1] == 3
    (run / "checkpoints/state-00000003.pt").write_bytes(b"")
    assert load_discriminators(run)[1] == 2


def test_a_generators_file_and_a_run_without_states_have_no_discriminators(run: Path) -> None:
    assert load_discriminators(run / "checkpoints/generators-00000001.safetensors") == ({}, 0)
    for file in (run / "checkpoints").glob("state-*"):
        file.unlink()
    assert load_discriminators(run) == ({}, 0)


def test_one_direction_can_be_loaded_alone_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model")
    assert list(load_model(path, ["ba"]).generators) == ["ba"]
    with pytest.raises(UsageError, match=r"--direction bc: .* holds only ab and ba"):
        load_model(path, ["bc"])


def test_a_missing_direction_does_not_count_as_damage(run: Path) -> None:
    with pytest.raises(UsageError, match="--direction bc"):
        load_model(run, ["bc"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "not that of a run"),
        (lambda path: (path / "checkpoints").mkdir(parents=True), "has saved nothing yet"),
        (lambda path: path.write_text("a letter to my aunt"), "neither a generators file nor a checkpoint"),
    ],
)
def test_what_is_no_model_is_refused_with_what_would_be(tmp_path: Path, make: object, sentence: str) -> None:
    make(tmp_path / "thing")  # type: ignore[operator]
    with pytest.raises(UsageError, match=f"^MODEL: .*{sentence}"):
        load_model(tmp_path / "thing")


def test_a_run_is_known_by_its_checkpoints(run: Path, tmp_path: Path) -> None:
    assert is_run(run)
    assert not is_run(tmp_path)
    assert not is_run(tmp_path / "missing")
