"""When two field values are the same. Below everything that compares them: rules, engine, writer, CRMs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, True is not 1 (at any depth), NaN is itself. An equivalence relation."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or bool(one != one and other != other)
