"""Books of a soak: what was tried, what came of it, and the table of it in a document."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.soak.faults import FAULTS
from tests.soak.setting import OPTIONS, STATE_EVERY, Soak


class Ledger:
    """Attempts and their outcomes."""

    def __init__(self, minutes: float, soak: Soak, seed: int) -> None:
        self.minutes = minutes
        self.soak = soak
        self.seed = seed
        self.began = time.monotonic()
        self.tries: Counter[str] = Counter()
        self.failures: list[dict[str, Any]] = []
        self.rounds: list[dict[str, Any]] = []
        self.lost: list[int] = []
        self.kills_while_writing = 0
        self.attempts = 0

    @property
    def time_is_up(self) -> bool:
        """True if no other round may begin."""
        return time.monotonic() - self.began > self.minutes * 60

    def broken(self, fault: str, sentence: str, log: Path) -> None:
        """Note a promise that was not kept, and say it."""
        self.failures.append({"fault": fault, "attempt": self.attempts, "what": sentence, "log": log.name})
        print(f"\nBROKEN {fault}, attempt {self.attempts}: {sentence}\n  {log}", flush=True)
        if log.is_file():
            print("".join(f"  | {line}\n" for line in log.read_text(errors="replace").splitlines()[-15:]), flush=True)

    def summary(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        names = ("cyclegan", "torch", "torchvision", "numpy", "pillow")
        failed = Counter(failure["fault"] for failure in self.failures)
        return {
            "verdict": "broken" if self.failures else "equal",
            "seed": self.seed,
            "minutes": round((time.monotonic() - self.began) / 60, 1),
            "steps": self.soak.steps,
            "state_every": STATE_EVERY,
            "nproc": self.soak.nproc,
            "options": " ".join(OPTIONS),
            "evaluate_every": self.soak.evaluate_every,
            "rounds": self.rounds,
            "attempts": self.attempts,
            "faults": {name: {"tries": self.tries[name], "failures": failed[name]} for name in FAULTS},
            "kills_while_a_state_was_written": self.kills_while_writing,
            "steps_lost": {"most": max(self.lost, default=0), "sum": sum(self.lost)},
            "failures": self.failures,
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in names},
        }


def table(summary: dict[str, Any]) -> str:
    """The figures of a soak as Markdown."""
    lines = ["| fault | tries | failures |", "|---|---|---|"]
    lines += [f"| {name} | {entry['tries']} | {entry['failures']} |" for name, entry in summary["faults"].items()]
    rounds, lost, versions = summary["rounds"], summary["steps_lost"], summary["versions"]
    equal = sum(entry["equal"] for entry in rounds)
    lines += ["", f"{summary['minutes']} minutes, seed {summary['seed']}, processes {summary['nproc']}:"]
    lines += [
        f"{summary['attempts']} attempts; {equal} of {len(rounds)} disturbed runs of {summary['steps']} steps ended"
    ]
    lines += [
        f"as the undisturbed one. {summary['kills_while_a_state_was_written']} kills came while a state was written."
    ]
    lines += [f"At most {lost['most']} steps, {lost['sum']} in all, had to be computed again, with a state every"]
    lines += [
        f"{summary['state_every']}. Python {versions['python']}, torch {versions['torch']}, {summary['machine']}."
    ]
    return "\n".join(lines) + "\n"


def filled(document: str, summary: dict[str, Any]) -> str:
    """`document` with the figures between `<!-- soak: begin -->` and `<!-- soak: end -->`."""
    begin, end = "<!-- soak: begin -->\n", "<!-- soak: end -->"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    assert found, "the document has no place for the figures"
    return before + begin + table(summary) + end + after
