"""A deal as the review sees it: one line, read once. What cannot be read is None or "", and `problems` says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from statistics import median_low
from typing import Any
from zoneinfo import ZoneInfo

from agents.deals.accuracy import PROBABILITY, chance
from agents.deals.reading import held, label, money
from agents.evidence.reading import first, moment, text
from revops_lite import Flag, Snapshot

LEVELS = ("high", "medium", "low")
WEIGHT = {"high": 3, "medium": 2, "low": 1}
CURRENCY = re.compile(r"[A-Z]{3}")
UNKNOWN = "?"  # the currency of an amount that says one nobody can read
DETAIL = 300  # characters of a finding's evidence
PEOPLE = ("owner", "owners")  # relations, where included


@dataclass(frozen=True, slots=True)
class Line:
    """`amount` is exact; `currency` "" where neither deal nor settings name one; `probability` 0..1."""

    record: str
    id: str
    kind: str
    name: str
    owner: str
    owner_name: str
    stage: str
    amount: Decimal | None
    currency: str
    close: date | None
    probability: Decimal | None
    category: str
    risk: str  # a level, "" where nobody has inspected it
    flags: tuple[Flag, ...]
    summary: str
    created: datetime | None
    problems: tuple[str, ...]  # codes of quality.PROBLEMS

    @property
    def month(self) -> str:
        return f"{self.close:%Y-%m}" if self.close else ""


def read(deal: Snapshot, s: Mapping[str, Any]) -> Line:
    """`s` are the settings over the defaults as `agents.deals.reading.rules` makes them."""
    values, owner = deal.values, text(held(deal.values, "owner", s), 120)
    amount, close = money(held(values, "amount", s)), moment(held(values, "close", s))
    probability = chance(values.get(PROBABILITY))
    risk = text(values.get("revops_risk_level")).lower()
    currency = currency_of(values, s)
    return Line(
        record=deal.record,
        id=deal.id,
        kind=deal.kind,
        name=label(deal, s),
        owner=owner,
        owner_name=name_of(deal, owner, s),
        stage=text(held(values, "stage", s), 80),
        amount=amount,
        currency=currency,
        close=day_of(close, held(values, "close", s), s),
        probability=None if probability is None else Decimal(str(probability)),
        category=text(values.get("revops_forecast_category"), 40),
        risk=risk if risk in WEIGHT else "",
        flags=tuple(sorted(deal.flags, key=lambda flag: (LEVELS.index(severity(flag)), flag.code))),
        summary=text(values.get("revops_risk_summary"), DETAIL),
        created=moment(held(values, "created", s)),
        problems=tuple(problems(values, amount, close, probability, currency, s)),
    )


def problems(
    values: Mapping[str, Any],
    amount: Decimal | None,
    close: datetime | None,
    probability: float | None,
    currency: str,
    s: Mapping[str, Any],
) -> Iterable[str]:
    """What a sum has to leave out, or a table cannot place: missing is told apart from unreadable."""
    for name, found in (("amount", amount), ("close", close)):
        if found is None:
            yield f"{name}_missing" if held(values, name, s) is None else f"{name}_unreadable"
    if amount == 0:
        yield "amount_zero"
    if probability is None:
        yield "probability_missing" if values.get(PROBABILITY) in (None, "") else "probability_unreadable"
    if currency == UNKNOWN:
        yield "currency_unreadable"
    elif not currency:
        yield "currency_missing"
    yield from (f"{name}_missing" for name in ("owner", "stage") if not text(held(values, name, s)))


def currency_of(values: Mapping[str, Any], s: Mapping[str, Any]) -> str:
    """The deal's own currency, else the one in the settings; "" without either, "?" for what is none."""
    told = held(values, "currency", s)
    code = text(s.get("currency", "") if told is None else told, 12).upper()
    return code if not code or CURRENCY.fullmatch(code) else UNKNOWN


def day_of(at: datetime | None, raw: Any, s: Mapping[str, Any]) -> date | None:
    """The day of a time in the settings' time zone; a mere date stays the day it is."""
    if at is None or (isinstance(raw, str) and len(raw.strip()) == 10):
        return at.date() if at else None
    return local(at, s)


def local(at: datetime, s: Mapping[str, Any]) -> date:
    try:
        return at.astimezone(ZoneInfo(str(s.get("timezone", "UTC")))).date()
    except OverflowError:  # the first or last day there is
        return at.date()


def name_of(deal: Snapshot, owner: str, s: Mapping[str, Any]) -> str:
    """The owner as people know them: by the settings, else by the related owner, else the id itself."""
    people = [one for role in PEOPLE for one in deal.related.get(role, [])]
    return text(s.get("names", {}).get(owner), 80) or person(people) or owner


def person(people: Sequence[Snapshot]) -> str:
    full = f"{first(people, 'firstname')} {first(people, 'lastname')}".strip()
    return (first(people, "name", "fullname") or full or first(people, "email"))[:80]


def severity(flag: Flag) -> str:
    return flag.severity if flag.severity in WEIGHT else "medium"


def code_of(flag: Flag) -> str:
    """The flag's code as it may be shown: agents may call a flag anything."""
    return text(flag.code, 60) or "?"


def reason(flag: Flag) -> str:
    """One line: what was found, in the words of whoever found it."""
    return text(flag.detail, DETAIL) or code_of(flag).replace("_", " ")


def ranked(lines: Sequence[Line], weight: Mapping[str, int]) -> list[Line]:
    """By weight (record -> number) x amount, biggest first.

    A deal without an amount ranks as the middle one of the others: unknown is not small. Amounts of different
    currencies are not compared: each currency has its own order, and the first of each come before the second.
    """
    by_currency: dict[str, list[Line]] = {}
    for line in lines:
        by_currency.setdefault(line.currency, []).append(line)
    placed = []
    for group in by_currency.values():
        middle = median_low([line.amount for line in group if line.amount is not None] or [Decimal(1)])
        scores = {line.record: weight[line.record] * (middle if line.amount is None else line.amount) for line in group}
        # Among equal products, as where amounts are 0, the graver one goes first.
        group.sort(key=lambda line: (-scores[line.record], -weight[line.record], line.record))
        placed += [(place, -len(group), line.currency, line) for place, line in enumerate(group)]
    return [line for *_, line in sorted(placed, key=lambda each: each[:3])]
