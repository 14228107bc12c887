"""Alarms about the sets of pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cyclegan.training import train
from cyclegan.training.alarms import dataset
from cyclegan.training.alarms.dataset import duplicate_pairs
from tests.support.run_files import read_metrics
from tests.training.alarms.faults import Repaints


@pytest.fixture
def folders(scenes) -> dict[str, str]:
    return {name: str(scenes(name, 12)) for name in ("a", "b", "test_a", "test_b")}


def test_a_wide_network_and_few_pictures_are_too_few(watched, scenes):
    few = {"a": str(scenes("x", 10)), "b": str(scenes("y", 40))}
    run = watched(**few, channels=32, flip=False)
    assert run.begin() == ["few-pictures"]
    step, _, text, figure = run.recorder.alarms[0]
    parameters = sum(weight.numel() for weight in run.method.discriminators["a"].parameters())
    assert (step, figure) == (0, parameters / len(run.sets.train["a"]))
    assert text.startswith(f"{len(run.sets.train['a'])} pictures of A are few for a discriminator of 694,")


def test_enough_pictures_mirrored_or_not_are_enough(watched):
    assert watched(channels=2, flip=False).begin() == []


def test_few_pictures_that_are_altered_at_random_are_left_in_peace(watched, scenes):
    run = watched(a=str(scenes("x", 10)), b=str(scenes("y", 40)), channels=32)
    facts = run.alarms.alarms["few-pictures"].facts
    run.alarms.alarms["few-pictures"].facts = type(facts)(**{**vars(facts), "augmented": True})
    assert run.begin() == []


def test_a_discriminator_that_knows_only_its_training_pictures_is_found_by_the_probe(watched, monkeypatch):
    """It says 0.85 to what it learnt from, 0.15 to fakes, and to real pictures that it has not seen 0.2."""
    run = watched()
    run.begin()
    heart = {f"scores/{d}/{kind}": level for d in "ab" for kind, level in (("real", 0.85), ("fake", 0.15))}
    run.rows([heart] * 30)
    for discriminator in run.method.discriminators.values():
        monkeypatch.setattr(discriminator, "forward", lambda x: 0.2 + 0 * x[:, :1])
    assert run.look(Repaints(), Repaints(-1.0)) == ["few-pictures"]
    assert run.recorder.alarms[0][3] == pytest.approx((0.85 - 0.2) / (0.85 - 0.15))


def test_the_same_file_in_both_domains_is_found_under_any_name(watched, folders):
    shutil.copy(Path(folders["a"]) / "003.png", Path(folders["b"]) / "other name.png")
    shutil.copy(Path(folders["test_b"]) / "004.png", Path(folders["a"]) / "zz.png")
    run = watched(**folders)
    assert run.begin() == ["domains-overlap"]
    assert run.recorder.alarms[0][3] == 2
    assert "2 pictures are in A and in B, for example" in run.recorder.alarms[0][2]
    assert "003.png and" in run.recorder.alarms[0][2]


def test_a_held_out_picture_that_is_learnt_from_is_found(watched, folders):
    shutil.copy(Path(folders["b"]) / "003.png", Path(folders["test_b"]) / "new.png")
    run = watched(**folders)
    assert run.begin() == ["train-test-overlap"]
    assert "1 picture is in the training pictures and in the held-out ones" in run.recorder.alarms[0][2]


@pytest.mark.slow
def test_the_loop_reports_copies_before_its_first_step_and_not_again_on_a_resume(tmp_path, tiny, caplog):
    config = tiny(steps=1)
    shutil.copy(Path(config.a) / "000.png", Path(config.b) / "copy.png")
    run = train(config, tmp_path / "run")
    train(tiny(steps=2), run)
    rows = read_metrics(run)
    assert rows[0].keys() == {"step", "time", "alarm/domains-overlap", "alarm_figure/domains-overlap"}
    assert rows[0]["step"] == 0
    assert caplog.text.count("domains-overlap:") == 1
    shutil.copy(Path(config.a) / "001.png", Path(config.b) / "another.png")  # other pictures: looked at again
    train(tiny(steps=3), run)
    assert caplog.text.count("alarm at step") == 1  # the event goes on; it is the same alarm


def test_a_suspicion_from_before_the_first_step_is_not_raised_again_on_a_resume(watched, scenes):
    run = watched(a=str(scenes("x", 10)), b=str(scenes("y", 40)), channels=32)
    assert run.begin() == ["few-pictures"]
    run.look(Repaints(), Repaints(-1.0))  # in which it does not come true
    again = type(run)(run.config, run.run)
    again.alarms.load_state_dict(run.alarms.state_dict())
    assert again.begin(900) == []


def test_one_picture_that_is_learnt_from_and_shown_is_no_overlap(watched, scenes):
    assert watched(a=str(scenes("x", 1)), b=str(scenes("y", 1))).begin() == []


def test_copies_are_files_of_equal_content_and_only_those(tmp_path, monkeypatch):
    middle = bytes(dataset.BLOCK)
    contents = {
        "same": b"1" * 9000,
        "other start": b"2" + b"1" * 8999,  # of the same size and with the same middle
        "empty": b"",
        "short": b"1",
        "long": b"x" * 5000 + middle,
    }
    for side in ("ours", "theirs"):
        (tmp_path / side).mkdir()
        for name, content in contents.items():
            (tmp_path / side / name).write_bytes(
                content if side == "ours" or name != "other start" else b"3" + content[1:]
            )
    (tmp_path / "theirs" / "dangling").symlink_to("nowhere")
    ours, theirs = (sorted((tmp_path / side).iterdir()) for side in ("ours", "theirs"))
    found = duplicate_pairs(ours, theirs)
    assert [(one.name, other.name) for one, other in found] == [(n, n) for n in ("empty", "long", "same", "short")]
    read: list[Path] = []
    monkeypatch.setattr(dataset, "file_sha256", lambda path: read.append(path) or path.read_bytes())
    assert duplicate_pairs(ours[:1], theirs[2:3]) == []
    assert read == []  # of another size: never opened
