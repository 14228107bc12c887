"""Two machines train together, and one of them, or the way between them, is lost: all ends, and the state is good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclegan.config import TrainConfig
from cyclegan.system.files import TEMPORARY_PREFIX, file_sha256
from cyclegan.training import train
from tests.support.run_files import read_status
from tests.training.machines import Machine, two_machines, why_not

ROOT = Path(__file__).parents[2]
PORT = 29400
TIMEOUT_S = 6  # --timeout: how long ranks wait for one another
TORCHRUN_S = 30  # how long torchrun gives a rank to end after SIGTERM before it sends SIGKILL
BROKEN_S = 15  # after five resends Linux takes a connection for broken: 0.2 + 0.4 + … + 6.4 s
SLOW_S = 40  # for a machine that has other things to do
RESENDS = 5


class Cluster:
    """torchrun on both machines, each with one rank, and the run that they share."""

    def __init__(self, machines: tuple[Machine, Machine], config: TrainConfig, run: Path, way: str) -> None:
        self.machines = machines
        self.run = run
        self.logs = [run.parent / f"{machine.name}.log" for machine in machines]
        self.agents = []
        given = {name: value for name, value in vars(config).items() if name != "options" and value is not None}
        words = [word for name, value in given.items() for word in _option(name, value)]
        for number, (machine, log) in enumerate(zip(machines, self.logs, strict=True)):
            here = [word.format(here=machine.address, first=machines[0].address) for word in way.split()]
            here = [word.replace("is_host=0", "is_host=1") if number == 0 else word for word in here]
            command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *here]
            command += ["-m", "cyclegan", "train", "-o", str(run), *words]
            variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            self.agents.append(machine.start(command, log, variables))

    def until(self, happened: Callable[[], object], within: float) -> None:
        """Wait for something, while nothing has ended."""
        end = time.monotonic() + within
        while not happened():
            assert time.monotonic() < end, self.said
            assert not any(agent.poll() for agent in self.agents), self.said
            time.sleep(0.002)

    def until_all_have_ended(self, within: float) -> None:
        """Wait for the last process on both machines; none is left after `within` seconds."""
        end = time.monotonic() + within
        while any(machine.processes() for machine in self.machines):
            left = {machine.name: machine.processes() for machine in self.machines}
            assert time.monotonic() < end, f"{left} are there after {within} s: {self.said}"
            for agent in self.agents:
                agent.poll()
            time.sleep(0.1)

    @property
    def codes(self) -> list[int]:
        """What both agents ended with."""
        return [agent.wait() for agent in self.agents]

    @property
    def said(self) -> str:
        """All the output."""
        return "\n".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def states(self) -> list[int]:
        """The steps of the states that agree with their checksums."""
        found = []
        for path in (self.run / "checkpoints").glob("state-*.pt"):
            checksum = path.with_name(path.name + ".sha256")
            if checksum.exists() and checksum.read_text().split()[0] == file_sha256(path):
                found.append(int(path.stem.removeprefix("state-")))
        return sorted(found)

    def writing(self) -> bool:
        """Whether a state is being written at this moment."""
        return any(name.startswith(TEMPORARY_PREFIX) for name in os.listdir(self.run / "checkpoints"))


# How agents find each other. These machines have no names; elsewhere the last two options are not needed
ELASTIC = "--rdzv-backend c10d --rdzv-endpoint {first}:29400 --rdzv-conf is_host=0 --local-addr {here}"


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    if reason := why_not():
        pytest.skip(reason)
    with two_machines() as pair:
        for machine in pair:
            machine.give_up_after(RESENDS)
        yield pair


def cable_pulled(cluster: Cluster) -> None:
    cluster.machines[1].pull_the_cable()


def rank_killed(cluster: Cluster) -> None:
    os.kill(cluster.machines[1].rank(), signal.SIGKILL)


def agent_killed(cluster: Cluster) -> None:
    cluster.agents[1].kill()  # `ip netns exec` has become the agent: it starts no other process


def first_rank_killed_while_it_writes(cluster: Cluster) -> None:
    first = cluster.machines[0].rank()
    cluster.until(cluster.writing, 60)
    os.kill(first, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(cable_pulled, id="cable_pulled"),
        # On one machine these are in test_several_processes and test_kills
        pytest.param(first_rank_killed_while_it_writes, id="first_rank_killed_while_it_writes", marks=pytest.mark.long),
        pytest.param(rank_killed, id="rank_killed", marks=pytest.mark.long),
        pytest.param(agent_killed, id="agent_killed", marks=pytest.mark.long),
    ],
)
def test_when_something_is_lost_all_ends_in_time_and_one_machine_goes_on(tmp_path, tiny, machines, caplog, lose):
    config = tiny(steps=10**6, batch_size=2, state_every=3, ema_decay=0.0, evaluate_every=0, timeout=TIMEOUT_S)
    run = tmp_path / "run"
    cluster = Cluster(machines, config, run, ELASTIC)
    cluster.until(lambda: len(cluster.states()) > 1, within=120)
    before = cluster.states()
    lose(cluster)
    cluster.until_all_have_ended(within=TIMEOUT_S + BROKEN_S + TORCHRUN_S + SLOW_S)
    assert 0 not in cluster.codes, cluster.said
    after = cluster.states()
    assert after[-1] >= before[-1]

    with caplog.at_level("INFO", "cyclegan"):
        train(tiny(steps=after[-1] + 1, batch_size=2, state_every=3, ema_decay=0.0, evaluate_every=0), run)
    assert f"resuming {run} at step {after[-1]} of {after[-1] + 1}" in caplog.text
    assert read_status(run)["status"] == "done"
    assert not list(run.rglob(TEMPORARY_PREFIX + "*"))


@pytest.mark.process
def test_what_is_on_the_other_machine_is_reached_by_the_cable_alone_and_nothing_is_left(machines):
    left, right = machines
    code = f"import socket; socket.create_connection(('{left.address}', {PORT}), 5).sendall(b'x')"
    listen = f"import socket; s = socket.create_server(('{left.address}', {PORT})); s.accept()[0].recv(1)"
    with subprocess.Popen(["ip", "netns", "exec", left.name, sys.executable, "-c", listen]) as server:
        there = ["ip", "netns", "exec", right.name, sys.executable, "-c"]
        again = (
            f"import time\nfor _ in range(50):\n  try: {code}; break\n  except ConnectionRefusedError: time.sleep(.1)"
        )
        assert subprocess.run([*there, again], check=False).returncode == 0
        assert server.wait(10) == 0
    right.pull_the_cable()
    assert subprocess.run([*there, code], stderr=subprocess.DEVNULL, check=False).returncode != 0


def _option(name: str, value: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag] if value else [flag.replace("--", "--no-", 1)]
    return [flag, str(value)]
