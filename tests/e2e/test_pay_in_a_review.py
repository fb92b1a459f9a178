"""The review inside an open pay period: what agents may not change, and what the audit says of each flagged deal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from installation import Installation, until

pytestmark = pytest.mark.real

# Corrects the amounts that it is told of in its settings, and everybody's spelling.
TIDY = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Tidied(BaseModel):
    amount: float | None = None
    dealname: str | None = None


@agent(writes=Tidied)
def tidy(deal: Snapshot) -> Proposal:
    amount = deal.settings["amounts"].get(deal.id)
    return Proposal(Tidied(amount=amount, dealname=deal["dealname"].title()), because="the signed order form")
"""
PLAN = """\
version = "test.1"
currency = "USD"
quota = "100000.00"
rate = "0.10"
[[periods]]
start = {first}
end = {last}
state = "open"
"""
PAY = '[governance.pay]\nplan = "plan.toml"\n'
REVIEW = """
over = { kind = "deal", where = { is_closed = false } }
include = ["contacts"]
steps = [
  { agent = "deal_inspection" },
  { agent = "tidy" },
  { agent = "comp_audit", gather = "all", when = "flagged" },
]
"""
TODAY = datetime.now(UTC).date()
FIRST, LAST = TODAY - timedelta(days=40), TODAY + timedelta(days=40)
CORRECTED = {"corrected": 1250.0, "also_corrected": 3300.0}


def deal(close: date = TODAY + timedelta(days=10), **values: str) -> dict[str, str]:
    """An open deal of 1,000 USD that pays in the open period, without a next step: that is its flag."""
    given = {
        "dealname": "acme renewal",
        "amount": "1000.00",
        "deal_currency_code": "USD",
        "dealstage": "contractsent",
        "closedate": close.isoformat(),
        "hubspot_owner_id": "rep-ana",
        "notes_last_updated": TODAY.isoformat(),
        "createdate": TODAY.isoformat(),
        "is_closed": "false",
    }
    return given | values


DEALS = {
    "corrected": deal(),
    "also_corrected": deal(amount="3000.00", hubspot_owner_id="rep-ben"),
    "pays": deal(amount="2000.00"),
    "pays_later": deal(LAST + timedelta(days=30)),
    "typed_by_hand": deal(amount="about 5 grand"),
    "in_roubles": deal(deal_currency_code="RUB"),
    "edited": deal(LAST + timedelta(days=30), amount="700.00"),
    "calm": deal(hs_next_step="send the contract"),
    "won": deal(TODAY, dealstage="closedwon", is_closed="true"),
}
PEOPLE = {
    f"{name}.{role}": {"deal_id": name, "hs_buying_role": role}
    for name in DEALS
    for role in ("DECISION_MAKER", "CHAMPION")
}


def install(site: Installation, *, governed: bool) -> None:
    site.starter_agents()
    site.agent("tidy", TIDY)
    amounts = ", ".join(f"{name} = {amount}" for name, amount in CORRECTED.items())
    agents = {
        "deal_inspection": 'entry = "agents.deal_inspection:inspect"\nconfidence = 0.5',
        "tidy": f'entry = "agents.tidy:tidy"\nsettings = {{ amounts = {{ {amounts} }} }}',
        "comp_audit": 'entry = "agents.comp_audit:audit"\n'
        'settings = { plan = "plan.toml", tolerance = "0.00", timezone = "UTC" }',
    }
    site.configure(agents, {"deal_review": REVIEW}, extra=PAY if governed else "")
    site.file("plan.toml", PLAN.format(first=FIRST, last=LAST))
    site.crm("deal", DEALS)
    site.crm("contact", PEOPLE)
    site.revops("crm", "set", "deal:edited", "amount=900", "--as", "ana")


def review(site: Installation) -> dict[str, Any]:
    id_ = site.revops("workflow", "start", "deal_review").out.split()[1]
    until(site.settled, "the review has ended, and nothing is on its way")
    return site.run(id_)


