"""The deal review on a relational data set that was not made for it, and its findings worked out a second time.

The second reckoning shares no code with the agent: CSV rows, plain Python, and the rules as docs/agents.md tells them.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from installation import REPOSITORY, Installation
from revops_lite.models import Context
from revops_lite.store.store import Store
from revops_lite.store.views import Views

DATA = Path(os.environ.get("REVOPS_SHARED", REPOSITORY.parent / "shared")) / "data" / "leadforge"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set at {DATA}")]

Row = dict[str, str]
Findings = dict[str, tuple[str, str]]  # code -> severity, evidence
LAST_DAY = date(2024, 4, 28)  # of the data set; it is moved so that this was three days ago
FIELDS = {
    "stage": "stage",
    "amount": "estimated_acv",
    "close": "expected_close",
    "created": "created_at",
    "entered": "entered_stage_at",
    "closed": "closed_at",
    "outcome": "close_outcome",
    "next_step": "agreed_step",
    "activity_at": "activity_timestamp",
    "role": "buyer_role",
    "close_moves": "postponed",
    "close_history": "expected_close_before",
    "amount_history": "acv_before",
}
SETTINGS = 'closed_deals = "var/extracts/closed_deals.csv"\nfields = {{ {fields} }}'
REVIEW = """
over = { kind = "deal", where = { is_closed = false } }
include = ["contacts", "activities"]
extract = { closed_deals = { kind = "deal", where = { is_closed = true } } }
steps = [{ agent = "deal_inspection" }]
"""
SEVERITY = dict.fromkeys(("no_next_step", "stale_activity", "stage_age", "single_threaded", "amount_missing"), "medium")
SEVERITY |= {"slipped_close": "high", "missing_roles": "low", "amount_changed": "low"}


@dataclass
class Case:
    """One opportunity and what belongs to it, as the files have it."""

    deal: Row
    contacts: list[Row] = field(default_factory=list)
    activities: list[Row] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return not self.deal["close_outcome"]


# ---- the data set as a CRM ---------------------------------------------------------------------------------------


def rows(name: str) -> list[Row]:
    with (DATA / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def moved(told: str) -> str:
    """The day, as far from today as it was from the end of the data set."""
    shift = datetime.now(UTC).date() - timedelta(days=3) - LAST_DAY
    return (date.fromisoformat(told) + shift).isoformat() if told else ""


def cases() -> dict[str, Case]:
    """Opportunity -> its case: the lead's contact and activities are the deal's."""
    leads = {row["lead_id"]: row for row in rows("leads")}
    contacts = {row["contact_id"]: row for row in rows("contacts")}
    found: dict[str, Case] = {}
    of_lead: dict[str, list[Case]] = {}
    for row in rows("opportunities"):
        lead = leads[row["lead_id"]]
        dates = {name: moved(row[name]) for name in ("created_at", "closed_at")}
        deal = row | dates | {"account_id": lead["account_id"], "is_closed": str(bool(row["close_outcome"])).lower()}
        case = Case(deal, [contacts[lead["contact_id"]]])
        found[row["opportunity_id"]] = case
        of_lead.setdefault(row["lead_id"], []).append(case)
    for row in rows("sales_activities"):
        for case in of_lead.get(row["lead_id"], []):
            case.activities.append(row | {"activity_timestamp": moved(row["activity_timestamp"])})
    return found


def written_up(found: dict[str, Case]) -> dict[str, Case]:
    """With what the data set does not have: next steps, dates, histories, gaps, the account's other people."""
    people: dict[str, list[Row]] = {}
    for row in rows("contacts"):
        people.setdefault(row["account_id"], []).append(row)
    today = datetime.now(UTC).date()

    def day(ago: int) -> str:
        return (today - timedelta(days=ago)).isoformat()

    for number, case in enumerate(found.values()):
        deal = case.deal
        case.contacts = people[deal["account_id"]][: number % 4]
        deal["agreed_step"] = "send the contract" if number % 3 else ""
        deal["expected_close"] = ["", day(-30), day(20), day(-1)][number % 4]
        deal["postponed"] = str(number % 5) if number % 2 else ""
        deal["entered_stage_at"] = max(deal["created_at"], day(number % 90)) if number % 7 else ""
        if number % 6 == 0:
            told = [day(40), day(-10 if number % 12 else 50), day(-20 if number % 18 else 60)]
            entries = [{"value": one, "timestamp": day(30 - at)} for at, one in enumerate(told)]
            deal["expected_close_before"] = json.dumps(entries)
        if number % 5 == 0:
            amount = int(deal["estimated_acv"])
            before = [(amount * 2, day(200)), (round(amount * (0.7 + number % 7 / 10)), day(number % 60))]
            deal["acv_before"] = json.dumps([{"value": str(value), "timestamp": at} for value, at in before])
        if number % 8 == 0:
            deal["estimated_acv"] = ["", "0", "to be agreed", "-5"][number // 8 % 4]
        if not case.is_open:
            deal["days_in_negotiation"] = str(5 + number % 37)
    return found


def install(site: Installation, found: dict[str, Case]) -> None:
    site.starter_agents()
    names = ", ".join(f'{name} = "{column}"' for name, column in FIELDS.items())
    settings = SETTINGS.format(fields=names).replace("\n", ", ")
    agent = f'entry = "agents.deal_inspection:inspect"\nconfidence = 0.5\nsettings = {{ {settings} }}'
    site.configure({"deal_inspection": agent}, {"deal_review": REVIEW}, threads=8)
    site.crm("deal", {name: case.deal for name, case in found.items()})
    for kind, id_ in (("contact", "contact_id"), ("activity", "activity_id")):
        parts = {
            f"{name}.{row[id_]}": row | {"deal_id": name}
            for name, case in found.items()
            if case.is_open  # nobody looks at what belongs to the others
            for row in (case.contacts if kind == "contact" else case.activities)
        }
        site.crm(kind, parts)


# ---- the findings, a second time ---------------------------------------------------------------------------------


def at(told: str) -> datetime:
    return datetime.fromisoformat(told).replace(tzinfo=UTC)


def limits(found: dict[str, Case]) -> dict[str, float]:
    """Days that 80 % of the won deals took at most: in negotiation, and from made to won ("")."""
    won = [case.deal for case in found.values() if case.deal["close_outcome"] == "closed_won"]
    ways = {
        "": [(at(deal["closed_at"]) - at(deal["created_at"])) / timedelta(days=1) for deal in won],
        "negotiation": [float(deal["days_in_negotiation"]) for deal in won if deal.get("days_in_negotiation")],
    }
    enough = {stage: way for stage, way in ways.items() if len(way) >= 20}
    return {stage: statistics.quantiles(way, n=100, method="inclusive")[79] for stage, way in enough.items()}


def findings(case: Case, now: datetime, won: dict[str, float]) -> Findings:
    told = dict(reasons(case, now, won))
    return {code: (SEVERITY[code], why) for code, why in told.items()}


def reasons(case: Case, now: datetime, won: dict[str, float]) -> Iterator[tuple[str, str]]:
    deal = case.deal
    if not deal.get("agreed_step"):
        yield "no_next_step", "no next step is written down"
    last = max(
        (row["activity_timestamp"] for row in case.activities if at(row["activity_timestamp"]) <= now), default=""
    )
    quiet = now - at(last or deal["created_at"])
    if quiet > timedelta(days=14):
        what = f"last activity {last}" if last else "no activity since it was made"
        yield "stale_activity", f"{what}, {quiet.days} days ago"
    yield from slipped(deal, now)
    entered = deal.get("entered_stage_at", "")
    age, limit = now - at(entered or deal["created_at"]), won.get(deal["stage"] if entered else "")
    if limit is not None and age / timedelta(days=1) > limit:
        where = f"in {deal['stage']}" if entered else "since it was made"
        yield "stage_age", f"{age.days} days {where}; 80% of won deals took {limit:.0f} or less"
    yield from people(case)
    yield from money(deal, now)


def slipped(deal: Row, now: datetime) -> Iterator[tuple[str, str]]:
    due = deal.get("expected_close", "")
    before = [entry["value"] for entry in json.loads(deal.get("expected_close_before", "[]"))]
    later = sum(before[place] > before[place - 1] for place in range(1, len(before)))
    moves = max(later, int(deal.get("postponed") or 0))
    if due and due < now.date().isoformat():
        yield "slipped_close", f"the close date {due} is past"
    elif moves >= 2:
        yield "slipped_close", f"the close date was moved back {moves} times"


def people(case: Case) -> Iterator[tuple[str, str]]:
    if len(case.contacts) < 2:
        yield "single_threaded", f"{len(case.contacts)} of at least 2 contacts"
    roles = {row["buyer_role"] for row in case.contacts}
    missing = [
        name for name, role in (("decision maker", "economic_buyer"), ("champion", "champion")) if role not in roles
    ]
    if missing:
        yield "missing_roles", " and ".join(f"no {name}" for name in missing)


def money(deal: Row, now: datetime) -> Iterator[tuple[str, str]]:
    told = deal["estimated_acv"]
    if not told.isdigit() or told == "0":
        yield "amount_missing", f"the amount is {told or 'empty'}"
        return
    history = json.loads(deal.get("acv_before", "[]"))
    settled = [entry["value"] for entry in history if at(entry["timestamp"]) <= now - timedelta(days=30)]
    if history:
        old, amount = Decimal((settled or [history[0]["value"]])[-1]), Decimal(told)
        if abs(amount - old) > old / 5:
            yield "amount_changed", f"{old:,} became {amount:,} within 30 days"


def level(found: Findings) -> str:
    grades = Counter(severity for severity, _ in found.values())
    if grades["high"] or grades["medium"] >= 3:
        return "high"
    return "medium" if grades["medium"] or grades["low"] >= 2 else "low"


# ---- and compared ------------------------------------------------------------------------------------------------


def seen(site: Installation, run_id: str, found: dict[str, Case]) -> tuple[datetime, Counter[str], dict[str, Context]]:
    """The moment of the sweep, how many parts each record has, and the contexts."""
    with site.up(), site.redis() as client:
        views = Views(client)
        run = views.run(run_id)
        parts = Counter(part.record for part in views.parts(run))
        contexts = Store(client).load(("context", f"deal:{name}") for name in found)
    assert run.as_of is not None
    known: dict[str, Any] = {name.removeprefix("deal:"): context for (_, name), context in contexts.items() if context}
    return datetime.fromtimestamp(run.as_of, UTC), parts, known


@pytest.mark.parametrize("kept", ["as_it_is", "written_up"])
def test_every_open_opportunity_is_reviewed_once_with_the_findings_that_its_rows_show(
    site: Installation, kept: str
) -> None:
    found = cases() if kept == "as_it_is" else written_up(cases())
    install(site, found)
    run_id = site.revops("workflow", "start", "deal_review").out.split()[1]
    opened = {name: case for name, case in found.items() if case.is_open}
    assert f"records: {len(opened)} total, {len(opened)} done" in site.revops("up", "--until-idle").out

    now, parts, contexts = seen(site, run_id, found)
    assert parts == Counter(f"deal:{name}" for name in opened), "one part for each open one, none for a closed one"
    for name, context in contexts.items():
        answers = [touch.outcome for touch in context.history if touch.agent == "deal_inspection"]
        assert answers.count("done") == (name in opened), name
    won = limits(found)
    expected = {name: findings(case, now, won) for name, case in opened.items()}
    raised = {
        name: {code: (flag.severity, flag.detail) for code, flag in contexts[name].flags.items()} for name in opened
    }
    assert raised == expected
    crm = site.crm_records("deal")
    assert {name: set(filter(None, crm[name]["revops_risk_flags"].split(";"))) for name in opened} == {
        name: set(codes) for name, codes in expected.items()
    }
    assert {name: crm[name]["revops_risk_level"] for name in opened} == {n: level(f) for n, f in expected.items()}
    assert {row["id"] for row in site.changes()} == set(opened), "nothing is written to a closed one"
    if kept == "written_up":
        every = Counter(code for codes in expected.values() for code in codes)
        assert set(every) == set(SEVERITY), "each finding is somebody's"
        assert all(0 < number < len(opened) for number in every.values()), "and not everybody's"
