"""How evidence is read: numbers, bands, domains, names and vocabulary words as people type them into records.

Nothing here raises, whatever a record holds: what cannot be read is None or "".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from revops_lite import Snapshot

VOCABULARY = Path(__file__).parent.parent / "data" / "vocabulary.toml"
WORDS: dict[str, Any] = tomllib.loads(VOCABULARY.read_text(encoding="utf-8"))
FIELDS = {  # field -> the columns that may hold it; from any but the first it is derived ("200-499" in employee_band)
    "domain": ("domain", "website"),
    "name": ("name", "company_name"),
    "industry": ("industry", "sector"),
    "numberofemployees": ("numberofemployees", "employee_band"),
    "annualrevenue": ("annualrevenue", "estimated_revenue_band"),
    "city": ("city",),
    "state": ("state",),
    "country": ("country", "region"),
    "founded_year": ("founded_year",),
    "web_technologies": ("web_technologies",),
}
N, UNIT = r"(\d[\d,_]*(?:\.\d+)?)", r"\s*([kmb])?"
SPAN = re.compile(
    rf"(?:about|approx\.?|ca\.?|circa|over|~|>)?\s*[$€£]?\s*{N}{UNIT}(?:\s*(?:-|–|—|to)\s*[$€£]?\s*{N}{UNIT})?\s*(\+)?"
    r"\s*(?:employees|people|staff|ppl|fte|usd|eur|gbp)?"
)
SIZES = {"k": 1e3, "m": 1e6, "b": 1e9}
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:xn--[a-z0-9-]+|[a-z]{2,63})")
Span = tuple[float, float]


class Finding(NamedTuple):
    """What one source says about one field. A number is a span (low, high), whose ends differ for a band."""

    source: str  # as a person reads it: "the registry"
    value: str | Span
    confidence: float


def text(raw: Any, limit: int = 200) -> str:
    """One printable line; "" for what is neither text nor a sensible number."""
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        return ""
    if not isinstance(raw, str) and not abs(raw) < 1e15:
        return ""
    line = " ".join(str(raw)[: 4 * limit].split())
    return (line if line.isprintable() else "".join(c for c in line if c.isprintable()))[:limit]


def span(raw: Any) -> Span | None:
    """A number or band as people type it ("1,200", "about 50", "$1M-$10M", "2000+"); None where there is none."""
    match = SPAN.fullmatch(text(raw).lower())
    if not match:
        return None
    low, unit, high, high_unit, open_end = match.groups()
    first = float(low.replace(",", "").replace("_", "")) * SIZES.get(unit or (high and high_unit) or "", 1)
    last = float(high.replace(",", "").replace("_", "")) * SIZES.get(high_unit or "", 1) if high else first
    return (first, float("inf") if open_end else last) if first <= last else None


def domain_of(raw: Any) -> str | None:
    """The registrable domain of an address, URL or host; None for a free-mail one and for what is no domain."""
    host = re.sub(r"^[a-z][a-z0-9+.-]*://", "", text(raw).lower()).split("/")[0].split("@")[-1].split(":")[0].strip(".")
    labels = host.split(".")
    domain = ".".join(labels[-3 if ".".join(labels[-2:]) in WORDS["suffixes"] else -2 :])
    good = HOST.fullmatch(host) and domain not in WORDS["suffixes"] and domain not in WORDS["free_mail"]
    return domain if good else None


def plain(raw: Any) -> str:
    """For comparing names and spellings: lower case, words and digits only, without the legal form."""
    words = re.findall(r"\w+", text(raw).casefold().replace("_", " "))
    return " ".join(w for w in words if w not in {"inc", "ltd", "llc", "gmbh", "corp", "co", "plc", "the"}) or " ".join(
        words
    )


@lru_cache(maxsize=8)
def spellings(kind: str) -> dict[str, str]:
    return {plain(word): name for name, others in WORDS[kind].items() for word in (name, *others)}


@lru_cache(maxsize=8)
def patterns(kind: str) -> list[tuple[str, re.Pattern[str]]]:
    spelled = {name: {name.replace("_", " "), *others} for name, others in WORDS[kind].items()}
    return [(n, re.compile(rf"(?<![\w&])(?:{'|'.join(map(re.escape, w))})(?!\w)")) for n, w in spelled.items()]


def mentioned(kind: str, prose: str) -> dict[str, int]:
    """The entries of a vocabulary whose words stand in `prose`, in the vocabulary's order, and how often."""
    return {name: count for name, found in patterns(kind) if (count := len(found.findall(prose.casefold())))}


def technologies(raw: Any) -> str | None:
    parts = raw if isinstance(raw, (list, tuple)) else re.split(r"[;,|]", text(raw, 2000))
    return ";".join(sorted({found for p in parts if (found := spellings("technologies").get(plain(p)))})) or None


PARSERS: dict[str, Callable[[Any], str | Span | None]] = {
    "domain": domain_of,
    "industry": lambda raw: spellings("industries").get(plain(raw)),
    "country": lambda raw: spellings("countries").get(plain(raw)),
    "numberofemployees": span,
    "annualrevenue": span,
    "founded_year": span,
    "web_technologies": technologies,
}


def parsed(values: Mapping[str, Any], source: str, own: float, derived: float) -> dict[str, Finding]:
    """Everything readable among `values`; `own` is the confidence in a field itself, `derived` in a stand-in for it."""
    found = {}
    for name, columns in FIELDS.items():
        for column in columns:
            if value := PARSERS.get(name, text)(values.get(column)):
                band = isinstance(value, tuple) and value[0] != value[1]
                told = source if column == columns[0] else f"{source}'s {column}"
                told += f" (a band, {text(values[column])})" if band else ""
                found[name] = Finding(told, value, own if column == columns[0] and not band else derived)
                break
    return found


def first(records: Sequence[Snapshot | None], *names: str) -> str:
    """The first of the named fields that any of the records holds, as text; "" where none does."""
    return next((t for record in records if record for name in names if (t := text(record.get(name)))), "")


def moment(raw: Any) -> datetime | None:
    """A time as CRMs write it: ISO 8601 (UTC where it has no zone) or epoch milliseconds."""
    try:
        if isinstance(raw, (int, float)) and not isinstance(raw, bool):
            return datetime.fromtimestamp(raw / 1000, UTC)
        found = datetime.fromisoformat(text(raw))
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def yes(raw: Any) -> bool:
    return raw is True or text(raw).lower() in ("true", "yes", "1")


def place(raw: Any) -> str:
    """A country under one name for all its spellings; an unknown one as it is, "" for none."""
    return spellings("countries").get(plain(raw), plain(raw))
