"""The console command as a test runs it, and what is asked of its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from click.testing import CliRunner, Result

from cyclegan.cli import cli

# The smallest training that passes through every part, as words of a command line
TINY = [
    *("--preset", "demo", "--generator", "resnet_6blocks", "--channels", "2", "--load-size", "32"),
    *("--crop-size", "32", "--steps", "1", "--workers", "0", "--sample-every", "0", "--wandb", "disabled"),
    *("--device", "cpu", "--precision", "fp32"),
]


class Ended(NamedTuple):
    """How the command ended."""

    code: object
    out: str
    err: str


def is_sentence(ended: Ended, code: int, *words: object) -> None:
    """`ended` is one line on stderr that holds all `words`, nothing on stdout, and exit code `code`."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert ended.err.startswith("Error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert str(word) in ended.err, ended.err


def is_refusal(ended: Ended, *words: object) -> None:
    """`ended` is a sentence with exit code 2, and nothing was written in the working directory."""
    is_sentence(ended, 2, *words)
    assert not list(Path.cwd().iterdir())


@contextlib.contextmanager
def untouched(*places: Path) -> Iterator[None]:
    """Everything below `places` is afterwards what it was before, byte for byte."""
    before = {place: _content(place) for place in places}
    yield
    assert {place: _content(place) for place in places} == before


def _content(place: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }


def invoke(*words: object, **options: Any) -> Result:
    """`cyclegan words…` by click's runner, which keeps stdout and stderr."""
    return CliRunner().invoke(cli, [str(word) for word in words], **options)


def cyclegan_train(*arguments: object, environment: Mapping[str, object] | None = None) -> Result:
    """`cyclegan train arguments…` with `environment` as variables CYCLEGAN_TRAIN_…"""
    variables = {f"CYCLEGAN_TRAIN_{name.upper()}": str(value) for name, value in (environment or {}).items()}
    return invoke("train", *arguments, env=variables, auto_envvar_prefix="CYCLEGAN")


def resolved(*arguments: object, environment: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The configuration that a dry run prints."""
    result = cyclegan_train(*arguments, "--dry-run", environment=environment)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return yaml.safe_load(result.stdout)


def refused(*arguments: object, environment: Mapping[str, object] | None = None) -> str:
    """The sentence with which a dry run is refused."""
    result = cyclegan_train(*arguments, "--dry-run", environment=environment)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("Error: ")
    return sentence.removeprefix("Error: ")


def flags(values: Mapping[str, Any]) -> list[str]:
    """The command line that sets `values`."""
    words: list[str] = []
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        words += [flag if value else f"--no-{flag[2:]}"] if isinstance(value, bool) else [flag, str(value)]
    return words


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
