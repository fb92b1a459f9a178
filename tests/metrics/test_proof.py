"""Real processes, with failures, conflicts, reviews, a missed deadline and a kill in the middle: the five figures of
`revops metrics` follow from the audit trail alone, counted here by other means than the program's."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from installation import Installation, until

pytestmark = pytest.mark.real

LEADS = 12
ERROR = 0.025

AGENTS = """
from pydantic import BaseModel
from revops_lite import Proposal, Skip, Snapshot, agent


class Firm(BaseModel):
    industry: str | None = None
    size: int | None = None


class Grade(BaseModel):
    industry: str | None = None
    grade: str | None = None


def number(lead):
    return int(lead.id.rpartition("-")[2])


@agent(writes=Firm)
def enrich(lead: Snapshot) -> Proposal:
    if number(lead) % 6 == 1:
        raise RuntimeError("no answer from the registry")
    if number(lead) % 6 == 2:
        return Proposal({"size": "many"})
    if number(lead) % 6 == 3:
        raise Skip("no domain")
    return Proposal(Firm(industry="retail", size=number(lead)), confidence={"size": 0.5, "*": 0.95})


@agent(writes=Grade)
def grade(lead: Snapshot) -> Proposal:
    return Proposal(Grade(industry="software", grade="A"), confidence=0.9)


@agent()
def last(lead: Snapshot) -> None:
    return None
"""

FLOWS = {
    "new_lead": """
on = "lead.created"
steps = [
  { agent = "enrich", after = [], optional = true },
  { agent = "grade", after = [] },
  { agent = "last", after = ["enrich", "grade"] },
]
""",
    "hurried": """
