"""Python, and the command, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

# Outputs are files, since a command may hand them on to a process that it starts
COMMANDS = """
import contextlib, json, sys, tempfile
from cyclegan.cli import main
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv, code = ["cyclegan", *words], 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
        ended.append([code, *(stream.seek(0) or stream.read() for stream in (out, err))])
print("\\n" + json.dumps(ended))
"""


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def run_python(code: str, *arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -c code arguments…` with its output as text; must end with exit code 0 unless not to `check`."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, **options)


def modules_loaded_by(code: str) -> set[str]:
    """The names in `sys.modules` of a fresh interpreter after it ran `code`."""
    listing = "\nimport sys\nsys.stdout.write('\\nmodules: ' + ' '.join(sys.modules))"
    return set(run_python(code + listing).stdout.rpartition("modules: ")[2].split())


def run_commands(*commands: Sequence[str], before: str = "", **options: Any) -> list[Ended]:
    """`cyclegan words…` for each, one after the other in one process, which takes the import of torch once.

    `before` is Python that goes ahead of the first; `options` are those of `subprocess.run`.
    """
    done = run_python(before + COMMANDS, json.dumps(commands), check=False, **options)
    assert done.returncode == 0, done.stderr
    return [Ended(*ended) for ended in json.loads(done.stdout.splitlines()[-1])]
