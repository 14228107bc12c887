"""A long run: whether anything grows with the steps that should not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.soak.judging import Broken, require
from tests.soak.processes import started
from tests.soak.rig import Attempt
from tests.soak.setting import Soak

TINY = "--discriminator pixel --channels 1 --load-size 9 --crop-size 8 --log-every 50 --sample-every 500"
WARM = 0.2  # share of the steps after which nothing may grow any more
MOST_GROWTH = 8 * 2**20  # bytes; a leak of one row of figures at each step of 10,000 would be more


def long_run(soak: Soak) -> dict[str, Any]:
    """Train `soak.steps` steps of the smallest networks; how much memory, handles, threads and files they took when.

    Raises `Broken` where something grew between a fifth of the steps and the end.
    """
    options = [*TINY.split(), "--state-every", str(max(1, soak.steps // 40))]
    attempt = Attempt(soak, soak.work / "long", soak.work / "logs" / "long.log", options=options)
    attempt.start()
    began = time.monotonic()
    seen: list[dict[str, int]] = []
    while not attempt.over:
        step = _step(attempt)
        if step > 0 and (not seen or step >= seen[-1]["step"] + soak.steps // 100):
            seen.append({"step": step, **_usage(attempt.pid, attempt.run)})
        time.sleep(0.1)
    code = attempt.end(within=1)
    require(code == 0, f"exit code {code}")
    seen = [entry for entry in seen if entry["handles"]]  # not in the moment of its end
    warm = next(entry for entry in seen if entry["step"] >= WARM * soak.steps)
    late = [entry for entry in seen if entry["step"] > warm["step"]]
    grown = max(entry["bytes"] for entry in late) - max(e["bytes"] for e in seen if e["step"] <= warm["step"])
    counted = {
        name: {"then": warm[name], "least": min(e[name] for e in late), "most": max(e[name] for e in late)}
        for name in ("handles", "threads", "children", "files")
    }
    figures = {
        "steps": soak.steps,
        "seconds": round(time.monotonic() - began),
        "from_step": warm["step"],
        "to_step": late[-1]["step"],
        "resident_bytes": {"then": warm["bytes"], "at_the_end": late[-1]["bytes"], "growth_of_the_most": grown},
        **counted,
        "journal_bytes_per_row": round(_size(attempt.run / "metrics.jsonl") / _lines(attempt.run / "metrics.jsonl")),
        "journal_bytes": _size(attempt.run / "metrics.jsonl"),
        "output_bytes": _size(attempt.log),
    }
    if grown > MOST_GROWTH:
        raise Broken(f"{grown} bytes of memory more after step {warm['step']}: {figures}")
    for name, numbers in counted.items():
        # A state that is being written is a handle, a thread and two files more, for a moment
        require(numbers["most"] <= numbers["then"] + 2, f"{name} grew: {figures}")
    return figures


def _step(attempt: Attempt) -> int:
    """The step of the newest row, read from the end of the journal, which is long."""
    path = attempt.run / "metrics.jsonl"
    if not path.exists():
        return 0
    with open(path, "rb") as stream:
        stream.seek(max(0, _size(path) - 2**14))
        lines = [line for line in stream if line.startswith(b'{"step": ') and line.endswith(b"\n")]
    return int(lines[-1].split(b",")[0].removeprefix(b'{"step": ')) if lines else 0


def _usage(pid: int, run: Path) -> dict[str, int]:
    if not started(pid):
        return {"bytes": 0, "handles": 0, "threads": 0, "children": 0, "files": 0}
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "handles": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "children": len(children),
        "files": sum(1 for path in run.rglob("*") if path.is_file() and path.parent.name != "samples"),
    }


def _size(path: Path) -> int:
    return path.stat().st_size


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")
