"""The trainer's side of Weights & Biases: in which mode, with which key, and the process that does the talking.

Nothing here imports wandb. The client runs in the process of `session.py`.
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
# what WANDB_MODE may say, with the client's older words -> our mode
ENVIRONMENT_MODES = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def pick_mode(asked: str) -> tuple[str, str]:
    """The mode that `--wandb asked` comes to, and why when that needs a word.

    `auto` does as `WANDB_MODE` says, else it is online where a key for the service is known, else offline; disabled
    where wandb is not installed. Raises `UsageError` where what was asked for in so many words cannot be had.
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
    known = knows_key()
    if mode == "online" and not known:
        raise UsageError(f"--wandb online: no key for {service()} is known; run wandb login, or use --wandb offline")
    if mode == "auto":
        return ("online", "") if known else ("offline", f"no key for {service()} is known")
    return mode, ""


def is_installed() -> bool:
    """Whether wandb can be imported. A folder `wandb` of runs, which Python takes for a package, does not count."""
    try:
        spec = importlib.util.find_spec("wandb")
    except ImportError:
        return False
    return spec is not None and spec.origin is not None


def service() -> str:
    """The address of the service: `WANDB_BASE_URL`, else what `wandb login` noted, else the public one."""
    if address := os.environ.get("WANDB_BASE_URL"):
        return address.rstrip("/")
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings")
    except configparser.Error:
        return PUBLIC_SERVICE  # the client will have its own opinion of that file
    return settings.get("default", "base_url", fallback=PUBLIC_SERVICE).rstrip("/")


def knows_key() -> bool:
    """Whether the client will find a key for the service, in its variables or in the netrc file of `wandb login`."""
    if any(os.environ.get(name) for name in KEY_VARIABLES):
        return True
    named = os.environ.get("NETRC")
    places = [Path(named).expanduser()] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for place in places:
        try:
            # As the client asks: with the port, if the address has one, and content with an entry for all others
            entry = netrc.netrc(str(place)).authenticators(urlsplit(service()).netloc)
        except (OSError, netrc.NetrcParseError):
            continue
        if entry and entry[2]:
            return True
    return False


def new_id() -> str:
    """A name for a run that no other has: 8 letters and digits, as the client makes them itself."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def describe_session(run: Path, *, run_id: str | None, project: str, name: str, config: Mapping[str, Any]) -> str:
    """Note in the run what the session process and a later upload need; the id, an earlier one if none is given."""
    secret = os.environ.get("WANDB_API_KEY")
    assert not secret or secret not in json.dumps(config, default=str), "the config holds the API key"
    path = run / FOLDER / SESSION
    path.parent.mkdir(exist_ok=True)
    if run_id is None:
        run_id = json.loads(path.read_text())["id"] if path.exists() else new_id()
    plain = json.loads(json.dumps(config, default=str))
    write_json(path, {"id": run_id, "project": project, "name": name, "config": plain})
    return run_id


def upload_command(run: Path) -> str:
    """What to type to send the rows that have not arrived."""
    return f"cyclegan sync {shlex.quote(str(run))}"


def sync_command(run: Path) -> str:
    """What to type to send what offline sessions have kept, all of them, in the order of their start."""
    return f"wandb sync {shlex.quote(str(run / FOLDER))}/offline-run-*"


# share of the deadline that is spent on the upload: what sends SIGTERM soon sends SIGKILL
PATIENCE = {"done": 1.0, "preempted": 0.25, "failed": 0.25}


class WandbProcess:
    """The process that follows the journal of `run`, and the thread that hears what it says."""

    def __init__(self, run: Path, mode: str, deadline: float) -> None:
        """Start it. Raises `OSError` where no process can be started."""
        self.url: str | None = None
        self._run = run
        self._last_word: str | None = None
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
                start_new_session=True,  # Ctrl-C is for the trainer, which then says so in its own words
            )
        self._ear = threading.Thread(target=self._hear, name="weights-and-biases", daemon=True)
        self._ear.start()

    def finish(self, status: str) -> None:
        """Tell it that the training has ended, and wait for the last rows to be sent, but not beyond the deadline."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(f"{status}\n".encode())
        except OSError:
            pass  # it has ended before us, and its last word has been said
        try:
            self._process.wait(PATIENCE[status] * self._deadline)
        except subprocess.TimeoutExpired:
            self._last_word = f"no answer within {PATIENCE[status] * self._deadline:g} s"
            self._process.kill()
            self._process.wait()
        self._ear.join()
        self._process.stdout.close()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        done = False
        for line in self._process.stdout:
            message = json.loads(line)
            if message["kind"] == "url":
                self.url = message["text"]
                logger.info("Weights & Biases: curves at %s", self.url)
            elif message["kind"] == "failed":
                self._last_word = message["text"]
            done = done or message["kind"] == "done"
        if not done:
            reason = self._last_word or "its process was ended"
            logger.warning(
                "Weights & Biases stopped (%s); the figures are in metrics.jsonl, send what is missing with: %s",
                reason,
                upload_command(self._run),
            )
