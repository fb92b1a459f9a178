"""The sample data, and the installation that `init` makes of it."""

from __future__ import annotations

import csv
import subprocess
import sys
import tomllib
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from revops_lite.cli.init_cmds import init
from revops_lite.cli.intake_cmds import init_from
from revops_lite.errors import Refused, RevopsError, UsageError
from revops_lite.sample import REPS, generate

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 6, 15)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in {"a": 7, "b": 7, "c": 8}.items():
        generate(tmp_path / name, seed=seed, today=TODAY)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


@pytest.mark.parametrize("leads", [1, 7, 60, 400])
def test_every_id_is_unique_and_every_pointer_leads_somewhere(tmp_path: Path, leads: int) -> None:
    counts = generate(tmp_path, leads=leads, today=TODAY)
    tables = {name: rows(tmp_path / f"{name}.csv") for name in counts}
    assert {name: len(found) for name, found in tables.items()} == counts
    assert counts["leads"] == leads
    keys = {"companies": "company_id", "contacts": "contact_id", "leads": "lead_id", "reps": "rep_id"}
    ids = {name: {row[key] for row in tables[name]} for name, key in keys.items()}
    assert {name: len(found) for name, found in ids.items()} == {name: counts[name] for name in keys}
    for lead in tables["leads"]:
        assert lead["contact_id"] in ids["contacts"]
        assert not lead["company_id"] or lead["company_id"] in ids["companies"]


def test_deals_point_at_owners_and_companies_and_are_pointed_at(tmp_path: Path) -> None:
    counts = generate(tmp_path, today=TODAY)
    tables = {name: rows(tmp_path / f"{name}.csv") for name in counts}
    keys = {"deals": "deal_id", "deal_contacts": "contact_id", "activities": "activity_id", "owners": "owner_id"}
    ids = {name: {row[key] for row in tables[name]} for name, key in keys.items()}
    assert {name: len(found) for name, found in ids.items()} == {name: counts[name] for name in keys}
    assert not ids["deal_contacts"] & {row["contact_id"] for row in tables["contacts"]}
    for deal in tables["deals"]:
        assert not deal["hubspot_owner_id"] or deal["hubspot_owner_id"] in ids["owners"]
        assert deal["company_id"] in {row["company_id"] for row in tables["companies"]}
    for row in (*tables["deal_contacts"], *tables["activities"]):
        assert row["deal_id"] in ids["deals"]


def test_closed_deals_tell_what_an_open_one_can_be_compared_with(tmp_path: Path) -> None:
    generate(tmp_path, today=TODAY)
    deals = rows(tmp_path / "deals.csv")
    closed = [deal for deal in deals if deal["is_closed"] == "true"]
    assert (len(deals) - len(closed), len(closed)) == (48, 240)
    won = [deal for deal in closed if deal["dealstage"] == "closedwon"]
    assert 50 < len(won) < 120
    assert {deal["dealstage"] for deal in closed} == {"closedwon", "closedlost"}
    assert all(deal["days_in_contractsent"] and deal["createdate"] < deal["closed_at"] for deal in won)
    told = [(float(p), deal["dealstage"] == "closedwon") for deal in closed if (p := deal["revops_win_probability"])]
    share = sum(won for _, won in told) / len(told)
    assert sum((p - won) ** 2 for p, won in told) / len(told) < 0.8 * share * (1 - share)


def test_the_dirt_of_the_deals_is_there(tmp_path: Path) -> None:
    generate(tmp_path, today=TODAY)
    deals = [deal for deal in rows(tmp_path / "deals.csv") if deal["is_closed"] == "false"]
    assert any(deal["amount"] == "" for deal in deals)
    assert any(deal["amount"] == "about 12k" for deal in deals)
    assert any(deal["closedate"] < TODAY.isoformat() for deal in deals)
    assert any(deal["notes_last_updated"] < "2026-05-01" for deal in deals)
    assert any("<script>" in deal["dealname"] and "\x1b" in deal["dealname"] for deal in deals)
    assert any(deal["legal_hold"] == "true" for deal in deals)
    assert any(deal["hubspot_owner_id"] == "" for deal in deals)
    contacts = Counter(row["deal_id"] for row in rows(tmp_path / "deal_contacts.csv"))
    assert {deal["deal_id"] for deal in deals} == set(contacts)
    assert 1 in contacts.values()


def test_the_dirt_is_there(tmp_path: Path) -> None:
    generate(tmp_path, today=TODAY)
    leads, companies = rows(tmp_path / "leads.csv"), rows(tmp_path / "companies.csv")
    assert any(lead["legal_hold"] == "true" for lead in leads)
    assert any(not lead["company_id"] for lead in leads)
    assert any(lead["email"].endswith("@gmail.com") for lead in leads)
    assert any(lead["country"] == "Antarctica" for lead in leads)
    assert any("\x1b[31m" in lead["firstname"] for lead in leads)
    assert any("\u202e" in lead["jobtitle"] for lead in leads)
    assert any(lead["company"].startswith("=cmd") for lead in leads)
    assert any(company["numberofemployees"] == "about 1,200" for company in companies)
    registry = rows(tmp_path / "company_registry.csv")
    sizes = {row["domain"]: row["numberofemployees"] for row in registry}
    assert any(c["numberofemployees"] == "35" and sizes.get(c["domain"]) == "2400" for c in companies)
    names = [row["name"] for row in registry]
    assert len(set(names)) < len(names)


