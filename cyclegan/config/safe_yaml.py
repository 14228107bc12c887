"""Safe YAML for untrusted files: plain values, or one sentence about the fault.

YAML can do more than a configuration needs, and each of these has been used to attack or confuse programs: tags that
create objects, aliases that expand a few lines to billions of values ("billion laughs"), nesting deeper than the
interpreter's stack, numbers of a million digits, duplicate keys of which one is silently lost.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cyclegan.config.presets import with_present_names

LONGEST = 2**20  # bytes of a file; a configuration of ours has 3,000
_DEEPEST = 50  # levels of nesting; an augmentation pipeline has 5
_DIGITS = 2**12  # bits of a whole number, 1,233 digits: Python itself refuses to print more than 4,300
_SHOWN = 300  # characters of the parser's message
_error = partial(yaml.MarkedYAMLError, None, None)  # for a problem and its mark


class _Plain(yaml.SafeLoader):
    """Loader that refuses unneeded, dangerous features."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _error("an alias (*name) is not allowed; write the value out", self.peek_event().start_mark)
        if self._depth >= _DEEPEST:
            raise _error(f"nested more than {_DEEPEST} levels deep", self.peek_event().start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise _error(f"{key.value!r} is given twice; leave one of them out", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > _DIGITS:
            raise _error("a number of too many digits", node.start_mark)
        return number


_Plain.add_constructor("tag:yaml.org,2002:int", _Plain.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """Read plain values from a YAML file in UTF-8; `OSError`, or `ValueError` with a readable reason.

    No more than a megabyte is read, so that an endless device or pipe is refused as well.
    """
    with open(path, "rb") as stream:
        data = stream.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} bytes")
    return parse_yaml(data.decode())


def read_run_config(run: Path) -> dict[str, Any]:
    """Read the flat `config.yaml` of a run, by today's option names; `OSError`, or `ValueError` with the fault."""
    try:
        values = read_yaml(run / "config.yaml")
    except ValueError as error:
        raise ValueError("is damaged") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError("is not a configuration")
    return with_present_names(values)


def parse_yaml(text: str) -> Any:
    """Parse plain values from YAML text; `ValueError` with a readable reason for anything else."""
    try:
        return yaml.load(text, _Plain)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:_SHOWN]) from error
    except Exception as error:  # its constructors of dates, numbers and bytes raise arbitrary errors
        raise ValueError(f"{type(error).__name__}: {error}"[:_SHOWN]) from error
