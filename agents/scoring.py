"""Scoring: how well a lead fits (0..100), how much it wants (0..100), and the grade of both (A1..D4).

Fit is the weighted mean over what is known: missing data lowers the confidence, never the fit. Intent adds up signals,
each halved every 14 days, less the penalties. Confidence in fit and grade is 0.5 + 0.45 x the share of the weights that
is known (one missing field alone never takes it below 0.8): a grade made of almost nothing waits for review.

Settings: any key of data/scoring.toml, which has the defaults and says what each means.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from agents.evidence.reading import WORDS, domain_of, first, moment, place, span, text, yes
from revops_lite import Proposal, Snapshot, agent

DEFAULTS = tomllib.loads((Path(__file__).parent / "data" / "scoring.toml").read_text(encoding="utf-8"))
ACTIVITIES = ("activities", "activity", "touches", "touch", "sessions", "session")  # relations, where included
TYPES = ("activity_type", "touch_type", "session_type", "type")
TIMES = ("activity_timestamp", "touch_timestamp", "session_timestamp", "timestamp", "at", "createdate")


class Score(BaseModel):
    """The lead's scores. The reasons are two lines, "Fit ..." and "Intent ...", for people."""

    revops_fit: int = Field(ge=0, le=100)
    revops_intent: int = Field(ge=0, le=100)
    revops_grade: str = Field(pattern=r"^[A-D][1-4]$")
    revops_score_reasons: str = Field(max_length=2000)


class Part(NamedTuple):
    """One component of the fit: `match` 0..1, None where the data is missing."""

    name: str
    match: float | None
    told: str


def size_match(size: tuple[float, float], ideal: list[float]) -> float:
    """1 inside the ideal range, else the ratio to its nearer end."""
    middle = sum(size) / 2 if size[1] < float("inf") else size[0]
    return min(1.0, middle / max(1.0, ideal[0]), max(1.0, ideal[1]) / max(1.0, middle))


def fit_parts(lead: Snapshot, company: Snapshot | None, person: Snapshot, s: Mapping[str, Any]) -> Iterator[Part]:
    industry = first([company, lead], "industry").lower()
    yield Part("industry", s["industries"].get(industry, 0.0) if industry else None, industry)
    told = first([company, lead], "numberofemployees", "employee_band")
    yield Part("size", size_match(size, s["size"]) if (size := span(told)) else None, f"{told} employees")
    country = first([lead, person, company], "country", "region")
    served = place(country) in map(place, s["countries"])
    yield Part("geography", float(served) if country else None, country)
    used = company.get("web_technologies") if company else None
    techs = {text(t).lower() for t in (used if isinstance(used, list) else text(used, 2000).split(";"))} - {""}
    wanted = techs & set(s["technologies"])
    yield Part("technology", min(1.0, len(wanted) / 2) if techs else None, ", ".join(sorted(wanted)) or "none we want")
    rank, role = first([person, lead], "hs_seniority", "seniority"), first([person, lead], "hs_role", "role_function")
    points = [table.get(word.lower(), 0.0) for table, word in ((s["seniorities"], rank), (s["roles"], role)) if word]
    yield Part("seniority", sum(points) / len(points) if points else None, f"{rank} {role}".strip())


def signals(lead: Snapshot, s: Mapping[str, Any]) -> Iterator[tuple[str, int, datetime | None]]:
    """(signal, how many, when the last one was) from the lead's own fields and from related activities."""
    for name, signal in s["dated_fields"].items():
        if when := moment(lead.get(name)):
            yield signal, 1, when
    for name, (signal, dated) in s["counted_fields"].items():
        if (count := span(lead.get(name))) and count[0] >= 1:
            yield signal, int(min(count[0], 1000)), moment(lead.get(dated)) or moment(lead.get("createdate"))
    for activity in (a for role in ACTIVITIES for a in lead.related.get(role, [])):
        kind = first([activity], *TYPES).lower()
        yield s["activity_types"].get(kind, kind), 1, moment(first([activity], *TIMES))


