"""Deduplication: what has been said already is not said again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from revops_lite.models import Flag, OpenFlag

SEVERITY = {"low": 0, "medium": 1, "high": 2}
UNKNOWN = SEVERITY["medium"]


def fresh_flags(open_: Mapping[str, OpenFlag], raised: Sequence[Flag]) -> list[Flag]:
    """The flags that tell something new: their code is not open on the record, or has become more severe.

    One flag a code, the most severe (of equals the first), in the order in which the codes were raised.
    """
    fresh: dict[str, Flag] = {}
    for flag in raised:
        known = fresh.get(flag.code) or open_.get(flag.code)
        if known is None or _rank(flag.severity) > _rank(known.severity):
            fresh[flag.code] = flag
    return list(fresh.values())


def restated(open_: Mapping[str, OpenFlag], raised: Sequence[Flag], agent: str) -> list[Flag]:
    """The flags of this agent that are open, no worse than before, and now said in other words or less severe."""
    worse = {flag.code for flag in fresh_flags(open_, raised)}
    found: dict[str, Flag] = {}
    for flag in raised:
        known = open_.get(flag.code)
        said = known is not None and (flag.severity, flag.detail) == (known.severity, known.detail)
        if known is not None and known.agent == agent and flag.code not in worse and not said:
            found.setdefault(flag.code, flag)
    return list(found.values())


def repeat(last_sent_at: float | None, now: float, window: float) -> bool:
    """Whether a notice that went out at `last_sent_at` (None: never) would only repeat itself: `window` in seconds."""
    return last_sent_at is not None and now - last_sent_at < window


def told(entries: Mapping[str, float], open_: Mapping[str, OpenFlag]) -> dict[str, list[str]]:
    """Open flag's code -> the readers who have been told of it, from a context's `told` ("reader|code" -> when)."""
    readers: dict[str, list[str]] = {}
    for entry in entries:
        reader, _, code = entry.rpartition("|")
        if code in open_:
            readers.setdefault(code, []).append(reader)
    return readers


def _rank(severity: str) -> int:
    return SEVERITY.get(severity, UNKNOWN)
