"""Routing: gives a lead its owner, never nobody.

Rules in this order, the first with somebody available wins: the owner it, its company or its contact already has ->
named account -> territory -> product -> round-robin over all reps -> the queue owner.

Among several reps the lead goes to one by weighted rendezvous hashing: each rep draws a number from the lead's id,
scaled by the rep's weight. The agent keeps no counter, so this stands in for the deficit counter of a round-robin: in
the long run every rep gets the share of its weight, the same lead always gets the same rep, and when a rep drops out
only that rep's leads move.

Settings: `queue_owner`; `reps` [{id, weight (1), capacity, open_leads, out_of_office ["2026-12-24/2027-01-02"],
backup}]; `named_accounts` {domain, name or company id: rep}; `territories` [{name, countries, states, industries,
employees [from, to], reps}]; `products` {product: [reps]}; `countries` (where round-robin serves; all if empty);
`timezone` (UTC: whose days out_of_office means).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from hashlib import blake2b
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from agents.evidence.reading import domain_of, first, place, plain, span
from revops_lite import Flag, Proposal, Skip, Snapshot, agent

UNTOUCHED = ("", "NEW")  # lead statuses that routing may change; a lead in work keeps its own


class Route(BaseModel):
    """The lead's owner; a lead that has one keeps it (None here)."""

    hubspot_owner_id: str | None = Field(default=None, min_length=1, max_length=200)
    hs_lead_status: str | None = Field(default=None, pattern="^(NEW|OPEN)$")
    revops_route_reason: str = Field(max_length=500)


class Rule(NamedTuple):
    """Whom a rule would take, and how it says so."""

    reps: Sequence[str]
    told: str


def away(rep: Mapping[str, Any], today: date) -> str:
    """Why the rep takes no lead today, "" if it does. Raises ValueError for a date that is none."""
    for period in map(str, rep.get("out_of_office", [])):
        start, _, end = period.partition("/")
        try:
            if date.fromisoformat(start.strip()) <= today <= date.fromisoformat((end or start).strip()):
                return "out of office"
        except ValueError as error:
            raise ValueError(f"settings.reps: {rep['id']}: {period!r} is not YYYY-MM-DD/YYYY-MM-DD") from error
    if float(rep.get("weight", 1)) <= 0:
        return "weight 0"
    capacity = rep.get("capacity")
    return "at capacity" if capacity is not None and rep.get("open_leads", 0) >= capacity else ""


def pick(record: str, reps: Sequence[Mapping[str, Any]]) -> str:
    """One of them, by weighted rendezvous hashing of the record's name."""

    def draw(rep: Mapping[str, Any]) -> tuple[float, str]:
        digest = blake2b(f"{record}|{rep['id']}".encode(errors="replace"), digest_size=8).digest()
        share = (int.from_bytes(digest) + 1) / 2**64
        return -math.log(share) / float(rep.get("weight", 1)), str(rep["id"])

    return min(map(draw, reps))[1]


def covers(territory: Mapping[str, Any], near: Sequence[Snapshot | None]) -> bool:
    """Whether a lead lies in the territory: each criterion that it names has to hold; unknown data holds none."""
    size = span(first(near, "numberofemployees", "employee_band"))
    low, high = territory.get("employees", (0, math.inf))
    checks = {
        "countries": place(first(near, "country", "region")) in map(place, territory.get("countries", [])),
        "states": plain(first(near, "state")) in map(plain, territory.get("states", [])),
        "industries": plain(first(near, "industry")) in map(plain, territory.get("industries", [])),
        "employees": size is not None and low <= size[0] <= high,
    }
    return all(held for name, held in checks.items() if name in territory)


def rules(lead: Snapshot, s: Mapping[str, Any]) -> Iterator[Rule]:
    """The rules that speak for this lead, strongest first."""
    company, contact = (next(iter(lead.related.get(kind, [])), None) for kind in ("company", "contact"))
    near = (lead, contact, company)
    for whose, record in (("company", company), ("contact", contact)):
        if owner := first([record], "hubspot_owner_id"):
            yield Rule([owner], f"owner of its {whose}")
    named = {str(name).casefold(): rep for name, rep in s.get("named_accounts", {}).items()}
    domain = domain_of(first([company], "domain", "website") or first([lead, contact], "email"))
    for key in (domain, first([company], "name", "company_name"), company.id if company else None):
        if key and key.casefold() in named:
            yield Rule([named[key.casefold()]], f"named account {key[:80]}")
    for territory in s.get("territories", []):
        if covers(territory, near):
            yield Rule(territory["reps"], f"territory {territory.get('name', '')}".strip())
    product = first(near[:2], "product_interest", "product").casefold()
    for name, reps in s.get("products", {}).items():
        if product and product == str(name).casefold():
            yield Rule(reps, f"product {name}")
    country = first(near, "country", "region")
    if not country or not s.get("countries") or place(country) in map(place, s["countries"]):
        yield Rule([str(rep["id"]) for rep in s.get("reps", [])], "round-robin")


def decide(lead: Snapshot, s: Mapping[str, Any]) -> tuple[str | None, str]:
    """The owner, None for the queue, and the reason, which names those who were passed over."""
    reps = {str(rep["id"]): rep for rep in s.get("reps", [])}
    today = lead.now.astimezone(ZoneInfo(s.get("timezone", "UTC"))).date()
    passed: dict[str, str] = {}

    def stopped(name: str) -> str:
        return away(reps[name], today) if name in reps else "not among the reps" if reps else ""

    for rule in rules(lead, s):
        backups = [str(reps[r]["backup"]) for r in rule.reps if "backup" in reps.get(r, {})]
        for group, told in ((rule.reps, rule.told), (backups, f"{rule.told}, as the backup")):
            if free := [reps.get(name, {"id": name}) for name in group if not stopped(name)]:
                return pick(lead.record, free), told + "".join(f"; {name} {why}" for name, why in passed.items())
            passed |= {name: stopped(name) for name in group}
    country = first([lead, *lead.related.get("contact", []), *lead.related.get("company", [])], "country", "region")
    return None, f"nobody for {country or 'an unknown country'}" + "".join(f"; {n} {why}" for n, why in passed.items())


@agent(writes=Route)
def route(lead: Snapshot) -> Proposal:
    """Owner of a new lead: existing owner, named account, territory, product, round-robin, else the queue."""
    s = lead.settings
    queue = str(s.get("queue_owner", "queue"))
    status, current = first([lead], "hs_lead_status"), first([lead], "hubspot_owner_id")
    opened = "OPEN" if status in UNTOUCHED else None
    if current and current != queue:
        if first([lead], "revops_route_reason"):
            raise Skip(f"already with {current}")
        kept = Route(hs_lead_status=opened, revops_route_reason="already had this owner")
        return Proposal(kept, 0.95, f"with {current}")
    owner, why = decide(lead, s)
    status_now = opened if owner else "NEW" if not status else None
    values = Route(hubspot_owner_id=owner or queue, hs_lead_status=status_now, revops_route_reason=why[:500])
    if owner:
        return Proposal(values, 0.95, why[:500], clears=["unroutable"])
    return Proposal(values, 0.9, why[:500], flags=[Flag("unroutable", "medium", why[:300])])
