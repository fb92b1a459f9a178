"""What becomes of a call to the CRM: every report the writer can make, and what later calls build on."""

from __future__ import annotations

from typing import Any

import pytest

from engine_stage import LEAD, Stage, rulebook, step
from revops_lite.models import Intent, OutNotice, Review, Write


def planned() -> tuple[Stage, str, Intent]:
    """A run that has ended but for its one call: industry before -> software, size None -> 5."""
    stage = Stage(rulebook(step("a")))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software", "size": 5})
    (call,) = stage.calls()
    return stage, run, call


def chained() -> tuple[Stage, Intent, Intent]:
    """Two calls of one record: before -> first -> second."""
    stage = Stage(rulebook(step("a"), step("b", "a")))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "first"})
    stage.answer(run, "b", {"industry": "second"})
    first, second = stage.calls()
    assert (first.expected, second.expected) == ({"industry": "before"}, {"industry": "first"})
    return stage, first, second


def open_call(stage: Stage, call: Intent) -> Intent:
    found = stage.state.docs["intent", call.id]
    assert isinstance(found, Intent)
    return found


def test_allowed_values_of_one_answer_are_one_call() -> None:
    stage, run, call = planned()
    assert call.values == {"industry": "software", "size": 5}
    assert call.expected == {"industry": "before", "size": None}
    assert stage.writes() == {"industry": ["planned"], "size": ["planned"]}
    assert stage.run(run).effects == (call.id,)
    assert stage.context().fields["industry"].pending == call.writes["industry"]


def test_a_write_is_applied_only_when_the_crm_has_said_so() -> None:
    stage, run, call = planned()
    stage.report("sending", before={"industry": "before", "size": 4})
    assert stage.writes() == {"industry": ["sending"], "size": ["sending"]}
    assert [write.before for write in stage.all(Write)] == ["before", 4], "the before-image is what stood there"
    assert stage.run(run).state == "waiting"
    stage.report("applied")
    assert stage.writes() == {"industry": ["applied"], "size": ["applied"]}
    assert stage.context().fields["industry"].pending is None
    assert stage.context().intents == ()
    assert (stage.run(run).state, stage.run(run).effects) == ("finished", ())
    assert open_call(stage, call).state == "applied"


def test_what_stood_there_already_is_not_our_write() -> None:
    stage, run, _ = planned()
    stage.report("applied", already=True)
    assert stage.writes() == {"industry": ["superseded"], "size": ["superseded"]}
    assert stage.run(run).state == "finished"


@pytest.mark.parametrize("what", ["sending", "applied", "failed", "deferred", "doubted", "conflicted", "stopped"])
def test_a_report_about_a_call_that_is_over_changes_nothing(what: str) -> None:
    stage, _, call = planned()
    stage.report("applied")
    before = dict(stage.state.docs)
    data: dict[str, Any] = {"current": {"industry": "x"}, "settle_until": 1.0, "reason": "held"}
    stage.report(what, call, **data)
    stage.send(f"write.{what}", LEAD, {"intent": "inone", **data})
    assert {key: value for key, value in stage.state.docs.items() if value is not None} == before


def test_what_was_certainly_not_applied_goes_again_later() -> None:
    stage, run, call = planned()
    stage.report("sending")
    stage.report("deferred", retry_at=stage.now + 60.0, why="429")
    again = open_call(stage, call)
    assert (again.state, again.due, again.passes, again.note) == ("planned", stage.now + 60.0, 1, "429")
    assert stage.writes() == {"industry": ["planned"], "size": ["planned"]}
    stage.applied()
    assert stage.run(run).state == "finished"


def test_a_call_of_unknown_outcome_waits_to_be_read_back() -> None:
    stage, run, call = planned()
    stage.report("sending")
    stage.report("doubted", settle_until=stage.now + 5.0, why="timeout")
    doubtful = open_call(stage, call)
    assert (doubtful.state, doubtful.due, doubtful.settle_until) == ("in_doubt", stage.now + 5.0, stage.now + 5.0)
    assert stage.run(run).state == "waiting"
    stage.report("applied")
    assert stage.writes() == {"industry": ["applied"], "size": ["applied"]}


def test_a_refused_call_puts_the_old_values_back_and_asks_for_each_field() -> None:
    stage, run, _ = planned()
    stage.report("sending")
    stage.report("failed", why="422 industry is read only")
    assert (stage.value("industry"), stage.value("size")) == ("before", None)
    assert stage.writes() == {"industry": ["failed"], "size": ["failed"]}
    assert {(item.field, item.reason, item.current, item.proposed) for item in stage.pending()} == {
        ("industry", "write_failed", "before", "software"),
        ("size", "write_failed", None, 5),
    }
    assert (stage.run(run).state, stage.run(run).effects) == ("finished", ())


