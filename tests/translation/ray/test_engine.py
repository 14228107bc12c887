"""The engine `ray`, on a real cluster of two nodes: the same files, each settled once, whatever dies in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.ray.session import Session, WorkerSlots, session
from cyclegan.translation.runners import EngineOptions, translate_jobs
from tests.models.examples import generators_file
from tests.translation.cluster_job import jobs_for, settings_for
from tests.translation.examples import picture
from tests.translation.programs import LOOPBACK, Program

pytest.importorskip("ray", reason="the extra ray is not installed")

COUNT = 120


@contextlib.contextmanager
def two_nodes(gpus: int = 0) -> Iterator[tuple[Program, str]]:
    program = Program("two_nodes", gpus)
    try:
        yield program, program.hear()["says"]
        program.rest()
    finally:
        program.end()


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Program, str]]:
    with two_nodes() as both:
        yield both


class Folders:
    """Pictures, a model, and what one process makes of them."""

    def __init__(self, folder: Path, count: int = COUNT) -> None:
        self.source, self.dest, self.expected = folder / "in", folder / "out", folder / "expected"
        self.model = generators_file(folder / "model.safetensors")
        for number in range(count):
            picture(self.source / f"{number:03d}.png", (8, 8), number)
        self.dest.mkdir()
        self.jobs: list[Program] = []

    def job(self, address: str | None, **environment: str) -> Program:
        """The engine at work, in a program of its own."""
        where = () if address is None else (address,)
        self.jobs.append(Program("cluster_job", self.model, self.source, self.dest, *where, **environment))
        return self.jobs[-1]

    def here(self) -> dict[str, bytes]:
        """The same with the engine of this process."""
        self.expected.mkdir()
        settings = settings_for(str(self.model), str(self.expected), PictureIO)
        jobs = jobs_for(str(self.source), str(self.expected))
        translate_jobs(settings, jobs, lambda job, failure: None, EngineOptions())
        return contents(self.expected)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    made = Folders(tmp_path)
    yield made
    for job in made.jobs:
        job.end()


def once(told: list[dict[str, Any]]) -> bool:
    return set(Counter(line["name"] for line in told).values()) == {1}


@pytest.mark.slow
@pytest.mark.long
def test_a_cluster_makes_the_same_files_as_one_process_and_names_the_bad_ones(
    cluster: tuple[Program, str], folders: Folders
) -> None:
    (folders.source / "bad.png").write_text("this is no PNG")
    told = folders.job(cluster[1]).rest()
    assert once(told)
    assert len(told) == COUNT + 1
    assert [line["name"] for line in told if "error" in line] == ["bad.png"]
    assert [line["error"] for line in told if "error" in line] == ["UnreadableImage"]
    assert contents(folders.dest) == folders.here()


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [0, pytest.param(1, marks=pytest.mark.long)])
def test_when_a_node_is_killed_every_picture_is_there_and_settled_once(folders: Folders, gpus: int) -> None:
    # The GPUs are only said to be there. A process that claims one finds no other place when its node is gone
    with two_nodes(gpus) as (nodes, address):
        job = folders.job(address)
        told = [job.hear()]
        nodes.say("kill")
        assert len(list(folders.dest.iterdir())) < COUNT, "it was over before anything was killed"
        told += job.rest()
    assert once(told)
    assert len(told) == COUNT
    assert not [line for line in told if "error" in line]
    assert contents(folders.dest) == folders.here()


@pytest.mark.slow
@pytest.mark.long
def test_a_job_whose_driver_was_killed_goes_on_where_it_stopped(cluster: tuple[Program, str], folders: Folders) -> None:
    job = folders.job(cluster[1])
    first = [job.hear() for _ in range(20)]
    job.process.kill()
    already = {line["name"] for line in first}
    assert already <= {path.name for path in folders.dest.iterdir()}, "said to be done, and not there"
    told = folders.job(cluster[1]).rest()
    assert once(told)
    assert not already & {line["name"] for line in told}
    assert contents(folders.dest) == folders.here()


@pytest.mark.slow
@pytest.mark.long
def test_a_picture_that_kills_every_process_is_a_failure_and_takes_no_other_with_it(
    cluster: tuple[Program, str], folders: Folders
) -> None:
    picture(folders.source / "fatal.png", (8, 8))
    told = folders.job(cluster[1]).rest()
    assert once(told)
    assert len(told) == COUNT + 1
    assert [(line["name"], line["error"]) for line in told if "error" in line] == [("fatal.png", "WorkerDied")]
    assert len(list(folders.dest.iterdir())) == COUNT


@pytest.mark.slow
@pytest.mark.long
def test_a_model_that_cannot_be_used_is_one_sentence(cluster: tuple[Program, str], folders: Folders) -> None:
    folders.model.write_bytes(b"")
    (told,) = folders.job(cluster[1]).rest()
    assert "model.safetensors" in told["text"]
    assert "(on " in told["text"]
    assert "\n" not in told["text"]


@pytest.mark.slow
def test_without_an_address_ray_is_started_here_names_the_bad_ones_and_leaves_nothing(folders: Folders) -> None:
    (folders.source / "bad.png").write_text("this is no PNG")
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as place:  # short: sockets are made in it
        job = folders.job(None, TMPDIR=place)
        told = [job.hear()]
        assert any("raylet" in line for line in job.relatives())
        assert os.listdir(place)
        told += job.rest()
        assert not os.listdir(place)
    assert once(told)
    assert len(told) == COUNT + 1
    assert [(line["name"], line["error"]) for line in told if "error" in line] == [("bad.png", "UnreadableImage")]
    assert contents(folders.dest) == folders.here()
    until = time.monotonic() + 60  # the last of them end by themselves when they notice
    while job.relatives() and time.monotonic() < until:
        time.sleep(0.2)
    assert not job.relatives()


@pytest.mark.slow
@pytest.mark.long
def test_three_parts_by_the_command_are_the_whole(cluster: tuple[Program, str], folders: Folders) -> None:
    (folders.source / "bad.png").write_text("this is no PNG")
    words = ["-m", "cyclegan", "translate", folders.model, folders.source, folders.dest, "--precision", "fp32"]
    words += ["--batch-size", "1", "--engine", "ray", "--address", cluster[1]]
    for part in ("1/3", "2/3", "3/3"):
        command = [sys.executable, *map(str, words), "--shard", part]
        done = subprocess.run(command, env=os.environ | LOOPBACK, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr
    pictures = [path for path in folders.dest.iterdir() if path.is_file()]
    assert {path.name: path.read_bytes() for path in pictures} == folders.here()
    failed = [line for path in (folders.dest / ".cyclegan").glob("failed*") for line in path.read_text().splitlines()]
    assert [json.loads(line)["path"] for line in failed] == ["bad.png"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: nothing answers there"),
        ("127.0.0.1:99999", "--address 127.0.0.1:99999: nothing answers there"),
        ("somewhere", "--address somewhere: is neither auto nor HOST:PORT"),
        ("ray://127.0.0.1:10001", "--address ray://127.0.0.1:10001: is neither auto nor HOST:PORT"),
    ],
)
def test_an_address_where_there_is_no_cluster_is_refused_at_once(address: str, says: str) -> None:
    with pytest.raises(UsageError) as caught, session(address):
        pass
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "cyclegan\[ray\]"'), session(None):
        pass


def cluster_of(*nodes: dict[str, float]) -> Session:
    rows = [{"Alive": True, "Resources": node} for node in nodes]
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    return Session(SimpleNamespace(nodes=lambda: [*rows, dead]), None)


@pytest.mark.parametrize(
    ("nodes", "device", "expected"),
    [
        ([{"CPU": 2}, {"CPU": 2}], "auto", WorkerSlots(2, 1, 0, 2)),
        ([{"CPU": 1}, {"CPU": 8}], "auto", WorkerSlots(9, 0.5, 0, 1)),
        ([{"CPU": 64}, {}], "cpu", WorkerSlots(16, 2, 0, 4)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 8, "GPU": 1}, {"CPU": 8}], "auto", WorkerSlots(5, 1, 1, 4)),
        ([{"CPU": 0, "GPU": 2}], "cuda", WorkerSlots(2, 0, 1, 1)),
        ([{"CPU": 8, "GPU": 2}], "cpu", WorkerSlots(2, 2, 0, 4)),
    ],
)
def test_a_cluster_has_a_process_for_each_gpu_or_for_every_four_processors(
    nodes: list[dict[str, float]], device: str, expected: WorkerSlots
) -> None:
    assert cluster_of(*nodes).slots(device) == expected


def test_a_device_that_the_cluster_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="--device cuda: the cluster has no GPU"):
        cluster_of({"CPU": 8}).slots("cuda")
    with pytest.raises(UsageError, match="--device cuda:1: --engine ray gives each process a GPU of its own"):
        cluster_of({"CPU": 8, "GPU": 2}).slots("cuda:1")
    with pytest.raises(CycleganError, match="offers a processor"):
        cluster_of({}).slots("auto")
