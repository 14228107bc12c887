"""One try of a target, as the tests and `python -m tests.fuzz` both make it."""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from cyclegan.errors import CycleganError
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"  # inputs that once came through, by target
SECONDS = 20  # after which a try hangs; most take a hundredth of one
_LONGEST = 4000  # characters of what a person is told


def attempt(name: str, data: bytes) -> None:
    """Give `data` to a target. Raises whatever is a finding: all but a `CycleganError` of bearable length."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _bounded(), _closed_log():
        warnings.simplefilter("error")
        try:
            TARGETS[name].run(data, Path(folder))
        except CycleganError as error:
            if len(str(error)) > _LONGEST:
                raise AssertionError(f"{len(str(error))} characters: {str(error)[:200]}") from error


def known(name: str) -> list[Path]:
    """What has been found for a target."""
    return sorted((CORPUS / name).glob("*"))


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """`TimeoutError` inside after `SECONDS`."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _closed_log() -> Iterator[None]:
    """Without the package's warnings, of which a million tries make a million."""
    logger = logging.getLogger("cyclegan")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
