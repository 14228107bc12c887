"""Batches of training pictures as the loader makes them."""

from __future__ import annotations

from typing import Any

from cyclegan.config import TrainConfig
from cyclegan.data.dataset import build_loader
from cyclegan.data.sets import find_sets

Batch = dict[str, Any]


def load_batches(
    config: TrainConfig,
    start: int = 0,
    stop: int = 12,
    *,
    timeout: float | None = None,
    context: str | None = None,
    **options: int,
) -> list[Batch]:
    """The batches of steps `start` to `stop`; `timeout` and `context` are those of a `DataLoader`."""
    loader = build_loader(config, find_sets(config, ("a", "b"), "unpaired"), start=start, stop=stop, **options)
    loader.timeout = loader.timeout if timeout is None else timeout
    loader.multiprocessing_context = context or loader.multiprocessing_context
    return list(loader)


def batch_bytes(batches: list[Batch]) -> list[bytes]:
    """The pixels of A and of B of each batch."""
    return [batch["a"].numpy().tobytes() + batch["b"].numpy().tobytes() for batch in batches]


def load_bytes(config: TrainConfig, *steps: int, **options: Any) -> list[bytes]:
    """`batch_bytes` of `load_batches`."""
    return batch_bytes(load_batches(config, *steps, **options))
