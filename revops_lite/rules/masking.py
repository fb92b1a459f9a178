"""Masking: text for logs, notices and exports without the values of sensitive fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from revops_lite.values import MASK

SHORTEST = 3  # letters; shorter values are part of too many words


def without(text: str, values: Iterable[Any]) -> str:
    """The text with each of these values masked where it stands word by word, numbers also as people write them.

    What somebody has said in other words is beyond this.
    """
    forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(value: Any) -> Iterator[str]:
    yield str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield f"{value:,}"
        yield f"{value:,.0f}"
        yield f"{value:,.2f}"
