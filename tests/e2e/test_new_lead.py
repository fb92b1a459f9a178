"""New leads from arrival to owner: the sample, a real CRM's export, an agent that is wrong, two leads at once."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from installation import REPOSITORY, Installation, until

LEADFORGE = Path(os.environ.get("REVOPS_SHARED") or REPOSITORY.parent / "shared") / "data" / "leadforge"

LEADFORGE_CONFIG = """\
timezone = "Europe/London"
[crm]
poll = "500ms"
[crm.relations]
"lead.account_id" = "company"
"lead.contact_id" = "contact"
"contact.account_id" = "company"
[notify.channels.sales]
kind = "file"
path = "var/sales.jsonl"
[workers]
processes = {processes}
threads = 8
[governance.fields."company.annualrevenue"]
sensitive = true

[agents.enrichment]
entry = "agents.enrichment:enrich"
[agents.scoring]
entry = "agents.scoring:score"
settings = {{ countries = ["US", "UK"], weights = {{ industry = 30, size = 30, geography = 10, seniority = 30 }} }}
[agents.routing]
entry = "agents.routing:route"
[agents.routing.settings]
queue_owner = "rep_queue"
reps = [{reps}]
territories = [
  {{ name = "uk", countries = ["UK"], reps = ["rep_000001", "rep_000002", "rep_000003"] }},
  {{ name = "us-enterprise", countries = ["US"], employees = [2000, 5000000], reps = ["rep_000004"] }},
]
[agents.lead_alert]
entry = "agents.lead_alert:alert"
settings = {{ channel = "sales" }}

[workflows.new_lead]
on = "lead.created"
deadline = "90s"
include = ["company", "contact"]
steps = [{{ agent = "enrichment" }}, {{ agent = "scoring" }}, {{ agent = "routing" }}, {{ agent = "lead_alert" }}]
"""


@pytest.mark.skipif(not LEADFORGE.is_dir(), reason="the leadforge export is not here")
@pytest.mark.parametrize("processes", [1, 0])
def test_all_leads_of_a_crm_export_get_an_owner_and_a_grade_in_time(site: Installation, processes: int) -> None:
    shutil.copytree(REPOSITORY / "agents", site.root / "agents")
    reps = ", ".join(f'{{ id = "rep_{n:06}" }}' for n in range(1, 11))
    site.file("config.toml", LEADFORGE_CONFIG.format(processes=processes, reps=reps))
    for name, kind, key in (
        ("accounts", "company", "account_id"),
        ("contacts", "contact", "contact_id"),
        ("leads", "lead", "lead_id"),
    ):
        site.revops("crm", "import", str(LEADFORGE / f"{name}.csv"), "--kind", kind, "--id", key)

    site.revops("up", "--until-idle", timeout=80)

    runs, leads = site.run_list(), site.crm_records("lead")
    assert len(leads) == 500
    assert {run["record"] for run in runs} == {f"lead:{id_}" for id_ in leads}
    assert len(runs) == 500
    assert {run["state"] for run in runs} <= {"finished", "held"}
    for run in runs:
        lead = leads[run["record"].partition(":")[2]]
        if run["state"] == "finished":
            assert lead.get("hubspot_owner_id"), run["record"]
            assert lead.get("revops_grade"), run["record"]
    assert max(run["elapsed_ms"] for run in runs) < 60_000  # of 90 s
    assert not any(run["deadline_missed"] for run in runs)


# ---- the sample --------------------------------------------------------------------------------------------------


def test_the_sample_runs_to_its_end_and_says_what_came_of_it_and_what_to_type_next(site: Installation) -> None:
    made = site.revops("init", str(site.root), "--yes")
    imports = [line.split()[1:] for line in made.out.splitlines() if line.strip().startswith("revops crm import")]
    assert len(imports) == 7
    for words in imports:
        site.revops(*words)

    done = site.revops("up", "--until-idle", timeout=80)

    runs, leads = site.run_list(), site.crm_records("lead")
    assert len(runs) == len(leads) == 60  # the deal review comes by its own clock
    assert f"{len(runs)} runs" in done.out
    for figure in ("p50", "p95", "p99"):
        assert re.search(rf"{figure} [\d,.]+ ?m?s", done.out), figure
    owners = {owner for lead in leads.values() if (owner := lead.get("hubspot_owner_id"))}
    assert len(owners) > 3
    assert all(owner in done.out for owner in owners)
    pending = site.reviews()
    assert pending
    for reason in {item["reason"] for item in pending}:
        number = sum(item["reason"] == reason for item in pending)
        assert re.search(rf"\b{number}\b.*\b{reason}\b", done.out), reason
    following = [line.partition("#")[0].split() for line in done.out.partition("next:")[2].splitlines() if line]
    assert ["up"] in [words[1:] for words in following]
    assert len(following) >= 3
    for words in following:
        if words[-1] != "up":
            ended = site.revops(*words[1:])
            assert ended.out or ended.err, words


# ---- an agent that is wrong --------------------------------------------------------------------------------------

WRONG = """
from pydantic import BaseModel, Field
from revops_lite import Proposal, Snapshot, agent

