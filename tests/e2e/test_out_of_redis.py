"""What has ended leaves Redis while `up` runs: every command shows it as before, and it can be taken back or go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from installation import ENRICH, Installation, until
from revops_lite.archiver import SOME
from revops_lite.store import keys

pytestmark = pytest.mark.real

LEADS = SOME + 40

# The embedded CRM of an orchestrator that keeps nothing in Redis which may go.
FORGETFUL = """
from revops_lite import archiver
from revops_lite.crm.sqlite import SqliteCrm

archiver.KEPT.update(dict.fromkeys(archiver.KEPT, 0))


class Crm(SqliteCrm):
    def __init__(self, settings):
        super().__init__(settings.crm.path, settings.crm.relations)
"""


def forgetful(site: Installation) -> None:
    site.agent("enrichment", ENRICH)
    site.file("forgetful.py", FORGETFUL)
    agents, flow = {"enrichment": "enrich"}, {"new_lead": ["enrichment"]}
    site.configure(agents, flow)
    site.crm("lead", {f"lead-{n}": {"number": n} for n in range(LEADS)})
    site.configure(agents, flow, adapter="forgetful:Crm", durability="always")
    site.env["PYTHONPATH"] = str(site.root)


def left(site: Installation) -> bool:
    """Whether all runs have ended, and no more of them is in Redis than may wait there."""
    if site.settled() != {"finished": LEADS}:
        return False
    with site.redis() as client:
        return all(client.zcard(keys.index(kind)) < SOME for kind in ("runs", "writes", "contexts"))


def until_left(site: Installation) -> None:
    until(lambda: left(site), "what has ended has left Redis")


def oldest(site: Installation) -> dict[str, Any]:
    """The run that began first; it is in the file alone."""
    run = min(site.run_list(), key=lambda found: (found["started_at"], found["id"]))  # as the list in Redis is sorted
    with site.redis() as client:
        assert not client.exists(keys.doc("run", run["id"]))
    return run


def test_commands_show_what_has_left_redis(site: Installation) -> None:
    forgetful(site)
    with site.up():
        until_left(site)
        run = oldest(site)
        assert len(site.run_list()) == len(site.writes()) == LEADS
        assert site.run_list("--limit", "1")[0]["started_at"] >= run["started_at"]
        assert site.run(run["id"])["state"] == "finished"
        assert run["id"] in site.revops("run", "view", run["id"][:10]).out
        assert site.record(run["record"])["values"]["industry"] == "IT"
        assert "IT" in site.revops("explain", f"{run['record']}.industry").out
        assert site.revops("write", "list", "--record", run["record"]).out.count("industry") == 1
    assert len(site.run_list()) == LEADS, "nor does `up` have to run"
    assert (site.root / "var" / "archive.sqlite3").stat().st_mode & 0o077 == 0


def test_what_has_left_can_be_rolled_back_and_its_record_goes_on(site: Installation) -> None:
    forgetful(site)
    with site.up():
        until_left(site)
        run = oldest(site)
        record = run["record"]
        site.revops("rollback", "--run", run["id"], "--yes")
        until(lambda: not site.crm_record(record).get("industry"), "the value from before stands in the CRM")
        until(lambda: site.run(run["id"])["state"] == "rolled_back", "the run is rolled back")
        assert {write["state"] for write in site.writes("--record", record)} >= {"rolled_back"}
        again = site.revops("workflow", "start", "new_lead", record, "--json").json()
        until(lambda: site.crm_record(record).get("industry") == "IT", "it has been enriched again")
        assert again
        history = site.record(record)["history"]
        assert len([line for line in history if line["agent"] == "enrichment"]) >= 2
        assert site.revops("audit", "verify", "--json").json()["ok"]


def test_killed_while_things_leave_nothing_is_missing_and_nothing_done_twice(site: Installation) -> None:
    forgetful(site)
    with site.up() as up:
        until(lambda: Path(site.root / "var" / "archive.sqlite3").exists(), "the first have left")
        up.kill()
    with site.up():
        until_left(site)
        assert sorted(run["record"] for run in site.run_list()) == sorted(f"lead:lead-{n}" for n in range(LEADS))
        assert len(site.changes()) == LEADS
        assert {write["state"] for write in site.writes()} == {"applied"}
        assert site.revops("audit", "verify", "--json").json()["ok"]
