"""Two controllers at once: the second is refused; where the first was only asleep, it never writes again.

A controller is stopped (SIGSTOP) at a chosen point, another one takes over, and the first is continued. The CRM's own
notes then tell who called, and whether a controller had a successor when it began a call.
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos_report import LONG, SEED, tell
from installation import Installation, Up, lines_of, until
from revops_lite.models import AuditEntry
from revops_lite.server.process import EmbeddedServer
from revops_lite.store import keys
from revops_lite.store.views import Views
from shared_redis import Shared
from stopping_crm import POINTS

pytestmark = pytest.mark.real

LEADS = 12
FIELDS = 2
SILENT = 11.0  # seconds after which a controller without heartbeat may be replaced
PATIENCE = 180.0  # a second controller takes its time on a busy machine

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


@pytest.fixture
def pair(tmp_path: Path, program: Path) -> Iterator[Shared]:
    """An installation on a Redis that two controllers can reach."""
    server = EmbeddedServer(tmp_path / "shared", "everysec", program)
    server.start()
    made = Shared(tmp_path / "site", server)
    try:
        yield made
    finally:
        made.end()
        server.stop()


def leads(site: Installation, entry: str, processes: int = 1) -> None:
    site.agent("enrichment", AGENT)
    adapter = "sqlite" if entry == "sqlite" else f"stopping_crm:{entry}"
    for crm in ("sqlite", adapter):
        site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, adapter=crm, processes=processes)
        if isinstance(site, Shared):
            site.shared()
        if crm == "sqlite":
            site.crm("lead", {f"lead-{n}": {"number": n} for n in range(LEADS)})


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def heard(site: Shared, ago: float) -> None:
    """The controller's last heartbeat is so long ago, whatever has gone by: a slow machine changes nothing."""
    with site.redis() as client:
        client.hset(keys.CONTROLLER, "heartbeat", str(time.time() - ago))


def successor(site: Shared, old: Up) -> Up:
    """The old one sleeps: first nobody may take its place, then somebody does."""
    heard(site, -PATIENCE)
    refused = site.revops("up", code=1, timeout=PATIENCE)
    assert f"another controller works on this Redis: {socket.gethostname()}:{old.pid}:" in refused.err
    if LONG:
        heard(site, 0.0)
        until(lambda: _silence(site) > SILENT, "the silence is long enough")
    heard(site, SILENT)
    return site.start()


def _silence(site: Shared) -> float:
    with site.redis() as client:
        return time.time() - float(client.hget(keys.CONTROLLER, "heartbeat") or 0)


def test_a_second_controller_on_the_embedded_redis_is_refused_and_the_first_goes_on(site: Installation) -> None:
    leads(site, "sqlite")
    with site.up() as up:
        assert f"another controller, pid {up.pid}" in site.revops("up", code=1, timeout=PATIENCE).err
        until(lambda: site.settled() == {"finished": LEADS}, "all leads are worked on")
        assert up.stop() == 0


ROUNDS = [
    (point, entry, when, n % 2)
    for entry in ("Keyed", "Comparing", "Plain")
    for when in ("soon", "late")
    for n, point in enumerate(POINTS)
]
SHORT = [
    ("behind the gate", "Plain", "late", 1),
    ("in the call", "Keyed", "late", 0),
    ("in the call", "Plain", "late", 1),
]


@pytest.mark.parametrize(("point", "entry", "when", "processes"), ROUNDS if LONG else SHORT)
def test_a_controller_that_slept_through_its_replacement_never_writes_again(
    pair: Shared, point: str, entry: str, when: str, processes: int
) -> None:
    dice = random.Random(f"{SEED} {point} {entry} {when}")
    leads(pair, entry, processes)
    pair.file("stop", f"{point} {dice.randrange(2)}")
    old = pair.start(ready=False)
    until(lambda: stopped(old.pid), f"it has stopped {point}")
    new = successor(pair, old)
    if when == "late":
        until(lambda: pair.settled() == {"finished": LEADS}, "the new one has done all", PATIENCE)
    hosts = old.hosts()
    pair.file("go", "")
    old.signal(signal.SIGCONT)
    assert old.wait() == 1
    assert "another controller" in old.err.splitlines()[-1]
    assert "Traceback" not in old.err
    until(lambda: not set(hosts) & set(pair.processes()), "its hosts have gone with it")
    until(lambda: pair.settled() == {"finished": LEADS}, "all is done", PATIENCE)
    check(pair, old, new, point, f"{entry} {when}")
    assert new.stop() == 0
    assert "Traceback" not in new.err
    until(lambda: not pair.processes(), "no process is left over")


def check(site: Shared, old: Up, new: Up, point: str, note: str) -> None:
    """Who called whom when, how often each write was applied, and what was said about it."""
    with site.redis() as client:
        audit = Views(client).audit(lambda _: True, None)
    started = [entry.who for entry in reversed(audit) if entry.what == "controller.started"]
    assert [who.split(":")[1] for who in started] == [str(old.pid), str(new.pid)]
    assert Counter(entry.what for entry in audit if entry.record)["run.started"] == LEADS
    ended = Counter(entry.run for entry in audit if entry.what == "run.finished")
    assert (len(ended), set(ended.values())) == (LEADS, {1})
    late = no_stale_calls(site, old, point)
    applied, reported = applications(site), told_late(audit)
    assert applied == {f"lead:lead-{n}": 1 + reported.get(f"lead:lead-{n}", 0) for n in range(LEADS)}
    assert "ok" in site.revops("audit", "verify").out
    tell(
        suite="two controllers",
        runs=LEADS,
        fired={f"stopped {point}": 1, "second controller refused": 1, "call begun before the new epoch": late},
        writes=sum(applied.values()),
        duplicated=sum(reported.values()),
        reported=sum(reported.values()),
        lost=0,
        unexplained=0,
        note=f"{note}; every duplicate is reported as write.late",
    )


def no_stale_calls(site: Shared, old: Up, point: str) -> int:
    """No call was begun by who had a successor. How many the old one had begun when it was stopped there."""
    calls = [line for line in lines_of(site.root / "calls.jsonl") if line["what"] == "call"]
    assert len(calls) >= LEADS
    assert not [line for line in calls if line["epoch"] != line["now"]]
    return sum(line["pid"] == old.pid for line in calls) if point == "in the call" else 0


def applications(site: Shared) -> dict[str, int]:
    """How often each record was written: by the CRM's table of changes, or where it compares nothing, by its notes."""
    noted = [line["record"] for line in lines_of(site.root / "calls.jsonl") if line["what"] == "applied"]
    rows = Counter(f"{row['kind']}:{row['id']}" for row in site.changes())
    assert set(rows.values()) == {FIELDS}
    return dict(Counter(noted) or Counter({record: n // FIELDS for record, n in rows.items()}))


def told_late(audit: list[AuditEntry]) -> dict[str, int]:
    found = Counter(entry.record for entry in audit if entry.what == "write.late")
    assert set(found.values()) <= {FIELDS}
    return {str(record): n // FIELDS for record, n in found.items()}
