"""An agent that raises five times: its breaker opens at the fifth call, one notice goes out, and all that waited runs."""

from __future__ import annotations

import json


import pytest

from installation import Installation, until
from revops_lite.models import Breaker, Run
from revops_lite.store.store import Store
from revops_lite.store.views import Views

pytestmark = pytest.mark.real

LEADS = 30
COOLDOWN = 3.0  # seconds

# Appends a line a call: when it began. Fails while the file `failing` is there.
FLAKY = """
import os
import time
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Grade(BaseModel):
    revops_grade: str


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    handle = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{time.time()!r} {lead.record}\\n".encode())
    os.close(handle)
    if PAUSE:
        time.sleep(PAUSE)
    if os.path.exists("failing"):
        raise RuntimeError("the scoring service is away")
    return Proposal(Grade(revops_grade="A1"))
"""


def flaky(site: Installation, *, processes: int, cooldown: float = COOLDOWN, pause: float = 0.0) -> None:
    site.agent("scoring", FLAKY.replace("PAUSE", repr(pause)))
    breaker = f'entry = "agents.scoring:score"\nbreaker = {{ failures = 5, cooldown = "{int(cooldown * 1000)}ms" }}'
    site.configure({"scoring": breaker}, {"new_lead": ["scoring"]}, processes=processes, threads=16, adapter="none")
    config = site.root / "config.toml"
    text = config.read_text().replace(
        '[notify]\ndefault = "file"',
        '[notify.channels.ops]\nkind = "file"\npath = "var/ops.jsonl"\n[notify]\nops = "ops"\ndefault = "file"',
    )
    config.write_text(text)


def emit(site: Installation, numbers: range) -> None:
    lines = [f'{{"type": "lead.created", "record": "lead:lead-{n}", "id": "e{n}"}}\n' for n in numbers]
    site.file("events.jsonl", "".join(lines))
    site.revops("emit", "--file", "events.jsonl")


def calls(site: Installation) -> list[float]:
    path = site.root / "calls"
    return [float(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def ops(site: Installation) -> list[dict]:
    path = site.root / "var" / "ops.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def breaker(site: Installation) -> Breaker:
    with site.redis() as client:
        return Store(client).breakers().get("scoring") or Breaker("scoring")


def runs(site: Installation) -> list[Run]:
    with site.redis() as client:
        return Views(client).runs(lambda _: True, None)


def step_states(site: Installation) -> dict[str, int]:
    found = [str(run.steps["scoring"].state) for run in runs(site)]
    return {state: found.count(state) for state in set(found)}


def check_open(site: Installation, at: int, leads: int) -> None:
    """Open at exactly the `at`-th call; nothing is called any more; ops was told once; the rest is parked."""
    until(lambda: step_states(site) == {"failed": at, "parked": leads - at}, "the rest is parked")
    found = breaker(site)
    assert found.state == "open"
    assert len(calls(site)) == at
    until(lambda: ops(site), "ops is told")


def check_recovered(site: Installation, at: int, leads: int, opened: Breaker) -> None:
    """One probe after the cooldown, then all that was parked."""
    until(lambda: step_states(site) == {"failed": at, "done": leads - at}, "all that was parked has run")
    until(lambda: site.settled() == {"failed": at, "finished": leads - at}, "all runs have ended")
    began = sorted(calls(site))
    assert len(began) == leads
    assert opened.until is not None
    assert began[at] >= opened.until
    assert breaker(site).state == "closed"
    audit = [entry["what"] for entry in site.audit() if entry["what"].startswith("breaker.")]
    assert audit == ["breaker.closed", "breaker.probing", "breaker.opened"]
    assert len(ops(site)) == 1
    assert "scoring" in ops(site)[0]["subject"]


@pytest.mark.parametrize("processes", [1, 0])
def test_five_failures_one_after_the_other_open_the_breaker_at_the_fifth(site: Installation, processes: int) -> None:
    flaky(site, processes=processes)
    site.file("failing", "")
    with site.up() as up:
        for number in range(5):
            emit(site, range(number, number + 1))
            until(lambda n=number: step_states(site).get("failed") == n + 1, "it has failed")
        opened = breaker(site)
        assert opened.state == "open"
        (site.root / "failing").unlink()
        emit(site, range(5, 10))
        check_open(site, at=5, leads=10)
        check_recovered(site, at=5, leads=10, opened=opened)
        assert up.stop() == 0


@pytest.mark.parametrize("processes", [1, 0])
def test_of_thirty_at_once_a_broken_agent_is_called_five_times(site: Installation, processes: int) -> None:
    flaky(site, processes=processes)
    site.file("failing", "")
    with site.up() as up:
        emit(site, range(LEADS))
        check_open(site, at=5, leads=LEADS)
        (site.root / "failing").unlink()
        check_recovered(site, at=5, leads=LEADS, opened=breaker(site))
        assert up.stop() == 0


def test_a_failed_probe_parks_again_for_twice_as_long_and_tells_nobody(site: Installation) -> None:
    flaky(site, processes=1, cooldown=0.5)
    site.file("failing", "")
    with site.up() as up:
        emit(site, range(LEADS))
        until(lambda: len(calls(site)) == 7, "five calls, then two probes")
        (site.root / "failing").unlink()
        until(lambda: site.settled() == {"failed": 5, "finished": LEADS - 5}, "all runs have ended")
        began = sorted(calls(site))
        assert began[6] - began[5] >= 1.0  # seconds: the cooldown twice
        assert began[7] - began[6] >= 2.0
        assert len(ops(site)) == 1
        assert up.stop() == 0


@pytest.mark.parametrize("processes", [1, 0])
def test_no_call_begins_while_the_breaker_of_a_proven_agent_is_open(site: Installation, processes: int) -> None:
    """It has worked before, so many of its calls are under way at once; from the opening on there is none."""
    flaky(site, processes=processes, pause=0.02)
    with site.up() as up:
        emit(site, range(LEADS))
        until(lambda: site.settled() == {"finished": LEADS}, "it works")
        site.file("failing", "")
        emit(site, range(LEADS, 2 * LEADS))
        opened = until(lambda: (b := breaker(site)).state == "open" and b, "it opens")
        (site.root / "failing").unlink()
        until(lambda: not set(step_states(site)) & {"running", "pending"}, "the rest is parked")
        assert opened.opened_at is not None
        assert opened.until is not None
        at_most = LEADS + 5 + 16 - 1
        assert len(calls(site)) <= at_most
        until(lambda: set(site.settled()) == {"finished", "failed"}, "all runs have ended")
        assert [at for at in calls(site) if opened.opened_at + 0.25 < at < opened.until] == []
        assert len(ops(site)) == 1
        assert up.stop() == 0


def test_a_breaker_stays_open_over_a_restart(site: Installation) -> None:
    flaky(site, processes=1, cooldown=COOLDOWN)
    site.file("failing", "")
    with site.up() as up:
        emit(site, range(LEADS))
        check_open(site, at=5, leads=LEADS)
        opened = breaker(site)
        up.kill()
    (site.root / "failing").unlink()
    with site.up() as up:
        check_recovered(site, at=5, leads=LEADS, opened=opened)
        assert up.stop() == 0
