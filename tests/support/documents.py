"""Blocks of code in documents, and what CONTRIBUTING.md shows as examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, *languages: str) -> list[str]:
    """The code in the fences of a document, of some languages."""
    return [body for _, language, body in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def example(name: str) -> Any:
    """The class or function `name` of CONTRIBUTING.md, from the one block that defines it."""
    start = re.compile(rf"^(?:class|def) {name}\(", re.MULTILINE)
    (code,) = (block for block in blocks(ROOT / "CONTRIBUTING.md", "python") if start.search(block))
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(code, f"CONTRIBUTING.md, {name}", "exec", dont_inherit=True), names)
    return names[name]
