"""Agents that crash, hang, leave or answer rubbish: the orchestrator lives, other agents' leads go on and finish."""

from __future__ import annotations

import pytest

from installation import Installation, until
from revops_lite.errors import BusError
from revops_lite.models import Review, Run
from revops_lite.store.views import Views

pytestmark = pytest.mark.real

GOOD = 12

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
import time
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Said(BaseModel):
    note: str | None = None
    score: float | None = None


def answer(**values):
    return Proposal(Said.model_construct(**values))


def fork_and_leave():
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(3600)
    os._exit(0)


def spin():
    while True:
        pass


def swallow():
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass


def leave(error):
    raise error


class Odd(BaseException):
    pass


WAYS = {
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), 9),
    "spin": spin,
    "sleep": lambda: time.sleep(3600),
    "swallow": swallow,
    "systemexit": lambda: leave(SystemExit(3)),
    "interrupt": lambda: leave(KeyboardInterrupt()),
    "odd": lambda: leave(Odd("odd")),
    "generator": lambda: leave(GeneratorExit()),
    "huge": lambda: answer(note="x" * 10_000_000),
    "huge_error": lambda: leave(RuntimeError("y" * 10_000_000)),
    "nan": lambda: answer(score=float("nan")),
    "infinity": lambda: answer(score=float("inf")),
    "number": lambda: 42,
    "list": lambda: [1, 2, 3],
    "text": lambda: "yes",
    "object": lambda: object(),
    "values": lambda: Proposal(object()),
    "undeclared": lambda: Proposal({"amount": 5}),
    "elsewhere": lambda: Proposal({"note": "x"}, target="lead:somebody-else"),
    "confidence": lambda: Proposal({"note": "x"}, confidence=float("nan")),
    "surrogate": lambda: answer(note="\\ud800"),
    "wrong_type": lambda: answer(score=[1]),
}


@agent(writes=Said)
def misbehave(lead: Snapshot) -> Proposal:
    return WAYS[lead["way"]]()
"""

DEADLY = ("segfault", "exit", "abort", "kill")
HANGING = ("spin", "sleep", "swallow")
LEAVING = ("systemexit", "interrupt", "odd", "generator", "huge_error")
RUBBISH = (
    "huge",
    "nan",
    "infinity",
    "number",
    "list",
    "text",
    "object",
    "values",
    "undeclared",
    "elsewhere",
    "confidence",
    "surrogate",
    "wrong_type",
)


def mixed(site: Installation, ways: tuple[str, ...], *, processes: int) -> None:
    """A good workflow for companies, and one in which each of `ways` happens to one lead."""
    site.agent("scoring", HEALTHY)
    site.agent("bad", BAD)
    patient = 'timeout = "1s"\nbreaker = { failures = 100, cooldown = "1m" }'
    site.configure(
        {"scoring": "score", "bad": f'entry = "agents.bad:misbehave"\n{patient}'},
        {
            "good": 'on = "company.created"\nsteps = [{ agent = "scoring" }]',
            "bad": 'on = "lead.created"\nsteps = [{ agent = "bad" }]',
        },
        processes=processes,
        threads=8,
    )
    site.crm("company", {f"company-{n}": {"number": n} for n in range(GOOD)})
    site.crm("lead", {f"lead-{way}": {"way": way} for way in ways})


def books(site: Installation) -> tuple[dict[str, Run], dict[str, list[Review]]]:
    """Runs by the lead's way, and the pending review items of each."""
    with site.redis() as client:
        views = Views(client)
        runs = {
            run.record.removeprefix("lead:lead-"): run for run in views.runs(lambda run: run.workflow == "bad", None)
        }
        pending = views.pending()
    return runs, {way: [item for item in pending if item.run == run.id] for way, run in runs.items()}


def check_failed(site: Installation, ways: tuple[str, ...]) -> None:
    """Each lead's step has failed, for a reason in words, and asks a person."""
    runs, items = books(site)
    assert set(runs) == set(ways)
    for way, run in runs.items():
        assert (way, run.state, run.steps["bad"].state) == (way, "failed", "failed")
        assert run.steps["bad"].problems, way
        assert [item.reason for item in items[way]] == ["failure"], way


def goods(site: Installation) -> int:
    return sum(record.get("revops_grade") == "A1" for record in site.crm_records("company").values())


