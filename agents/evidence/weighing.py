"""How findings of several sources become one value and one confidence.

Two sources that agree 0.95; one alone keeps its own confidence (the registry by domain 0.9, by name 0.85, a band or a
stand-in field of the record 0.85, text 0.75); a disagreement takes 0.3 off, and the reason names both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.evidence.reading import PARSERS, Finding, plain, text


class Judged(NamedTuple):
    value: str
    confidence: float
    why: str
    sources: int  # that support the value


def agree(a: Finding, b: Finding, tolerance: float) -> bool:
    """Numbers within the tolerance or inside the other's band; lists that overlap; names that read the same."""
    if isinstance(a.value, tuple) and isinstance(b.value, tuple):
        (low, high), (floor, ceiling) = a.value, b.value
        return low <= ceiling * (1 + tolerance) and floor <= high * (1 + tolerance)
    if isinstance(a.value, tuple) or isinstance(b.value, tuple):
        return False
    return plain(a.value) == plain(b.value) or bool(set(a.value.split(";")) & set(b.value.split(";")))


def shown(finding: Finding) -> str:
    """One value as it is written: a band by its middle, an open band by its lower end."""
    if not isinstance(finding.value, tuple):
        return finding.value
    low, high = finding.value
    return f"{(low + high) / 2 if high < float('inf') else low:.0f}"


def judge(name: str, findings: Sequence[Finding], tolerance: float) -> Judged:
    """The best supported value of one field, how sure it is, and why."""
    best = max(findings, key=lambda f: f.confidence)
    against = [f for f in findings if not agree(best, f, tolerance)]
    support = [f for f in findings if f not in against]
    value = shown(best)
    if name == "web_technologies":
        value = ";".join(sorted({tech for f in support for tech in str(f.value).split(";")}))
    told = " and ".join(f.source for f in support)
    sure = 0.95 if len(support) > 1 else best.confidence
    if against:
        others = ", ".join(f"{f.source} says {shown(f)}" for f in against)
        return Judged(value, round(sure - 0.3, 2), f"{told} says {value} but {others}", len(support))
    return Judged(value, sure, f"{told} agree" if len(support) > 1 else told, len(support))


def holds(name: str, current: Any, value: str, tolerance: float) -> bool:
    """Whether the record already says so, cleanly: "about 1,200" and "https://www.acme.com/" are worth replacing."""
    read = PARSERS.get(name, text)(current)
    if read is None or not read:
        return False
    if name == "web_technologies":
        return set(value.split(";")) <= set(str(read).split(";"))
    if isinstance(read, tuple):
        clean = text(current).removesuffix(".0").isdigit()
        return clean and agree(Finding("", read, 0), Finding("", (float(value), float(value)), 0), tolerance)
    return plain(read) == plain(value) and (name != "domain" or text(current).lower() == value)
