"""What a rep is told of: each finding once, whoever raises it and however often, and again when it has changed."""

from __future__ import annotations

from typing import Any

import pytest

from installation import Installation, lines_of, until

pytestmark = pytest.mark.real

# A second pair of eyes: raises what deal inspection raises, graver for a big deal, and tells the rep by itself.
COVERAGE = """
from agents.deals.reading import CONTACTS, related
from revops_lite import Flag, Notice, Proposal, Snapshot, agent


@agent
def coverage(deal: Snapshot) -> Proposal | None:
    if any(contact.get("hs_buying_role") == "CHAMPION" for contact in related(deal, CONTACTS)):
        return None
    severity = "high" if deal["amount"] >= 50_000 else "low"
    told = Notice("sales", f"Nobody speaks for {deal['dealname']}", f"{deal.id}: find a champion ({severity})",
                  f"coverage:{deal.record}:{deal.now}", about=("missing_roles",))
    flag = Flag("missing_roles", severity, "nobody speaks for it")
    return Proposal(flags=[flag], notices=[told], target=deal.record)


@agent
def coverage_of_all(deals: list[Snapshot]) -> list[Proposal]:
    return [found for deal in deals if (found := coverage(deal))]
"""
REVIEW = """
over = {{ kind = "deal", where = {{ is_closed = false }} }}
include = ["contacts", "activities"]
steps = [{steps}]
"""
SALES = """
[notify.channels.sales]
kind = "file"
path = "var/sales.jsonl"
"""
DEAL = {
    "dealname": "Acme renewal",
    "dealstage": "contractsent",
    "amount": 20_000,
    "hubspot_owner_id": "rep-ana",
    "hs_next_step": "send the contract",
    "closedate": "2099-12-31",
    "notes_last_updated": "2099-01-01",
    "createdate": "2099-01-01",
    "is_closed": "false",
}
PEOPLE = {
    "c1": {"deal_id": "d1", "hs_buying_role": "DECISION_MAKER"},
    "c2": {"deal_id": "d1", "hs_buying_role": "END_USER"},
    "c3": {"deal_id": "d2", "hs_buying_role": "DECISION_MAKER"},
    "c4": {"deal_id": "d2", "hs_buying_role": "CHAMPION"},
}
INSPECTION, SUMMARY = '{ agent = "deal_inspection" }', '{ agent = "risk_alert", gather = "owner" }'
COVERAGE_FIRST = [INSPECTION, '{ agent = "coverage" }', SUMMARY]
SUMMARY_FIRST = [INSPECTION, SUMMARY, '{ agent = "coverage_of_all", gather = "all" }']


def install(site: Installation, steps: list[str]) -> None:
    site.starter_agents()
    site.agent("coverage", COVERAGE)
    agents = {
        "deal_inspection": 'entry = "agents.deal_inspection:inspect"\nconfidence = 0.5',
        "coverage": "coverage",
        "coverage_of_all": 'entry = "agents.coverage:coverage_of_all"',
        "risk_alert": 'entry = "agents.risk_alert:summarize"\nsettings = { channel = "sales" }',
    }
    site.configure(agents, {"deal_review": REVIEW.format(steps=", ".join(steps))}, extra=SALES)
    site.crm("deal", {"d1": DEAL, "d2": DEAL | {"dealname": "Birch rollout"}})
    site.crm("contact", PEOPLE)


def told(site: Installation) -> list[dict[str, Any]]:
    return lines_of(site.root / "var" / "sales.jsonl")


def review(site: Installation) -> list[str]:
    """One more review, to its end. Bodies of what the rep was told meanwhile."""
    before = len(told(site))
    site.revops("workflow", "start", "deal_review")
    ended = until(site.settled, "the review has ended, and nothing is on its way")
    assert set(ended) == {"finished"}
    return [line["body"] for line in told(site)[before:]]


def edit(site: Installation, record: str, change: str) -> None:
    """A person's edit in the CRM; the review itself reads it."""
    site.revops("crm", "set", record, change, "--as", "ana")


def test_a_finding_that_two_agents_raise_reaches_its_rep_once_and_again_when_it_has_changed(site: Installation) -> None:
    install(site, COVERAGE_FIRST)
    with site.up():
        assert review(site) == ["d1: find a champion (low)"], "two agents, one finding, one message"
        assert review(site) == [], "the next review repeats nothing"

        edit(site, "deal:d1", "amount=90000")
        assert review(site) == ["d1: find a champion (high)"], "what got worse is told again"

        edit(site, "contact:c2", "hs_buying_role=CHAMPION")
        assert review(site) == [], "good news is no alert"

        edit(site, "contact:c2", "hs_buying_role=END_USER")
        assert review(site) == ["d1: find a champion (high)"], "what comes back is told again"
        flags = [entry["what"] for entry in site.audit("--record", "deal:d1") if entry["rule"] == "missing_roles"]
    assert flags == ["flag.raised", "flag.raised", "flag.cleared", "flag.raised", "flag.raised"]


def test_what_the_summary_has_told_no_agent_tells_after_it(site: Installation) -> None:
    install(site, SUMMARY_FIRST)
    with site.up():
        (summary,) = review(site)
        assert "1 new finding on 1 deal (1 low)" in summary
        assert "Acme renewal" in summary
        assert review(site) == []
