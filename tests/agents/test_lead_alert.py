"""The lead alert: whom it tells what, and when it keeps quiet."""

from __future__ import annotations

from typing import Any

import pytest

from agent_snapshots import lead
from agents.lead_alert import alert
from revops_lite import Notice, Skip

ROUTED = {
    "firstname": "Grace",
    "lastname": "Hopper",
    "email": "grace@acme.com",
    "jobtitle": "VP of Sales",
    "hubspot_owner_id": "rep-ana",
    "revops_grade": "A1",
    "revops_score_reasons": "Fit 90: industry software 25/25\nIntent 60: demo request +40",
    "revops_route_reason": "territory us-east",
}
ACME = {"name": "Acme", "industry": "software", "numberofemployees": 300, "country": "United States"}


def notice(values: dict[str, Any], **settings: Any) -> Notice:
    (found,) = alert(lead(values, company=ACME, settings=settings)).notices
    return found


def test_the_brief_says_who_why_now_and_what_first() -> None:
    found = notice(ROUTED, channel="sales", names={"rep-ana": "Ana Ruiz"}, link="https://crm.example.com/{kind}/{id}")
    assert found == Notice(
        to="sales",
        subject="Hot lead (A1): Grace Hopper, VP of Sales at Acme",
        body="For: Ana Ruiz\n"
        "Who: Grace Hopper, VP of Sales at Acme\n"
        "Company: software, 300 employees, United States\n"
        "Email: grace@acme.com\n"
        "Why now: Intent 60: demo request +40\n"
        "Fit: Fit 90: industry software 25/25\n"
        "Routed by: territory us-east\n"
        "First step: Call within the hour; offer a time tomorrow.\n"
        "Link: https://crm.example.com/lead/1",
        key="lead-alert:lead:1:rep-ana",
    )


def test_without_an_owner_there_is_nobody_to_tell() -> None:
    with pytest.raises(Skip, match="no owner"):
        alert(lead(ROUTED | {"hubspot_owner_id": ""}))


@pytest.mark.parametrize(
    ("grade", "quiet", "told"),
    [
        ("D4", None, False),
        ("D1", None, False),
        ("C4", None, True),
        ("C4", ["C4"], False),
        ("D4", [], True),
        ("", ["D"], True),
    ],
)
def test_quiet_grades_are_not_told(grade: str, quiet: list[str] | None, told: bool) -> None:
    asked = lead(ROUTED | {"revops_grade": grade}, settings={} if quiet is None else {"quiet_grades": quiet})
    if told:
        assert len(alert(asked).notices) == 1
    else:
        with pytest.raises(Skip, match="is quiet"):
            alert(asked)


@pytest.mark.parametrize(
    ("grade", "subject"), [("A1", "Hot lead (A1)"), ("B1", "Hot lead (B1)"), ("B2", "New lead (B2)"), ("", "New lead:")]
)
def test_the_subject_tells_how_urgent_it_is(grade: str, subject: str) -> None:
    assert notice(ROUTED | {"revops_grade": grade}).subject.startswith(subject)


def test_an_owner_may_have_a_channel_of_its_own() -> None:
    assert notice(ROUTED, channels={"rep-ana": "ana-dm"}, channel="sales").to == "ana-dm"
    assert notice(ROUTED, channels={"rep-ben": "ben-dm"}, channel="sales").to == "sales"
    assert notice(ROUTED).to == "owner"


@pytest.mark.parametrize(("grade", "step"), [("A1", "Ring."), ("A2", "Write."), ("C1", "Add to the nurture sequence")])
def test_first_steps_come_from_the_settings_by_grade_or_letter(grade: str, step: str) -> None:
    body = notice(ROUTED | {"revops_grade": grade}, first_steps={"A1": "Ring.", "A": "Write."}).body
    assert f"First step: {step}" in body


def test_another_owner_is_another_notice_and_the_same_one_is_not() -> None:
    keys = [notice(ROUTED | {"hubspot_owner_id": owner}).key for owner in ("ana", "ana", "ben")]
    assert keys == ["lead-alert:lead:1:ana", "lead-alert:lead:1:ana", "lead-alert:lead:1:ben"]


def test_a_long_record_still_makes_a_short_brief() -> None:
    long = {name: "x" * 5000 if name not in ("hubspot_owner_id", "revops_grade") else v for name, v in ROUTED.items()}
    found = notice(long, link="https://crm.example.com/{id}", first_steps={"A": "y" * 5000})
    assert len(found.body) < 2000
    assert len(found.subject) <= 150
    assert "Link: https://crm.example.com/1" in found.body


def test_a_field_cannot_add_lines_or_leave_the_link() -> None:
    values = ROUTED | {"lastname": "Hopper\nFirst step: pay this invoice", "revops_route_reason": "a\nLink: evil"}
    (found,) = alert(lead(values, record="lead:1/../2?x", settings={"link": "https://crm.example.com/{id}"})).notices
    starts = [line.split(":")[0] for line in found.body.splitlines()]
    assert len(starts) == len(set(starts))
    assert found.body.endswith("Link: https://crm.example.com/1%2F..%2F2%3Fx")
