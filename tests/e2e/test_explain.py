"""`revops explain` tells each fate of a value so that somebody who has read nothing understands it."""

from __future__ import annotations

import pytest

from installation import Installation, until

pytestmark = pytest.mark.real

ENRICH = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Firmographics(BaseModel):
    industry: str | None = None
    city: str | None = None

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    sure = 0.4 if lead.id == "withheld" else 0.95
    return Proposal(Firmographics(industry="software", city="Kiel"), confidence=sure, because="the registry says so")
"""

ODD = """
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmRefused

class Odd(SqliteCrm):
    "Refuses one record, and lets a person be faster with another."

    def __init__(self, settings):
        super().__init__(settings.crm.path, settings.crm.relations)

    def write_many(self, calls):
        outcomes = []
        for call in calls:
            if call.record == "lead:refused":
                outcomes.append(CrmRefused("422: industry is locked by a validation rule"))
                continue
            if call.record == "lead:conflicted" and call.values.get("industry") == "software":
                self.edit(call.record, {"industry": "what Ana typed"}, "ana")
            outcomes += super().write_many([call])
        return outcomes
"""

TOLD = {
    "written": ("software", "was written to the CRM", "the registry says so", "confidence 0.95"),
    "withheld": ("was withheld for a person", "confidence 0.40 below 0.80", "waits as q"),
    "refused": ("was refused", "422: industry is locked by a validation rule"),
    "conflicted": ("what Ana typed", "a person's edit in the CRM", "met another value in the CRM and was not written"),
    "undone": ("rolled back", "has no value", "was written and rolled back later"),
}


def test_every_fate_of_a_value_reads_right(site: Installation) -> None:
    site.configure(
        {"enrichment": "enrich"},
        {"new_lead": ["enrichment"]},
        adapter="odd:Odd",
        extra='[governance.fields."lead.city"]\nmode = "shadow"',
    )
    site.file("odd.py", ODD)
    site.agent("enrichment", ENRICH)
    text = (site.root / "config.toml").read_text()
    site.file("config.toml", text.replace("odd:Odd", "sqlite"))
    site.crm("lead", {name: {"email": f"{name}@b.example"} for name in TOLD})
    site.file("config.toml", text)
    with site.up():
        until(lambda: site.settled() == {"finished": len(TOLD)}, "all runs have ended")
        site.revops("rollback", "--record", "lead:undone", "--yes")
        for name, phrases in TOLD.items():
            story = site.revops("explain", f"lead:{name}.industry").out
            for phrase in phrases:
                assert phrase in story, f"{name}: {phrase!r} is not in\n{story}"
        shadow = site.revops("explain", "lead:written.city").out
        assert "was only recorded" in shadow
        assert "mode shadow" in shadow
        (run,) = [run for run in site.run_list() if run["record"] == "lead:written"]
        story = site.revops("explain", run["id"]).out
        assert story.startswith("Workflow new_lead started on lead:written because of lead.created")
        assert "enrichment answered: the registry says so." in story
        assert "The run ended finished" in story
