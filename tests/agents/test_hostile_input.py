"""Whatever stands in a record, an agent answers: with values its own schema accepts, or with a reason to skip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_snapshots import lead, snap
from agents.deals.reading import DEFAULTS as DEALS
from agents.enrichment import enrich
from agents.evidence.reading import FIELDS
from agents.lead_alert import alert
from agents.risk_alert import summarize
from agents.roll_up import roll_up
from agents.routing import route
from agents.scoring import score
from revops_lite import Flag, Gathered, Proposal, Skip, Snapshot
from revops_lite.host.proposals import normalise
from revops_lite.registry import ATTRIBUTE

Agent = Callable[[Any], Proposal | list[Proposal]]
OF_REVIEWS = {"revops_win_probability", "revops_risk_level", "revops_risk_summary", "revops_forecast_category"}
AGENTS: list[Agent] = [enrich, score, route, alert]
NAMES = sorted(
    {column for columns in FIELDS.values() for column in columns}
    | {"email", "jobtitle", "firstname", "lastname", "phone", "company", "description", "hs_seniority", "hs_role"}
    | {"hubspot_owner_id", "hs_lead_status", "revops_grade", "revops_score_reasons", "revops_route_reason"}
    | {"demo_requested_at", "pricing_page_views", "last_pricing_view_at", "content_downloads", "webinar_at"}
    | {"lead_source", "is_sql", "hs_email_optout", "product_interest", "seniority", "role_function", "createdate"}
)
HOSTILE: list[Any] = [
    None,
    "",
    " \t\n",
    "\x00\x1b[31m\u202e\ud800",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "{0.__class__}{id}%s%n",
    "9" * 5000,
    "²³",
    "٣٤",
    "1e999",
    "0",
    "9999-12-31T23:59:59+23:59",
    "0001-01-01T00:00:00-23:59",
    "a@b@c.d",
    "." * 300,
    "1,,,,2----3",
    "é" * 3000,
    -1,
    0,
    10**400,
    float("nan"),
    float("inf"),
    -0.0,
    True,
    False,
    [],
    [None, {"a": []}],
    {"a": {"b": None}},
]
RULES = {
    "competitors": ["rival.com"],
    "reps": [{"id": "ana", "weight": 2}, {"id": "ben", "capacity": 1, "open_leads": 1, "backup": "ana"}],
    "named_accounts": {"acme.com": "ben"},
    "territories": [{"name": "t", "countries": ["US"], "employees": [1, 10], "reps": ["ben"]}],
    "products": {"x": ["ana"]},
    "link": "https://crm.example.com/{id}",
}
values = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.sampled_from(HOSTILE), st.text(), st.floats()), max_size=12
)


def check(proposal: Proposal, call: Agent) -> None:
    schema = getattr(call, ATTRIBUTE).writes
    if schema is not None:
        shown = proposal.values.model_dump(mode="json", exclude_none=True)
        assert shown
        schema.model_validate_json(json.dumps(shown), strict=True)
    given_confidence = proposal.confidence
    sure = [given_confidence] if isinstance(given_confidence, (int, float)) else list(given_confidence.values())
    assert all(0 <= value <= 1 for value in sure)
    assert proposal.because
    for notice in proposal.notices:
        assert len(notice.body) < 2000
        assert notice.to


def try_all(snapshot_values: dict[str, Any], company: dict[str, Any] | None, contact: dict[str, Any] | None) -> None:
    for call in AGENTS:
        found = answer(call, lead(snapshot_values, company=company, contact=contact, settings=RULES))
        for proposal in found:
            check(proposal, call)


def answer(call: Agent, asked: Snapshot | Gathered) -> list[Proposal]:
    try:
        found = call(asked)
    except Skip:
        return []
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:30])
def test_one_hostile_value_in_every_field_at_once(value: Any) -> None:
    everywhere = dict.fromkeys(NAMES, value)
    try_all(everywhere, everywhere, everywhere)
    try_all({}, everywhere, {})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values, st.none() | values, st.none() | values)
def test_any_mixture_of_values_is_answered(
    own: dict[str, Any], company: dict[str, Any] | None, contact: dict[str, Any] | None
) -> None:
    try_all(own, company, contact)


def test_a_registry_full_of_rubbish_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "registry.csv"
    path.write_bytes(
        b'name,domain,numberofemployees,city\nAcme,acme.com,"-3\n,,\xff\xfe\n"more",than,there,are,columns\n'
    )
    found = enrich(lead({"email": "jo@acme.com", "jobtitle": "CFO"}, company={}, settings={"registry": str(path)}))
    for proposal in found:
        check(proposal, enrich)


def test_doing_it_twice_gives_the_same() -> None:
    asked = lead(
        {"jobtitle": "CFO", "email": "jo@acme.com", "hubspot_owner_id": "ana"},
        company={"name": "Acme", "employee_band": "1-49", "description": "freight since 1990, on aws"},
        settings=RULES,
    )
    for call in AGENTS:
        assert call(asked) == call(asked)


def test_groups_of_deals_are_answered_whatever_stands_in_them() -> None:
    columns = sorted({column for names in DEALS["fields"].values() for column in names} | OF_REVIEWS)
    deals = [
        snap(f"deal:{number}", dict.fromkeys(columns, value) | {"is_closed": False}, flags=(Flag("x", "high", "y"),))
        for number, value in enumerate(HOSTILE)
    ]
    for deal in deals:
        for name in ("close_outcome", "hs_is_closed_won", "hs_is_closed", "dealstage", "stage"):
            deal.values.pop(name)  # type: ignore[attr-defined]  # so that none counts as closed
    for call, of in ((summarize, "owner:x"), (roll_up, "workflow:w")):
        (proposal,) = answer(call, Gathered(deals, snap(of, {"review_memory": deals[3].values["amount"]})))
        assert normalise(proposal).problems == []
        assert len(proposal.notices) == 1
        for notice in proposal.notices:
            assert len(notice.body) < 2000
