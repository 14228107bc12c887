"""YAML from a file that anybody may have written: plain values, or a sentence that says why not.

YAML can do more than a configuration needs, and each of these has been used to bring a program down: tags that make
objects, aliases of which a few lines stand for billions of values ("billion laughs"), nesting deeper than the stack of
the interpreter, numbers of a million digits, names given twice of which one is lost in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LONGEST = 2**20  # characters of a file; a configuration of ours has 3,000
_DEEPEST = 50  # levels of nesting; a pipeline of augmentation has 5
_DIGITS = 2**12  # bits of a whole number, 1,233 digits: Python itself refuses to write out more than 4,300
_SHOWN = 300  # characters of the parser's own words


class _Plain(yaml.SafeLoader):
    """Refuses what a configuration does not need and a trap does."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "an alias (*name) is not taken; write the value out", self.peek_event().start_mark
            )
        if self._depth >= _DEEPEST:
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {_DEEPEST} levels deep", self.peek_event().start_mark
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice; leave one of them out", key.start_mark
                )
            names.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > _DIGITS:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        return number


_Plain.add_constructor("tag:yaml.org,2002:int", _Plain.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """The plain values in a YAML file in UTF-8. Raises `OSError`, and `ValueError`, in words, for anything else.

    No more than a megabyte is read, so that a device or a pipe that never ends is refused as well.
    """
    with open(path, "rb") as stream:
        data = stream.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} bytes")
    return parse_yaml(data.decode())


def parse_yaml(text: str) -> Any:
    """The plain values in some YAML; `ValueError`, in words, for anything else."""
    try:
        return yaml.load(text, _Plain)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:_SHOWN]) from error
    except Exception as error:  # its makers of dates, numbers and bytes raise whatever they stumble over
        raise ValueError(f"{type(error).__name__}: {error}"[:_SHOWN]) from error
