"""An open pay period in the engine: an agent's value for what pays waits for a person, and only a person's word writes
it."""

from __future__ import annotations

from typing import Any

import pytest

from engine_stage import LEAD, Stage, agent, rulebook, step
from revops_lite.models import Hold, Review, Write
from revops_lite.policy import Governance, PayPeriod, PayPeriods
from revops_lite.values import replace

START, END = 900.0, 1100.0  # a stage's clock begins at 1000
RULE = "lead.size pays in the open pay period Q4; only a person may change it"


def paying(state: bool = True, **more: Any) -> Stage:
    pay = PayPeriods(frozenset({"lead.size"}), (PayPeriod(START, END, state, "Q4"),))
    return Stage(rulebook(step("a", **more), step("b", "a"), governance=Governance(pay=pay)))


def blocked(**more: Any) -> tuple[Stage, str, Review]:
    stage = paying(**more)
    run = stage.start({"size": 10, "industry": "before"})
    stage.answer(run, "a", {"size": 20, "industry": "after"}, because="the contract says so")
    (item,) = stage.pending()
    return stage, run, item


def test_the_value_is_quarantined_and_the_rest_of_the_answer_is_written() -> None:
    stage, run, item = blocked()
    assert (item.reason, item.field, item.current, item.proposed) == ("sensitive", "size", 10, 20)
    assert (item.problems, item.because) == ((RULE,), "the contract says so")
    (call,) = stage.calls()
    assert call.values == {"industry": "after"}
    assert stage.value("size") == 10
    assert stage.context().proposed["size"].why == RULE
    assert stage.audited("write.withheld")[0].rule == RULE
    stage.applied()
    stage.answer(run, "b")
    assert stage.run(run).state == "finished"
    assert stage.jobs[-1].snapshot["values"]["size"] == 10, "no agent takes it for a fact"


def test_being_sure_does_not_help() -> None:
    stage = paying()
    stage.answer(stage.start({"size": 10}), "a", {"size": 20}, confidence=1.0)
    assert [item.reason for item in stage.pending()] == ["sensitive"]


@pytest.mark.parametrize("now", [END - 1, END + 1], ids=["inside", "after it ended"])
def test_an_approval_writes_it_once_as_the_persons(now: float) -> None:
    stage, _, item = blocked()
    stage.applied()
    stage.now = now
    stage.decide(item, "approve")
    (call,) = stage.calls()
    assert (call.values, call.expected, call.agent) == ({"size": 20}, {"size": 10}, "review:ana")
    stage.applied()
    stage.decide(item, "approve", by="ben")
    assert stage.calls() == []
    assert stage.context().fields["size"].writer == "review:ana"
    (asked,) = [entry for entry in stage.audited("review.decided") if entry.field == "size"]
    assert (asked.who, asked.before, asked.after) == ("ana", 10, 20)


def test_a_rejected_value_leaves_everything_as_it_was() -> None:
    stage, _, item = blocked()
    stage.applied()
    stage.decide(item, "reject")
    assert stage.calls() == []
    assert stage.value("size") == 10
    assert stage.context().proposed == {}


def test_an_edited_value_is_the_persons_own() -> None:
    stage, _, item = blocked()
    stage.applied()
    stage.decide(item, "edit", values={"size": 15})
    assert [call.values for call in stage.calls()] == [{"size": 15}]


def test_an_approval_does_not_bypass_a_hold_that_came_meanwhile() -> None:
    stage, _, item = blocked()
    stage.applied()
    stage.state.holds[LEAD] = {"size": Hold(LEAD, "size", "legal", "case 7", stage.now)}
    stage.decide(item, "approve")
    assert stage.calls() == []
    assert "case 7" in stage.pending()[0].note


def test_a_step_may_wait_for_the_decision() -> None:
    stage, run, item = blocked(wait_for_review=True)
    assert stage.steps(run) == {"a": "quarantined", "b": "pending"}
    stage.decide(item, "approve")
    assert stage.steps(run) == {"a": "done", "b": "running"}


@pytest.mark.parametrize("now", [START - 1, END])
def test_outside_of_the_period_it_is_written_at_once(now: float) -> None:
    stage = paying()
    stage.now = now
    stage.answer(stage.start({"size": 10}), "a", {"size": 20})
    assert [call.values for call in stage.calls()] == [{"size": 20}]
    assert stage.pending() == []


def test_a_closed_period_stops_nobody() -> None:
    stage = paying(state=False)
    stage.answer(stage.start({"size": 10}), "a", {"size": 20})
    assert [call.values for call in stage.calls()] == [{"size": 20}]


def test_the_answer_counts_when_it_arrives_not_when_its_run_began() -> None:
    stage = paying()
    stage.now = START - 1
    run = stage.start({"size": 10})
    stage.now = START
    stage.answer(run, "a", {"size": 20})
    assert [item.problems for item in stage.pending()] == [(RULE,)]


def test_proposing_what_stands_there_already_asks_nobody() -> None:
    stage = paying()
    stage.answer(stage.start({"size": 10}), "a", {"size": 10})
    assert stage.pending() == []
    assert stage.all(Write) == []


def test_a_rollback_is_a_persons_command_and_goes_through() -> None:
    stage = paying()
    stage.now = START - 1
    run = stage.start({"size": 10})
    stage.answer(run, "a", {"size": 20})
    stage.applied()
    stage.now = START
    stage.send("rollback.requested", LEAD, {"writes": [write.id for write in stage.all(Write)], "by": "ana"})
    (call,) = stage.calls()
    assert (call.values, call.agent) == ({"size": 10}, "rollback:ana")
    stage.applied()
    assert stage.value("size") == 10


def test_a_value_that_was_decided_before_the_period_is_not_judged_again() -> None:
    stage = paying()
    stage.now = START - 1
    stage.answer(stage.start({"size": 10}), "a", {"size": 20})
    stage.now = START + 1
    stage.applied()
    assert stage.value("size") == 20
    assert stage.pending() == []


def test_two_parallel_agents_have_each_their_own_question() -> None:
    pay = PayPeriods(frozenset({"lead.size"}), (PayPeriod(START, END, True, "Q4"),))
    book = rulebook(step("a"), step("b"), agents={"b": agent("b", priority=99)}, governance=Governance(pay=pay))
    stage = Stage(book)
    run = stage.start({"size": 10})
    stage.answer(run, "a", {"size": 20})
    stage.answer(run, "b", {"size": 30})
    assert sorted(item.proposed for item in stage.pending()) == [20, 30]
    assert stage.calls() == []
    first, second = sorted(stage.pending(), key=lambda item: str(item.proposed))
    stage.decide(first, "approve")
    stage.decide(second, "approve")
    assert [call.values for call in stage.calls()] == [{"size": 20}]
    (again,) = stage.pending()
    assert (again.current, again.proposed) == (20, 30), "the second reviewer sees what the first one wrote"


def test_the_period_may_open_and_close_between_two_starts() -> None:
    """The run goes on under whatever configuration is in force when its answer is decided."""
    stage = paying(state=False)
    run = stage.start({"size": 10})
    pay = stage.rulebook.governance.pay
    assert pay is not None
    opened = replace(pay, periods=tuple(replace(period, open=True) for period in pay.periods))
    stage.rulebook = replace(stage.rulebook, governance=Governance(pay=opened))
    stage.answer(run, "a", {"size": 20})
    assert len(stage.pending()) == 1
