"""An agent that misbehaves in every way there is, beside a healthy one: the orchestrator lives and stays small,
the healthy agent's leads are done, and no process is left over.

What becomes of each way by itself is shown in tests/e2e/test_misbehaving_agents.py. How much slower the healthy leads
are is asserted: so all of them at once run with REVOPS_LONG=1 only, and in a default run no time decides anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from chaos_report import LONG, sized, tell
from installation import Installation, Up, until
from revops_lite.models import Event, Run
from revops_lite.store.store import Store
from watched_memory import Watched, megabytes

pytestmark = pytest.mark.real

HEALTHY_LEADS = sized(20, 200)
ORCHESTRATOR_MB = 250  # undisturbed: about 75
HOST_MB = 300  # [workers] memory_mb
PATIENCE = 300.0

HEALTHY = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Grade(BaseModel):
    revops_grade: str


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    return Proposal(Grade(revops_grade="A1"))
"""

BAD = """
import ctypes
import os
import subprocess
import time
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Said(BaseModel):
    note: str


class Odd(BaseException):
    pass


kept = []
calls = []


def leave(error):
    raise error


def swallow():
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass


def flap():
    calls.append(1)
    if len(calls) % 2:
        raise RuntimeError("every other call")


def fork_and_stay():
    if os.fork() == 0:
        time.sleep(3600)
    subprocess.Popen(["sleep", "3600"])


WAYS = {
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(0),
    "systemexit": lambda: leave(SystemExit(3)),
    "interrupt": lambda: leave(KeyboardInterrupt()),
    "generator": lambda: leave(GeneratorExit()),
    "odd": lambda: leave(Odd("odd")),
    "never": lambda: time.sleep(3600),
    "swallow": swallow,
    "block": lambda: ctypes.PyDLL(None).sleep(BLOCK),
    "leak": lambda: kept.append(b"x" * 60_000_000),
    "flap": flap,
    "fork": os.fork,
    "fork_wait": lambda: os.fork() or time.sleep(3600),
    "fork_stay": fork_and_stay,
    "allocate": lambda: len(b"x" * 2_000_000_000),
}


@agent(writes=Said)
def misbehave(lead: Snapshot) -> Proposal:
    WAYS[lead["way"]]()
    return Proposal(Said(note="came back"))
"""

FAIL = ("segfault", "exit", "systemexit", "interrupt", "generator", "odd", "never", "swallow", "block")
COME_BACK = ("leak", "fork", "fork_wait", "fork_stay", "allocate")
BLOCK = 3600  # seconds in C with Python's lock held; a host is killed after 30 s of silence
LEAKS = 8  # so many times 60 MB are more than a host may hold
FLAPS = 6


def beside(site: Installation, *, apart: bool) -> None:
    """The healthy agent for companies, the bad one for leads: in the same hosts, or in hosts of its own."""
    site.agent("scoring", HEALTHY)
    site.agent("bad", BAD.replace("BLOCK", str(BLOCK)))
    patient = 'timeout = "1s"\nbreaker = { failures = 100, cooldown = "1m" }'
    path = site.configure(
        {"scoring": "score", "bad": f'entry = "agents.bad:misbehave"\n{patient}' + ('\nenv = ["OWN"]' * apart)},
        {
            "good": 'on = "company.created"\nsteps = [{ agent = "scoring" }]',
            "bad": 'on = "lead.created"\nsteps = [{ agent = "bad" }]',
        },
        adapter="none",
        threads=8,
    )
    site.file("config.toml", path.read_text().replace("[workers]\n", f"[workers]\nmemory_mb = {HOST_MB}\n"))


def send(site: Installation, kind: str, id_: str, **data: str) -> None:
    with site.redis() as client:
        Store(client).append([Event(id_, f"{kind}.created", f"{kind}:{id_}", "client", time.time(), data)])


def healthy(site: Installation, name: str, over: Callable[[], bool]) -> float:
    """One healthy lead after the other, until there were enough and `over`. Their median time in ms, end to end."""
    names: list[str] = []
    while len(names) < HEALTHY_LEADS or not over():
        names.append(f"{name}-{len(names)}")
        send(site, "company", names[-1])
        until(lambda: states(site, "good").get(names[-1]) == "finished", f"{names[-1]} is finished", PATIENCE)
    with site.redis() as client:
        runs: list[Run] = site.views(client).runs(lambda run: run.record.startswith(f"company:{name}-"), None)
    assert len(runs) == len(names)
    return median(1000 * ((run.finished_at or 0.0) - run.trigger.time) for run in runs)


