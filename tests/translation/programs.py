"""Programs that tests of clusters start and speak to: the modules beside this file that say so."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 1500  # seconds for what takes a hundred at most on a machine that does nothing else
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
EQUAL = {"RAY_worker_niceness": "0"}  # beside other tests Ray's workers, nice as they are, would wait for minutes


class Program:
    """One of the two programs beside this file, spoken to in lines. It is killed when it takes too long."""

    def __init__(self, name: str, *arguments: object, **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.translation.{name}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env=os.environ | LOOPBACK | EQUAL | {"CYCLEGAN_TEST_MARK": self.mark} | environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.timer = threading.Timer(PATIENCE, self.process.kill)
        self.timer.start()

    def hear(self) -> dict[str, Any]:
        """The next line."""
        line = self.output.readline()
        assert line, self.complaints()
        heard: dict[str, Any] = json.loads(line)
        return heard

    def say(self, text: str) -> None:
        """A line to it, and wait until it has been obeyed."""
        self.input.write(text + "\n")
        self.input.flush()
        assert self.hear() == {"says": "done"}

    def rest(self) -> list[dict[str, Any]]:
        """All further lines to the end, which has to come by itself, with nothing on stderr."""
        self.input.close()
        lines = [json.loads(line) for line in self.output]
        assert (self.process.wait(), self.complaints()) == (0, "")
        return lines

    def complaints(self) -> str:
        """What it has written to stderr."""
        self.errors.seek(0)
        return self.errors.read()

    def end(self) -> None:
        """Kill it where it still runs."""
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
        for stream in (self.input, self.output, self.errors):
            stream.close()

    def relatives(self) -> list[str]:
        """Processes that inherited its environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended since, or is another user's
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text().replace("\0", " "))
        return found
