"""A backlog: very many events at once, before `up` runs and while it does. None is lost, and memory stays bounded.

REVOPS_LONG=1 sends 100,000. What each process holds at most is printed, and stands in the report.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from chaos_report import sized, tell
from installation import Installation, Up, until
from revops_lite.server.lease import connect_or_start
from watched_memory import Watched

pytestmark = pytest.mark.real

EVENTS = sized(2_000, 100_000)
PATIENCE = sized(180, 3_000)
ORCHESTRATOR_MB = 250  # measured with 100,000: 83 while they come in; what is in memory does not grow with what waits
HOST_MB = 150

AGENT = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Grade(BaseModel):
    revops_grade: str


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    return Proposal(Grade(revops_grade=f"A{lead['number'] % 5}"))
"""


def trivial(site: Installation) -> None:
    site.agent("scoring", AGENT)
    workflow = 'on = "lead.created"\nsteps = [{ agent = "scoring" }]'
    site.configure({"scoring": "score"}, {"new_lead": workflow}, adapter="none", threads=16, durability="always")


def backlog(site: Installation, first: int, count: int) -> str:
    """A file for `emit --file`; its name."""
    lines = (
        {"type": "lead.created", "record": f"lead:{n}", "data": {"number": n}, "id": f"event-{n}"}
        for n in range(first, first + count)
    )
    return str(site.file(f"backlog-{first}.jsonl", "".join(json.dumps(line) + "\n" for line in lines)))


def sent(site: Installation, first: int, count: int) -> None:
    """All of them are accepted; sent once more, none is."""
    name = backlog(site, first, count)
    assert f"{count} accepted" in site.revops("emit", "--file", name, timeout=PATIENCE).out
    assert f"0 accepted, {count} known" in site.revops("emit", "--file", name, timeout=PATIENCE).out


def parties(up: Up) -> dict[str, int]:
    hosts = up.hosts()
    others = [pid for pid in up.children() if pid not in hosts]
    found = {"orchestrator": [up.pid], "host": hosts, "redis": others}
    return {name: pids[0] for name, pids in found.items() if pids}


@contextmanager
def opened(site: Installation) -> Iterator[Redis]:
    """The data after `up` has stopped."""
    lease = connect_or_start(site.root / "var" / "redis", "everysec", "cli")
    with lease, Redis(unix_socket_path=str(lease.socket)) as client:
        yield client


def check_each_once(site: Installation, client: Redis, count: int) -> None:
    """Every event has exactly one run, and that is finished."""
    runs = site.views(client).runs(lambda _: True, None)
    assert Counter(str(run.state) for run in runs) == {"finished": count}
    assert {run.record for run in runs} == {f"lead:{n}" for n in range(count)}


def figures(client: Redis, watched: Watched, seconds: float, note: str) -> None:
    memory = client.info("memory")["used_memory"] / 1e6
    rate = f"{EVENTS / seconds:.0f} a second"
    peaks = f"{watched.told()}; Redis holds {memory:.0f} MB for {EVENTS} runs"
    tell(
        suite="backlog", runs=EVENTS, fired={note: EVENTS}, lost=0, duplicated=0, unexplained=0, note=f"{rate}; {peaks}"
    )


def bounded(watched: Watched) -> None:
    assert 0 < watched.peak["orchestrator"] < ORCHESTRATOR_MB, watched.told()
    assert 0 < watched.peak["host"] < HOST_MB, watched.told()


def test_a_backlog_from_before_the_start_is_drained_and_none_of_it_is_lost(site: Installation) -> None:
    trivial(site)
    sent(site, 0, EVENTS)
    began = time.monotonic()
    with site.up("--until-idle", ready=False) as up, Watched(lambda: parties(up)) as watched:
        assert up.wait(PATIENCE) == 0
    seconds = time.monotonic() - began
    assert "Traceback" not in up.err
    with opened(site) as client:
        check_each_once(site, client, EVENTS)
        figures(client, watched, seconds, "events waiting at the start")
    bounded(watched)


def test_a_backlog_that_comes_while_up_works_is_drained_and_none_of_it_is_lost(site: Installation) -> None:
    trivial(site)
    half = EVENTS // 2
    with site.up() as up, Watched(lambda: parties(up)) as watched:
        began = time.monotonic()
        sent(site, 0, half)
        sent(site, half, EVENTS - half)
        until(lambda: site.audited() >= EVENTS and drained(site), "all is drained", PATIENCE)
        seconds = time.monotonic() - began
        with site.redis() as client:
            check_each_once(site, client, EVENTS)
            figures(client, watched, seconds, "events while up works")
        assert up.stop() == 0
    bounded(watched)


def drained(site: Installation) -> bool:
    """Counted by the index of open runs: reading 100,000 runs again and again would be the load itself."""
    with site.redis() as client:
        counts = [client.zcard(f"revops:open:{kind}") for kind in ("runs", "loads", "intents", "notices")]
        cursor = client.hget("revops:controller", "cursor")
        last = client.xrevrange("revops:events", count=1)
        counts.append(client.exists("revops:waiting"))
    return not any(counts) and bool(last) and last[0][0] == cursor
