"""Rollback in the engine: intents backwards, questions for what is no longer ours, and nothing the second time."""

from __future__ import annotations

import pytest

from engine_play import LEAD, Answer, Play
from revops_lite.models import Event, FieldValue, Hold, Intent, Review, Run, Write
from revops_lite.policy import AgentPolicy, Governance, Rulebook, StepDef, WorkflowDef
from revops_lite.values import replace


def game(on_failure: str = "keep") -> Play:
    agents = {name: AgentPolicy(name, f"agents.{name}:run", schema=Answer) for name in ("enrich", "alert")}
    steps = (StepDef("enrich", "enrich"), StepDef("alert", "alert", ("enrich",)))
    flow = WorkflowDef("flow", ("lead.created",), steps, on_failure=on_failure)
    return Play(Rulebook(agents=agents, workflows={"flow": flow}, governance=Governance()))


def finished(play: Play) -> str:
    """A run that has written `industry`."""
    run = play.start("flow", {"industry": "before"})
    play.answer(run, "enrich", {"industry": "wrong"})
    play.answer(run, "alert", {})
    return run


def ask(play: Play, number: int = 1) -> None:
    ids = [write.id for write in play.find(Write) if not write.undoes]
    data = {"writes": ids, "by": "ana"}
    play.send(Event(f"rollback|{number}", "rollback.requested", LEAD, "cli", 5.0, data), 5.0)


def test_the_before_image_comes_back_and_the_run_is_rolled_back() -> None:
    play = game()
    finished(play)
    ask(play)
    assert play.value("industry") == "before"
    (run,) = play.find(Run)
    assert run.state == "rolled_back"
    assert {write.state for write in play.find(Write) if not write.undoes} == {"rolled_back"}
    assert {intent.state for intent in play.find(Intent)} == {"applied"}


def test_asking_twice_changes_nothing() -> None:
    play = game()
    finished(play)
    ask(play)
    before = dict(play.state.docs)
    ask(play, 2)
    assert play.state.docs == before


def test_a_value_that_a_person_changed_stays_and_is_asked_about_once() -> None:
    play = game()
    finished(play)
    context = play.state.docs["context", LEAD]
    edited = FieldValue("people say", "person", 1.0, 4.0, context.version + 1)
    play.state.docs["context", LEAD] = replace(context, fields={**context.fields, "industry": edited})
    ask(play)
    ask(play, 2)
    assert play.value("industry") == "people say"
    (item,) = play.find(Review)
    assert (item.reason, item.current, item.proposed) == ("rollback", "people say", "before")


@pytest.mark.parametrize("field", ["*", "industry"])
def test_a_held_value_stays(field: str) -> None:
    play = game()
    finished(play)
    play.state.holds[LEAD] = {field: Hold(LEAD, field, "legal", "case 7", 3.0)}
    ask(play)
    assert play.value("industry") == "wrong"
    (item,) = play.find(Review)
    assert item.reason == "rollback"
    assert "case 7" in item.problems[0]


def test_a_write_under_way_goes_back_once_it_has_arrived() -> None:
    play = game()
    play._reports = lambda _changes: []  # type: ignore[method-assign]  # a CRM that has not answered yet
    run = play.start("flow", {"industry": "before"})
    play.answer(run, "enrich", {"industry": "wrong"})
    ask(play)
    del play._reports
    (intent,) = play.find(Intent)
    event = Event("late", "write.applied", LEAD, "writer", 6.0, {"intent": intent.id}, run=run)
    play.send(event, 6.0)
    assert play.value("industry") == "before"
    assert [write.state for write in play.find(Write) if not write.undoes] == ["rolled_back"]


def test_a_failed_run_takes_its_writes_back_where_the_workflow_says_so() -> None:
    play = game(on_failure="rollback")
    run = play.start("flow", {"industry": "before"})
    play.answer(run, "enrich", {"industry": "wrong"})
    data = {"step": "alert", "attempt": 1, "outcome": "failed", "error": "no"}
    play.send(Event("f", "step.finished", LEAD, "host", 3.0, data, run=run), 3.0)
    assert play.value("industry") == "before"
    (ended,) = play.find(Run)
    assert ended.state == "rolled_back"
