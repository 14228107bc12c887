"""Something that happens to a run, such as a request to stop, when its loop has done so many steps."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from cyclegan.training import loop
from cyclegan.training.update.ema import EMA


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, do: Callable[[], Any]) -> None:
    """Have `do` called when the loop has done `step` steps, once."""
    update = EMA.update

    def counted(self: EMA, now: int) -> None:
        update(self, now)
        if now == step:
            do()

    monkeypatch.setattr(EMA, "update", counted)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the loop see a request to stop after `step` steps."""
    request: list[Any] = []
    original = loop.stop_on_signals

    def noted() -> Any:
        context = original()
        enter = context.__enter__

        class Wrapped:
            def __enter__(self) -> Any:
                request.append(enter())
                return request[-1]

            def __exit__(self, *details: Any) -> Any:
                return context.__exit__(*details)

        return Wrapped()

    monkeypatch.setattr(loop, "stop_on_signals", noted)
    at_step(monkeypatch, step, lambda: setattr(request[-1], "signal", signal.SIGTERM))