def intent_of(lead: Snapshot, email: str, s: Mapping[str, Any]) -> tuple[int, str]:
    """Points 0..100 and where they come from. A signal without a time, or of the future, counts nothing."""
    points: dict[str, float] = {}
    for signal, count, when in signals(lead, s):
        age = (lead.now - when).total_seconds() / 86400 if when else float("-inf")
        if (each := s["signals"].get(signal, 0)) and age >= -1:
            cap = s["caps"].get(signal, each)
            fresh = min(cap, each * count) * 0.5 ** (max(0.0, age) / s["half_life_days"])
            points[signal] = min(cap, points.get(signal, 0) + fresh)
    source = first([lead], "lead_source", "hs_analytics_source").lower()
    points[f"source {source}"] = s["lead_sources"].get(source, 0)
    points["sales qualified"] = s["qualified_points"] if yes(lead.get("is_sql")) else 0
    points["free mail"] = -s["free_mail_penalty"] if email.rpartition("@")[2] in WORDS["free_mail"] else 0
    gone = yes(lead.get("hs_email_optout")) or text(lead.get("unsubscribed_at"))
    points["unsubscribed"] = -s["unsubscribe_penalty"] if gone else 0
    told = ", ".join(
        f"{name.replace('_', ' ')} {value:+.0f}"
        for name, value in sorted(points.items(), key=lambda point: -point[1])
        if value
    )
    return max(0, min(100, round(sum(points.values())))), told or "no signal"


def disqualified(email: str, title: str, s: Mapping[str, Any]) -> str:
    if domain_of(email) in s["competitors"]:
        return f"a competitor's address ({domain_of(email)})"
    return "a student" if set(title.lower().split()) & set(s["student_titles"]) else ""


def fit_of(parts: list[Part], weights: Mapping[str, float]) -> tuple[int, float, str, str]:
    """Fit 0..100, confidence 0..1, the reasons, and what it rests on."""
    known = {p.name: p.match for p in parts if p.match is not None}
    missing = [p.name for p in parts if p.name not in known]
    because = f"{len(known)} of {len(parts)} fit components known" + "".join(f", no {name}" for name in missing)
    if not (weight := sum(weights[name] for name in known)):
        return 50, 0.3, "nothing known", because
    fit = round(100 * sum(match * weights[name] for name, match in known.items()) / weight)
    sure = 0.5 + 0.45 * weight / sum(weights[p.name] for p in parts)
    earned = [
        f"{p.name} {p.told} {p.match * weights[p.name]:.0f}/{weights[p.name]:.0f}" for p in parts if p.match is not None
    ]
    return max(0, min(100, fit)), round(max(sure, 0.8) if len(missing) == 1 else sure, 2), ", ".join(earned), because


@agent(writes=Score)
def score(lead: Snapshot) -> Proposal:
    """Fit, intent and grade of a lead, with the reasons."""
    s = DEFAULTS | dict(lead.settings)
    company = next(iter(lead.related.get("company", [])), None)
    person = next(iter(lead.related.get("contact", [])), lead)
    email = first([lead, person], "email").lower()
    if why := disqualified(email, first([person, lead], "jobtitle", "job_title"), s):
        none = Score(revops_fit=0, revops_intent=0, revops_grade="D4", revops_score_reasons=f"Disqualified: {why}")
        return Proposal(none, 0.95, f"disqualified: {why}")
    parts = [p for p in fit_parts(lead, company, person, s) if s["weights"].get(p.name)]
    fit, sure, earned, because = fit_of(parts, s["weights"])
    intent, signs = intent_of(lead, email, s)
    letter = "ABCD"[sum(fit < limit for limit in s["grades"]["fit"])]
    number = "1234"[sum(intent < limit for limit in s["grades"]["intent"])]
    reasons = f"Fit {fit}: {earned}\nIntent {intent}: {signs}"[:2000]
    values = Score(revops_fit=fit, revops_intent=intent, revops_grade=letter + number, revops_score_reasons=reasons)
    return Proposal(values, {"revops_intent": 0.9, "*": sure}, because)
