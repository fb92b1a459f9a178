"""Comp audit: what each flagged deal does to payouts, and whether agents changed what somebody is paid by.

`gather = "all"`: one call with every deal that pays in the period. Each flagged deal gets its verdict: "block" where an
agent has changed its amount, close date, stage, owner or splits inside an open pay period, "warn" where the payout with
it differs from the payout without it by more than the tolerance, or cannot be computed, else "pass". A verdict that the
deal holds already is not proposed again. What keeps agents from such a change is [governance.pay]; here it is found
where that table was not in force.

Settings: `plan` (TOML file; data/comp_plan.toml is the example), `tolerance` ("0.00", in the plan's currency), `people`
(writers that are no agents), `only_flagged` (true: deals without an open flag only count towards payouts), and the
`fields` of data/deals.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from agents.deals.ledger import Ledger
from agents.deals.pay import Period, Plan, Sale, load
from agents.deals.reading import DATA, held, money, outcome, rules, when
from agents.evidence.reading import text
from revops_lite import Proposal, Skip, Snapshot, agent

GUARDED = ("amount", "close", "closed", "stage", "owner", "splits")
PEOPLE = ("crm", "person", "event", "import")
BY_PERSON = ("review:", "person:", "rollback:")
Rules = Mapping[str, Any]


class Audit(BaseModel):
    """The verdict about one deal, with the difference and the rule in words."""

    revops_comp_status: str = Field(pattern="^(pass|warn|block)$")
    revops_comp_reason: str = Field(max_length=1000)


def splits_of(deal: Snapshot, s: Rules) -> tuple[tuple[str, Decimal], ...]:
    """Who is credited with which share: "ana:60;ben:40" in percent, else all of it the owner's.

    Raises ValueError where the shares cannot be read or are not 100 together.
    """
    owner, told = text(held(deal.values, "owner", s)), text(held(deal.values, "splits", s), 1000)
    if not told:
        return ((owner or "nobody", Decimal(1)),)
    pairs = [part.rpartition(":") for part in told.split(";") if part.strip()]
    shares = [(rep.strip(), money(share.strip().removesuffix("%"))) for rep, _, share in pairs]
    found = tuple((rep, share / 100) for rep, share in shares if rep and share is not None)
    if len(found) < len(pairs) or sum(share for _, share in found) != 1:
        raise ValueError(f'splits "{told[:80]}" are not 100 together; write them as "ana:60;ben:40"')
    return found


def day(deal: Snapshot, name: str, s: Rules) -> date | None:
    """The day of a time in the plan's time zone; a mere date stays the day it is."""
    found = when(deal, name, s)
    raw = held(deal.values, name, s)
    if found is None or (isinstance(raw, str) and len(raw.strip()) == 10):
        return found.date() if found else None
    return found.astimezone(ZoneInfo(str(s.get("timezone", "UTC")))).date()


def sale_of(deal: Snapshot, plan: Plan, s: Rules) -> Sale | None:
    """The deal as pay sees it, an open one as if it closed as it stands; None where it pays nobody anything.

    Raises ValueError where amount or splits cannot be read.
    """
    closed = day(deal, "closed", s) or day(deal, "close", s)
    if outcome(deal.values, s) is False or closed is None:
        return None
    amount = money(held(deal.values, "amount", s))
    if amount is None:
        raise ValueError("the amount cannot be read")
    currency = text(held(deal.values, "currency", s), 10).upper() or plan.currency
    if currency != plan.currency and currency not in plan.rates:
        raise ValueError(f"plan {plan.version} has no rate for {currency}; add it under [rates]")
    return Sale(deal.record, amount, currency, closed, splits_of(deal, s), day(deal, "cancelled", s))


def tampered(deal: Snapshot, plan: Plan, s: Rules) -> str:
    """Which guarded field an agent changed inside an open pay period, "" if none did: those whose value stands there,
    then those in the history. A value that was only proposed has changed nothing, it may have been withheld."""
    guarded = {column for name in GUARDED for column in s["fields"][name]}
    zone = ZoneInfo(str(s.get("timezone", "UTC")))
    standing = [(writer, [name], at) for name, (writer, at) in sorted(deal.written.items()) if name in guarded]
    before = [
        (touch.agent, sorted(guarded & set(touch.fields)), datetime.fromtimestamp(touch.at, UTC))
        for touch in deal.history
        if touch.outcome == "write.applied"
    ]
    for writer, changed, at in standing + before:
        by_person = writer in s.get("people", PEOPLE) or writer.startswith(BY_PERSON)
        on = at.astimezone(zone).date()
        period = plan.period_of(on)
        if changed and not by_person and period and period.open:
            return f"{writer} changed {', '.join(changed)} on {on} in the open pay period {told(period)}"
    return ""


def told(period: Period) -> str:
    return f"{period.start} to {period.end}"


def difference(ledger: Ledger, sale: Sale) -> tuple[Decimal, str]:
    """What all payouts together are more with the sale than without it, and the sentence that says so."""
    changes = ledger.changes(sale)
    said = [f"{rep} {change:+,f}" for rep, change in sorted(changes.items())]
    total = sum((abs(change) for change in changes.values()), Decimal(0))
    told = f"with it the payout changes by {', '.join(said)} {ledger.plan.currency}"
    return total, told if said else "no payout changes"


@agent(writes=Audit)
def audit(deals: list[Snapshot]) -> list[Proposal]:
    """Verdict, difference in pay and rule of every flagged deal, where they are not what it holds already."""
    if not deals:
        raise Skip("no deals")
    s = rules(deals[0].settings)
    plan, tolerance = load(str(s.get("plan") or DATA / "comp_plan.toml")), money(s.get("tolerance", "0.00"))
    if tolerance is None:
        raise ValueError(f'settings.tolerance: {s["tolerance"]!r} is no amount; write it as "50.00"')
    sales: dict[str, Sale | None] = {}
    problems: dict[str, str] = {}
    for deal in deals:
        try:
            sales[deal.record] = sale_of(deal, plan, s)
        except ValueError as error:
            problems[deal.record] = str(error)
    # A deal that is open counts only in its own comparison: nobody is paid by it yet.
    ledger = Ledger(plan, [sale for deal in deals if (sale := sales.get(deal.record)) and outcome(deal.values, s)])
    found = []
    for deal in deals:
        if not deal.flags and s.get("only_flagged", True):
            continue
        amount, why = Decimal(0), problems.get(deal.record, "it pays nobody in this state")
        if sale := sales.get(deal.record):
            amount, why = difference(ledger, sale)
        blocked = tampered(deal, plan, s)
        status = "block" if blocked else "warn" if deal.record in problems or amount > tolerance else "pass"
        reason = f"{blocked}; {why}" if blocked else why
        values = Audit(revops_comp_status=status, revops_comp_reason=f"{reason} (plan {plan.version})"[:1000])
        if any(deal.get(name) != value for name, value in values):
            found.append(Proposal(values, 0.95, f"recomputed by plan {plan.version}", target=deal.record))
    return found