class Firmographics(BaseModel):
    industry: str
    numberofemployees: int = Field(ge=1, le=5_000_000)

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal({"industry": "software", "numberofemployees": -1}, 0.95, "the registry says so")
"""

MARKING = """
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Score(BaseModel):
    revops_fit: int

@agent(writes=Score)
def score(lead: Snapshot) -> Proposal:
    Path("called").write_text(str(lead["numberofemployees"]))
    return Proposal(Score(revops_fit=70))
"""


@pytest.mark.parametrize("processes", [1, 0])
def test_a_value_that_cannot_be_stops_at_the_checkpoint_until_a_person_has_mended_it(
    site: Installation, processes: int
) -> None:
    site.configure(
        {"enrichment": "enrich", "scoring": "score"}, {"new_lead": ["enrichment", "scoring"]}, processes=processes
    )
    site.agent("enrichment", WRONG)
    site.agent("scoring", MARKING)
    site.crm("lead", {"lead-1": {"email": "ada@acme.example"}})
    with site.up() as up:
        until(lambda: site.settled() == {"held": 1})

        (run,) = site.run_list()
        assert [(step["name"], step["state"]) for step in run["steps"]] == [
            ("enrichment", "quarantined"),
            ("scoring", "pending"),
        ]
        assert not (site.root / "called").exists()
        assert site.changes() == []
        assert "numberofemployees" not in site.record("lead:lead-1")["values"]
        (item,) = site.reviews()
        assert (item["reason"], item["field"], item["run"]) == ("checkpoint", None, run["id"])
        assert any("numberofemployees" in problem for problem in item["problems"])
        shown = site.revops("review", "list").out
        assert item["id"] in shown
        assert "checkpoint" in shown

        refused = site.revops("review", "edit", item["id"], "--set", "numberofemployees=0", code=5)
        assert "numberofemployees" in refused.err
        assert site.states() == {"lead:lead-1": "held"}

        site.revops("review", "edit", item["id"], "--set", "numberofemployees=120")
        until(lambda: site.settled() == {"finished": 1})
        assert "Traceback" not in up.err
    assert (site.root / "called").read_text() == "120"
    lead = site.crm_record("lead:lead-1")
    assert (lead["numberofemployees"], lead["industry"], lead["revops_fit"]) == (120, "software", 70)
    assert len(site.changes("lead:lead-1")) == 3
    assert site.reviews() == []


# ---- two leads of one company at once ----------------------------------------------------------------------------

LAGGING = """
from revops_lite.crm.sqlite import SqliteCrm

class Lagging(SqliteCrm):
    "Shows of every company for ever what stood there when it was first asked for."

    def __init__(self, settings):
        super().__init__(settings.crm.path, settings.crm.relations)
        self._first = {}

    def read(self, records):
        found = super().read(records)
        return {n: self._first.setdefault(n, r) if n.startswith("company:") else r for n, r in found.items()}
"""

IN_TURN = """
import time
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Skip, Snapshot, agent

class Firmographics(BaseModel):
    industry: str | None = None
    numberofemployees: int | None = None

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    company = lead.related["company"][0].record
    if lead.id == "fast":
        return Proposal(Firmographics(industry="software"), target=company)
    if lead.id == "slow":
        while not Path("go").exists():
            time.sleep(0.01)
        return Proposal(Firmographics(numberofemployees=120), target=company)
    raise Skip("nothing to add")
"""

SEEING = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Seen(BaseModel):
    {name}_saw: str

@agent(writes=Seen)
def look(lead: Snapshot) -> Proposal:
    company = lead.related["company"][0]
    return Proposal({{"{name}_saw": f"{{company.get('industry')}}, {{company.get('numberofemployees')}}"}})
"""


@pytest.mark.parametrize("processes", [1, 0])
def test_later_steps_see_what_enrichment_said_and_no_stale_read_of_the_crm_takes_it_away(
    site: Installation, processes: int
) -> None:
    agents = {"enrichment": "enrich", "scoring": "look", "routing": "look"}
    site.configure(agents, {"new_lead": list(agents)}, processes=processes)
    site.agent("enrichment", IN_TURN)
    for name in ("scoring", "routing"):
        site.agent(name, SEEING.format(name=name))
    site.crm("company", {"acme": {"name": "Acme"}})
    site.crm("lead", {"fast": {"company_id": "acme"}, "slow": {"company_id": "acme"}})
    site.file("lagging.py", LAGGING)
    site.configure(agents, {"new_lead": list(agents)}, processes=processes, adapter="lagging:Lagging")
    with site.up():
        until(lambda: site.states() == {"lead:fast": "finished", "lead:slow": "running"})
        assert site.crm_record("company:acme")["industry"] == "software"
        site.revops("emit", "lead.created", "lead:fast", "--id", "again")  # reads the company anew, as it was at first
        until(lambda: site.run_states().get("finished", 0) >= 2)
        (site.root / "go").touch()
        until(lambda: site.settled())
    leads = site.crm_records("lead")
    assert {leads["fast"][f"{name}_saw"] for name in ("scoring", "routing")} == {"software, None"}
    assert {leads["slow"][f"{name}_saw"] for name in ("scoring", "routing")} == {"software, 120"}
    assert site.crm_record("company:acme") == {"name": "Acme", "industry": "software", "numberofemployees": 120}
    assert site.reviews() == []
