"""Commands as people type them: options behind the command, dates without a zone, filters, JSON wherever data come."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from installation import Installation, until
from own_server import OwnServer
from revops_lite.crm.sqlite import SqliteCrm

ENRICH = """
from pydantic import BaseModel
from revops_lite import Proposal, agent

class Found(BaseModel):
    industry: str

@agent(writes=Found)
def enrich(lead):
    return Proposal(Found(industry="software"), confidence=0.95, because="the registry says so")
"""


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Installation]:
    """Two leads, each run through two workflows. Tests only read it."""
    del program
    site = Installation(tmp_path_factory.mktemp("village"))
    flows = {"new_lead": ["enrichment"], "by_hand": 'on = "by.hand"\nsteps = [{ agent = "enrichment" }]'}
    site.configure({"enrichment": "enrich"}, flows)
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"1": {"name": "Ada"}, "2": {"name": "Grace"}})
    site.revops("up", "--until-idle")
    site.revops("workflow", "start", "by_hand", "lead:1")
    site.revops("up", "--until-idle")
    yield site
    site.end()


def test_the_configuration_may_be_named_behind_the_command_or_by_the_environment(
    village: Installation, tmp_path: Path
) -> None:
    config = str(village.root / "config.toml")
    for words in (
        ["run", "list", "--json", "--config", config],
        ["run", "--config", config, "list", "--json"],
        ["run", "list", f"--config={config}", "--json"],
    ):
        assert len(village.revops(*words, cwd=tmp_path).items()) == 3, words
    elsewhere = Installation(tmp_path, {"REVOPS_CONFIG": config})
    assert len(elsewhere.run_list()) == 3
    named = elsewhere.revops("status", "--config", "missing.toml", code=4)
    assert "missing.toml" in named.err, "what is typed beats the environment"
    assert "--config" in elsewhere.revops("status", "--config", code=2).err


def test_it_tells_which_version_it_is(village: Installation) -> None:
    assert village.revops("--version").out == f"revops-lite {version('revops-lite')}\n"


@pytest.mark.parametrize("machine", ["UTC", "Asia/Tokyo"])
def test_a_date_is_one_of_the_configured_time_zone_whatever_the_machines_is(site: Installation, machine: str) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, adapter="none")  # Europe/Berlin
    site.agent("enrichment", ENRICH)
    site.env["TZ"] = machine
    site.revops("hold", "add", "lead:1", "--reason", "litigation", "--until", "2099-01-31")
    site.revops("hold", "add", "lead:2", "--reason", "litigation", "--until", "2099-01-31T12:00:00+09:00")
    held = {hold["record"]: hold["until"] for hold in site.revops("hold", "list", "--json").items()}
    assert held == {"lead:1": "2099-01-30T23:00:00.000Z", "lead:2": "2099-01-31T03:00:00.000Z"}
    assert site.audit("--since", "2099-01-31") == []
    assert len(site.audit("--since", "2020-01-31")) == 0, "nothing has been decided yet"


def test_lists_are_narrowed_by_workflow_record_and_number(village: Installation) -> None:
    assert {write["record"] for write in village.writes("--workflow", "new_lead")} == {"lead:1", "lead:2"}
    assert village.writes("--workflow", "nothing") == []
    assert village.reviews("--state", "all", "--workflow", "new_lead") == []
    (started,) = village.audit("--workflow", "by_hand", "--what", "run.started")
    assert started["rule"] == "by_hand"
    exported = village.revops("audit", "export", "--workflow", "by_hand").out.splitlines()
    assert {json.loads(line)["workflow"] for line in exported} == {"by_hand"}
    assert {entry["who"] for entry in village.audit("--agent", "enrichment")} == {"enrichment"}
    assert village.revops("hold", "list", "lead:1", "--json").items() == []
    assert [one["agent"] for one in village.revops("breaker", "list", "enrichment", "--json").items()] == ["enrichment"]
    assert len(village.revops("workflow", "list", "--limit", "1", "--json").items()) == 1
    assert len(village.revops("agent", "list", "--limit", "1", "--json").items()) == 1
    flows = village.revops("workflow", "list", "--json").items()
    assert {flow["name"]: flow["deadline_ms"] for flow in flows} == {"new_lead": None, "by_hand": None}


def test_what_is_told_in_sentences_is_also_told_to_programs(village: Installation) -> None:
    told = village.revops("explain", "lead:1.industry", "--json").json()
    said = village.revops("explain", "lead:1.industry").out.splitlines()
    assert (told["schema"], told["about"], told["sentences"]) == (1, "lead:1.industry", said)


def test_a_run_started_by_hand_is_named_to_programs(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"by_hand": 'on = "by.hand"\nsteps = [{ agent = "enrichment" }]'})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"1": {"name": "Ada"}})
    accepted = site.revops("workflow", "start", "by_hand", "lead:1", "--json").json()
    assert (accepted["up"], accepted["runs"]) == (False, [])
    with site.up():
        done = site.revops("workflow", "start", "by_hand", "lead:1", "--wait", "--json").json()
    assert [(run["id"], run["state"]) for run in done["runs"]] == [(done["run"], "finished")]
    assert site.run(accepted["run"])["state"] == "finished"


def test_a_hold_is_shown_before_any_run_has_worked_on_the_record(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, adapter="none")
    site.agent("enrichment", ENRICH)
    site.revops("hold", "add", "lead:9", "--reason", "litigation")
    record = site.record("lead:9")
    assert ([hold["reason"] for hold in record["holds"]], record["fields"]) == (["litigation"], {})
    site.revops("record", "view", "lead:10", code=3)


def test_a_rollback_asks_first_and_says_what_it_would_do(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {str(n): {"name": f"Lead {n}"} for n in range(1, 4)})
    site.revops("up", "--until-idle")
    site.revops("crm", "set", "lead:2", "industry=a person's")
    site.revops("hold", "add", "lead:3", "--reason", "litigation")
    refused = site.revops("rollback", "--agent", "enrichment", code=2)
    assert "--yes" in refused.err
    forecast = site.revops("rollback", "--agent", "enrichment", "--dry-run", "--json").json()
    assert {name: [row["record"] for row in forecast[name]] for name in ("rolled_back", "conflicts", "held")} == {
        "rolled_back": ["lead:1"],
        "conflicts": ["lead:2"],
        "held": ["lead:3"],
    }
    with site.up():
        done = site.revops("rollback", "--agent", "enrichment", "--yes", "--json").json()
    assert {name: [row["record"] for row in done[name]] for name in ("rolled_back", "conflicts", "held")} == {
        "rolled_back": ["lead:1"],
        "conflicts": ["lead:2"],
        "held": ["lead:3"],
    }


def test_a_record_that_is_gone_is_a_conflict_and_not_on_hold(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"1": {"name": "Ada"}})
    site.revops("up", "--until-idle")
    with closing(SqliteCrm(site.crm_path, {})) as crm:
        crm.archive("lead:1")
    with site.up():
        done = site.revops("rollback", "--record", "lead:1", "--yes", "--json").json()
    assert ([item["record"] for item in done["conflicts"]], done["held"]) == (["lead:1"], [])


def test_up_does_not_wait_for_a_breaker_that_a_person_has_opened(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"1": {"name": "Ada"}})
    site.revops("breaker", "open", "enrichment")
    site.revops("up", "--until-idle")
    assert [step["state"] for run in site.run_list() for step in run["steps"]] == ["parked"]
    site.revops("breaker", "reset", "enrichment")
    site.revops("up", "--until-idle")
    assert [run["state"] for run in site.run_list()] == ["finished"]


RELATED = """
from pydantic import BaseModel
from revops_lite import Proposal, agent

