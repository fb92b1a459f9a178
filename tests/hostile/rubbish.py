"""JSON as somebody might write it who means no good, as text: what Python's own writer could not even say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

# What no reader of ours takes: the whole event is refused.
UNREADABLE = [
    "9" * 5_000,
    r'"\ud800"',
    r'"a\udfffb"',
    "[" * 300 + "]" * 300,
    "[" * 100_000,
    '{"a": ',
    "\x00",
    "01",
    "'x'",
]
# What readers take, and what some of them make something else of.
READABLE = [
    "null",
    "true",
    "-0",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "-Infinity",
    "-" + "9" * 400,
    "1." + "1" * 3_000,
    '"nan"',
    '"inf"',
    '"-1e999"',
    '"soon"',
    '"1"',
    '""',
    r'"\u0000\u001b[31m\u202e"',
    '"' + "x" * 100_000 + '"',
    "[" * 40 + "]" * 40,
    '{"a":' * 60 + "1" + "}" * 60,
    '{"a": 1, "a": 2}',
    '{"": {"": null}}',
    '{"__class__": "x", "constructor": {}}',
    "[[], [{}], null]",
    '[1, "2", null, {}]',
    "{}",
    "[]",
]
PLAIN: list[Any] = [None, True, 0, -1, 1.5, 10**18, "", "text", "nan", "inf", "lead:1", [], {}, [None], {"a": 1}, [{}]]

fragments = st.sampled_from([*UNREADABLE, *READABLE])
plain = st.recursive(
    st.sampled_from(PLAIN) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value, ensure_ascii=True))
readable = st.sampled_from(READABLE) | plain


@st.composite
def anything(draw: Any) -> str:
    """Nearly always something that is read; what is not would end every example at its first step."""
    return str(draw(st.sampled_from(UNREADABLE) if draw(st.integers(0, 19)) == 7 else readable))


def written(fields: dict[str, str]) -> str:
    """An object from names and fragments."""
    return "{" + ", ".join(f"{json.dumps(name)}: {fragment}" for name, fragment in fields.items()) + "}"


class Liar:
    """An object whose every word is an error."""

    def _lie(self, *_: object) -> Any:
        raise RuntimeError("I will not say")

    __repr__ = __str__ = __eq__ = __iter__ = __len__ = __bool__ = __getitem__ = __float__ = __format__ = _lie
    __hash__ = object.__hash__


def cyclic() -> list[Any]:
    knot: list[Any] = []
    knot.append(knot)
    return knot


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


MAKERS = {
    "none": lambda: None,
    "list": lambda: [1, "2", None],
    "cyclic list": cyclic,
    "cyclic dict": lambda: (lambda knot: knot.update(a=knot) or knot)({}),
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: -float("inf"),
    "1e999": lambda: 1e999,
    "huge int": lambda: 10**5_000,
    "10 MB": lambda: "x" * 10_000_000,
    "deep": lambda: deep(100_000),
    "nested": lambda: deep(40),
    "odd keys": lambda: {1: 2, None: 3, (1, 2): 4},
    "liar": Liar,
    "liar as key": lambda: {Liar(): 1},
    "half a character": lambda: "\ud800",
    "half a key": lambda: {"\udfff": 1},
    "bytes": lambda: b"\xff\x00",
    "set": lambda: {1, 2},
    "generator": lambda: (n for n in range(3)),
    "class": lambda: Liar,
    "function": lambda: deep,
    "complex": lambda: 1j,
    "bool": lambda: True,
    "text": lambda: "plain",
    "number": lambda: 0.5,
    "negative": lambda: -1,
    "pair": lambda: ("a", 1),
    "object": object,
    "exception": lambda: ValueError("x"),
    "decimal": lambda: Decimal("NaN"),
    "time": lambda: datetime(9999, 12, 31, tzinfo=UTC),
}
plain_objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
objects = st.sampled_from(sorted(MAKERS)).map(lambda name: MAKERS[name]()) | plain_objects
