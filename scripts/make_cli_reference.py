#!/usr/bin/env python3
"""Write docs/cli.md, the reference of the command line, from the commands themselves.

    python scripts/make_cli_reference.py            write the file
    python scripts/make_cli_reference.py --check    exit 1 if the file is not what would be written

Everything is read from the declared parameters and not from `--help`, whose line breaks are click's affair.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cyclegan.cli import cli

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """# Command line

Made from the program by `python scripts/make_cli_reference.py`; a test compares the two.

- Results go to stdout; progress and messages go to stderr.
- Exit codes: 0 done, 1 failed, 2 asked for wrongly, 3 finished but some items failed, 130 after Ctrl-C. A training
  that was stopped by a signal has saved its state and ends with 128 plus its number: 143 after SIGTERM.
- Every option can also be set by an environment variable: `CYCLEGAN_`, the command, the option, in capitals with
  underscores. `CYCLEGAN_TRAIN_BATCH_SIZE=4` is `cyclegan train --batch-size 4`, and `CYCLEGAN_DATA_DEMO_SEED=1` is
  `cyclegan data demo --seed 1`. A switch takes `true` or `false`. The command line wins over the environment.
- `python -m cyclegan` is the same program.
"""


def reference() -> str:
    """The whole document."""
    return "\n".join([HEAD, *_sections(cli, "cyclegan")]).rstrip() + "\n"


def _sections(command: click.Command, path: str) -> Iterator[str]:
    ctx = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None, name
            yield from _sections(inner, f"{path} {name}")
        return
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option)]
    usage = [path, *(argument.make_metavar(ctx) for argument in arguments), "[OPTIONS]" if options else ""]
    yield f"## {path}\n"
    yield f"```text\n{' '.join(word for word in usage if word)}\n```\n"
    yield from _prose(command.help or "")
    if options:
        yield "| option | value | default | |\n|---|---|---|---|"
        yield from (_row(option) for option in options)
        yield ""
    yield from _prose(command.epilog or "")


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; those that click is told not to wrap, by a leading backspace, stand as they are written."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            body = paragraph.lstrip("\b\n").rstrip()
            yield f"```sh\n{body}\n```\n"
        elif paragraph.strip():
            yield f"{_plain(' '.join(paragraph.split()))}\n"


def _row(option: click.Option) -> str:
    flags = [*sorted(option.opts, key=len), *option.secondary_opts]
    names = ", ".join(f"`{flag}`" for flag in flags)
    return f"| {names} | {_value(option)} | {_default(option)} | {_plain(option.help or '')} |"


def _plain(text: str) -> str:
    """`text` with what Markdown would take for its own escaped, outside of what stands in backticks."""
    signs = {ord(sign): f"\\{sign}" for sign in "*<|_"}
    spans = text.split("`")
    return "`".join(span if number % 2 else span.translate(signs) for number, span in enumerate(spans))


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    return option.metavar or {"integer range": "integer", "float": "number"}.get(option.type.name, option.type.name)


def _default(option: click.Option) -> str:
    if option.is_flag and option.secondary_opts:
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    shown = isinstance(option.default, int | float | str) and option.default != "" and not option.is_flag
    return f"`{option.default}`" if shown else ""


def main(arguments: list[str]) -> int:
    """Write or check; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    text = reference()
    if arguments:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print("docs/cli.md is out of date; run python scripts/make_cli_reference.py", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
