"""Two machines on one: network namespaces with a cable between them, which can be pulled.

Needs root and `ip` of iproute2. What is in a namespace sees its own loopback, its own end of the cable, and no other
network. Everything is gone when the context ends, whatever happened in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.203.7"


def why_not() -> str:
    """Why there can be no two machines here; empty where there can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    name = f"try{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


@dataclass
class Machine:
    """One of the two: `address` is what the other one reaches it by."""

    name: str
    address: str
    cable: str
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str], log: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Run `command` on this machine, in a session of its own, with its output in `log`."""
        # gloo takes the interface that the host's name leads to, which is none of this machine's
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": self.cable, **variables}
        with open(log, "ab") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def give_up_after(self, resends: int) -> None:
        """How often a packet is sent again before a connection counts as broken; 15 is usual, a quarter of an hour."""
        setting = f"echo {resends} > /proc/sys/net/ipv4/tcp_retries2"
        subprocess.run(["ip", "netns", "exec", self.name, "sh", "-c", setting], check=True)

    def pull_the_cable(self) -> None:
        """From now on nothing arrives and nothing is refused either: the other end waits."""
        _ip("-n", self.name, "link", "set", self.cable, "down")

    def processes(self) -> list[int]:
        """All that runs on it, but for processes that have ended and were not asked after."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        return [pid for pid in map(int, listed.stdout.split()) if not _is_a_zombie(pid)]

    def rank(self) -> int:
        """The process of the one rank that runs here."""
        (pid,) = (pid for pid in self.processes() if _variable(pid, "RANK") and not _variable(_parent(pid), "RANK"))
        return pid

    def clear(self) -> None:
        """End all that runs on it."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._running:
            process.wait()


@contextlib.contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines with a cable between them."""
    tag = secrets.token_hex(3)
    machines = (
        Machine(f"left-{tag}", f"{NETWORK}.1", f"l{tag}"),
        Machine(f"right-{tag}", f"{NETWORK}.2", f"r{tag}"),
    )
    left, right = machines
    try:
        for machine in machines:
            _ip("netns", "add", machine.name)
            _ip("-n", machine.name, "link", "set", "lo", "up")
        _ip("-n", left.name, "link", "add", left.cable, "type", "veth", "peer", right.cable, "netns", right.name)
        for machine in machines:
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.cable)
            _ip("-n", machine.name, "link", "set", machine.cable, "up")
        yield machines
    finally:
        known = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for machine in machines:
            if machine.name in known:
                machine.clear()
                _ip("netns", "del", machine.name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _is_a_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _variable(pid: int, name: str) -> bool:
    try:
        return f"\0{name}=".encode() in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
