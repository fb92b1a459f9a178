"""Killing what runs: the orchestrator, an agent host, the embedded server, at seeded moments while leads are worked on.

Whatever was killed, after the next start every run ends, every step counts once, and the CRM's own table of changes
holds each write exactly once.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from installation import Installation, Up, until
from revops_lite.models import AuditEntry, Intent, Run, Write
from revops_lite.store.store import Store
from revops_lite.store.views import Views

pytestmark = pytest.mark.real

LONG = bool(os.environ.get("REVOPS_LONG"))
KILLS = 20 if LONG else 4
LEADS = 300 if LONG else 120
PAUSE = 0.15 if LONG else 0.05  # seconds an agent takes: long enough that a start does not work off everything
PATIENCE = 90.0
STEPS = ("enrichment", "scoring", "routing")

ENRICHMENT = """
import time
from pydantic import BaseModel, Field
from revops_lite import Proposal, Snapshot, agent


class Found(BaseModel):
    industry: str
    numberofemployees: int = Field(ge=1)


@agent(writes=Found)
def enrich(lead: Snapshot) -> Proposal:
    time.sleep(PAUSE)
    number = int(lead["number"])
    return Proposal(Found(industry=f"industry {number % 7}", numberofemployees=number + 1), confidence=0.95)
"""

# Every tenth grade is too unsure to be written: it waits for a person, and its run with it.
# It waits at the moments that a test has asked for until the kill has come.
SCORING = """
import os
import time
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Grade(BaseModel):
    revops_grade: str


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    time.sleep(PAUSE / 2)
    number = int(lead["number"])
    while (Path("MOMENTS") / f"{number}.wanted").exists():
        (Path("MOMENTS") / f"{number}.here").write_text(str(os.getpid()))
        time.sleep(0.01)
    sure = number % 10 != 0
    return Proposal(Grade(revops_grade=f"A{lead['numberofemployees'] % 4}"), confidence=0.9 if sure else 0.3)
"""

ROUTING = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Owner(BaseModel):
    hubspot_owner_id: str
    hs_lead_status: str


@agent(writes=Owner)
def route(lead: Snapshot) -> Proposal:
    return Proposal(Owner(hubspot_owner_id=f"owner {lead['revops_grade']}", hs_lead_status="OPEN"))
"""

NEW_LEAD = """
on = "lead.created"
steps = [{ agent = "enrichment" }, { agent = "scoring", wait_for_review = true }, { agent = "routing" }]
"""


def leads(site: Installation, *, processes: int, durability: str = "always", crm: str = "sqlite") -> None:
    """An installation with leads that nobody has worked on."""
    site.agent("enrichment", ENRICHMENT.replace("PAUSE", str(PAUSE)))
    site.agent("scoring", SCORING.replace("PAUSE", str(PAUSE)).replace("MOMENTS", str(moments_of(site))))
    site.agent("routing", ROUTING)
    site.configure(
        {"enrichment": "enrich", "scoring": "score", "routing": "route"},
        {"new_lead": NEW_LEAD},
        processes=processes,
        threads=8,
        durability=durability,
        adapter=crm,
    )
    if crm == "sqlite":
        site.crm("lead", {f"lead-{n}": {"number": n} for n in range(LEADS)})


def moments_of(site: Installation) -> Path:
    return site.root / "moments"


def moments(site: Installation, seed: int, count: int) -> Iterator[int]:
    """When to kill: while some leads of a seeded choice are scored. Yields the process that does it.

    Such a lead's agent does not answer before the kill, so that each one falls while work is left. To be called before
    `up` begins: the first leads are scored at once.
    """
    directory = moments_of(site)
    directory.mkdir()
    for number in random.Random(seed).sample(range(LEADS), count):
        (directory / f"{number}.wanted").touch()
    return _coming(directory, count)


def _coming(directory: Path, count: int) -> Iterator[int]:
    for _ in range(count):
        here, pid = until(lambda: next(reached(directory), None), "a moment has come", PATIENCE)
        yield pid
        here.with_suffix(".wanted").unlink()
        for each in directory.glob("*.here"):
            each.unlink()


def reached(directory: Path) -> Iterator[tuple[Path, int]]:
    """Where an agent waits, and in which process; its file is empty while it is written anew."""
    for here in directory.glob("*.here"):
        if here.with_suffix(".wanted").exists() and (pid := here.read_text()):
            yield here, int(pid)


def all_ended(site: Installation) -> bool:
    states = site.settled()
    return sum(states.values()) == LEADS and set(states) <= {"finished", "held", "failed", "cancelled"}


def until_all_ended(site: Installation) -> None:
    until(lambda: all_ended(site), "all runs have ended", PATIENCE)


