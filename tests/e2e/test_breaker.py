"""An agent that raises five times: its breaker opens at the fifth call, one notice goes out, all that waited runs."""

from __future__ import annotations

import json
import os

import pytest

from installation import Installation, until
from revops_lite.models import Breaker, Run
from revops_lite.store.store import Store
from revops_lite.store.views import Views

pytestmark = pytest.mark.real

LONG = bool(os.environ.get("REVOPS_LONG"))
LEADS = 30
COOLDOWN = 2.0  # seconds

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
    """It opened at exactly the `at`-th call; ops was told; the rest is parked.

    However slow this machine is: a probe may be under way by now, and fails as long as the agent does.
    """
    until(lambda: step_states(site) == {"failed": at, "parked": leads - at}, "the rest is parked")
    opened_at = breaker(site).opened_at
    assert opened_at is not None
    assert len([call for call in calls(site) if call < opened_at + COOLDOWN]) == at
    until(lambda: ops(site), "ops is told")


def check_recovered(site: Installation, at: int, leads: int) -> None:
    """One probe at a time after each cooldown, and when one succeeds all that was parked."""
    until(lambda: step_states(site) == {"failed": at, "done": leads - at}, "all that was parked has run")
    until(lambda: site.settled() == {"failed": at, "finished": leads - at}, "all runs have ended")
    assert breaker(site).state == "closed"
    audit = [entry["what"] for entry in site.audit() if entry["what"].startswith("breaker.")]
    probes = audit.count("breaker.probing")
    assert audit == ["breaker.closed", *["breaker.probing"] * probes, "breaker.opened"]
    assert len(calls(site)) == leads + probes - 1  # all of them once, and the probes that failed
    assert len(ops(site)) == 1
    assert "scoring" in ops(site)[0]["subject"]


@pytest.mark.parametrize("processes", [1, 0] if LONG else [1])
def test_five_failures_one_after_the_other_open_the_breaker_at_the_fifth(site: Installation, processes: int) -> None:
    flaky(site, processes=processes)
    site.file("failing", "")
    with site.up() as up:
        for number in range(5):
            emit(site, range(number, number + 1))
            until(lambda n=number: step_states(site).get("failed") == n + 1, "it has failed")
        emit(site, range(5, 10))
        check_open(site, at=5, leads=10)
        (site.root / "failing").unlink()
        check_recovered(site, at=5, leads=10)
        assert up.stop() == 0


@pytest.mark.parametrize("processes", [1, 0])
def test_of_thirty_at_once_a_broken_agent_is_called_five_times(site: Installation, processes: int) -> None:
    flaky(site, processes=processes)
    site.file("failing", "")
    with site.up() as up:
        emit(site, range(LEADS))
        check_open(site, at=5, leads=LEADS)
        (site.root / "failing").unlink()
        check_recovered(site, at=5, leads=LEADS)
        assert up.stop() == 0


def test_a_failed_probe_parks_again_for_twice_as_long_and_tells_nobody(site: Installation) -> None:
    flaky(site, processes=1, cooldown=0.5)
    site.file("failing", "")
    with site.up() as up:
        emit(site, range(LEADS))
        until(lambda: len(calls(site)) >= 7, "five calls, then two probes")
        (site.root / "failing").unlink()
        until(lambda: site.settled() == {"failed": 5, "finished": LEADS - 5}, "all runs have ended")
        began = sorted(calls(site))
        assert began[6] - began[5] >= 1.0  # seconds: the cooldown twice
        assert began[7] - began[6] >= 2.0
        assert len(ops(site)) == 1
        assert up.stop() == 0


@pytest.mark.parametrize("processes", [1, 0])
def test_a_proven_agent_that_breaks_fails_five_leads_however_many_are_under_way(
    site: Installation, processes: int
) -> None:
    """Sixteen calls are under way when the fifth fails: the others park like all that follow, and run later."""
    many = 4 * LEADS
    flaky(site, processes=processes, pause=0.1)
    with site.up() as up:
        emit(site, range(LEADS))
        until(lambda: site.settled() == {"finished": LEADS}, "it works")
        site.file("failing", "")
        emit(site, range(LEADS, LEADS + many))
        until(lambda: step_states(site) == {"done": LEADS, "failed": 5, "parked": many - 5}, "the rest is parked")
        opened_at = breaker(site).opened_at
        assert opened_at is not None
        assert len([call for call in calls(site) if call < opened_at + COOLDOWN]) < LEADS + many
        begun = COOLDOWN / 2  # what was claimed before has begun by now, and the first probe has not
        assert not [call for call in calls(site) if opened_at + begun < call < opened_at + COOLDOWN]
        (site.root / "failing").unlink()
        until(lambda: site.settled() == {"failed": 5, "finished": LEADS + many - 5}, "all that was parked has run")
        assert len(ops(site)) == 1
        assert up.stop() == 0


def test_a_breaker_stays_open_over_a_restart(site: Installation) -> None:
    flaky(site, processes=1, cooldown=COOLDOWN)
    site.file("failing", "")
    with site.up() as up:
        emit(site, range(LEADS))
        check_open(site, at=5, leads=LEADS)
        # Killed between sending and reporting, a notice goes out again: no channel can tell that it has had it.
        until(
            lambda: any(entry["what"] == "notice.sent" for entry in site.audit()), "it is on record that ops was told"
        )
        up.kill()
    with site.up() as up:
        check_open(site, at=5, leads=LEADS)
        (site.root / "failing").unlink()
        check_recovered(site, at=5, leads=LEADS)
        assert up.stop() == 0
