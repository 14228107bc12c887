"""Try the readers of files from strangers with spoilt files, for as long as one likes.

    python -m tests.fuzz [--minutes N] [--target NAME …] [--seed S] [--keep FOLDER]

The targets are those of test_fuzz.py, which tries each a few times; here they take turns of some seconds until the
time is up. Every turn is a process of its own with bounded memory, so that a crash of a decoder is a finding like any
other. What is found is made small and kept in tests/fuzz/corpus/TARGET/, or in FOLDER/TARGET/, where the tests try it
again. Prints a table at the end; exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS
from tests.fuzz.trying import CORPUS, SECONDS, attempt

TURN = 10.0  # seconds
MEMORY = 3 * 2**30  # bytes that a turn may take beyond what the program has taken before it
SMALL = 100_000  # bytes of an input that is kept; of larger ones only the words are printed


def main() -> int:
    """Take turns until the time is up; 1 if there is any finding."""
    parser = argparse.ArgumentParser(
        "python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--target", action="append", choices=list(TARGETS), metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=CORPUS, metavar="FOLDER")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    tries: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    findings: dict[str, set[str]] = {name: set() for name in TARGETS}
    number = options.seed
    while time.monotonic() < end:
        for name in options.target or TARGETS:
            start = time.monotonic()
            count, found = take_turn(name, number, min(TURN, max(0.1, end - start)))
            tries[name] += count
            seconds[name] += time.monotonic() - start
            for place, (data, words) in found.items():
                if place not in findings[name]:
                    findings[name].add(place)
                    keep(options.keep / name, data, words)
            if time.monotonic() >= end:
                break
        number += 1
    print(f"{'target':<24}{'tries':>10}{'seconds':>10}{'findings':>10}")
    for name in options.target or TARGETS:
        print(f"{name:<24}{tries[name]:>10,}{seconds[name]:>10.0f}{len(findings[name]):>10}")
    found_in_all = sum(map(len, findings.values()))
    print(f"{'all':<24}{sum(tries.values()):>10,}{sum(seconds.values()):>10.0f}{found_in_all:>10}")
    return 1 if found_in_all else 0


def take_turn(name: str, number: int, long: float) -> tuple[int, dict[str, tuple[bytes, str]]]:
    """Tries of a target for `long` seconds in a process of its own: how many, and input and words of each finding."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_turn, args=(name, number, long, there))
    process.start()
    there.close()
    count, last, found = 0, b"", {}
    try:
        while True:
            kind, *content = here.recv()
            if kind == "try":
                count, last = count + 1, content[0]
            else:
                found[content[0]] = (content[1], content[2])
    except EOFError:
        process.join()
    if process.exitcode != 0:
        found[f"exit {process.exitcode}"] = (last, f"the process ended with {process.exitcode}")
    return count, found


def _turn(name: str, number: int, long: float, pipe: Connection) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what decoders in C have to say of it
    end = time.monotonic() + long
    failing: list[tuple[str, bytes, str]] = []

    @seed(number)
    @settings(
        max_examples=10**6,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(TARGETS[name].inputs())
    def trying(data: bytes) -> None:
        if time.monotonic() > end + (SECONDS if failing else 0):
            raise _Over
        pipe.send(("try", data))
        try:
            attempt(name, data)
        except Exception as error:
            failing.append((_place(error), data, "".join(traceback.format_exception(error))[-1500:]))
            raise

    while time.monotonic() < end:
        failing.clear()
        try:
            trying()
        except _Over:
            pass  # the last of the failures is then the smallest that there was time for
        except BaseException:  # a group of findings too
            assert failing
        smallest: dict[str, tuple[bytes, str]] = {}
        for place, data, words in failing:
            if place not in smallest or len(data) <= len(smallest[place][0]):
                smallest[place] = data, words
        for place, (data, words) in smallest.items():
            pipe.send(("finding", place, data, words))
        if failing:
            break


class _Over(KeyboardInterrupt):
    """The turn is over. No `Exception`, which hypothesis would take for a finding."""


def _place(error: Exception) -> str:
    """What the same finding has in common: the kind of error and the last lines of ours that it passed through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/cyclegan/" in frame.filename]
    lines = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-1:]]
    return " ".join([type(error).__name__, *lines])


def keep(folder: Path, data: bytes, words: str) -> None:
    """Print a finding, and keep its input."""
    name = hashlib.sha256(data).hexdigest()[:16]
    if len(data) <= SMALL:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    print(f"{folder.name}: {name}, {len(data)} bytes\n{words}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
