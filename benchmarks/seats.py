"""Every variant in a process of its own, which waits while another has its turn.

What makes a program fast is partly a setting of the whole process: how memory is kept, which precision torch may take,
how convolutions are chosen. In one process the baseline would get ours. Processes that wait cost nothing but memory.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from cyclegan.errors import CycleganError


class Seat:
    """A process that holds `make(*arguments)` and calls its methods when it is told to.

    `make` must be known by name to another process, and everything that passes between the two must pickle. Use it as
    a context: its end is the end of the process.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a fresh interpreter; a fork would bring torch's threads half
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, arguments))
        self.process.start()
        theirs.close()
        self._waiting_for = 1  # answers: one says that the object has been made

    def call(self, method: str, *arguments: Any) -> Any:
        """What `method` of the object returns; raises the `CycleganError` that it raised."""
        self.ask(method, *arguments)
        return self.answer()

    def ask(self, method: str, *arguments: Any) -> None:
        """Begin a call; several seats that have been asked work side by side. Each must then be heard."""
        self._waiting_for += 1
        with suppress(BrokenPipeError):  # why it is gone is the answer
            self.pipe.send((method, arguments))

    def answer(self) -> Any:
        """What the call that was begun returns or raises."""
        while self._waiting_for:
            result = self._receive()
            self._waiting_for -= 1
        return result

    def _receive(self) -> Any:
        try:
            result, failure, trace = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise CycleganError(
                f"a measuring process ended by itself (exit code {self.process.exitcode}), perhaps for want of memory; "
                "give a smaller --size, --channels or --batch-size, or fewer --variants"
            ) from None
        if isinstance(failure, CycleganError):
            raise failure
        if failure is not None:
            raise RuntimeError(f"in a measuring process:\n{trace}") from failure
        return result

    def __enter__(self) -> Seat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pipe.close()  # which is how it learns that nothing more is asked
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the other end is gone, or about to go
        held = _attempt(pipe, make, arguments, answer=False)
        while held is not None:
            method, given = pipe.recv()
            _attempt(pipe, getattr(held, method), given)


def _attempt(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...], *, answer: bool = True) -> Any:
    """What `work` returns, which is also the answer if one is wanted; None when it failed, which is the answer then."""
    try:
        result = work(*arguments)
    except Exception as error:
        # Sent across and raised there: nothing is lost, and a plain sentence stays one
        plain = error if isinstance(error, CycleganError) else RuntimeError(str(error))
        pipe.send((None, plain, traceback.format_exc()))
        return None
    pipe.send((result if answer else None, None, ""))
    return result
