"""What the CRM tells of a record, held against our own calls: echoes, late calls, edits of people that cross them."""

from __future__ import annotations

from typing import Any

import pytest

from engine_stage import LEAD, Stage, rulebook, step
from revops_lite.models import Run


def planned() -> Stage:
    """industry: before -> software waits for its call."""
    stage = Stage(rulebook(step("a")))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software"})
    return stage


def called(**report: Any) -> Stage:
    """industry: before -> software has been called; with `report` it has also been applied."""
    stage = planned()
    stage.report("sending", before={"industry": "before"})
    if report:
        stage.report("applied", **report)
    return stage


def told(stage: Stage, value: Any, *, person: bool, at: float | None = None, **more: Any) -> None:
    """The poller tells of a change of `industry`."""
    data = {"values": {"industry": value}, "actor": "pat" if person else "api", "person": person, **more}
    stage.send("lead.updated", LEAD, data, source="crm", time=stage.now if at is None else at)


def questions(stage: Stage) -> list[tuple[str, Any, Any]]:
    return [(str(item.reason), item.current, item.proposed) for item in stage.pending()]


@pytest.mark.parametrize("applied", [{}, {"called": True}])
def test_our_own_value_coming_back_starts_nothing_and_changes_nothing(applied: dict[str, Any]) -> None:
    stage = called(**applied)
    before = stage.context()
    told(stage, "software", person=False)
    assert stage.context() == before
    assert [entry.rule for entry in stage.audited("event.ignored")] == ["our own write came back"]


def test_the_same_value_of_a_person_or_long_after_is_no_echo() -> None:
    stage = called(called=True)
    told(stage, "software", person=True)
    stage.wait(10_000)
    told(stage, "software", person=False)
    rules = [entry.rule for entry in stage.audited("event.ignored")]
    assert rules == ["no workflow on lead.updated"] * 2


def test_another_value_that_nobody_says_a_person_made_comes_in() -> None:
    stage = called(called=True)
    stage.wait(10)
    told(stage, "steel", person=False)
    assert stage.value("industry") == "steel"
    assert not questions(stage)


def test_an_edit_during_the_call_is_looked_at_and_stands_where_it_came_last() -> None:
    stage = called()
    told(stage, "steel", person=True)
    assert stage.value("industry") == "software"
    stage.report("applied", called=True)
    (call,) = stage.calls()
    assert (call.state, call.taken) == ("in_doubt", True)
    stage.report("applied", standing={"industry": "steel"})
    assert (stage.value("industry"), stage.context().fields["industry"].writer) == ("steel", "person")
    assert not questions(stage)
    assert stage.writes() == {"industry": ["applied"]}
    assert stage.one(Run).state == "finished"


@pytest.mark.parametrize("looked", [False, True])
def test_a_call_in_doubt_that_the_crm_tells_of_has_come_whatever_stands_there_now(looked: bool) -> None:
    """A person has put back what stood there before; with `looked`, the writer saw only that, and said so."""
    stage = called()
    stage.report("doubted", settle_until=stage.now + 5)
    told(stage, "software", person=False)
    if looked:
        stage.report("deferred", retry_at=stage.now, doubt=True)
    (call,) = stage.calls()
    assert (call.state, call.taken, call.tries) == ("in_doubt", True, 1)
    stage.report("applied", standing={"industry": "before"})
    assert (stage.value("industry"), stage.context().fields["industry"].writer) == ("before", "person")
    assert stage.writes() == {"industry": ["applied"]}
    assert stage.one(Run).state == "finished"
    assert not questions(stage)


def test_what_the_crm_tells_of_a_time_long_before_the_call_is_not_the_call() -> None:
    stage = called()
    stage.report("doubted", settle_until=stage.now + 5)
    told(stage, "software", person=False, at=stage.now - 60)
    (call,) = stage.calls()
    assert not call.taken
    stage.report("deferred", retry_at=stage.now, doubt=True)
    stage.report("sending", before={"industry": "before"})
    told(stage, "software", person=False)
    assert stage.calls()[0].taken
    stage.report("deferred", retry_at=stage.now)  # certainly not applied: it is another's
    stage.report("sending", before={"industry": "before"})
    assert not stage.calls()[0].taken, "of this call nothing has been told yet"


