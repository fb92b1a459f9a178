"""Enrichment: which value it proposes, how sure it is, and why."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_snapshots import confidence_of, lead, snap, values_of
from agents.enrichment import Enriched, enrich
from agents.evidence import reading
from agents.evidence.reading import WORDS, domain_of, span
from revops_lite import Proposal, Skip, Snapshot
from revops_lite.models import Touch

HEADER = "name,domain,industry,numberofemployees,annualrevenue,city,state,country,founded_year,web_technologies\n"
ACME = "Acme Freight Inc,acme.com,Freight,500,1200000,Boston,MA,USA,1998,AWS;HubSpot\n"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "registry.csv"
    path.write_text(HEADER + ACME, encoding="utf-8")
    return path


def company_part(snapshot: Snapshot) -> Proposal:
    (found,) = [p for p in enrich(snapshot) if p.target == "company:7"]
    return found


def person_part(snapshot: Snapshot) -> Proposal:
    (found,) = [p for p in enrich(snapshot) if p.target != "company:7"]
    return found


def test_the_registry_fills_an_empty_company(registry: Path) -> None:
    found = company_part(lead(company={"domain": "acme.com"}, settings={"registry": str(registry)}))
    assert values_of(found) == {
        "name": "Acme Freight Inc",
        "industry": "logistics",
        "numberofemployees": 500,
        "annualrevenue": 1_200_000,
        "city": "Boston",
        "state": "MA",
        "country": "United States",
        "founded_year": 1998,
        "web_technologies": "aws;hubspot",
    }
    assert confidence_of(found, "numberofemployees") == 0.9


def test_what_it_proposes_passes_its_own_schema(registry: Path) -> None:
    found = company_part(lead(company={"domain": "acme.com"}, settings={"registry": str(registry)}))
    assert Enriched.model_validate(values_of(found), strict=True) == found.values


CASES = [
    # the company in the CRM, the lead's email, field, value, confidence, words that stand in the reason
    ({"employee_band": "200-499"}, "", "numberofemployees", 500, 0.95, ["agree", "200-499"]),
    ({"numberofemployees": 50}, "", "numberofemployees", 500, 0.6, ["registry says 500", "record says 50"]),
    ({"numberofemployees": "about 1,200"}, "", "numberofemployees", 500, 0.6, ["1200"]),
    ({"numberofemployees": "ca. 490 people"}, "", "numberofemployees", 500, 0.95, ["agree"]),
    ({"estimated_revenue_band": "$1M-$10M"}, "", "annualrevenue", 1_200_000, 0.95, ["a band, $1M-$10M"]),
    ({"industry": "Software"}, "", "industry", "logistics", 0.6, ["registry says logistics", "record says software"]),
    ({"domain": "https://www.acme.com/"}, "", "domain", "acme.com", 0.95, ["agree"]),
    ({"domain": "", "name": "ACME Freight"}, "", "domain", "acme.com", 0.85, ["by name"]),
    ({"domain": "", "name": "Acme Freight"}, "jo@mail.acme.com", "domain", "acme.com", 0.95, ["email", "agree"]),
    ({"domain": "gmail.com", "name": "Acme Freight"}, "", "domain", "acme.com", 0.85, ["by name"]),
    ({"region": "US"}, "", "country", "United States", 0.95, ["region", "agree"]),
    ({"region": "UK"}, "", "country", "United States", 0.6, ["United Kingdom"]),
    ({"description": "We run on dbt and AWS."}, "", "web_technologies", "aws;dbt;hubspot", 0.95, ["description"]),
    ({"description": "Founded in 2001."}, "", "founded_year", 1998, 0.6, ["2001"]),
]


@pytest.mark.parametrize(("company", "email", "field", "value", "confidence", "words"), CASES)
def test_sources_are_compared(
    registry: Path, company: dict[str, Any], email: str, field: str, value: object, confidence: float, words: list[str]
) -> None:
    settings = {"registry": str(registry)}
    found = company_part(lead({"email": email}, company={"domain": "acme.com"} | company, settings=settings))
    assert values_of(found)[field] == value
    assert confidence_of(found, field) == confidence
    assert [word for word in words if word not in found.because] == []


@pytest.mark.parametrize(
    ("current", "field"),
    [
        ({"numberofemployees": 500}, "numberofemployees"),
        ({"numberofemployees": "500"}, "numberofemployees"),
        ({"numberofemployees": 460}, "numberofemployees"),
        ({"name": "ACME FREIGHT, Inc."}, "name"),
        ({"industry": "Transportation"}, "industry"),
        ({"country": "us"}, "country"),
        ({"web_technologies": "aws;hubspot;slack"}, "web_technologies"),
    ],
)
def test_a_value_that_the_record_already_holds_is_left_alone(
    registry: Path, current: dict[str, Any], field: str
) -> None:
    found = company_part(lead(company={"domain": "acme.com"} | current, settings={"registry": str(registry)}))
    assert field not in values_of(found)


def test_a_band_alone_gives_its_middle_with_less_confidence() -> None:
    found = company_part(lead(company={"employee_band": "200-499", "estimated_revenue_band": "$200M+"}))
    assert values_of(found) == {"numberofemployees": 350, "annualrevenue": 200_000_000}
    assert confidence_of(found, "numberofemployees") == 0.85
    assert "a band, 200-499" in found.because


def test_text_alone_is_not_enough_to_be_written_unseen() -> None:
    found = company_part(lead(company={"description": "A supermarket? No: freight, since 1971, on Salesforce."}))
    assert values_of(found) == {"industry": "logistics", "founded_year": 1971, "web_technologies": "salesforce"}
    assert {confidence_of(found, name) for name in values_of(found)} == {0.75}


def test_a_free_mail_address_says_nothing_about_the_company() -> None:
    with pytest.raises(Skip, match="no source"):
        enrich(lead({"email": "jo@gmail.com"}, company={}))


def test_what_an_agent_wrote_is_no_second_witness(tmp_path: Path) -> None:
    path = tmp_path / "registry.csv"
    path.write_text(HEADER + ACME.replace("500", "900"), encoding="utf-8")
    touch = Touch(0.0, "enrichment", "run", "done", {"numberofemployees": 500})
    company = snap("company:7", {"domain": "acme.com", "numberofemployees": 500}, history=(touch,))
    found = company_part(lead(company=company, settings={"registry": str(path)}))
    assert values_of(found)["numberofemployees"] == 900
    assert confidence_of(found, "numberofemployees") == 0.9


def test_namesakes_are_told_apart_by_country_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "registry.csv"
    path.write_text(HEADER + ACME + ACME.replace("acme.com", "acme.de").replace("USA", "Germany"), encoding="utf-8")
    settings = {"registry": str(path)}
    with pytest.raises(Skip):
        enrich(lead(company={"name": "Acme Freight"}, settings=settings))
    found = company_part(lead(company={"name": "Acme Freight", "country": "DE"}, settings=settings))
    assert values_of(found)["domain"] == "acme.de"


def test_a_name_does_not_outweigh_another_domain(registry: Path) -> None:
    with pytest.raises(Skip):
        enrich(lead(company={"name": "Acme Freight", "domain": "other.org"}, settings={"registry": str(registry)}))


@pytest.mark.parametrize(("column", "bad"), [("500", "9000000"), ("1998", "2031"), ("1998", "1204"), ("Freight", "x")])
def test_an_impossible_value_is_left_out(tmp_path: Path, column: str, bad: str) -> None:
    path = tmp_path / "registry.csv"
    path.write_text(HEADER + ACME.replace(column, bad), encoding="utf-8")
    found = company_part(lead(company={"domain": "acme.com"}, settings={"registry": str(path)}))
    assert bad not in map(str, values_of(found).values())
    assert values_of(found)["city"] == "Boston"


def test_an_sqlite_file_is_a_registry_too(tmp_path: Path) -> None:
    path = tmp_path / "registry #1.sqlite3"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute('CREATE TABLE "all firms" (name, domain, numberofemployees)')
        db.execute('INSERT INTO "all firms" VALUES (?, ?, ?)', ("Acme", "acme.com", 480))
    settings = {"registry": str(path), "registry_table": "all firms"}
    found = company_part(lead(company={"domain": "acme.com"}, settings=settings))
    assert values_of(found) == {"name": "Acme", "numberofemployees": 480}


def test_a_changed_registry_is_read_again(registry: Path) -> None:
    asked = lead(company={"domain": "acme.com"}, settings={"registry": str(registry)})
    assert values_of(company_part(asked))["city"] == "Boston"
    registry.write_text(HEADER + ACME.replace("Boston", "Salem"), encoding="utf-8")
    os.utime(registry, ns=(1, 1))
    assert values_of(company_part(asked))["city"] == "Salem"


def test_a_missing_registry_says_which_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.registry: there is no file .*nowhere\.csv"):
        enrich(lead(company={"name": "Acme"}, settings={"registry": str(tmp_path / "nowhere.csv")}))


def test_a_source_of_ones_own_takes_part(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from agents.evidence.reading import Finding

def lookup(lead, company):
    return {"numberofemployees": Finding("my provider", (510.0, 510.0), 0.9)}
"""
    (tmp_path / "my_enrichment_source.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, reading.__name__, reading)  # other tests load agents from other folders
    settings = {"registry": str(registry), "sources": ["registry", "my_enrichment_source:lookup"]}
    found = company_part(lead(company={"domain": "acme.com"}, settings=settings))
    assert confidence_of(found, "numberofemployees") == 0.95
    assert "the registry and my provider agree" in found.because


def test_min_sources_keeps_back_what_only_one_says(registry: Path) -> None:
    settings = {"registry": str(registry), "min_sources": 2}
    found = company_part(lead(company={"domain": "acme.com", "employee_band": "200-499"}, settings=settings))
    assert values_of(found) == {"numberofemployees": 500}


TITLES = [
    ("VP of Sales", "vp", "sales", 0.9),
    ("Chief Revenue Officer", "executive", "sales", 0.9),
    ("Head of Procurement", "director", "operations", 0.9),
    ("AP Manager", "manager", "accounting", 0.9),
    ("IT Director", "director", "information_technology", 0.9),
    ("Senior Software Engineer", "senior", "engineering", 0.9),
    ("Founder & CEO", "executive", "entrepreneurship", 0.9),
    ("Marketing Intern", "entry", "marketing", 0.9),
    ("Executive Assistant to the CEO", "executive", "entrepreneurship", 0.6),
    ("Interim CFO", "executive", "finance", 0.6),
]


@pytest.mark.parametrize(("title", "seniority", "role", "confidence"), TITLES)
def test_seniority_and_role_come_from_the_job_title(title: str, seniority: str, role: str, confidence: float) -> None:
    found = person_part(lead({"jobtitle": title}, contact={}))
    assert found.target == "contact:3"
    assert values_of(found) == {"hs_seniority": seniority, "hs_role": role}
    assert confidence_of(found, "hs_seniority") == confidence


def test_without_a_contact_the_lead_itself_is_filled() -> None:
    assert person_part(lead({"jobtitle": "CFO"})).target == "lead:1"


def test_a_title_that_the_record_contradicts_waits_for_a_person() -> None:
    found = person_part(lead(contact={"jobtitle": "Head of Finance", "seniority": "individual_contributor"}))
    assert confidence_of(found, "hs_seniority") == 0.6
    assert "says employee" in found.because


def test_nothing_to_read_is_skipped_with_the_reason() -> None:
    with pytest.raises(Skip, match="no company, and no job title"):
        enrich(lead())


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("1,200", (1200, 1200)),
        ("$1M-$10M", (1e6, 1e7)),
        ("1-10M", (1e6, 1e7)),
        ("200 to 499 employees", (200, 499)),
        ("2000+", (2000, float("inf"))),
        (250.0, (250, 250)),
        ("~50", (50, 50)),
        ("-5", None),
        ("1e400", None),
        (float("nan"), None),
        (10**400, None),
        (True, None),
        ("12 monkeys", None),
        (["7"], None),
    ],
)
def test_numbers_are_read_as_people_type_them(raw: object, expected: tuple[float, float] | None) -> None:
    assert span(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://www.shop.acme.co.uk/a?b", "acme.co.uk"),
        ("Jo <jo@acme.com", "acme.com"),
        ("jo@GMAIL.com", None),
        ("co.uk", None),
        ("localhost", None),
        ("acme..com", None),
        ("bücher.de", None),
        ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        (None, None),
    ],
)
def test_a_domain_is_the_registrable_part(raw: object, expected: str | None) -> None:
    assert domain_of(raw) == expected


def test_no_spelling_of_the_vocabulary_means_two_things() -> None:
    for kind in ("industries", "countries", "technologies", "hs_seniority"):
        words = [word.casefold() for others in WORDS[kind].values() for word in others]
        assert sorted(words) == sorted(set(words)), kind
