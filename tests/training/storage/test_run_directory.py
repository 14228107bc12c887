"""The directory of a run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from cyclegan.config import TrainConfig, resolve
from cyclegan.errors import CycleganError, UsageError
from cyclegan.methods import METHODS, CycleGAN, Method, options_of
from cyclegan.training import train
from cyclegan.training.distributed.ranks import SingleProcess
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.setup import resolve_run, sets_of
from cyclegan.training.storage.run_directory import default_run, open_run, read_config, read_data_record
from tests.support.run_files import read_status


def resolved(config: TrainConfig, run: Path) -> ResolvedRun:
    return resolve_run(config, run, None, SingleProcess())


def test_the_default_directory_is_named_after_the_folders(tiny):
    config = tiny(steps=1)
    assert str(default_run(config)) == "runs/a2b"
    assert default_run(resolve([{"data": "some/where/horse2zebra"}])).as_posix() == "runs/horse2zebra"
    with pytest.raises(UsageError, match="name them with --a and --b, or one folder with trainA and trainB"):
        default_run(resolve([]))


class OneFolder(CycleGAN):
    """A method that learns from one domain alone, without networks."""

    domains = ("b",)

    def __init__(self, *networks: Any, **options: Any) -> None:
        Method.__init__(self)
        self.adversarial = None
        self.generators = self.discriminators = nn.ModuleDict()


def test_a_method_of_one_domain_has_a_run_and_a_record_of_that_domain(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(METHODS, "one-folder", OneFolder)
    config = tiny(steps=1, method="one-folder", a=None)
    assert str(default_run(config)) == "runs/b"
    with pytest.raises(UsageError, match="name them with --b, or one folder with trainB"):
        default_run(replace(config, b=None))
    with open_run(resolved(config, tmp_path / "run")) as run:
        assert run.meta["pictures"] == {"train_b": 4, "test_b": 0}
    assert read_data_record(tmp_path / "run") == {"channels": {"b": 3}, "ranges": None}
    with pytest.raises(UsageError, match="--a: method one-folder reads only --b; leave it out"):
        sets_of(tiny(method="one-folder"))


def test_a_run_holds_what_the_documents_say(tmp_path, tiny):
    run = train(tiny(steps=2, sample_every=1), tmp_path / "run")
    assert {name for name in os.listdir(run) if not name.startswith(".")} == {
        "config.yaml",
        "meta.json",
        "pictures.json",
        "status.json",
        "metrics.jsonl",
        "samples",
        "checkpoints",
    }
    assert sorted(os.listdir(run / "samples"))[:3] == ["a2b-00000000.png", "a2b-00000001.png", "a2b-00000002.png"]
    assert "generators-00000002.safetensors" in os.listdir(run / "checkpoints")
    assert read_status(run) | {"time": 0} == {"status": "done", "step": 2, "steps": 2, "reason": "", "time": 0}


def test_the_stored_configuration_resolves_to_itself(tmp_path, tiny):
    run = train(tiny(steps=1), tmp_path / "run")
    values = yaml.safe_load((run / "config.yaml").read_text())
    config = resolve([read_config(run)], options_of("cyclegan"))
    assert values["pool_size"] == config.options["pool_size"] == 2
    assert values["steps"] == config.steps == 1
    assert train(config, run) == run  # the stored configuration resumes the run


@pytest.mark.slow
def test_meta_tells_versions_command_and_data_and_keeps_the_tracking_id(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "canary-" + "k" * 33)
    config = tiny(steps=1)
    run = train(config, tmp_path / "run")
    first = json.loads((run / "meta.json").read_text())
    assert first["packages"]["torch"]
    assert first["command"]
    assert len(first["data_fingerprint"]) == 64
    assert (first["directions"], first["equilibrium"]) == (["ab", "ba"], 0.5)
    assert first["pictures"] == {"train_a": 5, "train_b": 4, "test_a": 0, "test_b": 0}
    train(config, run)
    assert json.loads((run / "meta.json").read_text())["tracking_id"] == first["tracking_id"]
    for path in run.rglob("*"):
        if path.is_file():
            assert b"canary-" not in path.read_bytes(), path


@pytest.mark.slow
def test_a_run_can_be_resumed_from_another_working_directory(tmp_path, tiny, monkeypatch):
    config = tiny(steps=1)
    monkeypatch.chdir(tmp_path)
    relative = replace(config, a="a", b="b")
    run = train(relative, "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    stored = resolve([read_config(tmp_path / "run"), {"steps": 2}], options_of("cyclegan"))
    assert train(stored, tmp_path / "run") == tmp_path / run
    assert read_status(tmp_path / "run")["step"] == 2


def test_changed_pictures_are_noticed(tmp_path, tiny, folder, caplog):
    config = tiny(steps=1)
    run = train(config, tmp_path / "run")
    folder("a", 6, 40)
    train(config, run)
    assert "the pictures have changed" in caplog.text


def test_a_folder_that_holds_something_else_is_refused(tmp_path, tiny):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("")
    with pytest.raises(UsageError, match=r"-o .*thesis: this folder holds something else"):
        train(tiny(steps=1), tmp_path / "thesis")
    assert os.listdir(tmp_path / "thesis") == ["chapter1.tex"]


def test_a_file_in_the_place_of_the_run_is_refused(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"-o: .* is a file"):
        train(tiny(steps=1), tmp_path / "file")


def test_two_trainers_in_one_directory_the_second_is_refused(tmp_path, tiny):
    config = tiny(steps=1)
    with open_run(resolved(config, tmp_path / "run")):
        before = read_status(tmp_path / "run")
        with pytest.raises(CycleganError, match=rf"in use by process {os.getpid()} on "):
            train(config, tmp_path / "run")
        assert read_status(tmp_path / "run") == before


def test_a_damaged_configuration_is_a_sentence(tmp_path, tiny):
    run = train(tiny(steps=1), tmp_path / "run")
    for content, sentence in [(b"a: [", "is damaged"), (b"\xff\xfe", "is damaged"), (b"- 1", "is not a configuration")]:
        (run / "config.yaml").write_bytes(content)
        with pytest.raises(UsageError, match=sentence):
            read_config(run)
    with pytest.raises(UsageError, match="so it is no run"):
        read_config(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["meta.json", "status.json"])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"{}", b"\xff\xfe"])
def test_a_damaged_record_is_a_sentence_and_can_be_deleted(tmp_path, tiny, name, content):
    config = tiny(steps=1)
    run = train(config, tmp_path / "run")
    (run / name).write_bytes(content)
    with pytest.raises(CycleganError, match=rf"{name} is damaged; .* or delete it"):
        train(config, run)
    (run / name).unlink()
    assert train(config, run) == run
    assert read_status(run)["status"] == "done"


def test_what_a_kill_left_unfinished_is_gone_as_soon_as_the_run_is_held_again(tmp_path, tiny):
    config = tiny(steps=1)
    run = train(config, tmp_path / "run")
    strays = [folder / ".tmp-1-2" for folder in (run, run / "samples", run / "checkpoints")]
    for stray in strays:
        stray.touch()
    with open_run(resolved(config, run)):  # whatever becomes of this start
        assert not [stray for stray in strays if stray.exists()]


def test_how_a_run_failed_is_on_record(tmp_path, tiny):
    config = tiny(steps=1)
    with pytest.raises(ZeroDivisionError), open_run(resolved(config, tmp_path / "run")):
        _ = 1 / 0
    assert read_status(tmp_path / "run")["status"] == "failed"
    assert read_status(tmp_path / "run")["reason"] == "division by zero"
