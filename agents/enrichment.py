"""Enrichment: fills a lead's company, and its contact's seniority and role, from sources that are compared.

What the sources are stands in evidence/sources.py, what their word counts in evidence/weighing.py. A value that the
record already holds is left alone; one outside its field's bounds is left out.

Settings: `registry` (a .csv file, or an SQLite file with the table `registry_table`, default "companies"; by the
installation's folder), `sources` (["registry", "record", "email", "text"]; also "package.module:function"),
`min_sources` (1: fields that fewer sources support are not proposed), `tolerance` (0.2: numbers this close agree).
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from agents.evidence.reading import WORDS, Finding, mentioned, plain, spellings, text
from agents.evidence.sources import SOURCES
from agents.evidence.weighing import Judged, holds, judge
from revops_lite import Proposal, Skip, Snapshot, agent


def known(kind: str, many: bool = False) -> AfterValidator:
    """Only words of that list of agents/data/vocabulary.toml."""

    def check(value: str) -> str:
        for word in value.split(";") if many else [value]:
            if word not in WORDS[kind]:
                raise ValueError(f"{word[:40]!r} is not among the {kind} of agents/data/vocabulary.toml")
        return value

    return AfterValidator(check)


NUMBERS = ("numberofemployees", "annualrevenue", "founded_year")
ROUGH = ("numberofemployees", "annualrevenue")  # where the tolerance counts
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Enriched(BaseModel):
    """Fields of the company, then of the contact; None is not proposed."""

    domain: Annotated[str, Field(pattern=r"^[a-z0-9.-]+\.[a-z0-9-]+$", max_length=253)] | None = None
    name: Text | None = None
    industry: Annotated[str, known("industries")] | None = None
    numberofemployees: int | None = Field(None, ge=1, le=5_000_000)
    annualrevenue: int | None = Field(None, ge=0, le=10**13)  # whole units of the company's currency
    city: Text | None = None
    state: Text | None = None
    country: Annotated[str, known("countries")] | None = None
    founded_year: int | None = Field(None, ge=1600, le=2200)  # up to now: the agent drops what lies ahead
    web_technologies: Annotated[str, known("technologies", many=True)] | None = None  # "aws;hubspot"
    hs_seniority: Annotated[str, known("hs_seniority")] | None = None
    hs_role: Annotated[str, known("hs_role")] | None = None


def proposal(judged: dict[str, Judged], target: Snapshot, now_year: int) -> Proposal | None:
    """What can be proposed of it: a value outside its field's bounds is left out, and said so."""
    values: dict[str, Any] = {}
    told = []
    for name, found in judged.items():
        value = int(found.value) if name in NUMBERS else found.value
        try:
            Enriched.model_validate({name: value})
        except ValidationError:
            told.append(f"{name}: left out, {found.value[:40]} is not plausible ({found.why})")
            continue
        if name == "founded_year" and int(found.value) > now_year:
            told.append(f"{name}: left out, {found.value} lies ahead ({found.why})")
            continue
        values[name] = value
        told.append(f"{name}: {found.why}")
    confidence = {name: judged[name].confidence for name in values}
    return Proposal(Enriched(**values), confidence, "; ".join(told)[:1000], target.record) if values else None


def about_company(lead: Snapshot, company: Snapshot) -> Proposal | None:
    evidence: dict[str, list[Finding]] = {}
    for name in lead.settings.get("sources") or SOURCES:
        source = SOURCES.get(name) or resolve_name(str(name))
        for field, finding in source(lead, company).items():
            evidence.setdefault(field, []).append(finding)
    judged = {}
    for field, findings in evidence.items():
        tolerance = float(lead.settings.get("tolerance", 0.2)) if field in ROUGH else 0.0
        found = judge(field, findings, tolerance)
        enough = found.sources >= int(lead.settings.get("min_sources", 1))
        if enough and not holds(field, company.get(field), found.value, tolerance):
            judged[field] = found
    return proposal(judged, company, lead.now.year)


def about_person(lead: Snapshot) -> Proposal | None:
    """Seniority and role from the job title, for the lead's contact where it has one, else for the lead."""
    person = next(iter(lead.related.get("contact", [])), lead)
    title = next((t for k in ("jobtitle", "job_title") for p in (person, lead) if (t := text(p.get(k)))), "")
    judged = {}
    for field, column in (("hs_seniority", "seniority"), ("hs_role", "role_function")):
        findings = []
        if found := mentioned(field, title):
            sure = 0.6 if mentioned("doubt", title) else 0.9
            findings.append(Finding(f"the job title {title[:60]!r}", next(iter(found)), sure))
        if kind := spellings(field).get(plain(person.get(column))):
            findings.append(Finding(f"the record's {column}", kind, 0.85))
        if findings and not text(person.get(field)):
            judged[field] = judge(field, findings, 0.0)
    return proposal(judged, person, lead.now.year)


@agent(writes=Enriched)
def enrich(lead: Snapshot) -> list[Proposal]:
    """Fills the company and the contact behind a lead from several sources, compared with each other."""
    companies = lead.related.get("company", [])
    found = [about_company(lead, companies[0]) if companies else None, about_person(lead)]
    proposals = [p for p in found if p]
    if not proposals:
        raise Skip("no source knows more than the record" if companies else "no company, and no job title to read")
    return proposals
