"""When two field values are the same, what is a number, and a noun with other values. Below all that compares them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from msgspec.structs import replace as replace  # a noun, or other frozen value, with other values

MASK = "•••"  # in place of a sensitive field's value


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, True is not 1 (at any depth), NaN is itself. An equivalence relation."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or bool(one != one and other != other)


def finite(value: Any) -> float:
    """A time or number that somebody reported. Raises ValueError for one that is none: no document could hold it."""
    number = float(value)
    if not isfinite(number):
        raise ValueError(f"{number} is not a number")
    return number
