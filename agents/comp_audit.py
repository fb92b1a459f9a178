"""Comp audit: what each flagged deal does to payouts, and whether agents changed what somebody is paid by.

`gather = "all"`: one call with the deals under review. What has been won already comes from the file `closed_deals`,
and counts towards quotas and tiers. Each flagged deal gets its verdict: "block" where an agent has changed its amount,
close date, stage, owner or splits inside an open pay period, "warn" where the payout with it differs from the payout
without it by more than the tolerance, or cannot be computed, else "pass". A verdict that the deal holds already is not
proposed again. What keeps agents from such a change is [governance.pay]; here it is found where that table was not in
force.

Settings: `plan` (TOML file; data/comp_plan.toml is the example), `tolerance` ("0.00", in the plan's currency), `people`
(writers that are no agents), `only_flagged` (true: deals without an open flag only count towards payouts),
`closed_deals`, `closed_deals_table`, and the `fields` of data/deals.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from agents.deals.ledger import Ledger
from agents.deals.pay import Period, Plan, Sale, load
from agents.deals.reading import DATA, money, outcome, rules
from agents.deals.sales import booked, sale_of
from revops_lite import Proposal, Skip, Snapshot, agent

GUARDED = ("amount", "close", "closed", "stage", "owner", "splits")
PEOPLE = ("crm", "person", "event", "import")
BY_PERSON = ("review:", "person:", "rollback:")
Rules = Mapping[str, Any]


class Audit(BaseModel):
    """The verdict about one deal, with the difference and the rule in words."""

    revops_comp_status: str = Field(pattern="^(pass|warn|block)$")
    revops_comp_reason: str = Field(max_length=1000)


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
            sales[deal.record] = sale_of(deal.record, deal.values, plan, s)
        except ValueError as error:
            problems[deal.record] = str(error)
    # A deal that is open counts only in its own comparison: nobody is paid by it yet.
    won = [sale for deal in deals if (sale := sales.get(deal.record)) and outcome(deal.values, s)]
    closed, unread = booked(deals[0].kind, plan, s, {deal.record for deal in deals})
    ledger = Ledger(plan, won + closed)
    left_out = f"; closed deals that are not counted: {len(unread)}, such as {unread[0]}" if unread else ""
    found = []
    for deal in deals:
        if not deal.flags and s.get("only_flagged", True):
            continue
        amount, why = Decimal(0), problems.get(deal.record, "it pays nobody in this state")
        if sale := sales.get(deal.record):
            amount, why = difference(ledger, sale)
        blocked = tampered(deal, plan, s)
        status = "block" if blocked else "warn" if deal.record in problems or amount > tolerance else "pass"
        reason = (f"{blocked}; {why}" if blocked else why) + left_out
        values = Audit(revops_comp_status=status, revops_comp_reason=f"{reason} (plan {plan.version})"[:1000])
        if any(deal.get(name) != value for name, value in values):
            found.append(Proposal(values, 0.95, f"recomputed by plan {plan.version}", target=deal.record))
    return found
