"""Routing: who gets a lead, by which rule, and that nobody's lead does not exist."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_snapshots import NOW, confidence_of, lead, values_of
from agents.routing import pick, route
from revops_lite import Proposal, Skip

SETTINGS: dict[str, Any] = {
    "queue_owner": "queue",
    "countries": ["US", "Canada", "Germany"],
    "reps": [
        {"id": "ana", "weight": 2, "backup": "ben"},
        {"id": "ben"},
        {"id": "chloe", "capacity": 10, "open_leads": 10},
        {"id": "dev", "out_of_office": ["2026-01-01", "2026-06-10/2026-06-15"]},
        {"id": "emil", "weight": 0, "backup": "ben"},
    ],
    "named_accounts": {"acme.com": "ben", "Globex": "ana", "7": "ben"},
    "territories": [
        {"name": "big", "employees": [1000, 5_000_000], "reps": ["ana"]},
        {"name": "east", "countries": ["United States"], "states": ["NY", "MA"], "reps": ["ben"]},
        {"name": "europe", "countries": ["Germany"], "reps": ["chloe", "dev"]},
    ],
    "products": {"Analytics": ["ana"], "empty": []},
}

CASES = [
    # lead, company, contact, owner, reason
    ({}, {"hubspot_owner_id": "ben", "domain": "globex.com"}, {}, "ben", "owner of its company"),
    ({}, None, {"hubspot_owner_id": "ana"}, "ana", "owner of its contact"),
    (
        {},
        {"hubspot_owner_id": "gone", "domain": "acme.com"},
        {},
        "ben",
        "named account acme.com; gone not among the reps",
    ),
    ({}, {"hubspot_owner_id": "emil"}, {}, "ben", "owner of its company, as the backup; emil weight 0"),
    ({}, {"domain": "www.ACME.com", "numberofemployees": 5000}, {}, "ben", "named account acme.com"),
    ({"email": "jo@eu.acme.com"}, None, None, "ben", "named account acme.com"),
    ({}, {"name": "GLOBEX", "domain": "x.com"}, {}, "ana", "named account GLOBEX"),
    ({"country": "usa", "state": "ny"}, None, None, "ben", "territory east"),
    ({"country": "US", "state": "NY"}, {"id": 1, "employee_band": "2000+"}, None, "ana", "territory big"),
    ({"product_interest": "analytics", "country": "Canada"}, None, None, "ana", "product Analytics"),
]


def routed(proposal: Proposal) -> tuple[str, str]:
    values = values_of(proposal)
    return values["hubspot_owner_id"], values["revops_route_reason"]


@pytest.mark.parametrize(("values", "company", "contact", "owner", "reason"), CASES)
def test_the_first_rule_with_somebody_available_decides(
    values: dict[str, Any], company: dict[str, Any] | None, contact: dict[str, Any] | None, owner: str, reason: str
) -> None:
    settings = SETTINGS | {"named_accounts": {"acme.com": "ben", "Globex": "ana"}}
    found = route(lead(values, company=company, contact=contact, settings=settings))
    assert routed(found) == (owner, reason)
    assert confidence_of(found, "hubspot_owner_id") >= 0.9


def test_a_company_may_be_named_by_its_id() -> None:
    assert routed(route(lead(company={}, settings=SETTINGS))) == ("ben", "named account 7")


def test_those_who_are_full_or_away_are_passed_over_and_named() -> None:
    owner, reason = routed(route(lead({"country": "Germany"}, settings=SETTINGS)))
    assert owner in {"ana", "ben"}
    assert reason == "round-robin; chloe at capacity; dev out of office"


@pytest.mark.parametrize(
    ("now", "zone", "away"),
    [
        (datetime(2026, 6, 15, 23, 59, tzinfo=UTC), "UTC", True),
        (datetime(2026, 6, 16, 0, 0, tzinfo=UTC), "UTC", False),
        (datetime(2026, 6, 16, 3, 59, tzinfo=UTC), "America/New_York", True),
        (datetime(2026, 6, 16, 4, 0, tzinfo=UTC), "America/New_York", False),
        (datetime(2026, 1, 1, 12, 0, tzinfo=UTC), "UTC", True),
        (datetime(2026, 1, 2, 12, 0, tzinfo=UTC), "UTC", False),
    ],
)
def test_out_of_office_ends_with_its_last_day_in_the_configured_zone(now: datetime, zone: str, away: bool) -> None:
    owner, _ = routed(route(lead({"country": "DE"}, now=now, settings=SETTINGS | {"timezone": zone})))
    assert (owner != "dev") == away


def test_a_lead_that_nobody_serves_goes_to_the_queue_with_a_flag() -> None:
    found = route(lead({"country": "Antarctica"}, settings=SETTINGS))
    assert routed(found) == ("queue", "nobody for Antarctica")
    assert values_of(found)["hs_lead_status"] == "NEW"
    assert [flag.code for flag in found.flags] == ["unroutable"]


@pytest.mark.parametrize("settings", [{}, {"reps": []}, {"reps": [{"id": "a", "weight": 0}]}])
def test_without_anybody_the_queue_is_the_owner(settings: dict[str, Any]) -> None:
    assert routed(route(lead(settings=settings)))[0] == "queue"


def test_a_rep_for_an_unroutable_lead_clears_the_flag() -> None:
    found = route(lead({"hubspot_owner_id": "queue", "hs_lead_status": "NEW"}, settings=SETTINGS))
    assert found.clears == ["unroutable"]
    assert values_of(found)["hs_lead_status"] == "OPEN"


def test_a_lead_keeps_the_owner_it_has() -> None:
    values = values_of(route(lead({"hubspot_owner_id": "someone"}, company={"domain": "acme.com"}, settings=SETTINGS)))
    assert values == {"hs_lead_status": "OPEN", "revops_route_reason": "already had this owner"}


def test_a_routed_lead_is_not_routed_again() -> None:
    with pytest.raises(Skip, match="already with ana"):
        route(lead({"hubspot_owner_id": "ana", "revops_route_reason": "round-robin"}, settings=SETTINGS))


def test_a_lead_in_work_keeps_its_status() -> None:
    assert "hs_lead_status" not in values_of(route(lead({"hs_lead_status": "CONNECTED"}, settings=SETTINGS)))


def test_round_robin_gives_every_rep_the_share_of_its_weight() -> None:
    reps: list[dict[str, Any]] = [{"id": "a", "weight": 3}, {"id": "b", "weight": 2}, {"id": "c"}]
    counts = Counter(pick(f"lead:{n}", reps) for n in range(6000))
    assert all(abs(counts[name] - share) < 150 for name, share in {"a": 3000, "b": 2000, "c": 1000}.items())


def test_the_same_lead_always_gets_the_same_rep_and_only_a_missing_reps_leads_move() -> None:
    reps = [{"id": name} for name in "abcd"]
    before = {f"lead:{n}": pick(f"lead:{n}", reps) for n in range(400)}
    after = {record: pick(record, [r for r in reversed(reps) if r["id"] != "c"]) for record in before}
    assert {before[record] for record in before if before[record] != after[record]} == {"c"}


def test_a_date_that_is_none_is_refused_with_the_name_of_its_rep() -> None:
    settings = {"reps": [{"id": "ana", "out_of_office": ["next week"]}]}
    with pytest.raises(ValueError, match=r"settings\.reps: ana: 'next week' is not YYYY-MM-DD"):
        route(lead(settings=settings, now=NOW))