def test_agents_that_kill_their_host_fail_alone_and_the_others_finish(site: Installation) -> None:
    mixed(site, DEADLY, processes=1)
    with site.up() as up:
        until(lambda: site.run_states("good") == {"finished": GOOD}, "the good ones finish")
        until(lambda: site.settled() == {"finished": GOOD, "failed": len(DEADLY)}, "the bad ones fail", 60.0)
        check_failed(site, DEADLY)
        assert goods(site) == GOOD
        ended(site, up)


def test_an_orchestrator_that_its_own_agents_kill_recovers_and_finds_the_culprits(site: Installation) -> None:
    """With processes = 0 an agent can end the orchestrator; started again and again it gets rid of the culprit."""
    ways = ("exit",)
    mixed(site, ways, processes=0)
    deaths = 0
    for _ in range(5):
        with site.up(ready=False) as up:
            until(lambda one=up: not one.alive() or quiet(site), "it dies, or all is done")
            if up.alive():
                break
            deaths += 1
            assert up.process.returncode == 0
            assert "Traceback" not in up.err
    assert deaths == 4  # once among others, which proves nothing, and three times alone
    with site.up() as up:
        until(lambda: site.settled() == {"finished": GOOD, "failed": len(ways)}, "all runs have ended")
        check_failed(site, ways)
        assert goods(site) == GOOD
        ended(site, up)


def quiet(site: Installation) -> bool:
    try:
        states = site.settled()
    except Exception as error:
        if isinstance(error, OSError | BusError) or type(error).__module__.startswith("redis"):
            return False  # its server went with it, perhaps while we looked
        raise
    return sum(states.values()) == GOOD + 1 and not set(states) & {"running", "waiting"}


@pytest.mark.parametrize("processes", [1, 0])
def test_agents_that_hang_or_leave_fail_and_the_others_finish(site: Installation, processes: int) -> None:
    ways = HANGING + LEAVING
    mixed(site, ways, processes=processes)
    with site.up() as up:
        until(lambda: site.run_states("good") == {"finished": GOOD}, "the good ones finish")
        until(lambda: site.settled() == {"finished": GOOD, "failed": len(ways)}, "the bad ones fail")
        check_failed(site, ways)
        runs, _ = books(site)
        for way in HANGING:
            assert "1 s" in runs[way].steps["bad"].problems[0]
        logs = "".join(path.read_text("utf-8", "replace") for path in (site.root / "var" / "logs").glob("*.log*"))
        assert "SystemExit: 3" in logs  # where its author finds how it failed
        ended(site, up)


@pytest.mark.parametrize("processes", [1, 0])
def test_rubbish_is_quarantined_or_fails_and_reaches_nobody(site: Installation, processes: int) -> None:
    mixed(site, RUBBISH, processes=processes)
    with site.up() as up:
        until(lambda: sum(site.settled().values()) == GOOD + len(RUBBISH), "all runs have ended")
        runs, items = books(site)
        for way, run in runs.items():
            assert (way, str(run.state)) in {(way, "held"), (way, "failed")}
            assert (way, str(run.steps["bad"].state)) in {(way, "quarantined"), (way, "failed")}
            assert run.steps["bad"].problems, way
            assert all(len(problem) < 2_000 for problem in run.steps["bad"].problems)
            assert len(items[way]) == 1, way
        assert not [row for row in site.changes() if row["kind"] == "lead"]
        assert goods(site) == GOOD
        ended(site, up)


def test_hosts_full_of_hanging_agents_are_replaced_and_work_goes_on(site: Installation) -> None:
    """Ten calls that never return in eight slots: the host is recycled, and what waits behind them is done."""
    ways = HANGING[2:]
    mixed(site, ways, processes=1)
    site.crm("lead", {f"lead-swallow{n}": {"way": "swallow"} for n in range(9)})
    with site.up() as up:
        first = set(until(up.hosts, "a host lives"))
        until(lambda: site.settled() == {"finished": GOOD, "failed": 10}, "the hanging ones fail", 60.0)
        until(lambda: up.hosts() and not first & set(up.hosts()), "the host is replaced")
        ended(site, up)


def ended(site: Installation, up) -> None:
    """A clean stop: no traceback, and no process of this installation is left over."""
    assert up.alive()
    assert up.stop() == 0
    assert "Traceback" not in up.err
    until(lambda: not site.processes(), "no process is left over")
