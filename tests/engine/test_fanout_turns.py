"""A fan-out that is cancelled, tried again or started by an event, at moments that do not suit it."""

from __future__ import annotations

from typing import Any

import pytest

from engine_review import ALERT, INSPECT, ITSELF, Review, deals
from engine_stage import fragile
from revops_lite.engine.ids import part_id, run_id
from revops_lite.models import Page, Run
from revops_lite.policy import StepDef
from revops_lite.rules import fanout
from revops_lite.values import replace

FAILED = {"outcome": "failed", "error": "ValueError: no"}


def finish(stage: Review, answers: dict[str, Any] | None = None) -> None:
    """Agents answer, and what was parked till the first of them had proven its agent comes behind."""
    for _ in range(3):
        stage.work(answers)
        stage.wait(0)
    stage.applied()


def half_swept(stage: Review, count: int = 4) -> str:
    """A run of which only one page has come."""
    stage.send("workflow.started", ITSELF, {"workflow": "review"})
    (run,) = {one.id for one in stage.all(Run)}
    stage.page(run, deals(count))
    return run


def total(stage: Review, run: str) -> dict[str, int]:
    return fanout.records(stage.run(run).tally)


def test_cancelled_while_it_is_swept_and_tried_again_it_does_all_records() -> None:
    stage = Review(INSPECT)
    run = half_swept(stage)
    stage.send("run.cancelled", ITSELF, {"by": "ana"}, run=run)
    stage.wait(0)
    assert {stage.part(run, name).state for name in deals(4)} == {"cancelled"}
    stage.page(run, deals(6))  # told meanwhile: nobody listens
    assert total(stage, run)["total"] == 4
    stage.send("run.retried", ITSELF, {"by": "ana"}, run=run)
    assert (stage.run(run).state, stage.run(run).loads, stage.run(run).loaded) == ("running", 1, False)
    stage.wait(0)
    stage.page(run, deals(6))
    stage.ended(run)
    finish(stage)
    assert total(stage, run) == {"total": 6, "done": 6, "failed": 0, "held": 0}
    assert stage.run(run).state == "finished"


def test_tried_again_before_its_cancelling_has_come_to_the_last_page() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(6), page=2)
    stage.send("run.cancelled", ITSELF, {"by": "ana"}, run=run)
    stage.send("run.retried", ITSELF, {"by": "ana"}, run=run)
    stage.wait(0)
    finish(stage)
    assert total(stage, run) == {"total": 6, "done": 6, "failed": 0, "held": 0}
    assert stage.run(run).state == "finished"


def test_records_are_done_while_others_are_still_being_swept_but_the_run_waits_for_all() -> None:
    stage = Review(INSPECT, ALERT)
    run = half_swept(stage)
    stage.work()
    assert total(stage, run)["total"] == 4
    assert stage.run(run).state == "running"
    assert stage.steps(run)["inspect"] == "done"
    stage.page(run, deals(6))
    assert stage.steps(run)["inspect"] == "running"
    stage.work()
    assert "alert" not in stage.run(run).tally
    stage.ended(run)
    stage.work()
    assert total(stage, run)["done"] == 6
    assert stage.run(run).state == "finished"


def test_an_event_starts_one_fan_out_each_and_the_same_event_none() -> None:
    stage = Review(INSPECT)
    flow = replace(stage.rulebook.workflows["review"], on=("import.done",))
    stage.rulebook = replace(stage.rulebook, workflows={"review": flow})
    for id_ in ("e1", "e1", "e2"):
        stage.send("import.done", "import:7", {"rows": 5}, id=id_)
    assert {one.id: one.record for one in stage.all(Run)} == {
        run_id("e1", "review"): ITSELF,
        run_id("e2", "review"): ITSELF,
    }
    run = run_id("e1", "review")
    stage.page(run, deals(3))
    stage.ended(run)
    stage.work()
    assert (stage.run(run).state, total(stage, run)["done"]) == ("finished", 3)
    assert stage.run(run).trigger.type == "import.done"


def test_two_fan_outs_over_the_same_records_keep_their_own_count() -> None:
    stage = Review(INSPECT, ALERT)
    first, second = half_swept(stage), ""
    stage.send("workflow.started", ITSELF, {"workflow": "review"})
    (second,) = {one.id for one in stage.all(Run) if one.part_of is None} - {first}
    stage.page(second, deals(4))
    stage.ended(second)
    stage.ended(first)
    finish(stage, {"inspect": {"values": {"size": 3}}})
    for run in (first, second):
        assert (stage.run(run).state, total(stage, run)["done"]) == ("finished", 4)


def forget_pages(stage: Review) -> None:
    """They live a week longer than their run."""
    for page in stage.all(Page):
        stage.state.docs["page", page.id] = None


@pytest.mark.parametrize("verb", ["retried", "cancelled"])
def test_all_parts_of_a_run_whose_pages_are_gone_are_left_as_they_are(verb: str) -> None:
    stage = Review(INSPECT, ALERT)
    run = stage.begin(deals(3))
    stage.work({"deal:1": FAILED})
    forget_pages(stage)
    stage.send(f"run.{verb}", ITSELF, {"by": "ana"}, run=run)
    stage.wait(0)
    assert total(stage, run) == {"total": 3, "done": 2, "failed": 1, "held": 0}
    assert not stage.timers


