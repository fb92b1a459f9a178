"""Where the enrichment agent looks.

A source is a function (lead, company) -> {field: Finding}. To add one (an HTTP provider, say), write such a function in
a file of your own and name it in the agent's `sources` setting as "agents.myprovider:lookup".
"""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agents.evidence.reading import PARSERS, Finding, domain_of, mentioned, parsed, plain, text
from revops_lite import Snapshot

Row = dict[str, Any]
Source = Callable[[Snapshot, Snapshot], Mapping[str, Finding]]


@lru_cache(maxsize=8)
def registry(path: str, table: str, _mtime: int) -> tuple[dict[str, Row], dict[str, list[Row]]]:
    """A registry file by domain and by plain name; read again only when it has changed."""
    rows: list[Row]
    if path.endswith(".csv"):
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.DictReader(file))
    else:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute('SELECT * FROM "{}"'.format(table.replace('"', '""')))]
    by_domain: dict[str, Row] = {}
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(plain(row.get("name")), []).append(row)
        if domain := domain_of(row.get("domain")):
            by_domain.setdefault(domain, row)
    return by_domain, by_name


def from_registry(lead: Snapshot, company: Snapshot) -> dict[str, Finding]:
    """The file in settings.registry, by domain, else by a name that only one entry (in that country) has."""
    path = Path(str(lead.settings.get("registry") or ""))
    if not path.name:
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"settings.registry: there is no file {path}; correct the path or remove the setting")
    table = str(lead.settings.get("registry_table", "companies"))
    by_domain, by_name = registry(str(path.resolve()), table, path.stat().st_mtime_ns)
    own = domain_of(company.get("domain")) or domain_of(company.get("website"))
    if row := by_domain.get(own or domain_of(lead.get("email")) or ""):
        return parsed(row, "the registry", 0.9, 0.85)
    rows = by_name.get(plain(company.get("name")), []) if plain(company.get("name")) else []
    if len(rows) > 1:
        place = PARSERS["country"](company.get("country"))
        rows = [row for row in rows if place and PARSERS["country"](row.get("country")) == place]
    other = len(rows) == 1 and own and domain_of(rows[0].get("domain")) not in (None, own)
    return parsed(rows[0], "the registry (by name)", 0.85, 0.85) if len(rows) == 1 and not other else {}


def from_record(_lead: Snapshot, company: Snapshot) -> dict[str, Finding]:
    """What the CRM holds, except what an agent wrote there: that would be agreeing with oneself."""
    ours = {name for touch in company.history for name, value in touch.fields.items() if value == company.get(name)}
    return parsed({k: v for k, v in company.values.items() if k not in ours}, "the record", 0.75, 0.85)


def from_email(lead: Snapshot, _company: Snapshot) -> dict[str, Finding]:
    domain = domain_of(lead.get("email")) if "@" in text(lead.get("email")) else None
    return {"domain": Finding("the lead's email", domain, 0.75)} if domain else {}


def from_text(_lead: Snapshot, company: Snapshot) -> dict[str, Finding]:
    """The company's own description: industry, technologies and year of foundation, as far as it names them."""
    prose = " ".join(text(company.get(name), 4000) for name in ("description", "about_us", "website_text"))
    told, found = "the description", {}
    industries = sorted(mentioned("industries", prose).items(), key=lambda item: -item[1])
    if industries and (len(industries) == 1 or industries[0][1] > industries[1][1]):
        found["industry"] = Finding(told, industries[0][0], 0.75)
    if used := mentioned("technologies", prose):
        found["web_technologies"] = Finding(told, ";".join(sorted(used)), 0.75)
    if year := re.search(r"(?:founded|established|since)\s+(?:in\s+)?([12]\d{3})\b", prose, re.IGNORECASE | re.ASCII):
        found["founded_year"] = Finding(told, (float(year[1]), float(year[1])), 0.75)
    return found


SOURCES: dict[str, Source] = {
    "registry": from_registry,
    "record": from_record,
    "email": from_email,
    "text": from_text,
}