def check_books(site: Installation) -> None:
    """While `up` runs: what the runs, the audit trail, the writes and the CRM's own table say of each other."""
    with site.redis() as client:
        views, store = Views(client), Store(client)
        runs: list[Run] = views.runs(lambda _: True, None)
        writes: list[Write] = views.writes(lambda _: True, None)
        audit: list[AuditEntry] = views.audit(lambda _: True, None)
        rows = site.changes()
        intents = store.load(("intent", row["write_id"]) for row in rows)
    check_runs(runs)
    check_steps(runs, audit)
    check_writes(writes, rows, intents)


def check_runs(runs: Sequence[Run]) -> None:
    """One run a lead; those whose grade is unsure wait for a person, all others are finished."""
    wanted = {f"lead:lead-{n}": "finished" if n % 10 else "held" for n in range(LEADS)}
    assert len(runs) == LEADS
    strange = {run.record: (str(run.state), run.note) for run in runs if str(run.state) != wanted[run.record]}
    assert not strange
    assert {run.record for run in runs} == set(wanted)


def check_steps(runs: Sequence[Run], audit: Sequence[AuditEntry]) -> None:
    """Exactly one step.done for each step that is done, and none for any other."""
    done = Counter((entry.run, entry.who) for entry in audit if entry.what == "step.done")
    assert set(done.values()) == {1}
    assert set(done) == {(run.id, step.agent) for run in runs for step in run.steps.values() if step.state == "done"}
    started = Counter(entry.run for entry in audit if entry.what == "run.started")
    assert started == Counter(run.id for run in runs)


def check_writes(writes: Sequence[Write], rows: Sequence[dict], intents: dict[tuple[str, str], Intent | None]) -> None:
    """The CRM's own table and our writes are the same, one to one."""
    twice = {key: n for key, n in Counter((row["write_id"], row["field"]) for row in rows).items() if n > 1}
    assert not twice
    told: dict[str, dict] = {}
    for row in rows:
        intent = intents["intent", row["write_id"]]
        assert intent is not None, f"a change of ours without an intent: {row}"
        told[intent.writes[row["field"]]] = row
    applied = {write.id: write for write in writes if write.state == "applied"}
    assert set(told) == set(applied)
    assert len(applied) >= 2 * LEADS  # a green round in which nothing was written would prove nothing
    for id_, write in applied.items():
        assert (told[id_]["before"], told[id_]["after"]) == (write.before, write.after)
        assert f"{told[id_]['kind']}:{told[id_]['id']}" == write.record
    by_field = Counter((row["kind"], row["id"], row["field"]) for row in rows)
    assert set(by_field.values()) == {1}


def no_traceback(up: Up) -> None:
    assert "Traceback" not in up.err, up.err[-5000:]


def stopped_in_order(site: Installation, up: Up) -> None:
    assert up.stop() == 0
    no_traceback(up)
    until(lambda: not site.processes(), "no process is left over")


@pytest.mark.parametrize("processes", [1, 0])
def test_an_orchestrator_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice(
    site: Installation, processes: int
) -> None:
    leads(site, processes=processes)
    coming = moments(site, seed=11 + processes, count=KILLS)
    for _ in range(KILLS):
        with site.up() as up:
            next(coming)
            up.kill()
        no_traceback(up)
    assert next(coming, None) is None
    with site.up() as up:
        until_all_ended(site)
        check_books(site)
        stopped_in_order(site, up)


def test_agent_hosts_that_are_killed_again_and_again_lose_nothing(site: Installation) -> None:
    leads(site, processes=1)
    coming = moments(site, seed=22, count=KILLS)
    with site.up() as up:
        for host in coming:
            assert host in up.hosts()
            os.kill(host, signal.SIGKILL)
            until(lambda gone=host: gone not in up.hosts(), "the killed host is gone")
        until_all_ended(site)
        check_books(site)
        stopped_in_order(site, up)


@pytest.mark.parametrize("processes", [1, 0] if LONG else [1])
def test_a_server_that_is_killed_is_started_again_and_nothing_is_lost(site: Installation, processes: int) -> None:
    leads(site, processes=processes)
    coming = moments(site, seed=33 + processes, count=KILLS // 2)
    with site.up() as up:
        for _ in coming:
            server = up.server()
            os.kill(server, signal.SIGKILL)
            until(lambda gone=server: site.audited() > 0 and up.server() != gone, "another server answers")
        until_all_ended(site)
        check_books(site)
        stopped_in_order(site, up)


def on_the_way(site: Installation) -> Callable[[], bool]:
    return lambda: site.audited() > LEADS * 2


def test_a_stopped_orchestrator_keeps_its_place_and_goes_on_when_it_wakes(site: Installation) -> None:
    leads(site, processes=1)
    with site.up() as up:
        until(on_the_way(site), "it works")
        up.signal(signal.SIGSTOP)
        refused = site.revops("up", code=None)
        assert refused.code == 1
        assert f"pid {up.pid}" in refused.err
        up.signal(signal.SIGCONT)
        until_all_ended(site)
        check_books(site)
        stopped_in_order(site, up)
