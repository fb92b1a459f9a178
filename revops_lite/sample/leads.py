"""The sample's leads with their companies and contacts. Every fourth lead is dirty on purpose."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field

from revops_lite.sample.words import FIRST, LAST, REPS, TITLES, Row, iso, slug

BRANDS = (
    "Alder Beacon Cobalt Delta Ember Falcon Granite Harbor Indigo Juniper Keystone Lumen Meridian Nimbus Orchard "
    "Pinnacle Quarry Ridgeline Summit Tidewater Union Vertex Willow Yarrow Zephyr"
)
TRADES = {  # what a company calls itself -> its industry
    "Analytics": "software",
    "Cloud": "saas",
    "Payments": "fintech",
    "Freight": "logistics",
    "Manufacturing": "manufacturing",
    "Advisory": "professional_services",
    "Outfitters": "retail",
    "Diagnostics": "healthcare",
}
PLACES = [  # city, state, country
    ("New York", "NY", "United States"),
    ("Boston", "MA", "United States"),
    ("Newark", "NJ", "United States"),
    ("Austin", "TX", "United States"),
    ("Chicago", "IL", "United States"),
    ("Seattle", "WA", "United States"),
    ("Denver", "CO", "United States"),
    ("Toronto", "ON", "Canada"),
    ("London", "", "United Kingdom"),
    ("Dublin", "", "Ireland"),
    ("Berlin", "", "Germany"),
    ("Lyon", "", "France"),
]
TECHNOLOGIES = ["salesforce", "hubspot", "snowflake", "segment", "aws", "slack", "netsuite", "zendesk"]
SOURCES = ["inbound_marketing", "inbound_marketing", "sdr_outbound", "partner_referral"]


class Case(Struct):
    """One lead with everything around it, until it is written."""

    lead: Row
    contact: Row
    company: Row | None
    registry: Row | None
    extra: list[Row] = field(default_factory=list)  # further registry entries


def lead_tables(rng: random.Random, leads: int, midnight: datetime) -> dict[str, list[Row]]:
    """companies, contacts, leads, reps and company_registry; times lie in the weeks before `midnight`."""
    companies = [_company(rng, number) for number in range(1, leads * 3 // 4 + 2)]
    cases = []
    for index in range(leads):
        company, registry = companies[index] if index < len(companies) else rng.choice(companies)
        case = _case(rng, index + 1, company, registry, midnight)
        if index % 4 == 3:
            DIRT[index // 4 % len(DIRT)](case)
        cases.append(case)
    return _tables(cases)


def _tables(cases: Sequence[Case]) -> dict[str, list[Row]]:
    companies = {case.company["company_id"]: case.company for case in cases if case.company}
    registry = {id(row): row for case in cases for row in (case.registry, *case.extra) if row}
    return {
        "companies": list(companies.values()),
        "contacts": [case.contact for case in cases],
        "leads": [case.lead for case in cases],
        "reps": [dict(zip(("rep_id", "name", "weight", "capacity", "open_leads"), rep, strict=True)) for rep in REPS],
        "company_registry": list(registry.values()),
    }


def _company(rng: random.Random, number: int) -> tuple[Row, Row | None]:
    """What the CRM knows of a company, with gaps, and its registry entry, if it has one."""
    trade, industry = rng.choice(list(TRADES.items()))
    brands = BRANDS.split()
    brand = brands[(number - 1) % len(brands)] + ("" if number <= len(brands) else f" {rng.choice(LAST.split())}")
    name = f"{brand} {trade}"
    city, state, country = rng.choice(PLACES)
    size = round(10 ** rng.uniform(1.3, 3.6))
    technologies = ";".join(sorted(rng.sample(TECHNOLOGIES, rng.randint(1, 3))))
    domain = f"{slug(name)}.example"
    registry = {
        "name": name,
        "domain": domain,
        "industry": industry,
        "numberofemployees": size,
        "annualrevenue": size * rng.randint(90, 240) * 1000 if rng.random() < 0.08 else "",
        "city": city,
        "state": state,
        "country": country,
        "founded_year": rng.randint(1955, 2021),
        "web_technologies": technologies if rng.random() < 0.8 else "",
    }
    crm: Row = {"company_id": f"co-{number:04d}", "name": name, "domain": domain if rng.random() < 0.85 else ""}
    for known, chance in {"industry": 0.3, "numberofemployees": 0.3, "city": 0.5, "state": 0.5, "country": 0.6}.items():
        crm[known] = registry[known] if rng.random() < chance else ""
    crm["employee_band"] = "" if crm["numberofemployees"] or rng.random() < 0.7 else _band(size)
    crm["description"] = f"{name} runs on {technologies.replace(';', ' and ')}." if rng.random() < 0.1 else ""
    crm["hubspot_owner_id"] = rng.choice(REPS[:4])[0] if rng.random() < 0.1 else ""
    return crm, registry if rng.random() < 0.85 else None


def _band(size: int) -> str:
    edges = [1, 50, 200, 500, 1000, 2000]
    low = max(edge for edge in edges if edge <= size)
    return f"{low}+" if low == edges[-1] else f"{low}-{edges[edges.index(low) + 1] - 1}"


def _case(rng: random.Random, number: int, company: Row, registry: Row | None, midnight: datetime) -> Case:
    first, last, title = rng.choice(FIRST.split()), rng.choice(LAST.split()), rng.choice(TITLES)
    email = f"{slug(first)}.{slug(last)}@{slug(company['name'])}.example"
    created = midnight - timedelta(minutes=rng.randint(5, 1440))

    def ago(chance: float, days: int) -> str:
        when = created - timedelta(minutes=rng.randint(1, days * 1440))
        return iso(when) if rng.random() < chance else ""

    views, downloads = (rng.choice((0, 0, 1, 2, 4)), rng.choice((0, 0, 1, 3)))
    contact = {
        "contact_id": f"ct-{number:04d}",
        "company_id": company["company_id"],
        "firstname": first,
        "lastname": last,
        "email": email,
        "phone": f"+1 202 555 {rng.randint(100, 199):04d}",
        "jobtitle": title,
    }
    place = registry or company
    lead = {
        "lead_id": f"ld-{number:04d}",
        "company_id": company["company_id"],
        "contact_id": contact["contact_id"],
        "firstname": first,
        "lastname": last,
        "email": email,
        "company": company["name"],
        "jobtitle": title,
        "state": place["state"],
        "country": place["country"] or rng.choice(PLACES)[2],
        "lead_source": rng.choice(SOURCES),
        "product_interest": rng.choice(("", "", "", "analytics")),
        "demo_requested_at": ago(0.3, 10),
        "pricing_page_views": views,
        "last_pricing_view_at": ago(1, 20) if views else "",
        "last_reply_at": ago(0.2, 30),
        "webinar_at": ago(0.2, 40),
        "content_downloads": downloads,
        "last_download_at": ago(1, 30) if downloads else "",
        "hs_email_optout": "",
        "legal_hold": "",
        "createdate": iso(created),
    }
    return Case(lead, contact, company, registry)


# ---- dirt: what real CRMs are like ----------------------------------------------------------------------------------


def _without_company(case: Case) -> None:
    case.company = None
    case.lead["company_id"] = case.lead["company"] = case.contact["company_id"] = ""


def _free_mail(case: Case) -> None:
    _without_company(case)
    case.lead["email"] = case.contact["email"] = case.lead["email"].split("@")[0] + "@gmail.com"


def _contradiction(case: Case) -> None:
    """The CRM and the registry cannot both be right about the size."""
    if case.company:
        case.company["domain"] = case.lead["email"].split("@")[1]
        case.company["numberofemployees"], case.company["employee_band"] = 35, ""
        case.registry = case.registry if case.registry is not None else {"industry": ""}
        case.registry |= {"name": case.company["name"], "domain": case.company["domain"], "numberofemployees": 2400}


def _typed_by_hand(case: Case) -> None:
    """Numbers and addresses as people type them."""
    if case.company:
        case.company |= {"numberofemployees": "about 1,200", "founded_year": "19o4", "employee_band": ""}
        case.company["website"] = f"https://www.{case.lead['email'].split('@')[1].upper()}/start"
    case.lead["pricing_page_views"] = "many"


def _legal_hold(case: Case) -> None:
    case.lead["legal_hold"] = "true"


def _hostile(case: Case) -> None:
    """Text that would act, if some sink let it."""
    case.lead["firstname"] = case.contact["firstname"] = "\x1b[31mRoot\x1b[0m"
    case.lead["lastname"] = case.contact["lastname"] = "<script>alert(1)</script>"
    case.lead["company"] = "=cmd|' /C calc'!A0"
    case.contact["jobtitle"] = case.lead["jobtitle"] = "VP of \u202eselaS\u202c"


def _unroutable(case: Case) -> None:
    """A place that nobody sells to."""
    if case.company:
        case.company |= {"country": "Antarctica", "state": "", "city": "", "hubspot_owner_id": ""}
    if case.registry:
        case.registry |= {"country": "Antarctica", "state": "", "city": "McMurdo Station"}
    case.lead |= {"country": "Antarctica", "state": "", "product_interest": ""}


def _namesake(case: Case) -> None:
    """Two companies of one name: without a domain or a country nobody can tell which."""
    if case.company and case.registry:
        case.company |= {"domain": "", "country": ""}
        case.lead["email"] = case.contact["email"] = ""
        case.extra.append(case.registry | {"domain": "namesake.example", "country": "Australia", "city": "Perth"})


def _almost_nothing(case: Case) -> None:
    """A name and an address, no more."""
    _without_company(case)
    case.lead |= {"jobtitle": "", "state": "", "country": "", "email": f"info@{slug(case.lead['lastname'])}.example"}
    case.contact |= {"jobtitle": "", "email": case.lead["email"]}


def _student(case: Case) -> None:
    case.lead["jobtitle"] = case.contact["jobtitle"] = "Student"


DIRT: list[Callable[[Case], None]] = [
    _contradiction,
    _legal_hold,
    _without_company,
    _unroutable,
    _free_mail,
    _typed_by_hand,
    _hostile,
    _namesake,
    _almost_nothing,
    _student,
]
