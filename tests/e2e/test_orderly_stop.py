"""Who is told to stop lets calls come to their end within a grace, and what they have answered counts."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from enqueued import enqueue
from installation import Installation, until
from own_server import OwnServer
from revops_lite.models import Job
from revops_lite.store import keys
from revops_lite.store.events import decode_event

pytestmark = pytest.mark.real

# A host's process has a bell, `up` itself a thread for cron: both end before anything is waited for.
AGENT = """
import threading
import time
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Out(BaseModel):
    done: str


def stopping() -> bool:
    return not {"bell", "cron"} & {thread.name for thread in threading.enumerate()}


@agent(writes=Out)
def work(lead: Snapshot) -> Proposal:
    with open("calls", "a") as calls:
        calls.write(f"{lead.record}\\n")
    while stopping():  # not yet there: a host begins to work a moment earlier
        time.sleep(0.01)
    Path("began").touch()
    while not Path("go").exists():
        if stopping():
            Path("stopping").touch()
        time.sleep(0.01)
    return Proposal(Out(done="yes"))
"""


@pytest.mark.parametrize("processes", [1, 0])
def test_a_call_that_ends_soon_after_the_stop_counts_and_is_not_made_again(site: Installation, processes: int) -> None:
    site.configure({"slow": "work"}, {"new_lead": ["slow"]}, adapter="none", processes=processes)
    site.agent("slow", AGENT)
    with site.up() as up:
        site.revops("emit", "lead.created", "lead:1")
        until((site.root / "began").exists, "the agent is at work")
        up.signal(signal.SIGTERM)
        until((site.root / "stopping").exists, "it has been told to stop while the agent works")
        (site.root / "go").touch()
        assert up.wait() == 0
        assert "Traceback" not in up.err
    if processes:
        last = (site.root / "var" / "logs" / "agents.log").read_text("utf-8").splitlines()[-1]
        assert last.endswith(" ends")  # in good order: nothing is left, and it was not killed

    site.revops("up", "--until-idle")

    (run,) = site.run_list()
    assert (run["state"], run["steps"][0]["values"]) == ("finished", {"done": "yes"})
    assert (site.root / "calls").read_text() == "lead:1\n"


def test_a_worker_lets_its_calls_end_as_well(site: Installation, program: Path, tmp_path: Path) -> None:
    site.configure({"slow": "work"}, {"new_lead": ["slow"]}, adapter="none")
    site.agent("slow", AGENT)
    snapshot = {"kind": "lead", "id": "1", "values": {}, "version": 1, "now": 1000.0}
    with OwnServer(tmp_path / "own", program) as server:
        server.serve(site)
        enqueue(server.client, Job("job-1", "agents", "r1", "slow", 1, "slow", "lead:1", 30.0, 1, snapshot))
        with subprocess.Popen(site.command("worker"), cwd=site.root, env=site.environment()) as worker:
            try:
                until((site.root / "began").exists, "the agent is at work")
                worker.terminate()
                until((site.root / "stopping").exists, "its host has been told to stop")
                (site.root / "go").touch()
                assert worker.wait(30) == 0
            finally:
                worker.kill()
        ((_, told),) = server.client.xrange(keys.EVENTS)
    assert decode_event(told[b"e"]).data["outcome"] == "done"
