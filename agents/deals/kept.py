"""Results that are kept: made once for equal inputs, however many threads ask."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class Kept(Generic[Made]):
    """The last few results, each found again by a key that equals its own.

    A key need not be hashable; where it may change afterwards, `copy` makes the one that is kept. What raises is not
    kept.
    """

    def __init__(self, size: int = 8, copy: Callable[[Any], Any] = lambda key: key) -> None:
        self._size, self._copy = size, copy
        self._lock = Lock()
        self._found: tuple[tuple[Any, Made], ...] = ()  # replaced as a whole, so that reading needs no lock

    def get(self, key: Any, make: Callable[[], Made]) -> Made:
        """The result of an equal key, else what `make` makes while the others wait for it."""
        for known, made in self._found:
            if known == key:
                return made
        with self._lock:
            for known, made in self._found:
                if known == key:
                    return made
            made = make()
            self._found = ((self._copy(key), made), *self._found[: self._size - 1])
            return made
