"""Python in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any


def run_python(code: str, *arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -c code arguments…` with its output as text; must end with exit code 0 unless not to `check`."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, **options)


def modules_loaded_by(code: str) -> set[str]:
    """The names in `sys.modules` of a fresh interpreter after it ran `code`."""
    listing = "\nimport sys\nsys.stdout.write('\\nmodules: ' + ' '.join(sys.modules))"
    return set(run_python(code + listing).stdout.rpartition("modules: ")[2].split())