on = "lead.created"
deadline = "1ms"
steps = [{ agent = "last" }]
""",
}


def configure(site: Installation) -> None:
    site.agent("crew", AGENTS)
    tables = {
        name: f'entry = "agents.crew:{name}"\nbreaker = {{ failures = 100, cooldown = "5m" }}'
        for name in ("enrich", "grade", "last")
    }
    site.configure(tables, FLOWS)


def leads(first: int) -> dict[str, dict[str, str]]:
    return {f"lead-{n}": {"email": f"{n}@a.example"} for n in range(first, first + LEADS)}


# ---- the same figures, by other means ----------------------------------------------------------------------------


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def exact(values: list[float], q: float) -> float:
    return sorted(values)[math.ceil(round(q * len(values), 6)) - 1]


class Trail:
    """The figures from the audit entries alone."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries[::-1]

    def of(self, *whats: str, **facts: Any) -> list[dict[str, Any]]:
        return [
            entry
            for entry in self.entries
            if entry["what"] in whats and all(entry[name] == fact for name, fact in facts.items())
        ]

    def took(self, flow: str) -> list[float]:
        return [entry["elapsed_ms"] for entry in self.of("run.finished", workflow=flow)]

    def late(self, flow: str) -> int:
        return len({entry["run"] for entry in self.of("deadline.missed", workflow=flow)})

    def handoffs(self) -> tuple[int, int]:
        passed = len(self.of("step.done", rule="checkpoint")) + len(self.of("step.skipped"))
        return passed, passed + len(self.of("step.quarantined"))

    def conflicts(self) -> tuple[int, int]:
        met = [entry for entry in self.of("conflict.decided", "write.conflicted") if entry["rule"] != "rollback"]
        return len(met), sum(entry["proposals"] for entry in self.entries)

    def records(self) -> tuple[int, int]:
        judged = ("write.allowed", "write.withheld", "write.denied", "write.shadowed", "conflict.decided")
        reviewed = {entry["record"] for entry in self.of("review.asked", "write.withheld")}
        return len(reviewed), len(reviewed | {entry["record"] for entry in self.of("run.started", *judged)})

    def minutes(self, until_: float) -> tuple[int, int]:
        """Elapsed, the present one included, and those of them in which nobody lived."""
        first = seconds(self.of("controller.started")[0]["at"])
        silent = sum(
            int(entry["after"] // 60) - int(entry["before"] // 60) - 1 for entry in self.of("controller.silent")
        )
        return int(until_ // 60) - int(first // 60) + 1, silent

    def calls(self, agent: str) -> list[dict[str, Any]]:
        return [
            entry
            for entry in self.entries
            if entry["what"].startswith("step.") and entry["who"] == agent and entry["elapsed_ms"] is not None
        ]


def close(found: float, durations: list[float], q: float) -> bool:
    right = max(1.0, exact(durations, q))
    return abs(found - right) <= ERROR * right + 0.1


def prove(found: dict[str, Any], trail: Trail) -> None:
    counted = found["counted"]
    for flow, latency in found["end_to_end_latency_ms"].items():
        took = trail.took(flow)
        assert (latency["count"], latency["deadline_missed"]) == (len(took), trail.late(flow))
        assert all(close(latency[f"p{q}"], took, q / 100) for q in (50, 95, 99)), (latency, took)
    for rate, what, part, right in (
        ("checkpoint_pass_rate", "handoffs", "passed", trail.handoffs()),
        ("conflict_rate", "proposals", "conflicts", trail.conflicts()),
        ("human_intervention_rate", "records", "reviewed", trail.records()),
    ):
        assert (counted[what][part], counted[what]["all"]) == right, rate
        assert found[rate] == round(right[0] / right[1], 4)
    elapsed, silent = trail.minutes(seconds(found["to"]))
    minutes = counted["minutes"]
    assert minutes["all"] in (elapsed, elapsed - 1)  # the present minute counts once it is marked
    assert minutes["all"] - minutes["up"] == silent
    assert found["uptime"] == round(minutes["up"] / minutes["all"], 4)
    for agent, told in found["agents"].items():
        calls = trail.calls(agent)
        failures = [call for call in calls if call["what"] in ("step.failed", "step.parked")]
        assert (told["runs"], told["failures"], told["breaker"]) == (len(calls), len(failures), "closed")
        assert close(told["p95_ms"], [call["elapsed_ms"] for call in calls if call["elapsed_ms"]], 0.95)


def test_the_audit_proves_the_figures_through_failures_conflicts_reviews_and_a_kill(site: Installation) -> None:
    configure(site)
    site.crm("lead", leads(1))
    with site.up() as up:
        until(lambda: sum(site.run_states().values()) == 2 * LEADS, "all runs have started")
        up.kill()
    site.crm("lead", leads(1 + LEADS))
    with site.up():
        until(lambda: sum(site.settled().values()) == 4 * LEADS, "every run has ended or waits for a person")
        waiting = Counter(item["reason"] for item in site.reviews())
        assert {"checkpoint", "failure", "confidence"} <= set(waiting)
        (stopped, *_) = [item["id"] for item in site.reviews() if item["reason"] == "checkpoint"]
        (unsure, *_) = [item["id"] for item in site.reviews() if item["reason"] == "confidence"]
        site.revops("review", "edit", stopped, "--set", "size=7")
        site.revops("review", "approve", unsure)
        until(lambda: not {stopped, unsure} & {item["id"] for item in site.reviews()}, "both are decided")
        until(site.settled, "what follows from them has ended")
        found = site.revops("metrics", "--json").json()
        trail = Trail(site.audit())
        ended = [run for run in site.run_list() if run["state"] == "finished"]
        hurried = site.revops("metrics", "--workflow", "hurried", "--json").json()
        shown = site.revops("metrics").out

    prove(found, trail)
    assert 0 < found["checkpoint_pass_rate"] < 1
    assert 0 < found["conflict_rate"] < 1
    assert 0 < found["human_intervention_rate"] < 1
    assert found["agents"]["enrich"]["failures"] == 2 * LEADS // 6
    assert len(trail.of("controller.started")) == 2

    runs = Counter(run["workflow"] for run in ended)  # a second witness: the runs themselves
    assert {flow: told["count"] for flow, told in found["end_to_end_latency_ms"].items()} == dict(runs)
    assert hurried["end_to_end_latency_ms"]["hurried"]["deadline_missed"] == 2 * LEADS
    assert (set(hurried["end_to_end_latency_ms"]), set(hurried["agents"])) == ({"hurried"}, {"last"})
    assert (hurried["human_intervention_rate"], hurried["conflict_rate"]) == (0.0, None)

    assert all(f"{name}  " in shown for name in ("checkpoint pass rate", "conflict rate", "uptime"))


def test_up_until_idle_closes_with_the_five_figures(site: Installation) -> None:
    configure(site)
    site.crm("lead", leads(1))
    lines = site.revops("up", "--until-idle").out.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("health, ")]
    figures = [line.strip().partition("  ")[0] for line in lines[start + 1 : start + 6]]
    assert figures == [
        "end-to-end latency, p95",
        "checkpoint pass rate",
        "conflict rate",
        "uptime",
        "human intervention rate",
    ]


def test_before_anything_has_run_the_figures_are_not_known(site: Installation) -> None:
    configure(site)
    found = site.revops("metrics", "--json").json()
    rates = ("checkpoint_pass_rate", "conflict_rate", "uptime", "human_intervention_rate")
    assert [found[name] for name in rates] == [None] * 4
    nothing = {"count": 0, "p50": None, "p95": None, "p99": None, "deadline_missed": 0}
    assert found["end_to_end_latency_ms"] == {"new_lead": nothing, "hurried": nothing}
    assert found["agents"]["grade"] == {"runs": 0, "failures": 0, "p95_ms": None, "breaker": "closed"}
    assert site.revops("metrics").out.count("-") > 4


@pytest.mark.parametrize("window", ["0s", "31d", "soon", "-1h"])
def test_a_window_that_is_none_is_refused_with_how_to_write_it(site: Installation, window: str) -> None:
    configure(site)
    refused = site.revops("metrics", f"--window={window}", code=2)
    assert refused.out == ""
    assert "--window" in refused.err


def test_a_workflow_that_nobody_knows_is_refused(site: Installation) -> None:
    configure(site)
    assert "workflow list" in site.revops("metrics", "--workflow", "nope", code=3).err