class Found(BaseModel):
    companies: int

@agent(writes=Found)
def enrich(lead):
    return Proposal(Found(companies=len(lead.related["company"])), confidence=0.95)
"""


@pytest.mark.parametrize("adapter", ["none", "sqlite"])
def test_a_related_record_that_nobody_holds_is_an_empty_list(site: Installation, adapter: str) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, adapter=adapter)
    site.agent("enrichment", RELATED)
    site.revops("emit", "lead.created", "lead:1", "--data", '{"name": "Ada"}')
    site.revops("up", "--until-idle")
    assert site.record("lead:1")["values"]["companies"] == 0


def test_a_persons_empty_field_stays_empty_until_a_person_says_otherwise(site: Installation) -> None:
    again = 'on = "by.hand"\nsteps = [{ agent = "enrichment" }]'
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"], "again": again})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"1": {"name": "Ada", "industry": ""}, "2": {"name": "Grace"}})
    site.revops("up", "--until-idle")
    assert {site.crm_record(f"lead:{n}")["industry"] for n in (1, 2)} == {"software"}, "a cell left empty says nothing"
    site.revops("crm", "set", "lead:1", "industry=null")
    site.revops("workflow", "start", "again", "lead:1")
    site.revops("up", "--until-idle")
    assert "industry" not in site.crm_record("lead:1")
    assert site.audit("--record", "lead:1", "--what", "conflict.decided")[0]["rule"] == "human"


BUSY = ENRICH.replace(
    "    return",
    """    import pathlib, time
    here = pathlib.Path.cwd()
    if lead.id == "1":
        (here / "began").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
    (here / f"did-{lead.id}").touch()
    return""",
)


def test_a_worker_elsewhere_takes_what_the_first_machine_has_no_room_for(
    site: Installation, tmp_path: Path, program: Path
) -> None:
    with OwnServer(tmp_path / "own", program) as own:
        elsewhere = Installation(tmp_path / "elsewhere")
        for one, processes in ((site, 1), (elsewhere, 0)):
            flows = {"new_lead": ["enrichment"]}
            one.configure({"enrichment": "enrich"}, flows, adapter="none", processes=processes, threads=1)
            one.agent("enrichment", BUSY)
            own.serve(one)
        with site.up(ready=False):
            site.revops("emit", "lead.created", "lead:1")
            until(lambda: (site.root / "began").exists(), "the only slot is taken")
            site.revops("emit", "lead.created", "lead:2")
            worker = elsewhere.start(command="worker", ready=False)
            until(lambda: (elsewhere.root / "did-2").exists(), "the worker elsewhere has done it")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
            (site.root / "go").touch()
            until(lambda: {run["state"] for run in site.run_list()} == {"finished"}, "both have finished")
        elsewhere.end()
    assert not (site.root / "did-2").exists()
