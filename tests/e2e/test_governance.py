"""Governance and rollback as the CRM's own `changes` table tells of them."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest

from installation import Installation, Up, until
from revops_lite.store import keys

pytestmark = pytest.mark.real

LONG = bool(os.environ.get("REVOPS_LONG"))
HOUR = 3600.0

SAYS = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Firmographics(BaseModel):
    industry: str | None = None

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal(Firmographics(industry=str(lead.get("said") or "wrong")), because="as the test wants it")
"""

# The event's data is only for records that the CRM does not hold, so each value is made by the agent itself.
CHANGES = """
from uuid import uuid4
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Firmographics(BaseModel):
    industry: str | None = None

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal(Firmographics(industry=f"value {uuid4().hex}"))
"""


def emit(site: Installation, events: list[dict[str, Any]]) -> None:
    lines = "\n".join(json.dumps(event) for event in events)
    site.revops("emit", "--file", "-", stdin=lines)


def seconds(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["at"].replace("Z", "+00:00")).timestamp()


def most_in_an_hour(rows: list[dict[str, Any]]) -> int:
    """Write calls (not fields) in the fullest sliding hour, by the CRM's own times."""
    calls = {row["write_id"]: seconds(row) for row in rows}
    return max((sum(at <= other < at + HOUR for other in calls.values()) for at in calls.values()), default=0)


def calls(site: Installation) -> int:
    """How many calls for the one record have passed the gate within the hour."""
    with site.redis() as client:
        client.ping()  # whatever was on its way to Redis has been done when the next answer comes
        return int(client.zcard(keys.sent("lead:one")))


def kill_between_calls(site: Installation, up: Up) -> None:
    """While none is under way: one that a kill keeps from the CRM counts, and once more when it is made again."""
    os.kill(up.pid, signal.SIGSTOP)
    while calls(site) != len(site.changes("lead:one")):
        os.kill(up.pid, signal.SIGCONT)
        until(lambda: calls(site) == len(site.changes("lead:one")), "a moment without a call")
        os.kill(up.pid, signal.SIGSTOP)
    up.kill()


def many_changes_of_one_record(site: Installation, budget: int) -> None:
    site.configure(
        {"enrichment": "enrich"},
        {"note": 'on = "lead.noted"\nsteps = [{ agent = "enrichment" }]'},
        extra=f"[governance]\nmax_writes_per_record_per_hour = {budget}",
    )
    site.agent("enrichment", CHANGES)
    site.crm("lead", {"one": {"email": "a@b.example"}})