def test_a_failed_write_may_be_approved_and_goes_out_again() -> None:
    stage, _, _ = planned()
    stage.report("failed", why="422")
    item = next(item for item in stage.pending() if item.field == "industry")
    stage.decide(item, "approve")
    (call,) = stage.calls()
    assert (call.values, call.expected) == ({"industry": "software"}, {"industry": "before"})


@pytest.mark.parametrize(("doubt", "reason"), [(False, "human_edit"), (True, "in_doubt")])
def test_a_value_nobody_expected_stays_and_the_rest_of_the_call_goes_on(doubt: bool, reason: str) -> None:
    stage, run, call = planned()
    stage.report("sending")
    stage.report("conflicted", current={"industry": "a person's", "legal": "not ours"}, in_doubt=doubt)
    assert stage.value("industry") == "a person's"
    assert stage.context().fields["industry"].writer == "person"
    (item,) = stage.pending()
    assert (item.reason, item.field, item.current, item.proposed) == (reason, "industry", "a person's", "software")
    rest = open_call(stage, call)
    assert (rest.state, rest.values, rest.expected) == ("planned", {"size": 5}, {"size": None})
    assert stage.run(run).state == "waiting"
    stage.applied()
    assert stage.writes() == {"industry": ["conflict"], "size": ["applied"]}
    assert stage.run(run).state == "finished"


def test_where_every_field_conflicts_the_call_is_over() -> None:
    stage, run, call = planned()
    stage.report("conflicted", current={"industry": "x", "size": 1})
    assert open_call(stage, call).state == "conflict"
    assert stage.run(run).state == "finished"


@pytest.mark.parametrize(("fields", "left"), [(["industry"], {"size": 5}), (None, {})])
def test_what_the_gate_stopped_is_withheld(fields: list[str] | None, left: dict[str, Any]) -> None:
    stage, run, call = planned()
    stage.report("stopped", reason="held", fields=fields, why="a hold came before")
    assert stage.value("industry") == "before"
    assert stage.writes()["industry"] == ["withheld"]
    assert {item.reason for item in stage.pending()} == {"held"}
    assert stage.context().proposed["industry"].value == "software"
    assert (open_call(stage, call).values if left else {}) == left
    stage.applied()
    assert stage.run(run).state == "finished"


def test_the_next_call_expects_what_stands_when_the_one_before_it_was_refused() -> None:
    stage, first, second = chained()
    stage.report("failed", first, why="422")
    assert open_call(stage, second).expected == {"industry": "before"}
    assert stage.value("industry") == "second", "the later value is still on its way"
    stage.applied()
    assert stage.value("industry") == "second"


def test_the_next_call_does_not_overwrite_a_person_whom_the_one_before_it_met() -> None:
    """It was decided on our own value: it has to find the person's, and ask."""
    stage, first, second = chained()
    stage.report("conflicted", first, current={"industry": "a person's"})
    assert open_call(stage, second).expected == {"industry": "first"}
    stage.report("conflicted", second, current={"industry": "a person's"})
    assert stage.value("industry") == "a person's"
    assert [item.reason for item in stage.pending()] == ["human_edit", "human_edit"]


def test_only_the_next_call_for_a_field_is_put_right() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a"), step("c", "b")))
    run = stage.start({"industry": "before"})
    for name in ("a", "b", "c"):
        stage.answer(run, name, {"industry": name})
    stage.report("failed", why="422")
    assert [call.expected for call in stage.calls()] == [{"industry": "before"}, {"industry": "b"}]
    stage.applied()
    assert stage.value("industry") == "c"


def test_a_read_of_the_crm_does_not_replace_a_value_under_way() -> None:
    stage, _, _ = planned()
    second = stage.start({"industry": "before", "size": None})
    assert stage.value("industry") == "software"
    assert stage.jobs[-1].run == second
    assert stage.jobs[-1].snapshot["values"]["industry"] == "software"


def test_a_person_who_edits_in_the_crm_wins_against_agents() -> None:
    stage, _, _ = planned()
    stage.applied()
    stage.wait(600.0)
    edit = {"values": {"industry": "a person's"}, "person": True, "actor": "Ana"}
    stage.send("lead.updated", LEAD, edit, source="crm")
    assert stage.context().fields["industry"].writer == "person"
    stage.wait(1.0)
    run = stage.start({"industry": "a person's", "size": 5})
    stage.answer(run, "a", {"industry": "software"}, confidence=1.0)
    assert stage.value("industry") == "a person's"
    assert stage.run(run).state == "finished"
    (conflict,) = stage.audited("conflict.decided")
    assert conflict.rule == "human"
    assert stage.calls() == []