def test_an_edit_during_the_call_that_is_gone_is_put_before_a_person() -> None:
    stage = called()
    told(stage, "steel", person=True)
    stage.report("applied", called=True)
    stage.report("applied", standing={"industry": "software"})
    assert questions(stage) == [("human_edit", "software", "steel")]
    assert [(entry.before, entry.after) for entry in stage.audited("person.crossed")] == [("steel", "software")]


def test_where_the_crm_compares_an_edit_during_the_call_came_after_it() -> None:
    stage = called()
    told(stage, "steel", person=True)
    stage.report("applied", called=True, compared=True)
    assert stage.value("industry") == "steel"
    assert not questions(stage)


def test_an_edit_between_the_writers_look_and_its_call_is_put_before_a_person() -> None:
    stage = planned()
    told(stage, "steel", person=True)
    stage.report("sending", before={"industry": "before"})  # it had looked before the edit
    stage.report("applied", called=True)
    stage.report("applied", standing={"industry": "software"})
    assert questions(stage) == [("human_edit", "software", "steel")]


def test_an_edit_between_look_and_call_that_a_crm_would_have_told_of_was_taken_back() -> None:
    stage = planned()
    told(stage, "steel", person=True)
    stage.report("sending", before={"industry": "before"})
    stage.report("applied", called=True, compared=True)
    assert (stage.value("industry"), questions(stage)) == ("software", [])


def test_an_edit_that_was_set_back_before_the_call_is_no_question() -> None:
    stage = planned()
    told(stage, "steel", person=True)
    told(stage, "before", person=True)
    stage.report("sending", before={"industry": "before"})
    stage.report("applied", called=True)
    assert (stage.value("industry"), questions(stage)) == ("software", [])


def test_an_edit_that_an_earlier_call_has_replaced_is_not_before_the_next() -> None:
    stage = planned()
    told(stage, "steel", person=True, standing={"industry": "before"}, asked_at=stage.now)
    stage.report("stopped", reason="held", why="on hold", seen={"industry": "before"})
    assert stage.value("industry") == "before"


def test_a_value_that_stood_there_already_has_met_no_edit() -> None:
    stage = planned()
    told(stage, "steel", person=True)
    stage.report("applied", already=True)
    assert (stage.writes(), questions(stage)) == ({"industry": ["superseded"]}, [])


def test_an_edit_before_a_call_that_failed_stands() -> None:
    stage = planned()
    told(stage, "steel", person=True)
    stage.report("sending", before={"industry": "before"})
    stage.report("failed", why="refused")
    assert (stage.value("industry"), stage.context().fields["industry"].writer) == ("steel", "person")


@pytest.mark.parametrize(
    ("more", "value", "asked"),
    [
        ({}, "software", [("human_edit", "software", "steel")]),
        ({"standing": {"industry": "steel"}, "asked_at": 1100.0}, "steel", []),
        ({"standing": {"industry": None}, "asked_at": 1100.0}, None, []),
        ({"standing": {"industry": "software"}, "asked_at": 1100.0}, "software", [("human_edit", "software", "steel")]),
    ],
)
def test_an_edit_that_is_told_after_the_call_goes_by_what_stood_there(
    more: dict[str, Any], value: Any, asked: list[Any]
) -> None:
    stage = called(called=True)
    told(stage, "steel", person=True, **more)
    assert stage.value("industry") == value
    assert questions(stage) == asked


def test_an_edit_that_our_decision_knew_of_crosses_nothing() -> None:
    stage = called(called=True)
    told(stage, "before", person=True)
    assert not questions(stage)
    assert stage.value("industry") == "software"


def test_a_late_call_over_a_persons_value_is_told_and_asked_about() -> None:
    stage = called(called=True)
    stage.wait(10)
    told(stage, "steel", person=True)
    stage.wait(10)
    told(stage, "software", person=False)
    assert questions(stage) == [("in_doubt", "software", "steel")]
    assert [(entry.before, entry.after) for entry in stage.audited("write.late")] == [("steel", "software")]


def test_a_call_that_was_sent_again_and_comes_back_twice_is_told() -> None:
    stage = called()
    stage.report("doubted", settle_until=1005.0)
    stage.report("deferred", retry_at=1005.0, doubt=True)
    stage.report("sending", before={"industry": "before"})
    stage.report("applied", called=True)
    told(stage, "software", person=False)
    assert not stage.audited("write.late")
    told(stage, "software", person=False)
    assert len(stage.audited("write.late")) == 1
