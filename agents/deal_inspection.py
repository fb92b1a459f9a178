"""Deal inspection: what is wrong with an open deal, each finding with its evidence.

Flags: no_next_step, stale_activity, slipped_close, stage_age, single_threaded, missing_roles, amount_missing,
amount_changed. A finding that no longer holds is cleared. What the snapshot cannot know (no contacts included, say) is
neither raised nor cleared, and lowers the confidence.

Settings: any key of data/deals.toml, which has the defaults and says what each means.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, Field

from agents.deals.closed import limits
from agents.deals.reading import (
    ACTIVITIES,
    CONTACTS,
    changes,
    days,
    held,
    in_stage,
    is_open,
    label,
    last_activity,
    money,
    related,
    rules,
    when,
)
from agents.evidence.reading import moment, span, text
from revops_lite import Flag, Proposal, Skip, Snapshot, agent

Rules = Mapping[str, Any]
UNKNOWN = None  # a check's answer where the record cannot tell; "" is "all right", other text the evidence


class Risk(BaseModel):
    """The deal's risk; `revops_risk_flags` are codes joined by ";", empty where there is none."""

    revops_risk_level: str = Field(pattern="^(low|medium|high)$")
    revops_risk_flags: str = Field(max_length=200)
    revops_risk_summary: str = Field(max_length=2000)


def no_next_step(deal: Snapshot, s: Rules) -> str | None:
    return "" if text(held(deal.values, "next_step", s)) else "no next step is written down"


def stale_activity(deal: Snapshot, s: Rules) -> str | None:
    last = last_activity(deal, s)
    since = days(deal.now, last or when(deal, "created", s))
    if since is None:
        return UNKNOWN
    told = f"last activity {last:%Y-%m-%d}" if last else "no activity since it was made"
    return f"{told}, {int(since)} days ago" if since > s["stale_days"] else ""


def slipped_close(deal: Snapshot, s: Rules) -> str | None:
    due, now = when(deal, "close", s), deal.now
    if due and due.date() < now.date():
        return f"the close date {due:%Y-%m-%d} is past"
    dates = [date for _, value in changes(deal.values, "close_history", s) if (date := moment(value))]
    told = span(held(deal.values, "close_moves", s))
    moves = max(sum(later > earlier for earlier, later in pairwise(dates)), told[0] if told else 0)
    if moves >= s["slipped_moves"]:
        return f"the close date was moved back {min(moves, 999):.0f} times"
    return "" if due or told or dates else UNKNOWN


def stage_age(deal: Snapshot, s: Rules) -> str | None:
    known, stage = limits(s), text(held(deal.values, "stage", s))
    age, own = in_stage(deal, s)
    limit = known.get(stage) if own or stage in s["stage_age_days"] else known.get("*")
    if age is None or limit is None:
        return UNKNOWN
    where = f"in {stage}" if own and stage else "since it was made"
    return f"{int(age)} days {where}; {s['stage_age_percentile']}% of won deals took {limit:.0f} or less" * (
        age > limit
    )


def single_threaded(deal: Snapshot, s: Rules) -> str | None:
    if not any(role in deal.related for role in CONTACTS):
        return UNKNOWN
    count = len({contact.record for contact in related(deal, CONTACTS)})
    return f"{count} of at least {s['min_contacts']} contacts" if count < s["min_contacts"] else ""


def missing_roles(deal: Snapshot, s: Rules) -> str | None:
    if not any(role in deal.related for role in CONTACTS):
        return UNKNOWN
    spelled = ";".join(text(held(c.values, "role", s)).lower() for c in related(deal, CONTACTS))
    said = {word.strip() for word in spelled.split(";")}
    missing = [role for role in s["roles"] if not said & set(s["role_words"].get(role, [role]))]
    return f"no {' and no '.join(role.replace('_', ' ') for role in missing)}" if missing else ""


def amount_missing(deal: Snapshot, s: Rules) -> str | None:
    raw = held(deal.values, "amount", s)
    return "" if money(raw) else f"the amount is {text(raw, 40) or 'empty'}"


def amount_changed(deal: Snapshot, s: Rules) -> str | None:
    history, amount = changes(deal.values, "amount_history", s), money(held(deal.values, "amount", s))
    if not history or not amount:
        return UNKNOWN
    since = deal.now - timedelta(days=s["amount_change_days"])
    old = money(([history[0][1]] + [value for at, value in history if at <= since])[-1])
    if not old or abs(amount - old) <= old * Decimal(str(s["amount_change"])):
        return ""
    return f"{old:,f} became {amount:,f} within {s['amount_change_days']} days"


CHECKS = [no_next_step, stale_activity, slipped_close, stage_age, single_threaded, missing_roles]
CHECKS += [amount_missing, amount_changed]


def level_of(flags: list[Flag]) -> str:
    """High with one high or three medium findings, medium with one medium or two low ones."""
    count = {severity: sum(flag.severity == severity for flag in flags) for severity in ("low", "medium", "high")}
    if count["high"] or count["medium"] >= 3:
        return "high"
    return "medium" if count["medium"] or count["low"] >= 2 else "low"


@agent(writes=Risk)
def inspect(deal: Snapshot) -> Proposal:
    """Risk level, findings and their evidence of an open deal."""
    s = rules(deal.settings)
    if not is_open(deal, s):
        raise Skip("the deal is closed")
    found = {check.__name__: check(deal, s) for check in CHECKS}
    flags = [Flag(code, s["severity"].get(code, "medium"), why[:300]) for code, why in found.items() if why]
    clears = [flag.code for flag in deal.flags if found.get(flag.code) == ""]
    unknown = [code for code, why in found.items() if why is UNKNOWN]
    summary = "; ".join(flag.detail for flag in flags) or "nothing found"
    values = Risk(
        revops_risk_level=level_of(flags),
        revops_risk_flags=";".join(flag.code for flag in flags),
        revops_risk_summary=f"{label(deal, s)}: {summary}"[:2000],
    )
    sure = max(0.5, 0.95 - 0.05 * len(unknown) - 0.1 * (not any(role in deal.related for role in ACTIVITIES)))
    because = f"{len(flags)} findings" + f", not checked: {', '.join(unknown)}" * bool(unknown)
    return Proposal(values, round(sure, 2), because, flags=flags, clears=clears)
