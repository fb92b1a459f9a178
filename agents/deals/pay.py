"""What a compensation plan pays: Decimal only, no float ever touches a sum.

Deals are credited in the order of their close dates. The part of a credit that lies below the quota pays the base rate,
each part beyond an accelerator's start that accelerator's rate. A deal cancelled in a later period than it was paid in
takes `clawback.share` of its credit at the base rate back; one cancelled in the same period loses that share of its
credit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any

ROUNDINGS = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "down": ROUND_DOWN}
KEYS = {"version", "currency", "quota", "rate", "rounding", "round_to", "round_each", "quotas", "accelerators"} | {
    "rates",
    "clawback",
    "periods",
}
ZERO, ONE = Decimal(0), Decimal(1)


@dataclass(frozen=True, slots=True)
class Period:
    """A pay period, both days included."""

    start: date
    end: date
    open: bool = True

    def has(self, day: date | None) -> bool:
        return day is not None and self.start <= day <= self.end


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan; shares are 1 for 100 %. `tiers` are (share of the quota, rate), lowest first."""

    version: str
    currency: str
    quota: Decimal
    rate: Decimal
    tiers: tuple[tuple[Decimal, Decimal], ...] = ()
    quotas: Mapping[str, Decimal] = field(default_factory=dict)
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    clawback_days: int = 0
    clawback_share: Decimal = ZERO
    rounding: str = "half_up"
    round_to: Decimal = Decimal("0.01")
    round_each: str = "deal"
    periods: tuple[Period, ...] = ()

    def period_of(self, day: date | None) -> Period | None:
        return next((period for period in self.periods if period.has(day)), None)

    def rounded(self, amount: Decimal) -> Decimal:
        """To the next whole multiple of `round_to`; what is taken back is rounded like what was paid, never -0.00."""
        return (amount / self.round_to).quantize(ONE, ROUNDINGS[self.rounding]) * self.round_to + ZERO


@dataclass(frozen=True, slots=True)
class Sale:
    """A deal as pay sees it, its amount 0 or more. `splits` are (rep, share 0..1): one pair (owner, 1) where it is not
    split."""

    id: str
    amount: Decimal
    currency: str
    closed: date
    splits: tuple[tuple[str, Decimal], ...]
    cancelled: date | None = None


