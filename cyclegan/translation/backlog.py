"""Work that threads do ahead or behind, bounded by the number of pictures and by their bytes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from cyclegan.translation.jobs import Job

R = TypeVar("R")

BYTES = 2**28  # of pictures that wait in one place: 40 of two megapixels, or three of a large camera


class Backlog(Generic[R]):
    """Tasks of jobs in `threads` threads, oldest first, of which no more should be under way than is sensible.

    `full` says when to add no more: at `most` tasks, or when the pictures they hold come to `BYTES`; but never with
    less than two, so that a picture too large for the bound is worked on all the same. A task holds the bytes it was
    added with until it is done, and then those of its result, by `size_of`.
    """

    def __init__(self, threads: int, most: int, size_of: Callable[[R], int] = lambda result: 0) -> None:
        self.tasks: dict[Future[R], Job] = {}  # in the order in which they were added
        self._pool = ThreadPoolExecutor(threads)
        self._weights: dict[Future[R], int] = {}
        self._most = most
        self._size_of = size_of
        # The bytes of the last result, which the next are taken to have. Before there is one, each thread gets a task.
        self._latest = -(-BYTES // threads)

    @property
    def full(self) -> bool:
        """Whether nothing should be added for now."""
        count = len(self.tasks)
        return count >= self._most or (count >= 2 and sum(map(self._weight, self.tasks)) >= BYTES)

    def add(self, job: Job, task: Callable[..., R], *arguments: object, weight: int = 0) -> None:
        """Have `task(*arguments)` done, which holds `weight` bytes until then."""
        future = self._pool.submit(task, *arguments)
        self.tasks[future] = job
        self._weights[future] = weight

    def pop_first(self) -> tuple[Job, R] | None:
        """The job that was added first, and its result; None while it is not done. Raises what the task raised."""
        first = next(iter(self.tasks), None)
        return None if first is None or not first.done() else self._pop(first)

    def finished(self) -> list[tuple[Job, R]]:
        """All that are done, and their results. Raises what a task raised."""
        return [self._pop(future) for future in list(self.tasks) if future.done()]

    def close(self, *, finish: bool = False) -> None:
        """Let the threads go, after what they are at, or after all that was added."""
        self._pool.shutdown(cancel_futures=not finish)

    def _pop(self, future: Future[R]) -> tuple[Job, R]:
        del self._weights[future]
        job, result = self.tasks.pop(future), future.result()
        self._latest = self._size_of(result) or self._latest
        return job, result

    def _weight(self, future: Future[R]) -> int:
        if future.done() and future.exception() is None:
            return self._size_of(future.result())
        return self._weights[future] or self._latest