def test_one_record_of_a_run_whose_pages_are_gone_cannot_be_tried_again() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(2))
    stage.work({"deal:1": FAILED})
    forget_pages(stage)
    stage.decide(stage.pending()[0], "retry")
    part = stage.part(run, "deal:1")
    assert (part.state, part.steps["inspect"].problems) == ("failed", ("what the sweep found is kept no longer",))
    assert stage.run(run).state == "finished"


def test_a_group_of_a_run_whose_pages_are_gone_cannot_be_tried_again() -> None:
    stage = Review(StepDef("alert", "alert", gather="owner"))
    run = stage.begin(deals(2))
    stage.work({"alert": FAILED})
    forget_pages(stage)
    for item in stage.pending():
        stage.decide(item, "retry")
    assert stage.steps(run) == {"alert": "failed"}
    assert stage.run(run).state == "failed"


@pytest.mark.parametrize("decision", ["edit", "reject", "retry"])
def test_a_record_in_quarantine_is_decided_by_a_person(decision: str) -> None:
    stage = Review(INSPECT, StepDef("forecast", "forecast", ("inspect",)))
    run = stage.begin(deals(3))
    bad: dict[str, Any] = {"outcome": "invalid", "problems": ["size"], "proposals": [{"values": {"size": -1}}]}
    stage.work({"deal:1": bad})
    assert (stage.run(run).state, total(stage, run)["held"]) == ("held", 1)
    (item,) = stage.pending()
    assert item.run == part_id(run, "deal:1")
    stage.decide(item, decision, **({"values": {"size": 7}} if decision == "edit" else {}))
    stage.work()
    stage.applied()
    assert stage.run(run).state == "finished"
    assert total(stage, run) == {"total": 3, "done": 3, "failed": 0, "held": 0}
    assert stage.value("size", "deal:1") == (7 if decision == "edit" else None)
    assert stage.part(run, "deal:1").steps["inspect"].state == ("skipped" if decision == "reject" else "done")


HOSTILE = ["Ana Smith", "a|b", "a\nb", "owner:7", "*", "", "ü" * 3_000, ["a", "b"], {"a": 1}, True, 7, 7.5, None]


def test_groups_may_be_called_whatever_a_field_holds() -> None:
    by_owner = StepDef("alert", "alert", ("inspect",), gather="owner")
    stage = Review(INSPECT, by_owner, agents={"alert": fragile("alert", failures=100)})
    run = stage.begin({f"deal:{n}": {"owner": owner} for n, owner in enumerate(HOSTILE)})
    finish(stage, {"alert": FAILED})
    groups = {part.record: part.members for part in stage.all(Run) if part.members}
    assert sorted(record for members in groups.values() for record in members) == sorted(
        f"deal:{n}" for n in range(len(HOSTILE))
    )
    assert len(groups) == len(HOSTILE) - 1, "no owner and an empty one are the same"
    assert stage.steps(run) == {"inspect": "done", "alert": "failed"}
    for item in stage.pending():
        stage.decide(item, "retry")
    finish(stage, {"alert": {"values": {"industry": "kept"}}})
    assert stage.run(run).state == "finished"
    assert {stage.value("industry", name) for name in groups} == {"kept"}
    assert stage.calls() == [], "no CRM holds them"


def test_one_record_that_is_cancelled_keeps_neither_the_others_nor_their_groups_waiting() -> None:
    stage = Review(INSPECT, StepDef("forecast", "forecast", ("inspect",)), replace(ALERT, after=("forecast",)))
    run = stage.begin(deals(4))
    part = part_id(run, "deal:1")
    stage.send("run.cancelled", "deal:1", {"by": "ana"}, run=part)
    finish(stage)
    assert stage.run(part).state == "cancelled"
    assert stage.steps(run) == dict.fromkeys(("inspect", "forecast", "alert"), "done")
    assert (stage.run(run).state, total(stage, run)["done"]) == ("finished", 3)
    stage.send("run.retried", "deal:1", {"by": "ana"}, run=part)
    finish(stage)
    assert (stage.run(run).state, total(stage, run)["done"]) == ("finished", 4)


def test_what_came_back_uncalled_does_not_count_as_asking_for_another_try() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(1))
    for _ in range(5):
        stage.work({"inspect": {"outcome": "returned"}})
        stage.wait(0)
        stage.handled = len(stage.jobs) - 1
    later = {"inspect": {"outcome": "retry", "error": "busy", "after": 5}}
    for _ in range(2):  # of three tries
        stage.work(later)
        assert stage.part(run, "deal:0").state == "waiting"
        stage.wait(5)
    stage.work(later)
    (item,) = stage.pending()
    assert item.problems == ("asked for another try 3 times; the last: busy",)
    stage.decide(item, "retry")
    stage.work(later)
    stage.wait(5)
    stage.work()
    assert stage.run(run).state == "finished"