def verdicts(site: Installation) -> dict[str, tuple[str, str]]:
    """Deal -> what the audit has written into the CRM: its verdict, and why."""
    deals = site.crm_records("deal")
    return {
        name: (str(fields["revops_comp_status"]), str(fields["revops_comp_reason"]))
        for name, fields in deals.items()
        if "revops_comp_status" in fields
    }


def amounts(site: Installation) -> dict[str, tuple[Any, Any]]:
    """Deal -> what we have written to its amount, before and after."""
    return {row["id"]: (row["before"], row["after"]) for row in site.changes() if row["field"] == "amount"}


def test_no_amount_is_changed_by_a_review_before_a_person_says_so(site: Installation) -> None:
    install(site, governed=True)
    with site.up():
        run = review(site)
        assert run["records"]["total"] == run["records"]["done"] == len(DEALS) - 1
        assert amounts(site) == {}
        names = {row["id"] for row in site.changes() if row["field"] == "dealname"}
        assert names == set(DEALS) - {"won"}, "what pays nobody is written"
        items = {item["record"].removeprefix("deal:"): item for item in site.reviews()}
        assert {name: item["proposed"] for name, item in items.items()} == CORRECTED
        rule = f"deal.amount pays in the open pay period {FIRST} to {LAST}; only a person may change it"
        for item in items.values():
            assert (item["reason"], item["field"], item["agent"], item["run"]) == (
                "sensitive",
                "amount",
                "tidy",
                run["id"],
            )
            assert item["problems"] == [rule]
        assert verdicts(site)["corrected"][0] == "warn", "a withheld value has changed nothing"

        site.revops("review", "approve", items["corrected"]["id"], "--as", "ana")
        site.revops("review", "reject", items["also_corrected"]["id"], "--as", "ana", "--note", "not signed")
        until(lambda: amounts(site), "the approved value is written")
        until(site.settled, "nothing is on its way")
        assert amounts(site) == {"corrected": ("1000.00", 1250.0)}

        review(site)
        status, why = verdicts(site)["corrected"]
        assert status == "warn", "what a person approved is that person's"
        assert why.startswith("with it the payout changes by rep-ana +125.00 USD")
        assert amounts(site).keys() == {"corrected"}


def blocked(site: Installation, name: str) -> str:
    """The beginning of a verdict, with the day on which the CRM says that it was."""
    [day] = {row["at"][:10] for row in site.changes(f"deal:{name}") if row["field"] == "amount"}
    return f"tidy changed amount on {day} in the open pay period {FIRST} to {LAST}; with it the payout changes by"


def test_each_flagged_open_deal_gets_its_verdict_and_no_other(site: Installation) -> None:
    install(site, governed=False)
    with site.up():
        run = review(site)
        assert amounts(site) == {"corrected": ("1000.00", 1250.0), "also_corrected": ("3000.00", 3300.0)}
        found = verdicts(site)
        ours = [row for row in site.changes() if row["field"] == "revops_comp_status"]
        assert review(site)["state"] == "finished"
        again = [row for row in site.changes() if row["field"] == "revops_comp_status"]
    assert found.keys() == DEALS.keys() - {"won", "calm"}, "of the flagged open ones, and of nobody else"
    assert {name: status for name, (status, _) in found.items()} == {
        "corrected": "block",
        "also_corrected": "block",
        "pays": "warn",
        "pays_later": "pass",
        "typed_by_hand": "warn",
        "in_roubles": "warn",
        "edited": "pass",
    }
    assert found["corrected"][1] == f"{blocked(site, 'corrected')} rep-ana +125.00 USD (plan test.1)"
    assert found["also_corrected"][1] == f"{blocked(site, 'also_corrected')} rep-ben +330.00 USD (plan test.1)"
    assert found["pays"][1] == "with it the payout changes by rep-ana +200.00 USD (plan test.1)"
    assert found["typed_by_hand"][1] == "the amount cannot be read (plan test.1)"
    assert found["in_roubles"][1].startswith("plan test.1 has no rate for RUB")
    assert found["edited"][1] == "no payout changes (plan test.1)"
    assert {w["record"] for w in run["writes"] if w["agent"] == "comp_audit"} == {f"deal:{name}" for name in found}
    assert again == ours, "the same verdict is not written again"