def runs_of(site: Installation, workflow: str) -> dict[str, Run]:
    """Record's id -> its run."""
    with site.redis() as client:
        found = site.views(client).runs(lambda run: run.workflow == workflow, None)
    assert len({run.record for run in found}) == len(found), "a record of which there are two runs"
    return {run.record.partition(":")[2]: run for run in found}


def states(site: Installation, workflow: str) -> dict[str, str]:
    """Record's id -> state of its run."""
    return {lead: str(run.state) for lead, run in runs_of(site, workflow).items()}


def send_all_ways(site: Installation) -> int:
    ways = [*FAIL, *COME_BACK, *["leak"] * (LEAKS - 1), *["flap"] * FLAPS]
    for number, way in enumerate(ways):
        send(site, "lead", f"{way}-{number}", way=way)
    return len(ways)


def all_over(site: Installation, count: int) -> bool:
    found = states(site, "bad")
    return len(found) == count and set(found.values()) <= {"finished", "failed"}


def logs(site: Installation) -> str:
    return "".join(path.read_text("utf-8", "replace") for path in (site.root / "var" / "logs").glob("*.log*"))


def check(site: Installation) -> None:
    """Whoever does not come back has failed; whoever does has finished, or its second went by while another held
    Python's lock in the same host; a flapping one does both."""
    found = runs_of(site, "bad")
    ends: dict[str, set[str]] = {}
    for lead, run in found.items():
        ends.setdefault(lead.partition("-")[0], set()).add(str(run.state))
        if lead.partition("-")[0] in COME_BACK and run.state != "finished":
            (step,) = run.steps.values()
            assert [problem for problem in step.problems if "no answer within" not in problem] == [], lead
    assert {way: ends[way] for way in FAIL} == {way: {"failed"} for way in FAIL}
    assert "finished" in set().union(*(ends[way] for way in COME_BACK))
    assert ends["flap"] == {"finished", "failed"}
    assert f"it holds more than {HOST_MB} MB" in logs(site)


@pytest.mark.skipif(not LONG, reason="fifteen ways at once: with REVOPS_LONG=1")
@pytest.mark.parametrize("apart", [False, True])
def test_a_healthy_agent_works_on_beside_one_that_misbehaves_in_every_way(site: Installation, apart: bool) -> None:
    beside(site, apart=apart)
    with site.up() as up, Watched(lambda: {"orchestrator": up.pid}) as watched:
        undisturbed = healthy(site, "before", lambda: True)
        alone = megabytes(up.pid)
        count = send_all_ways(site)
        disturbed = healthy(site, "beside", lambda: all_over(site, count))
        check(site)
        until(lambda: all(megabytes(host) < HOST_MB for host in up.hosts()), "no host holds what was leaked")
        assert 0 < watched.peak["orchestrator"] < ORCHESTRATOR_MB, watched.told()
        note = f"healthy leads take {disturbed:.0f} ms, undisturbed {undisturbed:.0f}; {alone:.0f} MB undisturbed, "
        tell(
            suite="agents that misbehave",
            runs=count + 2 * HEALTHY_LEADS,
            fired=dict.fromkeys((*FAIL, *COME_BACK), 1) | {"leak": LEAKS, "flap": FLAPS},
            lost=0,
            duplicated=0,
            unexplained=0,
            note=note + watched.told() + (", in hosts of its own" if apart else ""),
        )
        ended(site, up)
    assert disturbed < 2 * undisturbed, note


def ended(site: Installation, up: Up) -> None:
    assert up.alive()
    assert up.stop() == 0
    assert "Traceback" not in up.err
    until(lambda: not site.processes(), "no process is left over")


def test_what_an_agent_has_forked_ends_with_an_orchestrator_that_is_killed(site: Installation) -> None:
    beside(site, apart=False)
    with site.up() as up:
        (host,) = until(up.hosts, "a host lives")
        send(site, "lead", "one", way="fork")
        until(lambda: states(site, "bad") == {"one": "finished"}, "it came back")
        until(lambda: not forks(host), "its fork, which came back as well, has ended")
        send(site, "lead", "two", way="fork_wait")
        until(lambda: states(site, "bad") == {"one": "finished", "two": "finished"}, "it came back")
        (fork,) = forks(host)
        up.kill()
        until(lambda: fork not in site.processes(), "the fork has gone")
        until(lambda: not site.processes(), "no process is left over")


def forks(host: int) -> list[int]:
    """Its living children; one that has ended stays in the list of processes until its parent asks for it."""
    stats = [path.read_text().rpartition(")")[::2] for path in Path("/proc").glob("[0-9]*/stat")]
    return [int(name.split()[0]) for name, rest in stats if rest.split()[1] == str(host) and rest.split()[0] != "Z"]