def test_the_reps_of_the_sample_are_those_of_the_configuration() -> None:
    settings = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))["agents"]["routing"]["settings"]
    configured = {(rep["id"], rep["weight"], rep["capacity"], rep["open_leads"]) for rep in settings["reps"]}
    assert configured == {(name, *numbers) for name, _, *numbers in REPS if name != settings["queue_owner"]}


def test_no_leads_is_no_sample(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one lead, not 0"):
        generate(tmp_path / "x", leads=0)


def test_init_makes_an_installation_and_says_what_to_type_next(tmp_path: Path) -> None:
    target = tmp_path / "my crm"
    lines = init(target, leads=12, seed=7)
    made = contents(target)
    starter = {"config.toml", *(f"agents/{name}.py" for name in ("enrichment", "scoring", "routing", "lead_alert"))}
    assert starter <= set(made)
    assert made["config.toml"] == (ROOT / "config.toml").read_bytes()
    assert not any("__pycache__" in name for name in made)
    assert lines[-10:] == [
        f"  cd '{target}'",
        "  revops crm import data/companies.csv --kind company --id company_id",
        "  revops crm import data/contacts.csv --kind contact --id contact_id",
        "  revops crm import data/leads.csv --kind lead --id lead_id",
        "  revops crm import data/owners.csv --kind owner --id owner_id",
        "  revops crm import data/deals.csv --kind deal --id deal_id",
        "  revops crm import data/deal_contacts.csv --kind contact --id contact_id",
        "  revops crm import data/activities.csv --kind activity --id activity_id",
        "  revops workflow start deal_review",
        "  revops up",
    ]
    for name in made:
        assert any(line.strip().split(" (")[0] == name for line in lines), name


def test_the_starter_has_a_deal_review_that_can_stand_alone(tmp_path: Path) -> None:
    file = tmp_path / "deals.csv"
    file.write_text("Deal ID,Deal Name,Deal owner\n1,Acme,Ana\n", encoding="utf-8")
    lines = init_from(tmp_path / "crm", file, (), None, True)
    made = tomllib.loads((tmp_path / "crm" / "config.toml").read_text(encoding="utf-8"))
    whole = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    review = whole["workflows"]["deal_review"]
    assert made["workflows"] == {"deal_review": review | {"include": ["owner"]}}
    assert set(made["agents"]) == {step["agent"] for step in review["steps"]}
    assert {"sales", "managers"} <= set(made["notify"]["channels"])
    assert lines[-2:] == ["  revops workflow start deal_review", "  revops up --until-idle"]


def test_the_agents_of_a_new_installation_run_there(tmp_path: Path) -> None:
    init(tmp_path / "crm", leads=12, seed=7)
    code = """
import csv, datetime, tomllib
from revops_lite import Snapshot
from agents.enrichment import enrich
import agents
config = tomllib.load(open("config.toml", "rb"))
now = datetime.datetime.now(datetime.UTC)
row = next(csv.DictReader(open("data/company_registry.csv", encoding="utf-8")))
company = Snapshot("company", "1", {"domain": row["domain"]}, 1, now)
lead = Snapshot("lead", "1", {}, 1, now, {"company": [company]}, settings=config["agents"]["enrichment"]["settings"])
print(agents.__file__, enrich(lead)[0].values.name == row["name"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "crm",
        env={"PYTHONPATH": f"{tmp_path / 'crm'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "crm" / "agents" / "__init__.py"), "True"]


def test_init_keeps_the_files_that_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    lines = init(tmp_path, leads=1, seed=7)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"
    assert "  README.md" not in lines
    assert "  .gitignore" in lines


@pytest.mark.parametrize("name", ["config.toml", "agents", "data", "var"])
def test_init_refuses_a_folder_that_has_an_installation(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(Refused, match=f"already has {name}"):
        init(tmp_path, leads=1, seed=7)
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_init_twice_changes_nothing(tmp_path: Path) -> None:
    init(tmp_path / "crm", leads=4, seed=7)
    before = contents(tmp_path / "crm")
    with pytest.raises(Refused):
        init(tmp_path / "crm", leads=9, seed=8)
    assert contents(tmp_path / "crm") == before


def test_init_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="is a file"):
        init(tmp_path / "file", leads=1, seed=7)
    with pytest.raises(RevopsError, match="cannot be written there"):
        init(tmp_path / "file" / "below", leads=1, seed=7)
