"""Temporary connection to a Ray cluster: an existing one, or one started on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.system.devices import processors

# Ray's messages stay in its logs: what matters is raised. These are environment variables because Ray reads them on
# import; values set by the user have precedence.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else a thread that asks for a result after the end starts another Ray
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# A cluster of one machine listens on the loopback interface only (the variable is named after the systems on which Ray
# does so by default) and requires a token: any client of Ray can run arbitrary code.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
STORE = 100 * 2**20  # bytes of Ray's shared memory, which carries file names and no pictures
LONGEST_FOLDER = 32  # characters; the paths of sockets below it are limited to 107
ANSWERS_WITHIN = 10.0  # seconds
THREADS = 4  # per worker on a machine without GPUs; with more, small pictures gain nothing


@dataclass(frozen=True)
class WorkerSlots:
    """Number of workers that a cluster has room for, and the resources of each."""

    count: int
    cpus: float
    gpus: int
    threads: int


@contextlib.contextmanager
def session(address: str | None) -> Iterator[Session]:
    """Connect to the cluster at `address` (`auto` or HOST:PORT), or start Ray here if it is None.

    An existing connection of the program is used and kept open. Raises `UsageError` if Ray cannot be imported or
    nothing answers.
    """
    with contextlib.ExitStack() as stack:
        local = address is None
        if address not in (None, "auto"):
            _reach(address)
        settings = QUIET | (LOOPBACK | {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if local else {})
        stack.enter_context(_environment(settings))
        ray = _import_ray()
        if ray.is_initialized():
            yield Session(ray, None)
            return
        arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if local:
            place = tempfile.gettempdir()
            if len(place) > LONGEST_FOLDER and os.path.isdir("/tmp"):
                place = "/tmp"
            temporary = tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True)
            folder = stack.enter_context(temporary)  # for sockets and logs
            arguments |= {"address": "local", "num_cpus": processors(), "object_store_memory": STORE}
            arguments |= {"include_dashboard": False, "_temp_dir": folder}
        else:
            arguments |= {"address": address}
        stack.callback(ray.shutdown)
        opened = Session(ray, arguments)
        opened.connect()
        yield opened


class Session:
    """Connection to a cluster. `arguments` of `ray.init` reopen it; None: it is owned by the caller."""

    def __init__(self, ray: Any, arguments: dict[str, Any] | None) -> None:
        self.ray = ray
        self._arguments = arguments

    @property
    def own(self) -> bool:
        """True if it may be closed and reopened."""
        return self._arguments is not None

    def connect(self) -> None:
        """Open or reopen the connection; `UsageError` if nothing answers."""
        assert self._arguments is not None
        self.ray.shutdown()
        address = self._arguments["address"]
        try:
            with _silence():
                self.ray.init(**self._arguments)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            if address == "local":
                raise CycleganError(
                    f"--engine ray: Ray did not start on this machine ({reason_of(error).rstrip('.').lower()})"
                ) from error
            raise UsageError(
                f"--address {address}: there is no cluster to connect to ({reason_of(error).rstrip('.').lower()}); "
                "start one by `ray start --head`, or leave --address out to use this machine alone"
            ) from error

    def nodes(self) -> list[dict[str, float]]:
        """Resources of each live machine: CPU, GPU, …"""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def slots(self, device: str) -> WorkerSlots:
        """Workers that suit the cluster: one for each GPU, if there are any and `device` allows it.

        Otherwise one for every four CPU cores, of which half are claimed, so that workers of a lost machine find room
        on the others. Raises `UsageError` for a device that the cluster does not have.
        """
        nodes = self.nodes()
        gpus = [(int(node["GPU"]), int(node.get("CPU", 0))) for node in nodes if node.get("GPU", 0) >= 1]
        kind, _, number = device.partition(":")
        if number:
            raise UsageError(f"--device {device}: --engine ray gives each process a GPU of its own; use auto or {kind}")
        if gpus and kind in ("auto", "cuda"):
            threads = min(cpus // count for count, cpus in gpus)
            return WorkerSlots(sum(count for count, _ in gpus), min(threads, 1), 1, max(threads, 1))
        if kind == "cuda":
            raise UsageError("--device cuda: the cluster has no GPU; use auto or cpu")
        cpus = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
        if not cpus:
            raise CycleganError("--engine ray: no machine of the cluster offers a processor; start it with some")
        threads = min(THREADS, *cpus)
        return WorkerSlots(sum(count // threads for count in cpus), threads // 2 or 0.5, 0, threads)


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f'--engine ray: {error}; install it by pip install "cyclegan[ray]"') from None
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # the terminal's; another one writes Ray's logs
            handler.setLevel(logging.CRITICAL)
    return ray


def _reach(address: str) -> None:
    """Check that something answers at `address`: Ray itself waits silently for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "//" in host:
        raise UsageError(f"--address {address}: is neither auto nor HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--address {address}: nothing answers there ({reason_of(error).rstrip('.').lower()}); "
            "name the address that `ray start --head` printed, or leave --address out to use this machine alone"
        ) from None


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Redirect stderr to /dev/null: Ray's C++ code prints to it whatever the log level."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
