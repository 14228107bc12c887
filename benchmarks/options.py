"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
SMALLEST = 32  # pixels; at fewer the discriminators have hardly anything to judge


def _size(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value < SMALLEST or value % 4:
        raise click.BadParameter(f"{value} is not a multiple of 4 from {SMALLEST}; the textbook's networks need that.")
    return value


def network(*, size: int) -> Decorator:
    """--size, --channels, --generator: which networks, on pictures of which size."""
    return _all(
        click.option(
            "--size", default=size, show_default=True, callback=_size, help="Side of the pictures, in pixels."
        ),
        click.option(
            "--channels", type=click.IntRange(1), default=64, show_default=True, help="Width of the networks."
        ),
        click.option(
            "--generator", default="resnet_9blocks", show_default=True, help="resnet_9blocks or resnet_6blocks."
        ),
    )


def batch_size(help_text: str, **changes: Any) -> Decorator:
    """--batch-size, 1 if nothing else is said."""
    settings: dict[str, Any] = {"type": click.IntRange(1), "default": 1, "show_default": True} | changes
    return click.option("--batch-size", help=help_text, **settings)


def measuring(*, repeats: int) -> Decorator:
    """--repeats, --device, --json: how often, on what, and where the record goes."""
    return _all(
        click.option(
            "--repeats",
            type=click.IntRange(1),
            default=repeats,
            show_default=True,
            help="Timed rounds of all variants.",
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option(
            "--json",
            "json_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Where the record is written, if not to benchmarks/results/.",
        ),
    )


def source() -> Decorator:
    """--source: real pictures in place of drawn ones."""
    return click.option(
        "--source",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Take the pictures of this folder instead of drawing some.",
    )


def _all(*decorators: Decorator) -> Decorator:
    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply
