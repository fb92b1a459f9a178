"""Redis killed again and again while events come in: what was accepted is there, once, and has its run, once.

Programs outside send events in a loop and note on disk what was accepted. The moments of the kills are seeded: after so
many more accepted events.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos_report import SEED, sized, tell
from emitting import __file__ as EMITTING
from installation import Installation, Up, until
from revops_lite.server.process import EmbeddedServer
from revops_lite.store import keys
from revops_lite.store.events import FIELD, decode_event
from shared_redis import Shared

pytestmark = pytest.mark.real

OWN_KILLS = sized(12, 200)
EMBEDDED_KILLS = sized(3, 100)
EVERYSEC_KILLS = sized(3, 40)
BETWEEN = 15  # events at most, of each emitter, from one kill to the next
PATIENCE = sized(180, 900)

AGENT = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Grade(BaseModel):
    revops_grade: str


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    return Proposal(Grade(revops_grade=f"A{lead['number'] % 5}"))
"""


class Emitters:
    """Two programs that send: one as any program would, one by the store itself."""

    def __init__(self, site: Installation) -> None:
        self._site = site
        self.names = ("client", "store")
        self._running = [self._start(name) for name in self.names]

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, EMITTING, str(self._site.root / "config.toml"), name, name]
        with (self._site.root / f"{name}.err").open("wb") as err:
            return subprocess.Popen(words, cwd=self._site.root, env=self._site.environment(), stderr=err)

    def accepted(self, name: str) -> list[tuple[str, float]]:
        path = self._site.root / f"{name}.accepted"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(id_, float(at)) for id_, at in (line.split() for line in lines)]

    def counts(self) -> list[int]:
        for name, process in zip(self.names, self._running, strict=True):
            assert process.poll() is None, (self._site.root / f"{name}.err").read_text()
        return [len(self.accepted(name)) for name in self.names]

    def until_more(self, dice: random.Random) -> None:
        """Until each has sent some more."""
        wanted = [count + dice.randrange(1, BETWEEN) for count in self.counts()]
        until(lambda: all(map(int.__ge__, self.counts(), wanted)), f"{wanted} events are accepted", PATIENCE)

    def stop(self) -> None:
        for name in self.names:
            (self._site.root / f"{name}.stop").touch()
        for process in self._running:
            process.wait(30)

    def kill(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@contextmanager
def emitting(site: Installation) -> Iterator[Emitters]:
    emitters = Emitters(site)
    try:
        yield emitters
    finally:
        emitters.kill()


@contextmanager
def shared(folder: Path, program: Path, durability: str) -> Iterator[Shared]:
    """An installation on a server of its own."""
    server = EmbeddedServer(folder / "redis", durability, program)
    server.start()
    made = Shared(folder / "site", server)
    trivial(made, durability)
    made.shared()
    try:
        yield made
    finally:
        made.end()
        server.stop()


def trivial(site: Installation, durability: str) -> None:
    site.agent("scoring", AGENT)
    workflow = 'on = "lead.created"\nsteps = [{ agent = "scoring" }]'
    site.configure({"scoring": "score"}, {"new_lead": workflow}, adapter="none", threads=8, durability=durability)


def kill_again_and_again(emitters: Emitters, kill: Callable[[], None], count: int) -> list[float]:
    """When it was killed."""
    dice, fired = random.Random(SEED + count), list[float]()
    for _ in range(count):
        emitters.until_more(dice)
        fired.append(time.time())
        kill()
    emitters.until_more(dice)
    return fired


def in_the_stream(site: Installation) -> Counter[str]:
    """How often each event from outside stands in the stream; where `up` runs, decided ones leave it in time."""
    with site.redis() as client:
        found = [decode_event(fields[FIELD]) for _, fields in client.xrange(keys.EVENTS)]
    return Counter(event.id for event in found if event.type == "lead.created")


def check_all_there(site: Installation, emitters: Emitters) -> int:
    """Each accepted event has its run once, with one answer that counts."""
    accepted = [id_ for name in emitters.names for id_, _ in emitters.accepted(name)]
    until(lambda: site.settled() == {"finished": len(accepted)}, "all runs have ended", PATIENCE)
    with site.redis() as client:
        runs = site.views(client).runs(lambda _: True, None)
    audit = site.audit()
    assert Counter(accepted) == Counter(run.trigger.id for run in runs)
    assert Counter(run.record for run in runs) == Counter(f"lead:{id_}" for id_ in accepted)
    for what in ("run.started", "step.done", "run.finished"):
        assert Counter(entry["run"] for entry in audit if entry["what"] == what) == Counter(run.id for run in runs)
    return len(accepted)


def told(suite: str, events: int, kills: int, **more: object) -> None:
    tell(
        **{
            "suite": suite,
            "runs": events,
            "fired": {"kill redis": kills},
            "lost": 0,
            "duplicated": 0,
            "unexplained": 0,
            **more,
        }
    )


def ended(site: Installation, up: Up) -> None:
    assert up.stop() == 0
    assert "Traceback" not in up.err
    until(lambda: not site.processes(), "no process is left over")


def test_a_server_killed_again_and_again_keeps_each_accepted_event_once(tmp_path: Path, program: Path) -> None:
    with shared(tmp_path, program, "always") as site, site.up() as up, emitting(site) as emitters:
        fired = kill_again_and_again(emitters, site.kill_server, OWN_KILLS)
        emitters.stop()
        events = check_all_there(site, emitters)
        assert (len(fired), events > 2 * OWN_KILLS) == (OWN_KILLS, True)
        told("redis killed", events, len(fired))
        ended(site, up)


def test_the_embedded_server_killed_again_and_again_keeps_each_accepted_event_once(site: Installation) -> None:
    trivial(site, "always")

    def kill() -> None:
        server = up.server()
        os.kill(server, signal.SIGKILL)
        until(lambda: site.audited() > 0 and up.server() != server, "another server answers")

    with site.up() as up, emitting(site) as emitters:
        fired = kill_again_and_again(emitters, kill, EMBEDDED_KILLS)
        emitters.stop()
        events = check_all_there(site, emitters)
        assert (len(fired), events > 2 * EMBEDDED_KILLS) == (EMBEDDED_KILLS, True)
        told("embedded redis killed", events, len(fired))
        ended(site, up)


def test_with_everysec_a_killed_server_loses_at_most_the_last_events_before_the_kill(
    tmp_path: Path, program: Path
) -> None:
    """What it wrote outlives it. While the disk is slow it answers before it has written: that much may be lost."""
    with shared(tmp_path, program, "everysec") as site, emitting(site) as emitters:
        kills = kill_again_and_again(emitters, site.kill_server, EVERYSEC_KILLS)
        emitters.stop()
        there = in_the_stream(site)
        assert set(there.values()) == {1}
        lost = {name: lost_ones(emitters.accepted(name), kills, there) for name in emitters.names}
        ages = [age for found in lost.values() for age in found]
        note = (
            f"lost after their acknowledgement: {len(ages)}, the oldest {max(ages, default=0.0):.3f} s before its kill"
        )
        told("redis killed, everysec", len(there), len(kills), lost=len(ages), note=note)


def lost_ones(accepted: list[tuple[str, float]], kills: list[float], there: Counter[str]) -> list[float]:
    """How long before the next kill each lost event was accepted; of one sender, only its last ones may be lost."""
    ages: list[float] = []
    for number, (id_, at) in enumerate(accepted):
        if id_ in there:
            continue
        kill = min(kill for kill in kills if kill >= at)
        behind = [other for other, later in accepted[number:] if later <= kill]
        assert not [other for other in behind if other in there], f"{id_} is gone, and what came behind it is not"
        ages.append(kill - at)
    return ages
