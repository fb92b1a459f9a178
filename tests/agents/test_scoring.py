"""Scoring: fit, intent, grade, and how sure it is of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent_snapshots import NOW, confidence_of, lead, snap, values_of
from agents.scoring import score

IDEAL = {
    "industry": "software",
    "numberofemployees": 300,
    "country": "United States",
    "web_technologies": "hubspot;salesforce",
}
BUYER = {"hs_seniority": "vp", "hs_role": "sales"}


def days_ago(days: float) -> str:
    return (NOW - timedelta(days=days)).isoformat()


def test_the_ideal_customer_with_a_demo_request_of_today_is_an_a2() -> None:
    found = score(lead({"demo_requested_at": days_ago(0)}, company=IDEAL, contact=BUYER))
    assert {k: v for k, v in values_of(found).items() if k != "revops_score_reasons"} == {
        "revops_fit": 100,
        "revops_intent": 40,
        "revops_grade": "A2",
    }
    assert confidence_of(found, "revops_grade") == 0.95


FITS = [
    # what differs from the ideal, fit
    ({}, 100),
    ({"industry": "hospitality"}, 75),
    ({"industry": "professional_services"}, 92),
    ({"numberofemployees": 25}, 88),
    ({"numberofemployees": 4000}, 88),
    ({"numberofemployees": 1}, 76),
    ({"country": "Antarctica"}, 90),
    ({"country": "USA"}, 100),
    ({"web_technologies": "hubspot"}, 90),
    ({"web_technologies": "wordpress"}, 80),
    ({"web_technologies": ["hubspot", "segment"]}, 100),
]


@pytest.mark.parametrize(("differs", "fit"), FITS)
def test_fit_is_the_weighted_sum_of_its_parts(differs: dict[str, Any], fit: int) -> None:
    assert values_of(score(lead(company=IDEAL | differs, contact=BUYER)))["revops_fit"] == fit


@pytest.mark.parametrize("missing", ["industry", "numberofemployees", "country", "web_technologies"])
def test_one_missing_field_lowers_the_confidence_but_not_the_fit_and_asks_nobody(missing: str) -> None:
    known = {name: value for name, value in IDEAL.items() if name != missing}
    found = score(lead(company=known, contact=BUYER))
    assert values_of(found)["revops_fit"] == 100
    assert 0.8 <= confidence_of(found, "revops_grade") < 0.95
    assert "no " in found.because


def test_even_the_heaviest_field_alone_asks_nobody() -> None:
    weights = {"industry": 90, "seniority": 10}
    found = score(lead(contact=BUYER, settings={"weights": weights}))
    assert confidence_of(found, "revops_grade") == 0.8


def test_a_grade_made_of_almost_nothing_waits_for_review() -> None:
    assert confidence_of(score(lead({"country": "US"})), "revops_grade") < 0.6
    nothing = score(lead())
    assert confidence_of(nothing, "revops_grade") == 0.3
    assert values_of(nothing)["revops_fit"] == 50


def test_intent_is_sure_even_where_the_fit_is_not() -> None:
    assert confidence_of(score(lead({"demo_requested_at": days_ago(1)})), "revops_intent") == 0.9


INTENTS = [
    ({"demo_requested_at": days_ago(0)}, 40),
    ({"demo_requested_at": days_ago(14)}, 20),
    ({"demo_requested_at": days_ago(28)}, 10),
    ({"demo_requested_at": NOW.timestamp() * 1000}, 40),
    ({"demo_requested_at": days_ago(-3)}, 0),
    ({"demo_requested_at": "soon"}, 0),
    ({"pricing_page_views": 1, "last_pricing_view_at": days_ago(0)}, 15),
    ({"pricing_page_views": 9, "last_pricing_view_at": days_ago(0)}, 30),
    ({"pricing_page_views": "2", "createdate": days_ago(0)}, 30),
    ({"pricing_page_views": 2}, 0),
    ({"last_reply_at": days_ago(0), "webinar_at": days_ago(0)}, 25),
    ({"content_downloads": 3, "last_download_at": days_ago(0)}, 5),
    ({"demo_requested_at": days_ago(0), "email": "jo@gmail.com"}, 25),
    ({"demo_requested_at": days_ago(0), "hs_email_optout": "true"}, 10),
    ({"email": "jo@gmail.com"}, 0),
    ({"lead_source": "inbound_marketing", "is_sql": True}, 25),
]


@pytest.mark.parametrize(("values", "intent"), INTENTS)
def test_intent_adds_up_signals_that_fade(values: dict[str, Any], intent: int) -> None:
    assert values_of(score(lead(values)))["revops_intent"] == intent


def test_related_activities_are_signals_up_to_the_cap_of_their_kind() -> None:
    views = [snap(f"session:{n}", {"session_type": "pricing_page", "timestamp": days_ago(0)}) for n in range(5)]
    touches = [
        snap("touch:1", {"touch_type": "webinar", "touch_timestamp": days_ago(14)}),
        snap("touch:2", {"touch_type": "email_open", "touch_timestamp": days_ago(0)}),
        snap("touch:3", {"touch_type": "carrier pigeon", "touch_timestamp": days_ago(0)}),
    ]
    found = values_of(score(lead(related={"sessions": views, "touches": touches})))
    assert found["revops_intent"] == 35
    assert "pricing page +30, webinar +5" in found["revops_score_reasons"]


DISQUALIFIED = [
    ({"email": "spy@eu.rival.com"}, "a competitor's address (rival.com)"),
    ({"jobtitle": "PhD Student"}, "a student"),
]


@pytest.mark.parametrize(("values", "why"), DISQUALIFIED)
def test_competitors_and_students_are_disqualified(values: dict[str, Any], why: str) -> None:
    asked = lead({"demo_requested_at": days_ago(0)} | values, company=IDEAL, settings={"competitors": ["rival.com"]})
    found = values_of(score(asked))
    assert (found["revops_grade"], found["revops_fit"], found["revops_intent"]) == ("D4", 0, 0)
    assert why in found["revops_score_reasons"]


GRADES = [(75, "A"), (74, "B"), (50, "B"), (49, "C"), (25, "C"), (24, "D")]


@pytest.mark.parametrize(("fit", "letter"), GRADES)
def test_grades_change_at_their_limits(fit: int, letter: str) -> None:
    settings = {"weights": {"industry": 1}, "industries": {"software": fit / 100}}
    assert values_of(score(lead(company={"industry": "Software"}, settings=settings)))["revops_grade"] == f"{letter}4"


def test_weights_and_tables_come_from_the_settings() -> None:
    settings = {"weights": {"industry": 50, "size": 50}, "industries": {"hospitality": 1}, "size": [1, 10]}
    found = values_of(score(lead(company={"industry": "hospitality", "numberofemployees": 20}, settings=settings)))
    assert found["revops_fit"] == 75
    assert "industry hospitality 50/50, size 20 employees 25/50" in found["revops_score_reasons"]
