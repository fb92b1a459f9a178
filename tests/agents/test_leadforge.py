"""The agents on a relational data set that was not made for them."""

from __future__ import annotations

import csv
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_snapshots import confidence_of, lead, snap, values_of
from agents.enrichment import enrich
from agents.routing import route
from agents.scoring import score

DATA = Path(os.environ.get("REVOPS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "leadforge"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set at {DATA}")
NOW = datetime(2024, 2, 1, tzinfo=UTC)


def table(name: str, key: str) -> dict[str, dict[str, str]]:
    with (DATA / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return {row[key]: row for row in csv.DictReader(file)}


def test_bands_regions_and_titles_are_evidence_enough_for_enrichment_score_and_owner() -> None:
    accounts, contacts = table("accounts", "account_id"), table("contacts", "contact_id")
    reps = [{"id": f"rep-{n}"} for n in range(4)]
    sure: Counter[str] = Counter()
    owners: Counter[str] = Counter()
    leads = table("leads", "lead_id")
    for name, row in leads.items():
        company = dict(accounts[row["account_id"]])
        contact = dict(contacts[row["contact_id"]])
        asked = lead(row, record=f"lead:{name}", company=company, contact=contact, now=NOW, settings={"reps": reps})
        for proposal in enrich(asked):
            found = values_of(proposal)
            sure.update(field for field in found if confidence_of(proposal, field) >= 0.8)
            (company if proposal.target == "company:7" else contact).update(found)
        scored = lead(row, company=snap("company:7", company), contact=contact, now=NOW)
        sure.update(field for field in ("revops_grade",) if confidence_of(score(scored), field) >= 0.8)
        owners[values_of(route(asked))["hubspot_owner_id"]] += 1
    assert {sure[name] for name in ("numberofemployees", "annualrevenue", "country", "revops_grade")} == {len(leads)}
    assert set(owners) == {rep["id"] for rep in reps}
    assert min(owners.values()) > len(leads) / 8
