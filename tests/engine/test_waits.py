"""Runs that wait for a review item: each goes on when it is closed, whoever asked first and whatever closed it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from engine_review import Review as DealReview
from engine_review import deals, proven
from engine_stage import LEAD, Stage, agent, rulebook, step
from revops_lite.engine.ids import run_id
from revops_lite.models import FieldValue, Review
from revops_lite.policy import Rulebook, StepDef, WorkflowDef
from revops_lite.values import replace

UNSURE = 0.5
SAID = {"industry": "software"}


def shared(**more: Any) -> tuple[Stage, list[str], Review]:
    """Two runs on one record whose first step waits for the answer to one question."""
    stage = Stage(rulebook(step("a", wait_for_review=True), step("b", "a"), **more))
    runs = [stage.start({"industry": "before"}), stage.start({"industry": "before"})]
    for run in runs:
        stage.answer(run, "a", SAID, confidence=UNSURE)
    (item,) = stage.pending()
    for run in runs:
        assert (stage.run(run).state, stage.run(run).waits_for) == ("held", (item.id,))
    return stage, runs, item


def all_finish(stage: Stage, runs: list[str]) -> None:
    """The agents of the steps behind the question answer, and nothing is left to come."""
    for run in runs:
        assert stage.steps(run) == {"a": "done", "b": "running"}
        assert stage.run(run).waits_for == ()
        stage.answer(run, "b")
    stage.applied()
    assert [stage.run(run).state for run in runs] == ["finished"] * len(runs)
    assert stage.pending() == []


# ---- several runs, one question


@pytest.mark.parametrize(("decision", "values"), [("approve", {}), ("edit", {"industry": "retail"}), ("reject", {})])
def test_a_decision_lets_every_run_go_on_that_waits_for_it(decision: str, values: dict[str, Any]) -> None:
    stage, runs, item = shared()
    stage.decide(item, decision, values=values)
    all_finish(stage, runs)
    assert stage.context().runs == {}


def test_a_question_that_expires_lets_every_run_go_on_that_waits_for_it() -> None:
    stage, runs, _ = shared(review_expires={"confidence": 3600.0})
    stage.wait(3600.0)
    all_finish(stage, runs)
    assert stage.value("industry") == "before"


def test_a_question_that_comes_back_is_waited_for_by_every_run_that_waited_for_it() -> None:
    stage, runs, item = shared()
    context = stage.context()
    moved = FieldValue("moved on", "person", 1.0, stage.now, context.version + 1)
    stage.state.docs["context", LEAD] = replace(context, fields={"industry": moved}, version=context.version + 1)
    stage.decide(item, "approve")
    (again,) = stage.pending()
    assert again.id != item.id
    for run in runs:
        assert (stage.run(run).state, stage.run(run).waits_for) == ("held", (again.id,))
        assert again.id in stage.run(run).reviews
    stage.decide(again, "approve")
    all_finish(stage, runs)


def test_a_question_outlives_the_run_that_asked_it_first() -> None:
    stage, (first, second), item = shared()
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=first)
    assert stage.pending() == [item]
    stage.decide(item, "approve")
    assert stage.run(first).state == "cancelled"
    all_finish(stage, [second])


def test_a_run_that_asked_the_same_without_waiting_is_left_alone() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a")))
    runs = [stage.start({"industry": "before"}), stage.start({"industry": "before"})]
    for run in runs:
        stage.answer(run, "a", SAID, confidence=UNSURE)
    stage.decide(stage.pending()[0], "reject")
    assert stage.called() == ["a", "a", "b", "b"]
    all_finish(stage, runs)


def test_a_workflow_may_call_the_asking_step_something_else() -> None:
    flows = {
        flow: WorkflowDef(
            flow, ("lead.created",), (StepDef(name, "a", wait_for_review=True), StepDef("b", "b", (name,)))
        )
        for flow, name in {"flow": "first", "other": "second"}.items()
    }
    stage = Stage(Rulebook(agents={"a": agent("a"), "b": agent("b")}, workflows=flows))
    flow = stage.start()
    other = run_id("start0", "other")
    stage.load(other)
    stage.answer(flow, "first", SAID, confidence=UNSURE)
    stage.answer(other, "second", SAID, confidence=UNSURE)
    (item,) = stage.pending()
    stage.decide(item, "approve")
    assert stage.steps(flow) == {"first": "done", "b": "running"}
    assert stage.steps(other) == {"second": "done", "b": "running"}


@pytest.mark.parametrize("first", ["industry", "size"])
def test_steps_of_one_run_that_share_a_question_each_end_with_the_last_of_their_own(first: str) -> None:
    both = [StepDef(name, "a", wait_for_review=True) for name in ("one", "two")]
    stage = Stage(rulebook(*both))
    run = stage.start()
    stage.answer(run, "one", {**SAID, "size": 5}, confidence=UNSURE)
    stage.answer(run, "two", SAID, confidence=UNSURE)
    items = {item.field: item for item in stage.pending()}
    assert set(items) == {"industry", "size"}
    stage.decide(items.pop(first), "reject")
    assert stage.steps(run) == {"one": "quarantined", "two": "done" if first == "industry" else "quarantined"}
    stage.decide(next(iter(items.values())), "reject")
    assert stage.steps(run) == {"one": "done", "two": "done"}
    assert stage.run(run).state == "finished"


# ---- a question about another record than the run's own


def about_the_company() -> tuple[Stage, list[str], Review]:
    """Runs on two leads of one company, which their agent is not sure about."""
    stage = Stage(rulebook(step("a", wait_for_review=True), step("b", "a")))
    runs = []
    for record in ("lead:1", "lead:2"):
        stage.send("lead.created", record, id=record)
        runs.append(run_id(record, "flow"))
        stage.load(runs[-1], {}, {"company": {"company:7": {}}})
        stage.answer(runs[-1], "a", SAID, confidence=UNSURE, target="company:7")
    (item,) = stage.pending()
    return stage, runs, item


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_runs_on_several_records_that_wait_for_a_decision_about_another_all_go_on(decision: str) -> None:
    stage, runs, item = about_the_company()
    assert set(stage.context("company:7").runs) == set(runs), "who looks at the company sees who waits"
    stage.decide(item, decision)
    assert stage.context("company:7").runs == {}
    all_finish(stage, runs)


def test_a_cancelled_run_waits_for_nothing_on_any_record() -> None:
    stage, (first, second), item = about_the_company()
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=first)
    assert set(stage.context("company:7").runs) == {second}
    stage.decide(item, "approve")
    all_finish(stage, [second])


# ---- parts of a fan-out


def test_parts_of_two_fan_outs_that_share_questions_both_go_on() -> None:
    stage = DealReview(StepDef("a", "a", wait_for_review=True), StepDef("b", "b", ("a",)))
    stage.state.breakers.update({name: proven(name) for name in "ab"})
    runs = [stage.begin(deals(2)), stage.begin(deals(2))]
    stage.work({"a": {"values": SAID, "confidence": UNSURE}})
    assert [stage.run(run).state for run in runs] == ["held", "held"]
    items = stage.pending()
    assert sorted(item.record for item in items) == ["deal:0", "deal:1"]
    for item in items:
        stage.decide(item, "approve")
    stage.work()
    stage.applied()
    for run in runs:
        assert stage.run(run).state == "finished"
        assert stage.steps(run) == {"a": "done", "b": "done"}


# ---- a tie within a run


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_a_tie_that_a_third_claim_decides_keeps_no_step_waiting(order: tuple[str, ...]) -> None:
    parallel = [step(name, wait_for_review=True) for name in "abc"]
    stage = Stage(rulebook(*parallel, step("d", *"abc"), agents={"c": agent("c", priority=50)}))
    run = stage.start({"industry": "before"})
    for name in order:
        stage.answer(run, name, {"industry": f"said by {name}"})
    assert stage.pending() == []
    assert stage.steps(run) == {"a": "done", "b": "done", "c": "done", "d": "running"}
    assert stage.run(run).waits_for == ()
    stage.answer(run, "d")
    stage.applied()
    assert stage.run(run).state == "finished"
    assert stage.value("industry") == "said by c"


def test_a_tie_that_nobody_decides_is_waited_for_by_the_step_that_asked() -> None:
    stage = Stage(rulebook(step("a"), step("b", wait_for_review=True), step("c", "b")))
    run = stage.start({"industry": "before"})
    for name in "ab":
        stage.answer(run, name, {"industry": f"said by {name}"})
    assert stage.steps(run) == {"a": "done", "b": "quarantined", "c": "pending"}
    stage.decide(stage.pending()[0], "approve")
    assert stage.steps(run) == {"a": "done", "b": "done", "c": "running"}
    assert stage.value("industry") == "said by b"
