"""When two field values are the same, what is a number, and a noun with other values. Below all that compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from operator import attrgetter
from typing import Any, TypeVar

Noun = TypeVar("Noun")

Shape = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]  # the names of a noun's fields, and their values
_shapes: dict[type, Shape] = {}


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


def replace(noun: Noun, /, **changes: Any) -> Noun:
    """The same noun with other values: dataclasses.replace for nouns without `__post_init__`, in a third of its time.

    Decisions are made of little else. Raises AttributeError for a field it has not.
    """
    kind = noun.__class__
    shape = _shapes.get(kind)
    if shape is None:
        names = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
        shape = _shapes[kind] = names, attrgetter(*names)
    changed, put = object.__new__(kind), object.__setattr__
    for name, value in zip(shape[0], shape[1](noun), strict=True):
        put(changed, name, value)
    for name, value in changes.items():
        put(changed, name, value)
    return changed
