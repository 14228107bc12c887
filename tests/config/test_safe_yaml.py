from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from cyclegan.config.safe_yaml import LONGEST, parse_yaml, read_yaml

STEPS = list(pairwise("abcdefghi"))
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in STEPS)
MERGED = "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [*{a}, *{a}]}}\n" for a, b in STEPS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, r"an alias \(\*name\) is not allowed; write the value out"),
        (MERGED, "an alias"),
        ("a: " + "[" * 100_000, "nested more than 50 levels deep"),
        ("- " * 5000 + "a", "nested more than 50 levels deep"),
        ("? " * 5000 + "a", "nested more than 50 levels deep"),
        ("a: 0x" + "f" * 10_000, "a number of too many digits"),
        ("a: " + "9" * 10_000, "."),
        ("a: " + ":".join(["59"] * 10_000), "."),
        ("a: 2026-99-99", "."),
        ("a: !!binary '\u00e4'", "."),
        ("seed: 1\nbatch_size: 2\nseed: 3", "'seed' is given twice; leave one of them out"),
        ("a: {b: 1, b: 2}", "'b' is given twice"),
        ("a: \0", "."),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !" + "x" * 100_000 + " 1", "."),
        ("[1]: 2", "."),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_a_configuration_does_not_need_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        parse_yaml(text)
    assert len(str(refused.value)) <= 300
    assert "\n" not in str(refused.value)


def test_what_people_write_is_read() -> None:
    text = "a: 1\nb: [1, 2.5, {c: null}]\nd: off\n'e f': |\n  text\n? g\n: 0x10\nh: -1_000\n"
    expected = {"a": 1, "b": [1, 2.5, {"c": None}], "d": False, "e f": "text\n", "g": 16, "h": -1000}
    assert parse_yaml(text) == expected


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a file that never ends")
def test_no_more_is_read_than_a_configuration_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_bytes(b"#" * (LONGEST + 1))
    for path in (Path("/dev/zero"), tmp_path / "long.yaml"):
        with pytest.raises(ValueError, match="longer than 1,048,576 bytes"):
            read_yaml(path)
    (tmp_path / "long.yaml").write_bytes(b"#" * LONGEST)
    assert read_yaml(tmp_path / "long.yaml") is None