def test_an_old_edit_of_a_person_no_longer_wins() -> None:
    stage, _, _ = planned()
    stage.applied()
    stage.wait(600.0)
    stage.send("lead.updated", LEAD, {"values": {"industry": "a person's"}, "person": True}, source="crm")
    stage.wait(31 * 86_400.0)
    run = stage.start({"industry": "a person's", "size": 5})
    stage.answer(run, "a", {"industry": "software"}, confidence=1.0)
    assert stage.value("industry") == "software"


def test_values_of_two_runs_meet_and_the_loser_is_recorded() -> None:
    """Neither saw the other's: the second is arbitrated when it arrives."""
    stage = Stage(rulebook(step("a")))
    first, second = stage.start({"industry": "before"}), stage.start({"industry": "before"})
    stage.answer(first, "a", {"industry": "sure"}, confidence=0.99)
    stage.answer(second, "a", {"industry": "less sure"}, confidence=0.85)
    assert stage.value("industry") == "sure"
    assert stage.writes() == {"industry": ["planned", "superseded"]}
    assert [entry.rule for entry in stage.audited("conflict.decided")] == ["confidence"]


def test_undoing_and_asking_stay_within_the_run_they_belong_to() -> None:
    stage, _, _ = planned()
    stage.report("failed", why="422")
    assert {item.run for item in stage.all(Review)} == {write.run for write in stage.all(Write)}


def resent() -> tuple[Stage, str, Intent]:
    """A call that was begun, doubted, read back as not applied, and begun once more by another controller."""
    stage, run, call = planned()
    stage.report("sending")
    stage.report("doubted", settle_until=stage.now, **{"pass": 0})
    stage.report("deferred", retry_at=stage.now, **{"pass": 1})
    stage.report("sending", **{"pass": 2})
    return stage, run, call


@pytest.mark.parametrize("what", ["failed", "deferred", "doubted", "conflicted", "stopped", "applied"])
def test_what_a_replaced_writer_says_of_an_earlier_call_changes_nothing(what: str) -> None:
    stage, _, call = resent()
    before = dict(stage.state.docs)
    data = {"current": {"industry": "x"}, "settle_until": 1.0, "reason": "held", "pass": 0}
    stage.report(what, call, **data)
    assert {key: value for key, value in stage.state.docs.items() if value is not None} == before
    stage.report("applied", **{"pass": 2, "called": True})
    assert stage.writes() == {"industry": ["applied"], "size": ["applied"]}


@pytest.mark.parametrize("ended", [False, True])
def test_a_call_that_comes_through_after_it_was_sent_again_is_told(ended: bool) -> None:
    stage, run, call = resent()
    if ended:
        stage.report("applied", **{"pass": 2, "called": True})
    stage.report("applied", call, **{"pass": 0, "called": True})
    assert {entry.field for entry in stage.audited("write.late")} == {"industry", "size"}
    (notice,) = stage.all(OutNotice)
    assert "lead" in notice.subject
    assert "second time" in notice.body
    if not ended:
        stage.report("applied", **{"pass": 2, "called": True})
    stage.told()
    assert stage.run(run).state == "finished"
    assert len(stage.audited("write.late")) == 2


def test_a_late_word_about_the_call_in_doubt_ends_the_doubt() -> None:
    stage, run, _ = planned()
    stage.report("sending")
    stage.report("doubted", settle_until=stage.now + 5, **{"pass": 0})
    stage.report("applied", **{"pass": 0, "called": True})
    assert stage.run(run).state == "finished"
    assert not stage.audited("write.late")


def test_a_repeated_call_to_a_crm_that_knows_keys_is_no_call_too_many() -> None:
    stage, run, call = resent()
    stage.report("applied", **{"pass": 0, "called": True, "keyed": True})
    stage.report("applied", call, **{"pass": 2, "called": True, "keyed": True})
    assert stage.run(run).state == "finished"
    assert not stage.audited("write.late")


def test_a_late_word_about_a_call_that_was_read_back_is_no_call_too_many() -> None:
    stage, run, call = planned()
    stage.report("sending")
    stage.report("doubted", settle_until=stage.now, **{"pass": 0})
    stage.report("applied", note="read back", **{"pass": 1})
    stage.report("applied", call, **{"pass": 0, "called": True})
    assert stage.run(run).state == "finished"
    assert not stage.audited("write.late")
