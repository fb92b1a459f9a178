"""Lead alert: a short brief to the owner of a new lead, at most once per lead and owner.

Settings: `channel` (where to; default "owner"), `channels` {owner: channel}, `names` {owner: name}, `quiet_grades`
(["D"]: grades, or letters of grades, that nobody is told), `hot_grades` (["A1", "A2", "B1"]), `first_steps` {grade, its
letter or "default": text}, `link` ("https://.../{id}"; also {kind} and {record}).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from agents.evidence.reading import first
from revops_lite import Notice, Proposal, Skip, Snapshot, agent

FIRST_STEPS = {
    "A": "Call within the hour; offer a time tomorrow.",
    "B": "Write today, with one question about what they are looking for.",
    "C": "Add to the nurture sequence; look again when they reply.",
    "D": "No action; check the record for mistakes.",
    "default": "Look at the record, then decide: the lead has no grade yet.",
}


def by_grade(table: Mapping[str, Any], grade: str) -> str:
    """The text for a grade ("A1"), else for its letter, else the default."""
    return str(table.get(grade) or table.get(grade[:1]) or table.get("default", ""))


def named(grade: str, grades: Any) -> bool:
    return bool(grade) and (grade in grades or grade[0] in grades)


def who(lead: Snapshot) -> list[str]:
    """Name, title, company and address, each only where it is known."""
    company, contact = (next(iter(lead.related.get(kind, [])), None) for kind in ("company", "contact"))
    people = [contact, lead]
    name = f"{first(people, 'firstname')} {first(people, 'lastname')}".strip() or first(people, "email") or lead.record
    at = first([company], "name", "company_name") or first([lead], "company")
    size = first([company], "numberofemployees", "employee_band")
    facts = [
        first([company], "industry"),
        f"{size} employees" if size else "",
        first([company, contact, lead], "country", "region"),
    ]
    title = first(people, "jobtitle", "job_title")
    lines = [f"Who: {name[:120]}" + (f", {title[:120]}" if title else "") + (f" at {at[:120]}" if at else "")]
    if any(facts):
        lines.append("Company: " + ", ".join(f[:80] for f in facts if f))
    lines.extend(
        f"{label}: {found[:120]}"
        for label, key in (("Email", "email"), ("Phone", "phone"))
        if (found := first(people, key))
    )
    return lines


def why(lead: Snapshot) -> list[str]:
    """The two lines of the score's reasons (intent is "why now"), then why it came to this owner."""
    fit, _, intent = str(lead.get("revops_score_reasons") or "").partition("\n")
    said = [("Why now", intent), ("Fit", fit), ("Routed by", first([lead], "revops_route_reason"))]
    return [f"{label}: {' '.join(told.split())[:350]}" for label, told in said if told]


@agent
def alert(lead: Snapshot) -> Proposal:
    """Tells the owner of a new lead who it is, why now, and what to do first."""
    s = lead.settings
    owner = first([lead], "hubspot_owner_id")
    if not owner:
        raise Skip("the lead has no owner")
    grade = first([lead], "revops_grade")
    if named(grade, s.get("quiet_grades", ["D"])):
        raise Skip(f"grade {grade} is quiet")
    person, name = who(lead)[0].removeprefix("Who: "), s.get("names", {}).get(owner, owner)
    hot = "Hot lead" if named(grade, s.get("hot_grades", ["A1", "A2", "B1"])) else "New lead"
    subject = f"{hot}{f' ({grade})' if grade else ''}: {person}"[:150]
    step = by_grade({**FIRST_STEPS, **s.get("first_steps", {})}, grade)
    lines = [f"For: {name}", *who(lead), *why(lead), f"First step: {step[:200]}"]
    if template := str(s.get("link", "")):
        parts = {"{id}": lead.id, "{kind}": lead.kind, "{record}": lead.record}
        for name, value in parts.items():
            template = template.replace(name, quote(value, safe="", errors="replace"))
        lines.append(f"Link: {template[:300]}")
    to = s.get("channels", {}).get(owner) or s.get("channel", "owner")
    notice = Notice(str(to), subject, "\n".join(lines)[:1990], f"lead-alert:{lead.record}:{owner}")
    return Proposal(notices=[notice], because=f"owner {owner}, {f'grade {grade}' if grade else 'no grade yet'}")
