"""`cyclegan info`: contents of a run, a checkpoint or a generators file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cyclegan.directions import Direction

_BEST_KEYS = ("step", "value", "better", "file")  # without the other figures of that evaluation


@click.command("info")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines to read.")
def command(model: Path, as_json: bool) -> None:
    """Describe MODEL, a run directory, a checkpoint or a generators file.

    It is loaded and checked: the checksum, and the names, shapes and finiteness of the weights. A model that fails ends
    the command with exit code 1 and the reason.
    """
    from cyclegan.evaluation.selection import read_best
    from cyclegan.models import is_run, load_model

    loaded = load_model(model)
    about: dict[str, Any] = {
        "model": str(model),
        "kind": "run" if is_run(model) else "checkpoint" if loaded.path.suffix == ".pt" else "generators file",
        "file": str(loaded.path),
        "bytes": loaded.path.stat().st_size,
        "info": loaded.info,
        "generators": {
            direction: {**generator.spec, "parameters": sum(value.numel() for value in generator.parameters())}
            for direction, generator in loaded.generators.items()
        },
        "damaged": list(loaded.damaged),
    }
    best = read_best(model) if is_run(model) else {}
    if best:
        about["best"] = {name: {key: entry[key] for key in _BEST_KEYS} for name, entry in best.items()}
    if as_json:
        click.echo(json.dumps(about, indent=2))
        return
    for name, value in _lines(about):
        click.echo(f"{name:<12} {value}")


def _lines(about: dict[str, Any]) -> list[tuple[str, str]]:
    info = dict(about["info"])
    ranges = info.pop("ranges", None)
    domains = info.pop("domains", None) or dict.fromkeys("ab")  # older files have one key for each domain
    names = {domain: info.pop(domain, None) or name or domain.upper() for domain, name in domains.items()}
    lines = [(about["kind"], about["model"]), ("file", f"{about['file']} ({about['bytes'] / 1e6:.1f} MB)")]
    lines += [(key, str(value)) for key, value in info.items()]
    lines += _ranges(ranges, names)
    for key, spec in about["generators"].items():
        direction = Direction.parse(key)
        start = "noise" if direction.from_noise else names.get(direction.source, direction.source)
        end = names.get(direction.target, direction.target)
        rest = dict(spec)
        name, parameters = rest.pop("name"), rest.pop("parameters")
        settings = ", ".join(f"{key} {value}" for key, value in rest.items())
        lines.append((f"direction {key}", f"{start} to {end}: {name}, {parameters:,} parameters ({settings})"))
    for name, entry in about.get("best", {}).items():
        lines.append(("best", f"by {name}, {entry['value']:.4g} at step {entry['step']}: {entry['file']}"))
    checks = "checksum, shapes and finite weights are right"
    return [*lines, ("checked", checks), *(("damaged", sentence) for sentence in about["damaged"])]


def _ranges(ranges: dict[str, Any] | None, names: dict[str, str]) -> list[tuple[str, str]]:
    """Stored values that are black and white to the model."""
    if ranges is None:
        return [("range", "all that the type of a picture can hold")]
    of = f" in {ranges['dtype']}" if ranges["dtype"] else ""
    return [(f"range {domain}", f"{' to '.join(ranges[domain].split(','))}{of} ({names[domain]})") for domain in names]
