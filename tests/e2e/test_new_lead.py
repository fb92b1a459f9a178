"""New leads from arrival to owner: the sample, a real CRM's export, an agent that is wrong, two leads at once."""

from __future__ import annotations

import os
import re
import shutil
import threading
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
    print({s: sum(r["state"]==s for r in runs) for s in ("finished", "held")}, max(run["elapsed_ms"] for run in runs))
    assert max(run["elapsed_ms"] for run in runs) < 30_000
