"""Trainer side of Weights & Biases: mode, key lookup, and the subprocess that runs the client.

Nothing here imports wandb. The client runs in the process of `wandb_process.py`.
"""

from __future__ import annotations

import configparser
import importlib.util
import json
import logging
import netrc
import os
import secrets
import shlex
import string
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cyclegan.errors import UsageError, lookup
from cyclegan.system.files import write_json
from cyclegan.tracking.wandb_process import FOLDER, SESSION, client_variables

logger = logging.getLogger("cyclegan")

PUBLIC_SERVICE = "https://api.wandb.ai"
KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
MODES = ("auto", "online", "offline", "disabled")
# values of WANDB_MODE, with the client's older names -> our mode
ENVIRONMENT_MODES = {mode: mode for mode in MODES[1:]} | {"run": "online", "dryrun": "offline"}


def pick_mode(asked: str) -> tuple[str, str]:
    """Resolve `--wandb asked` to a mode, and a reason if one is worth logging.

    `auto` follows `WANDB_MODE`, else it is online if a key for the service is known, else offline; disabled if wandb is
    not installed. Raises `UsageError` if an explicit mode is not available.
    """
    lookup(dict.fromkeys(MODES), asked, "--wandb")
    mode = asked
    if asked == "auto" and os.environ.get("WANDB_MODE"):
        mode = lookup(ENVIRONMENT_MODES, os.environ["WANDB_MODE"], "WANDB_MODE")
    if mode == "disabled":
        return mode, ""
    if not is_installed():
        if asked == "auto":
            return "disabled", "wandb is not installed"
        raise UsageError(f"--wandb {asked}: wandb is not installed; run pip install wandb, or use --wandb disabled")
    if mode == "offline" or knows_key():
        return ("online" if mode == "auto" else mode), ""
    if mode == "auto":
        return "offline", f"no key for {service()} is known"
    raise UsageError(f"--wandb online: no key for {service()} is known; run wandb login, or use --wandb offline")


def is_installed() -> bool:
    """Return whether wandb can be imported; a folder `wandb` of runs, a namespace package, does not count."""
    try:
        spec = importlib.util.find_spec("wandb")
    except ImportError:
        return False
    return spec is not None and spec.origin is not None


def service() -> str:
    """Address of the service: `WANDB_BASE_URL`, else that of `wandb login`, else the public one."""
    if address := os.environ.get("WANDB_BASE_URL"):
        return address.rstrip("/")
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings")
    except configparser.Error:
        return PUBLIC_SERVICE  # left to the client to report
    return settings.get("default", "base_url", fallback=PUBLIC_SERVICE).rstrip("/")


def knows_key() -> bool:
    """Return whether the client's variables or the netrc file of `wandb login` hold a key."""
    if any(os.environ.get(name) for name in KEY_VARIABLES):
        return True
    named = os.environ.get("NETRC")
    places = [Path(named).expanduser()] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for place in places:
        try:
            # As the client does: with the port, if the address has one, and accepting a default entry
            entry = netrc.netrc(str(place)).authenticators(urlsplit(service()).netloc)
        except (OSError, netrc.NetrcParseError):
            continue
        if entry and entry[2]:
            return True
    return False


def describe_session(run: Path, *, run_id: str | None, project: str, name: str, config: Mapping[str, Any]) -> str:
    """Write the session file for the subprocess and later uploads; return its run ID, old or new."""
    secret = os.environ.get("WANDB_API_KEY")
    assert not secret or secret not in json.dumps(config, default=str), "the config holds the API key"
    path = run / FOLDER / SESSION
    path.parent.mkdir(exist_ok=True)
    if run_id is None and path.exists():
        run_id = json.loads(path.read_text())["id"]
    elif run_id is None:  # 8 letters and digits, as the client makes them
        run_id = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    plain = json.loads(json.dumps(config, default=str))
    write_json(path, {"id": run_id, "project": project, "name": name, "config": plain})
    return run_id


def upload_command(run: Path) -> str:
    """Command that sends the rows that have not arrived."""
    return f"cyclegan sync {shlex.quote(str(run))}"


def sync_command(run: Path) -> str:
    """Command that sends all offline sessions, in the order of their start."""
    return f"wandb sync {shlex.quote(str(run / FOLDER))}/offline-run-*"


# share of the deadline for the upload: SIGTERM is soon followed by SIGKILL
PATIENCE = {"done": 1.0, "preempted": 0.25, "failed": 0.25}


class WandbProcess:
    """Subprocess that follows the journal of `run`, and the thread that reads its messages."""

    def __init__(self, run: Path, mode: str, deadline: float) -> None:
        """Start it. Raises `OSError` if no process can be started."""
        self._run = run
        self._error: str | None = None
        self._deadline = deadline
        command = [sys.executable, "-m", "cyclegan.tracking", str(run.absolute())]
        command += ["--follow", mode, "--deadline", str(deadline)]
        # a trainer started from a script that uses W&B itself must not share that script's session
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment |= client_variables(run)
        with open(run / FOLDER / "client.log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the trainer, which then reports its end itself
            )
        self._listener = threading.Thread(target=self._listen, name="weights-and-biases", daemon=True)
        self._listener.start()

    def finish(self, status: str) -> None:
        """Report the end of training, and wait for the last rows, at most until the deadline."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(f"{status}\n".encode())
        except OSError:
            pass  # it has ended already and reported that
        try:
            self._process.wait(PATIENCE[status] * self._deadline)
        except subprocess.TimeoutExpired:
            self._error = f"no answer within {PATIENCE[status] * self._deadline:g} s"
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        done = False
        for line in self._process.stdout:
            message = json.loads(line)
            if message["kind"] == "url":
                logger.info("Weights & Biases: curves at %s", message["text"])
            elif message["kind"] == "failed":
                self._error = message["text"]
            done = done or message["kind"] == "done"
        if not done:
            reason = self._error or "its process was ended"
            logger.warning(
                "Weights & Biases stopped (%s); the figures are in metrics.jsonl, send what is missing with: %s",
                reason,
                upload_command(self._run),
            )
