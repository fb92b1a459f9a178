"""The orchestrator dies right before, or right after, the CRM has applied a write: each field is applied once."""

from __future__ import annotations

import signal

import pytest

from installation import Installation, until
from revops_lite.store.views import Views

pytestmark = pytest.mark.real

# The embedded CRM, except that the process kills itself once, at the point that the file `crash` names.
DEADLY = """
import os
import signal
import threading
from revops_lite.crm.sqlite import SqliteCrm


def _die_at(point, calls):
    try:
        wanted, write = open("crash").read().split()
    except OSError:
        return
    if wanted == point and any(int(write) <= int(call.record.rpartition("-")[2]) for call in calls):
        os.unlink("crash")
        os.kill(os.getpid(), signal.SIGKILL)


class Crm(SqliteCrm):
    def __init__(self, settings):
        super().__init__(settings.crm.path, settings.crm.relations)

    def write_many(self, calls):
        _die_at("before", calls)
        outcomes = super().write_many(calls)
        _die_at("after", calls)
        return outcomes
"""

# The same for a CRM that knows no keys: it takes one call at a time and would apply a repeated one again.
PLAIN = (
    DEADLY
    + '''

from revops_lite.ports import CrmAbilities


class Plain:
    """Reads and changes of the embedded CRM; writes without key or comparison, as a people's edit would be."""

    abilities = CrmAbilities(lock="none", history="none", keyed=False, batch=1, echo="none")

    def __init__(self, settings):
        self._crm = SqliteCrm(settings.crm.path, settings.crm.relations)
        self._one = threading.Lock()
        for name in ("read", "related", "changes", "sweep", "close"):
            setattr(self, name, getattr(self._crm, name))

    def write(self, record, values, expected, write_id, actor):
        call = type("Call", (), {"record": record})
        with self._one:  # so that what is told in `calls` has been applied, whenever the process dies
            _die_at("before", [call])
            with open("calls", "a") as calls:
                calls.write(f"{record} {write_id}\\n")
            self._crm.edit(record, dict(values), actor, "revops")
            _die_at("after", [call])

    def applied(self, record, write_id):
        return None
'''
)

AGENT = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Found(BaseModel):
    industry: str
    city: str


@agent(writes=Found)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal(Found(industry="steel", city="Oslo"))
"""


def deadly(site: Installation, point: str, leads: int, entry: str = "Crm") -> None:
    site.agent("enrichment", AGENT)
    site.file("deadly.py", PLAIN)
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.crm("lead", {f"lead-{n}": {"number": n} for n in range(leads)})
    site.configure(
        {"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, adapter=f"deadly:{entry}", durability="always"
    )
    site.env["PYTHONPATH"] = str(site.root)
    site.file("crash", f"{point} {leads // 2}")


def writes(site: Installation) -> dict[str, int]:
    with site.redis() as client:
        found = Views(client).writes(lambda _: True, None)
    return {state: sum(write.state == state for write in found) for state in {str(write.state) for write in found}}


@pytest.mark.parametrize("entry", ["Crm", "Plain"])
@pytest.mark.parametrize("point", ["before", "after"])
def test_a_write_cut_off_at_the_call_is_applied_exactly_once(site: Installation, point: str, entry: str) -> None:
    leads = 10
    deadly(site, point, leads, entry)
    with site.up(ready=False) as up:
        assert up.wait() == -signal.SIGKILL
    assert not (site.root / "crash").exists()
    with site.up() as up:
        until(lambda: site.settled() == {"finished": leads}, "all leads are finished")
        assert writes(site) == {"applied": 2 * leads}
        assert up.stop() == 0
    rows = site.changes()
    assert len(rows) == 2 * leads
    assert len({(row["id"], row["field"]) for row in rows}) == 2 * leads
    assert {(row["field"], row["after"]) for row in rows} == {("industry", "steel"), ("city", "Oslo")}
    if entry == "Plain":
        calls = (site.root / "calls").read_text().splitlines()
        assert len(calls) == len(set(calls)) == leads


def test_a_channel_that_cannot_be_written_gets_its_notice_once_it_is_mended(site: Installation) -> None:
    site.agent(
        "alert",
        """
from revops_lite import Notice, Proposal, Snapshot, agent


@agent(writes=None)
def alert(lead: Snapshot) -> Proposal:
    key = f"alert|{lead.record}"
    return Proposal(notices=[Notice(to="file", subject="A lead", body=f"It is {lead.record}", key=key)])
""",
    )
    site.configure({"alert": "alert"}, {"new_lead": ["alert"]})
    site.crm("lead", {"lead-1": {"number": 1}})
    blocked = site.root / "var" / "notices.jsonl"
    blocked.mkdir(parents=True)
    with site.up() as up:
        until(lambda: "notice.deferred" in {entry["what"] for entry in site.audit()}, "the channel has refused it once")
        assert site.run_states() == {"waiting": 1}
        blocked.rmdir()
        until(lambda: site.settled() == {"finished": 1}, "the notice has gone out")
        assert up.stop() == 0
    assert [notice["key"] for notice in site.notices()] == ["alert|lead:lead-1"]
