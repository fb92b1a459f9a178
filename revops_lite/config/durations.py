"""Lengths of time as people write them: "20s", "5m", "1h30m", "500ms", "30d", or a plain number of seconds."""

from __future__ import annotations

import math
import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|[smhdw])", re.ASCII)
_MEND = 'write it like "90s", "5m", "1h30m", "500ms" or "30d"'


def seconds(value: object) -> float:
    """Seconds of a duration: text with units, or a number of seconds. Raises ValueError that says how to write it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"takes a duration; {_MEND}")
    try:
        total = _sum(value) if isinstance(value, str) else float(value)
    except OverflowError:
        total = math.inf
    if not math.isfinite(total):
        raise ValueError(f"{value if isinstance(value, float) else 'this number'} is no length of time; {_MEND}")
    return total


def _sum(text: str) -> float:
    total, at = 0.0, 0
    while at < len(text.rstrip()):
        part = _PART.match(text, at)
        if part is None:
            raise ValueError(f"{text!r} is no duration; {_MEND}")
        total += float(part[1]) * UNITS[part[2]]
        at = part.end()
    if at == 0:
        raise ValueError(f"an empty text is no duration; {_MEND}")
    return round(total, 6)


def spell(length: float) -> str:
    """The shortest exact text for `length` seconds: 90.0 -> "1m30s", 0.5 -> "500ms"."""
    rest, words = round(length * 1000), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            words += f"{count}{unit}"
    return words or "0s"
