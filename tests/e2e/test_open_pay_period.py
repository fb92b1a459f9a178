"""An agent, a deal and an open pay period: the CRM's file is the witness of what was written, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from installation import Installation, until

pytestmark = pytest.mark.real

TIDY = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Tidied(BaseModel):
    amount: float | None = None
    dealname: str | None = None

@agent(writes=Tidied)
def tidy(deal: Snapshot) -> Proposal:
    return Proposal(Tidied(amount=1250.0, dealname="Acme renewal"), because="the signed order form")
"""
PAY = '[governance.pay]\nplan = "plan.toml"\n'


def install(site: Installation, state: str) -> str:
    """One deal, an agent that changes its amount and name, and a pay period around today. Returns its days."""
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=40), today + timedelta(days=40)
    site.configure({"tidy": "tidy"}, {"tidying": 'on = "deal.created"\nsteps = [{ agent = "tidy" }]'}, extra=PAY)
    if state == "absent":
        config = (site.root / "config.toml").read_text("utf-8")
        site.file("config.toml", config.replace(PAY, ""))
    site.file("plan.toml", f'[[periods]]\nstart = {first}\nend = {last}\nstate = "{state}"\n')
    site.agent("tidy", TIDY)
    site.crm("deal", {"d1": {"amount": "1000.00", "dealname": "acme"}})
    return f"{first} to {last}"


def amounts(site: Installation) -> list[tuple[float, float]]:
    """What we have written to the deal's amount: before and after."""
    return [(row["before"], row["after"]) for row in site.changes("deal:d1") if row["field"] == "amount"]


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_deals_amount_is_not_changed_before_a_person_says_so(site: Installation, decision: str) -> None:
    days = install(site, "open")
    with site.up():
        until(lambda: site.settled() == {"finished": 1}, "the agent's run has ended")
        assert amounts(site) == []
        assert site.crm_record("deal:d1")["amount"] == 1000.0
        assert site.crm_record("deal:d1")["dealname"] == "Acme renewal", "what pays nobody is written"
        (item,) = site.reviews()
        assert (item["reason"], item["record"], item["field"]) == ("sensitive", "deal:d1", "amount")
        assert (item["current"], item["proposed"], item["agent"]) == (1000.0, 1250.0, "tidy")
        rule = f"deal.amount pays in the open pay period {days}; only a person may change it"
        assert item["problems"] == [rule]
        assert rule in site.revops("explain", "deal:d1.amount").out

        site.revops(
            "review", decision, item["id"], "--as", "ana", *(("--note", "not signed") if decision == "reject" else ())
        )
        until(lambda: not site.reviews(), "the decision is taken in")
        until(site.settled, "nothing is on its way")
        written = [(1000.0, 1250.0)] if decision == "approve" else []
        assert amounts(site) == written
        site.revops("review", "approve", item["id"], code=5)
        assert amounts(site) == written
    (decided,) = [entry for entry in site.audit() if entry["what"] == "review.decided"]
    assert (decided["who"], decided["field"], decided["after"]) == ("ana", "amount", 1250.0)
    assert site.crm_record("deal:d1")["amount"] == (1250.0 if decision == "approve" else 1000.0)


def test_a_block_survives_a_kill_between_the_question_and_its_answer(site: Installation) -> None:
    install(site, "open")
    with site.up() as up:
        until(lambda: site.settled() == {"finished": 1}, "the agent's run has ended")
        up.kill()
    with site.up():
        (item,) = site.reviews()
        assert amounts(site) == []
        site.revops("review", "approve", item["id"], "--as", "ana")
        until(lambda: amounts(site), "the approved value is written")
        until(site.settled, "nothing is on its way")
    assert amounts(site) == [(1000.0, 1250.0)]


@pytest.mark.parametrize("state", ["closed", "absent"])
def test_outside_of_an_open_period_the_value_is_written_at_once(site: Installation, state: str) -> None:
    install(site, state)
    with site.up():
        until(lambda: site.settled() == {"finished": 1}, "the agent's run has ended")
        assert site.reviews() == []
    assert amounts(site) == [(1000.0, 1250.0)]


def test_nothing_starts_with_a_plan_that_is_wrong(site: Installation) -> None:
    install(site, "open")
    plan = (site.root / "plan.toml").read_text("utf-8")
    site.file("plan.toml", plan.replace('"open"', '"opne"'))
    told = site.revops("check", code=6)
    assert "plan.toml:4: periods[0].state: unknown state 'opne'; did you mean 'open'?" in told.out + told.err
    assert "periods[0].state" in site.revops("up", code=4).err
