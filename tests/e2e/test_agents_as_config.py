"""What a team changes by itself: agents and workflows, by config.toml and one file each."""

from __future__ import annotations

import hashlib

import pytest

from installation import Installation, until
from revops_lite import Client

WRITER = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Out(BaseModel):
    {field}: str

@agent(writes=Out)
def act(lead: Snapshot) -> Proposal:
    return Proposal({{"{field}": f"{text}"}}, {confidence}, "because I can")
"""

TOGETHER = """
import time
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Out(BaseModel):
    {me}: str

@agent(writes=Out)
def act(lead: Snapshot) -> Proposal:
    Path("{me}-runs").touch()
    while not Path("{other}-runs").exists():  # ends only where both run at the same time
        time.sleep(0.01)
    return Proposal({{"{me}": "done"}})
"""

FAILING = """
from revops_lite import agent

@agent
def act(lead):
    raise RuntimeError("the provider is away")
"""


def writer(field: str, text: str, confidence: float = 0.95) -> str:
    return WRITER.format(field=field, text=text, confidence=confidence)


def fingerprints(site: Installation) -> dict[str, str]:
    """Every file of the installation that is not the program's own."""
    return {
        str(path.relative_to(site.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in site.root.rglob("*")
        if path.is_file() and not {"var", "__pycache__"} & set(path.relative_to(site.root).parts)
    }


def test_an_agent_is_added_replaced_and_removed_by_the_configuration_and_one_file(site: Installation) -> None:
    def configure(*names: str) -> None:
        site.configure(dict.fromkeys(names, "act"), {"new_lead": names}, adapter="none")

    def handle(record: str) -> dict[str, str]:
        """One lead through the whole system; the files it found."""
        with Client.from_config(site.root / "config.toml") as client:
            client.emit("lead.created", record, data={"name": "Ada"})
        site.revops("up", "--until-idle")
        return fingerprints(site)

    site.agent("scoring", writer("grade", "A1"))
    configure("scoring")
    before = handle("lead:1")

    site.agent("tagging", writer("tag", "graded {lead['grade']}"))
    configure("scoring", "tagging")
    added = handle("lead:2")
    assert {name for name in added if added[name] != before.get(name)} == {"config.toml", "agents/tagging.py"}

    site.agent("tagging", writer("tag", "another hand"))
    replaced = handle("lead:3")
    assert {name for name in added if added[name] != replaced[name]} == {"agents/tagging.py"}

    (site.root / "agents" / "tagging.py").unlink()
    configure("scoring")
    assert handle("lead:4") == before

    views = site.many([["record", "view", f"lead:{n}", "--json"] for n in range(1, 5)])
    scored = {"name": "Ada", "grade": "A1"}
    assert [view.json()["values"] for view in views] == [
        scored,
        scored | {"tag": "graded A1"},
        scored | {"tag": "another hand"},
        scored,
    ]
    assert {run["state"] for run in site.run_list()} == {"finished"}


def test_a_second_workflow_starts_on_an_agents_completion_and_runs_beside_the_first(site: Installation) -> None:
    for name in ("enrichment", "left", "right"):
        site.agent(name, writer("industry", "software") if name == "enrichment" else TOGETHER.format(
            me=name, other="right" if name == "left" else "left"))  # fmt: skip
    agents = dict.fromkeys(("enrichment", "left", "right"), "act")
    second = 'on = "enrichment.complete"\nsteps = [{ agent = "right" }]'
    site.configure(agents, {"new_lead": ["enrichment", "left"], "beside": second})
    site.crm("lead", {"1": {"name": "Ada"}})
    with site.up():
        until(lambda: site.settled() == {"finished": 2})
    runs = {run["workflow"]: run for run in site.run_list()}
    assert runs["beside"]["trigger"]["type"] == "enrichment.complete"
    assert {run["record"] for run in runs.values()} == {"lead:1"}
    assert [step["agent"] for step in runs["new_lead"]["steps"]] == ["enrichment", "left"]
    assert [step["agent"] for step in runs["beside"]["steps"]] == ["right"]
    assert site.crm_record("lead:1") == {"name": "Ada", "industry": "software", "left": "done", "right": "done"}


def test_branches_run_at_the_same_time_and_a_join_sees_what_both_said(site: Installation) -> None:
    for me, other in (("left", "right"), ("right", "left")):
        site.agent(me, TOGETHER.format(me=me, other=other))
    site.agent("both", writer("both", "{lead['left']} and {lead['right']}"))
    steps = """on = ["lead.created", "lead.imported"]
steps = [
  { agent = "left" },
  { agent = "right", after = [] },
  { agent = "both", after = ["left", "right"] },
]"""
    site.configure(dict.fromkeys(("left", "right", "both"), "act"), {"new_lead": steps}, adapter="none")
    with site.up():
        for type_ in ("lead.created", "lead.imported"):
            site.revops("emit", type_, f"lead:{type_}", "--wait")
            assert site.record(f"lead:{type_}")["values"]["both"] == "done and done"


def test_an_optional_step_may_fail_and_every_other_ends_the_run(site: Installation) -> None:
    site.agent("shaky", FAILING)
    site.agent("after", writer("after", "went on"))
    steps = 'on = "{}"\nsteps = [{{ agent = "shaky"{} }}, {{ agent = "after" }}]'
    site.configure(
        {"shaky": 'entry = "agents.shaky:act"\nattempts = 1', "after": "act"},
        {"lenient": steps.format("lead.created", ", optional = true"), "strict": steps.format("lead.imported", "")},
        adapter="none",
    )
    with site.up() as up:
        site.revops("emit", "lead.created", "lead:1", "--wait")
        site.revops("emit", "lead.imported", "lead:2", "--wait")
        assert "Traceback" not in up.err
    runs = {run["workflow"]: run for run in site.run_list()}
    assert [step["state"] for step in runs["lenient"]["steps"]] == ["failed", "done"]
    assert [step["state"] for step in runs["strict"]["steps"]] == ["failed", "skipped"]
    assert (runs["lenient"]["state"], runs["strict"]["state"]) == ("finished", "failed")
    assert "the provider is away" in runs["strict"]["steps"][0]["problems"][0]
    assert {item["reason"] for item in site.reviews()} == {"failure"}


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_step_may_wait_for_the_review_of_what_was_withheld(site: Installation, decision: str) -> None:
    site.agent("guessing", writer("industry", "software", confidence=0.4))
    site.agent("after", writer("after", "saw {lead.get('industry')}"))
    steps = 'on = "lead.created"\nsteps = [{ agent = "guessing", wait_for_review = true }, { agent = "after" }]'
    site.configure(dict.fromkeys(("guessing", "after"), "act"), {"new_lead": steps})
    site.crm("lead", {"1": {"name": "Ada"}})
    with site.up():
        until(lambda: site.settled() == {"held": 1})
        assert site.changes() == []
        record = site.record("lead:1")
        assert "industry" not in record["values"]
        assert record["proposed"]["industry"]["value"] == "software"
        (item,) = site.reviews()
        assert (item["reason"], item["field"], item["proposed"]) == ("confidence", "industry", "software")
        note = ["--note", "no proof"] if decision == "reject" else []
        site.revops("review", decision, item["id"][:6], *note)
        until(lambda: site.settled() == {"finished": 1})
    seen = "software" if decision == "approve" else None
    assert site.crm_record("lead:1").get("industry") == seen
    assert site.crm_record("lead:1")["after"] == f"saw {seen}"
    if decision == "approve":
        assert {row["actor"] for row in site.changes() if row["field"] == "industry"} != {"guessing"}
