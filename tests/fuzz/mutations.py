"""Valid files made slightly wrong, as strategies of hypothesis, so that what breaks something is made small again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

# Bytes that have confused readers: ends, signs, lengths, brackets, a NUL, what is no text
_TOKENS = [
    *(b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"),
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\n", b"-", b"- ", b"*a", b"&a ", b"<<: ", b"!!", b"|", b"? "),
    *(b"1e308", b"-1e999", b".nan", b".inf", b"null", b"true", b"NaN", b"Infinity", b"9" * 30, b"0x" + b"f" * 40),
    *(b"../", b"/etc/passwd", b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xae", b"\x1b[2J", b"%s%n", b"[" * 60),
]

DEEP = "deep"  # stands for what is nested deeper than the interpreter's stack, and so than its own writer of JSON
_LEVELS = 5000

# JSON has no word for these, but Python's reader takes them
_NUMBERS = [0, -1, 1, 2, 255, 2**31, 2**53, 2**63, -(2**63), 10**30, 1e308, -1e308, 5e-324, float("nan"), float("inf")]
_TEXTS = ["", "\0", "../../etc/passwd", "/etc/passwd", "\ud800", "\u202e", "\x1b[2J", "<script>", "a" * 5000, "x\ny"]


def values() -> st.SearchStrategy[Any]:
    """Anything that JSON can say, odd numbers and texts above all."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.sampled_from(_NUMBERS), st.sampled_from(_TEXTS), st.integers(), st.floats()
    )
    nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | _mappings(inner), max_leaves=5)
    return nested | st.sampled_from(_TEXTS) | st.just(DEEP)


def _mappings(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "ab", "ba", "step", "file", "value", "name", "dtype", *_TEXTS])
    return st.dictionaries(names, inner, max_size=3)


def dumped(value: Any) -> str:
    """`value` as JSON, lists within lists for the word `DEEP`."""
    return json.dumps(value).replace(f'"{DEEP}"', "[" * _LEVELS + "]" * _LEVELS)


@st.composite
def bytes_like(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds` with up to eight of its bytes, or pieces, changed, lost, doubled or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 8))):
        # Beginnings hold what the rest hangs on
        end = min(len(data), draw(st.sampled_from([32, 200, 2000, 10**9])))
        place = draw(st.integers(0, end))
        kind = draw(st.sampled_from(_EDITS))
        data = bytearray(kind(draw, bytes(data), place))
    return bytes(data)


def _flip(draw: st.DrawFn, data: bytes, place: int) -> bytes:
    if place >= len(data):
        return data
    return data[:place] + bytes([data[place] ^ (1 << draw(st.integers(0, 7)))]) + data[place + 1 :]


def _write(draw: st.DrawFn, data: bytes, place: int) -> bytes:
    token = draw(st.sampled_from(_TOKENS) | st.binary(min_size=1, max_size=4))
    return data[:place] + token + data[place + len(token) :]


def _insert(draw: st.DrawFn, data: bytes, place: int) -> bytes:
    return data[:place] + draw(st.sampled_from(_TOKENS) | st.binary(min_size=1, max_size=8)) + data[place:]


def _cut(draw: st.DrawFn, data: bytes, place: int) -> bytes:
    return data[:place] + data[place + draw(st.integers(1, 64)) :]


def _end(draw: st.DrawFn, data: bytes, place: int) -> bytes:
    return data[:place]


def _double(draw: st.DrawFn, data: bytes, place: int) -> bytes:
    piece = data[place : place + draw(st.integers(1, 64))]
    return data[:place] + piece * draw(st.sampled_from([2, 3, 200])) + data[place + len(piece) :]


_EDITS: list[Callable[[st.DrawFn, bytes, int], bytes]] = [_flip, _flip, _write, _write, _insert, _cut, _end, _double]


@st.composite
def edited(draw: st.DrawFn, seed: Any) -> bytes:
    """JSON of up to four edits `[place, value]` of a nested `seed`: see `edit`."""
    places = list(_places(seed))
    count = draw(st.integers(1, 4))
    edits = [[draw(st.sampled_from(places)), draw(st.sampled_from(["gone"]) | values())] for _ in range(count)]
    return json.dumps(edits).encode()


def edit(seed: Any, edits: bytes) -> Any:
    """A copy of nested dicts and lists with the value at each place put in for what was there; "gone" removes it."""
    root = [_copy(seed)]
    for place, value in json.loads(edits):
        holder: Any = root
        *way, last = [0, *place]
        try:
            for key in way:
                holder = holder[key]
            if value == "gone" and isinstance(holder, dict):
                del holder[last]
            else:
                holder[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took the place away
    return root[0]


def _places(value: Any) -> Any:
    yield []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(inner)[:40]:
        yield from ([key, *rest] for rest in _places(item))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
