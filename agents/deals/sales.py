"""Deals as pay sees them: what a record says is sold, by whom, when; and the closed deals that are booked already."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from agents.deals import closed
from agents.deals.pay import Plan, Sale
from agents.deals.reading import held, money, outcome
from agents.evidence.reading import moment, text

Rules = Mapping[str, Any]
Values = Mapping[str, Any]


def splits_of(values: Values, s: Rules) -> tuple[tuple[str, Decimal], ...]:
    """Who is credited with which share: "ana:60;ben:40" in percent, else all of it the owner's.

    Raises ValueError where the shares cannot be read or are not 100 together.
    """
    owner, told = text(held(values, "owner", s)), text(held(values, "splits", s), 1000)
    if not told:
        return ((owner or "nobody", Decimal(1)),)
    pairs = [part.rpartition(":") for part in told.split(";") if part.strip()]
    shares = [(rep.strip(), money(share.strip().removesuffix("%"))) for rep, _, share in pairs]
    found = tuple((rep, share / 100) for rep, share in shares if rep and share is not None)
    if len(found) < len(pairs) or sum(share for _, share in found) != 1:
        raise ValueError(f'splits "{told[:80]}" are not 100 together; write them as "ana:60;ben:40"')
    return found


def day(values: Values, name: str, s: Rules) -> date | None:
    """The day of a time in the plan's time zone; a mere date stays the day it is."""
    raw = held(values, name, s)
    found = moment(raw)
    if found is None or (isinstance(raw, str) and len(raw.strip()) == 10):
        return found.date() if found else None
    return found.astimezone(ZoneInfo(str(s.get("timezone", "UTC")))).date()


def sale_of(record: str, values: Values, plan: Plan, s: Rules) -> Sale | None:
    """The deal as pay sees it, an open one as if it closed as it stands; None where it pays nobody anything.

    Raises ValueError where amount or splits cannot be read.
    """
    on = day(values, "closed", s) or day(values, "close", s)
    if outcome(values, s) is False or on is None:
        return None
    amount = money(held(values, "amount", s))
    if amount is None:
        raise ValueError("the amount cannot be read")
    currency = text(held(values, "currency", s), 10).upper() or plan.currency
    if currency != plan.currency and currency not in plan.rates:
        raise ValueError(f"plan {plan.version} has no rate for {currency}; add it under [rates]")
    return Sale(record, amount, currency, on, splits_of(values, s), day(values, "cancelled", s))


def booked(kind: str, plan: Plan, s: Rules, but: Container[str]) -> tuple[list[Sale], list[str]]:
    """The won deals of the file in settings.closed_deals, less the records in `but`, and those that cannot be counted.

    Raises FileNotFoundError where there is no such file, ValueError where it cannot be read.
    """
    sales, unread = [], []
    for number, row in enumerate(closed.rows(s), 1):
        record = f"{kind}:{row.get('id') or f'(line {number})'}"
        if record in but or not outcome(row, s):
            continue
        try:
            sale = sale_of(record, row, plan, s)
        except ValueError as error:
            unread.append(f"{record}: {error}")
        else:
            sales += [sale] if sale else []
    return sales, unread