def load(path: str) -> Plan:
    """The plan in a TOML file, read again when it changes. Raises ValueError that names file, key and the mend."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"settings.plan: there is no file {file}; correct the path")
    return _load(str(file), file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: str, _mtime: int) -> Plan:
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return parse(raw, path)


def parse(raw: Mapping[str, Any], path: str = "plan") -> Plan:
    """A plan from what its TOML holds. Raises ValueError that names file, key and the mend."""
    if unknown := set(raw) - KEYS:
        raise ValueError(
            f"{path}: there is no key {sorted(unknown)[0]!r} in a plan; it may have {', '.join(sorted(KEYS))}"
        )
    claw = raw.get("clawback", {})
    tiers = [(_number(t, "from", path), _number(t, "rate", path)) for t in raw.get("accelerators", [])]
    plan = Plan(
        version=str(_need(raw, "version", path)),
        currency=str(_need(raw, "currency", path)).upper(),
        quota=_number(raw, "quota", path),
        rate=_number(raw, "rate", path),
        tiers=tuple(sorted(tiers)),
        quotas={rep: _number(raw["quotas"], rep, path) for rep in raw.get("quotas", {})},
        rates={name.upper(): _number(raw["rates"], name, path) for name in raw.get("rates", {})},
        clawback_days=int(claw.get("days", 0)),
        clawback_share=_number(claw, "share", path) if "share" in claw else ZERO,
        rounding=_one_of(raw, "rounding", tuple(ROUNDINGS), path),
        round_to=_number(raw, "round_to", path) if "round_to" in raw else Decimal("0.01"),
        round_each=_one_of(raw, "round_each", ("deal", "total"), path),
        periods=tuple(_period(each, path) for each in raw.get("periods", [])),
    )
    if plan.clawback_share > 1:
        raise ValueError(
            f"{path}: clawback.share = {plan.clawback_share} takes back more than was paid; 1 is all of it"
        )
    if plan.quota <= 0 or any(quota <= 0 for quota in plan.quotas.values()) or plan.round_to <= 0:
        raise ValueError(f"{path}: quotas and round_to have to be more than 0")
    return plan


def _need(raw: Mapping[str, Any], key: str, path: str) -> Any:
    if key not in raw:
        raise ValueError(f"{path}: {key} is missing; add it")
    return raw[key]


def _number(raw: Mapping[str, Any], key: str, path: str) -> Decimal:
    """A decimal number. A TOML float has lost digits already: refused."""
    value = _need(raw, key, path)
    try:
        found = Decimal(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise ValueError(f'{path}: {key} = {value!r} is no amount; write it in quotes, such as {key} = "0.10"')
    return found


def _one_of(raw: Mapping[str, Any], key: str, allowed: tuple[str, ...], path: str) -> str:
    value = str(raw.get(key, allowed[0]))
    if value not in allowed:
        raise ValueError(f"{path}: {key} = {value!r}; it has to be {' or '.join(allowed)}")
    return value


def _period(raw: Mapping[str, Any], path: str) -> Period:
    start, end = raw.get("start"), raw.get("end")
    if type(start) is not date or type(end) is not date or end < start:
        raise ValueError(f"{path}: periods: start and end have to be days, such as start = 2026-04-01, in this order")
    return Period(start, end, _one_of(raw, "state", ("open", "closed"), path) == "open")


def commission(plan: Plan, quota: Decimal, before: Decimal, credit: Decimal) -> Decimal:
    """What `credit` pays on top of credits of `before`, not rounded: every slice at its own rate."""
    starts = [(ZERO, plan.rate), *((share * quota, rate) for share, rate in plan.tiers)]
    ends = [start for start, _ in starts[1:]] + [before + credit]
    paid = ZERO
    for (start, rate), end in zip(starts, ends, strict=True):
        paid += max(ZERO, min(end, before + credit) - max(start, before)) * rate
    return paid


def payouts(plan: Plan, sales: Iterable[Sale], period: Period) -> dict[str, Decimal]:
    """Rep -> payout of the period in the plan's currency. Raises ValueError for a currency without a rate."""
    credited: dict[str, Decimal] = {}
    paid: dict[str, Decimal] = {}
    for sale in sorted(sales, key=lambda each: (each.closed, each.id)):
        for rep, amount, counts in parts(plan, sale, period):
            earned = amount * plan.rate
            if counts:
                before = credited.get(rep, ZERO)
                earned = commission(plan, plan.quotas.get(rep, plan.quota), before, amount)
                credited[rep] = before + amount
            paid[rep] = paid.get(rep, ZERO) + paid_for(plan, earned)
    return {rep: plan.rounded(amount) for rep, amount in paid.items()}


def parts(plan: Plan, sale: Sale, period: Period) -> Iterator[tuple[str, Decimal, bool]]:
    """(rep, credit, True) where the sale is credited in this period, else (rep, what of it is given back, False)."""
    whole, back = worth(plan, sale), plan.clawback_share if clawed(plan, sale, period) else ZERO
    counts = period.has(sale.closed)
    for rep, share in sale.splits:
        credit = whole * share
        yield rep, credit - credit * back if counts else -credit * back, counts


def paid_for(plan: Plan, earned: Decimal) -> Decimal:
    """What one deal's commission adds to the payout."""
    return plan.rounded(earned) if plan.round_each == "deal" else earned


def worth(plan: Plan, sale: Sale) -> Decimal:
    """The sale's amount in the plan's currency."""
    if sale.currency == plan.currency:
        return sale.amount
    if sale.currency not in plan.rates:
        raise ValueError(f"plan {plan.version} has no rate for {sale.currency}; add it under [rates]")
    return sale.amount * plan.rates[sale.currency]


def clawed(plan: Plan, sale: Sale, period: Period) -> bool:
    """Whether the sale was cancelled in this period, soon enough after it closed."""
    gone = sale.cancelled
    return gone is not None and period.has(gone) and 0 <= (gone - sale.closed).days <= plan.clawback_days
