"""Programs drawn at random over the real parts of one installation, in one thread with a clock that is moved by hand.

Everything is determined by the seed: no thread, no sleep, no other clock. Afterwards all comes to rest without further
faults, and what has to hold (simulated_checks.py) is checked against the CRM's own log.

    REVOPS_CHAOS_PROGRAMS=200 REVOPS_CHAOS_SEED=7 python -m pytest -n 0 -s tests/chaos/test_simulation.py

runs that many programs of that seed (and prints it); the same command with the seed that a failed run has printed
repeats it, and hypothesis prints the shortest failing program as steps, with the `@reproduce_failure` line for that
one program. With REVOPS_CHAOS_REPORT a line of JSON with what fired is appended to that file.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from revops_lite.admission import MOST
from revops_lite.models import Review, Write
from simulated_crm import FAULTS, KINDS, READ_FAULTS, WRITE_FAULTS
from simulated_play import RECORDS, STRANGER, Play, answer

PROGRAMS = int(os.environ.get("REVOPS_CHAOS_PROGRAMS", "24"))
SEED = int(os.environ.get("REVOPS_CHAOS_SEED", "1"))
STEPS = 50
SHRINK = not os.environ.get("REVOPS_CHAOS_UNSHRUNK")  # looking for the shortest program that fails takes minutes
FIELDS = ("industry", "size", "score")
TALLY: Counter[str] = Counter()
T = TypeVar("T")


class Simulation(RuleBasedStateMachine):
    """One program. Moves that find nothing to move do nothing."""

    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.play = Play(self.kind)
        self.values = 0

    @initialize(
        first=st.sampled_from(["lead.created", "lead.created", "lead.tried"]),
        record=st.sampled_from(RECORDS),
        at_once=st.sampled_from([1, 2, MOST]),
    )
    def begin(self, first: str, record: str, at_once: int) -> None:
        self.play.world.at_once = at_once
        self.play.submit(first, record)
        self.play.world.everything()

    def go_on(self, data: st.DataObject) -> None:
        """Between the other moves: hypothesis leaves out some rules of each program, but none of these."""
        match data.draw(st.integers(0, 8)):
            case 0:
                self.play.submit(self.one(data, ("lead.created", "lead.seen")), self.one(data, RECORDS))
                self.play.world.everything()
            case 1 | 2:
                self.answer_all(data, "three")
                self.play.world.everything()
            case 3:
                self.play.world.everything()
            case 4 | 5:
                self.play.world.crm.faults.append(self.one(data, WRITE_FAULTS))
                self.answer_all(data, "three")
                self.play.world.everything()
            case 6:
                self.play.world.boundaries.cut("crash", data.draw(st.integers(1, 30)), "after")
                self.play.world.everything()
        self.play.watch_holds()

    def answer_all(self, data: st.DataObject, host: str, count: int = 3) -> None:
        self.play.claim(host, count)
        for claim in list(self.play.world.claims.get(host, [])):
            self.play.finish(host, claim, self.ended(data))

    # ---- events and agents

    @rule(
        type_=st.sampled_from(["lead.created", "lead.created", "lead.seen", "lead.tried", "lead.unheard_of"]),
        record=st.sampled_from([*RECORDS, *RECORDS, *RECORDS, STRANGER]),
        data=st.sampled_from([{}, {"industry": "told by the event"}]),
    )
    def submit(self, type_: str, record: str, data: dict[str, Any]) -> None:
        assert self.play.submit(type_, record, data) == "new"
        if record != STRANGER or data:
            self.play.world.everything()

    @precondition(lambda self: self.play.said.accepted)
    @rule(data=st.data(), other=st.booleans())
    def submit_again(self, data: st.DataObject, other: bool) -> None:
        event = self.one(data, self.play.said.accepted)
        TALLY["duplicate event"] += 1
        verdict = self.play.submit(event["type"], event["record"], {"other": "body"} if other else {}, event["id"])
        assert verdict == "other" if other else verdict in ("known", "other")

    def one(self, data: st.DataObject, several: Sequence[T]) -> T:
        """Drawn by its place, so that a program is printed in few words."""
        return several[data.draw(st.integers(0, len(several) - 1))]

    def value(self, data: st.DataObject, name: str) -> Any:
        """Mostly one that nobody else gives, so that the log tells where it comes from."""
        self.values += 1
        common = data.draw(st.integers(0, 4)) == 0
        if name == "size":
            return 1 if common else 1000 + self.values
        return "common" if common else f"{name} {self.values}"

    def ended(self, data: st.DataObject) -> dict[str, Any]:
        kind = data.draw(st.sampled_from(["good"] * 6 + ["unsure", "invalid", "undeclared", "other"]))
        if kind == "other":
            outcome = data.draw(st.sampled_from(["failed", "skipped", "retry", "invalid", "timeout", "crashed"]))
            return {"outcome": outcome, "error": "simulated", "after": 5.0, "problems": ["simulated"]}
        names = data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True))
        sure = data.draw(st.sampled_from([0.3, 0.79, 0.85])) if kind == "unsure" else 0.95
        given = answer(**{name: (self.value(data, name), sure) for name in names})
        proposal = given["proposals"][0]
        if kind == "invalid":
            proposal["values"]["size"], proposal["confidence"]["size"] = 0, 1.0
        if kind == "undeclared":
            proposal["values"]["owner"], proposal["confidence"]["owner"] = "me", 1.0
        about = {"to": "sales", "subject": "a lead", "body": "look", "key": f"notice {data.draw(st.integers(0, 5))}"}
        proposal["notices"] = [about] if data.draw(st.booleans()) else []
        return given

    @rule(data=st.data(), host=st.sampled_from(["one", "two"]), count=st.integers(1, 4), after=st.booleans())
    def work(self, data: st.DataObject, host: str, count: int, after: bool) -> None:
        self.play.world.decide()
        self.answer_all(data, host, count)
        if after:
            self.play.world.everything()

    @rule(host=st.sampled_from(["one", "two"]), count=st.integers(1, 3))
    def take_jobs(self, host: str, count: int) -> None:
        self.play.claim(host, count)

    @rule(host=st.sampled_from(["one", "two"]))
    def lose_host(self, host: str) -> None:
        self.play.lose_host(host)

    @precondition(lambda self: any(lost for _, lost in self.play.world.dead))
    @rule(data=st.data())
    def answer_late(self, data: st.DataObject) -> None:
        host, lost = self.one(data, [one for one in self.play.world.dead if one[1]])
        self.play.finish(host, lost.pop(), self.ended(data))

    # ---- the process

    @rule(what=st.lists(st.sampled_from(["decide", "write", "load", "poll", "tell"]), min_size=1, max_size=4))
    def move(self, what: list[str]) -> None:
        for name in what:
            getattr(self.play.world, name)()
        self.play.watch_holds()

    @rule()
    def everything(self) -> None:
        self.play.world.everything()
        self.play.watch_holds()

    @rule(
        data=st.data(),
        how=st.sampled_from(["crash", "crash", "crash", "lost"]),
        distance=st.integers(1, 40),
        side=st.sampled_from(["before", "after"]),
        twice=st.booleans(),
    )
    def cut_off(self, data: st.DataObject, how: str, distance: int, side: str, twice: bool) -> None:
        self.play.world.boundaries.cut(how, distance, side)
        if twice:
            self.play.world.boundaries.cut("crash", distance + 7, "after")
        self.go_on(data)

    @rule(data=st.data())
    def another_takes_over(self, data: st.DataObject) -> None:
        self.go_on(data)
        self.play.another_takes_over()

    @rule(data=st.data(), seconds=st.sampled_from([0.5, 1.0, 6.0, 6.0, 30.0, 4000.0]))
    def wait(self, data: st.DataObject, seconds: float) -> None:
        self.play.world.now += seconds
        self.play.world.crm.arrive()
        self.go_on(data)

    @rule(skew=st.sampled_from([0.0, -2.0]))
    def set_clock(self, skew: float) -> None:
        TALLY["clock set"] += self.play.world.skew != skew
        self.play.world.skew = skew

    # ---- the CRM and the channel

    @rule(data=st.data(), fault=st.sampled_from([*WRITE_FAULTS, *WRITE_FAULTS, *READ_FAULTS, *FAULTS]))
    def fault(self, data: st.DataObject, fault: str) -> None:
        if len(self.play.world.crm.faults) < 4:
            self.play.world.crm.faults.append(fault)
        self.go_on(data)

    @rule(fault=st.sampled_from(["away", "final"]))
    def channel_fails(self, fault: str) -> None:
        self.play.world.channel_faults.append(fault)

    # ---- people

    @rule(data=st.data(), record=st.sampled_from(RECORDS), name=st.sampled_from(FIELDS), when=st.integers(0, 2))
    def edit(self, data: st.DataObject, record: str, name: str, when: int) -> None:
        value = self.value(data, name)
        crm = self.play.world.crm

        def happen() -> None:
            TALLY[("edit", "edit between read and gate", "edit between gate and call")[when]] += 1
            self.play.edit(record, **{name: value})

        happen() if when == 0 else (crm.between, crm.before_call)[when - 1].append(happen)
        self.go_on(data)

    @rule(record=st.sampled_from(RECORDS), set_=st.booleans())
    def set_hold_field(self, record: str, set_: bool) -> None:
        self.play.edit(record, legal_hold=set_)

    @rule(
        data=st.data(),
        record=st.sampled_from(RECORDS),
        name=st.sampled_from(["*", *FIELDS]),
        placed=st.booleans(),
        when=st.integers(0, 2),
    )
    def hold(self, data: st.DataObject, record: str, name: str, placed: bool, when: int) -> None:
        crm = self.play.world.crm

        def happen() -> None:
            TALLY[("hold", "hold between read and gate", "hold between gate and call")[when]] += placed
            (self.play.hold if placed else self.play.release)(record, name)

        happen() if when == 0 else (crm.between, crm.before_call)[when - 1].append(happen)
        self.go_on(data)

    @rule(
        data=st.data(), decision=st.sampled_from(["approve", "approve", "edit", "reject", "retry"]), again=st.booleans()
    )
    def review(self, data: st.DataObject, decision: str, again: bool) -> None:
        items: list[Review] = self.play.world.views.reviews(lambda item: again or item.state == "pending", None)
        if not items:
            return
        item = self.one(data, items)
        name = item.field or "size"
        values = {name: self.value(data, name)} if decision == "edit" else {}
        TALLY[f"review {decision}"] += 1
        self.play.decide(item, decision, **values)
        self.go_on(data)

    @rule(data=st.data(), many=st.booleans())
    def roll_back(self, data: st.DataObject, many: bool) -> None:
        writes: list[Write] = self.play.world.views.writes(lambda _: True, None)
        if not writes:
            return
        one = self.one(data, writes)
        TALLY["rollback"] += 1
        self.play.roll_back([other for other in writes if many and other.run == one.run] or [one])
        self.go_on(data)

    @rule(data=st.data(), what=st.sampled_from(["run.cancelled", "run.retried"]))
    def steer(self, data: st.DataObject, what: str) -> None:
        runs = self.play.world.views.runs(lambda _: True, None)
        if runs:
            run = self.one(data, runs)
            self.play.world.send(what, run.record, {"by": "rita"}, run=run.id)

    @rule(agent=st.sampled_from(["enrich", "last"]), opened=st.booleans())
    def breaker(self, agent: str, opened: bool) -> None:
        self.play.break_(agent, opened)

    # ---- the end

    def teardown(self) -> None:
        self.play.settle()
        objections = self.play.objections()
        _count(self.play)
        for text in objections:
            note(text)
        assert objections == []


def _count(play: Play) -> None:
    world = play.world
    TALLY["programs"] += 1
    TALLY["boundaries"] += world.boundaries.passed
    TALLY["events"] += len(play.said.accepted)
    TALLY["writes"] += sum(line.source == "revops" for line in world.crm.log)
    for fired, prefix in ((world.boundaries.fired, ""), (world.crm.fired, "crm "), (play.fired, "")):
        for name, number in fired.items():
            TALLY[prefix + name] += number


def _report(kind: str, violations: int) -> None:
    fired = {name: number for name, number in sorted(TALLY.items()) if name not in ("programs", "writes")}
    line = {
        "suite": "simulation",
        "crm": kind,
        "programs": TALLY["programs"],
        "fired": fired,
        "writes": TALLY["writes"],
    }
    text = json.dumps({**line, "violations": violations, "seed": SEED})
    print(f"\n{text}")
    if path := os.environ.get("REVOPS_CHAOS_REPORT"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(text + "\n")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_nothing_is_lost_and_nothing_doubled(kind: str) -> None:
    TALLY.clear()
    print(f"seed {SEED}: REVOPS_CHAOS_SEED={SEED} REVOPS_CHAOS_PROGRAMS={PROGRAMS} (a third of them {kind})")
    config = settings(
        max_examples=max(1, PROGRAMS // len(KINDS)),
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
    )
    program: Any = type(f"Simulation_{kind}", (Simulation,), {"kind": kind})
    try:
        run_state_machine_as_test(seed(SEED * len(KINDS) + KINDS.index(kind))(program), settings=config)
    except BaseException:
        _report(kind, violations=1)
        raise
    _report(kind, violations=0)
    crashes = sum(number for name, number in TALLY.items() if name.startswith("crash "))
    faults = sum(number for name, number in TALLY.items() if name.startswith("crm "))
    assert TALLY["programs"] >= config.max_examples
    assert TALLY["writes"] >= config.max_examples, "a run in which nothing is written shows nothing"
    assert crashes >= config.max_examples // 2
    assert faults >= config.max_examples // 4
