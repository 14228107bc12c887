"""Whether there is room for a run, before it begins."""

from __future__ import annotations

import os
import shutil

import pytest

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError
from cyclegan.methods import build_method
from cyclegan.training import train
from cyclegan.training.storage.disk_space import check_space, needed_space

CHANNELS = {"a": 3, "b": 3}


def held(run) -> int:
    """Bytes of what is counted, with the state and the generators that are there twice while they are written."""
    states = [path.stat().st_size for path in run.glob("checkpoints/state-*.pt")]
    generators = [path.stat().st_size for path in run.glob("checkpoints/generators-*")]
    grids = [path.stat().st_size for path in run.glob("samples/*.png")]
    return sum(states) + max(states) + sum(generators) + max(generators) + sum(grids)


def test_a_run_is_refused_before_it_leaves_anything_where_it_will_not_fit(tmp_path, tiny, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    sentence = r"-o .*run: the run will take about \d MB there, .* and 1 MB are free; make room, name another place"
    with pytest.raises(UsageError, match=sentence):
        train(tiny(steps=4), tmp_path / "deep" / "run")
    assert not (tmp_path / "deep").exists()


def test_what_a_run_holds_already_is_not_asked_for_again(tmp_path, tiny, monkeypatch):
    config = tiny(steps=2, state_every=1)
    run = train(config, tmp_path / "run")
    kept = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    method = build_method(config, CHANNELS)
    usage = shutil.disk_usage(tmp_path)
    for free, fits in ((needed_space(method, config) - kept, True), (needed_space(method, config) - kept - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        if fits:
            check_space(run, method, config)
        else:
            with pytest.raises(UsageError, match="are free"):
                check_space(run, method, config)


@pytest.mark.slow
def test_the_estimate_is_near_what_a_run_comes_to_hold(tmp_path, tiny):
    changes = {"channels": 16, "sample_every": 1, "generators_every": 2, "samples": 4, "evaluate_every": 0}
    config = tiny(steps=4, state_every=1, **changes)
    run = train(config, tmp_path / "run")
    needed = needed_space(build_method(config, CHANNELS), config)
    assert 0.9 < needed / held(run) < 1.3


def test_the_run_of_the_paper_needs_what_it_was_seen_to_hold():
    config = TrainConfig(steps=200_000, sample_every=0, evaluate_every=0)
    needed = needed_space(build_method(config, CHANNELS), config)
    state = 28_286_000 * 4 * 3 + 100 * 256**2 * 3 * 4  # weights and two moments each, and both pools
    assert needed == pytest.approx(3 * state + 2 * 22_756_000 * 4, rel=0.01)


def test_a_place_that_is_not_there_yet_is_judged_by_the_disk_it_will_be_on(tmp_path, tiny, monkeypatch):
    seen = []
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: seen.append(path) or usage(path))
    config = tiny(steps=1)
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "not" / "there", "not/there"):
        check_space(tmp_path / place, build_method(config, CHANNELS), config)
    assert [os.fspath(path) for path in seen] == [os.fspath(tmp_path)] * 2