def test_a_storm_of_changes_on_one_record_keeps_to_the_budget_and_the_rest_waits(site: Installation) -> None:
    budget, storm = 3, 50
    many_changes_of_one_record(site, budget)
    with site.up() as up:
        emit(site, [{"type": "lead.noted", "record": "lead:one", "id": f"n{n}"} for n in range(storm // 2)])
        until(lambda: site.changes("lead:one"), "the first write")
        kill_between_calls(site, up)
    with site.up():
        emit(site, [{"type": "lead.noted", "record": "lead:one", "id": f"n{n}"} for n in range(storm)])
        until(lambda: site.settled() == {"finished": storm}, "all runs have ended", 60.0)
    changes = site.changes("lead:one")
    assert most_in_an_hour(changes) == len({row["write_id"] for row in changes}) == budget
    waiting = site.reviews()
    assert {item["reason"] for item in waiting} == {"budget"}
    states = Counter(write["state"] for write in site.writes("--record", "lead:one"))
    assert states["applied"] == budget
    assert states["withheld"] == storm - budget


def test_a_call_that_a_kill_kept_from_the_crm_counts_and_the_last_one_waits_for_the_hour(site: Installation) -> None:
    budget, storm = 3, 50
    many_changes_of_one_record(site, budget)
    with site.up() as up, closing(sqlite3.connect(site.crm_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the CRM's answer has to wait for whoever writes to its file
        emit(site, [{"type": "lead.noted", "record": "lead:one", "id": f"n{n}"} for n in range(storm // 2)])
        until(lambda: calls(site), "the first call")
        up.kill()
    with site.up():
        emit(site, [{"type": "lead.noted", "record": "lead:one", "id": f"n{n}"} for n in range(storm)])
        until(lambda: site.run_states() == {"finished": storm - 1, "waiting": 1}, "all but one have ended", 60.0)
        assert calls(site) == budget
    changes = site.changes("lead:one")
    assert most_in_an_hour(changes) == len({row["write_id"] for row in changes}) == budget - 1
    states = Counter(write["state"] for write in site.writes("--record", "lead:one"))
    assert states == Counter(applied=budget - 1, planned=1, withheld=storm - budget)
    assert any("until the next may go" in entry["note"] for entry in site.audit("--record", "lead:one"))


def test_a_held_record_is_never_written_whenever_the_hold_came(site: Installation) -> None:
    """Three ways to hold, at random moments around the decision; the CRM's own history decides."""
    leads = [f"l{n}" for n in range(200 if LONG else 45)]
    dice = random.Random(7)
    site.configure({"enrichment": "enrich"}, {"note": 'on = "lead.noted"\nsteps = [{ agent = "enrichment" }]'})
    site.agent("enrichment", SAYS)
    site.crm("lead", {lead: {"email": f"{lead}@b.example"} for lead in leads})
    ways = {lead: ("before", "between", "field")[n % 3] for n, lead in enumerate(leads)}
    with site.up():
        before = [["hold", "add", f"lead:{x}", "--reason", "case"] for x, way in ways.items() if way == "before"]
        field = [["crm", "set", f"lead:{x}", "legal_hold=true"] for x, way in ways.items() if way == "field"]
        late = [["hold", "add", f"lead:{x}", "--reason", "case"] for x, way in ways.items() if way == "between"]
        assert not [done.err for done in site.many(before + field) if done.code]
        events = [{"type": "lead.noted", "record": f"lead:{lead}", "id": f"e{lead}"} for lead in leads]
        dice.shuffle(events)
        dice.shuffle(late)
        lines = "\n".join(json.dumps(event) for event in events)
        sending = subprocess.Popen(
            site.command("emit", "--file", "-"), cwd=site.root, env=site.environment(), stdin=subprocess.PIPE, text=True
        )
        assert sending.stdin is not None
        sending.stdin.write(lines)
        sending.stdin.close()
        since = {}
        for words, done in zip(late, site.many(late), strict=True):
            assert done.code == 0, done.err
            since[words[2]] = done.out.split()[-1]  # from here on it is in force
        assert sending.wait() == 0
        until(lambda: site.settled() == {"finished": len(leads)}, "all runs have ended", 60.0)
    for lead, way in ways.items():
        ours = site.changes(f"lead:{lead}")
        if way != "between":
            assert not ours, f"{lead} was held {way} and yet written"
        else:
            assert all(row["at"] <= since[f"lead:{lead}"] for row in ours), f"{lead} was written after its hold"
    reasons = {(item["record"], item["reason"]) for item in site.reviews()}
    written = {f"lead:{lead}" for lead in leads if site.changes(f"lead:{lead}")}
    assert reasons == {(f"lead:{lead}", "held") for lead in leads if f"lead:{lead}" not in written}


@pytest.mark.parametrize("killed", [False, True])
def test_a_bad_agent_is_undone_where_nobody_has_corrected_it(site: Installation, killed: bool) -> None:
    count, corrected = (10_000, 37) if LONG else (600, 37)
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, threads=16)
    site.agent("enrichment", SAYS)
    leads = [f"l{n}" for n in range(count)]
    site.crm("lead", {lead: {"industry": f"right {lead}"} for lead in leads})
    patience = 600.0 if LONG else 60.0
    with site.up():
        until(lambda: site.settled() == {"finished": count}, "all leads are wrong", patience)
        people = random.Random(3).sample(leads, corrected)
        site.many([["crm", "set", f"lead:{lead}", "industry=corrected", "--as", "ana"] for lead in people])
    assert Counter(r["industry"] for r in site.crm_records("lead").values()) == {
        "wrong": count - corrected,
        "corrected": corrected,
    }
    words = ("rollback", "--agent", "enrichment", "--since", "1d", "--yes", "--json")
    if killed:
        with site.up() as up:
            rolling = subprocess.Popen(
                site.command(*words),
                cwd=site.root,
                env=site.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            until(lambda: any(row["after"] != "wrong" for row in site.changes()), "the rollback has begun")
            up.kill()
            rolling.kill()
            rolling.communicate()
    with site.up():
        result = site.revops(*words, timeout=patience).json()
        assert len(result["conflicts"]) == corrected
        assert not result["held"]
        done = ("write", "list", "--json", "--state", "rolled_back")
        until(lambda: len(site.revops(*done).items()) == count - corrected, "the rest is undone", patience)
        calls = len(site.changes())
        again = site.revops(*words, timeout=patience).json()
        assert not again["rolled_back"]
        assert len(again["conflicts"]) == corrected
        assert len(site.changes()) == calls
    for lead, fields in site.crm_records("lead").items():
        assert fields["industry"] == ("corrected" if lead in people else f"right {lead}")
    assert {item["reason"] for item in site.reviews()} == {"rollback"}
    assert len(site.reviews()) == corrected
    assert max(Counter((row["id"], row["write_id"]) for row in site.changes()).values()) == 1
