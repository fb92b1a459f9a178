"""A slot of the clock, and a start by hand without a record: a run about no record of the CRM."""

from __future__ import annotations

from typing import Any

import pytest

from engine_stage import Stage, rulebook, step
from revops_lite.engine.decide import RESERVED
from revops_lite.engine.ids import run_id
from revops_lite.models import Intent
from revops_lite.policy import Rulebook
from revops_lite.values import replace

ITSELF = "workflow:flow"
SLOT = "1970-01-01T00:15:00.000Z"


def by_the_clock(*, has_crm: bool = True, **more: Any) -> Rulebook:
    """`flow` at each hour, with two steps."""
    book = rulebook(step("a"), step("b", "a"), has_crm=has_crm)
    flow = replace(book.workflows["flow"], on=(), cron="0 * * * *", **more)
    return replace(book, workflows={"flow": flow})


def fire(stage: Stage, slot: str = SLOT, **more: Any) -> str:
    """The event as the scheduler sends it. Returns the id of the run that it starts."""
    id_ = f"cron|flow|{slot}"
    data = {"workflow": "flow", "slot": slot}
    stage.send("cron.fired", ITSELF, data, id=id_, source="cron", **more)
    return run_id(id_, "flow")


@pytest.mark.parametrize("has_crm", [True, False])
def test_a_slot_starts_its_workflow_at_once_and_nobody_asks_the_crm(has_crm: bool) -> None:
    stage = Stage(by_the_clock(has_crm=has_crm))
    run = fire(stage)
    assert (stage.run(run).record, stage.run(run).loaded, stage.run(run).state) == (ITSELF, True, "running")
    assert (stage.run(run).trigger.type, stage.run(run).trigger.source) == ("cron.fired", "cron")
    assert stage.called() == ["a"]
    snapshot = stage.jobs[0].snapshot
    assert (snapshot["kind"], snapshot["id"]) == ("workflow", "flow")
    assert snapshot["values"] == {"workflow": "flow", "slot": SLOT}


def test_what_its_agents_write_stays_with_us() -> None:
    stage = Stage(by_the_clock())
    run = fire(stage)
    stage.answer(run, "a", {"industry": "steel"})
    assert stage.jobs[-1].snapshot["values"]["industry"] == "steel"
    stage.answer(run, "b")
    assert stage.run(run).state == "finished"
    assert stage.all(Intent) == []
    assert stage.writes() == {"industry": ["applied"]}
    assert stage.context(ITSELF).local


def test_the_same_slot_twice_is_one_run_and_the_next_one_another() -> None:
    stage = Stage(by_the_clock())
    first = fire(stage)
    assert fire(stage) == first
    assert stage.called() == ["a"]
    later = "1970-01-01T01:00:00.000Z"
    second = fire(stage, later)
    assert second != first
    assert stage.jobs[-1].snapshot["values"]["slot"] == later
    assert len(stage.audited("run.started")) == 2


@pytest.mark.parametrize("why", ["the workflow is gone", "its cron is gone"])
def test_a_slot_of_what_has_been_taken_out_meanwhile_is_passed_over(why: str) -> None:
    book = by_the_clock()
    flows = {} if why == "the workflow is gone" else {"flow": replace(book.workflows["flow"], cron=None)}
    stage = Stage(replace(book, workflows=flows))
    fire(stage)
    assert stage.called() == []
    assert stage.pending() == []
    (entry,) = stage.audited("event.ignored")
    assert (entry.who, entry.record) == ("cron", ITSELF)


def test_deadline_and_latency_count_from_the_time_of_the_event() -> None:
    stage = Stage(by_the_clock(deadline=60.0))
    run = fire(stage, time=stage.now - 5.0)
    assert stage.run(run).deadline_at == stage.now + 55.0
    stage.answer(run, "a")
    stage.answer(run, "b")
    assert stage.audited("run.finished")[0].elapsed_ms == 5000.0


def test_a_run_by_the_clock_can_be_tried_again() -> None:
    stage = Stage(by_the_clock())
    run = fire(stage)
    stage.answer(run, "a", outcome="failed", error="boom")
    assert stage.run(run).state == "failed"
    stage.send("run.retried", ITSELF, {"by": "ana"}, run=run)
    stage.answer(run, "a")
    stage.answer(run, "b")
    assert stage.run(run).state == "finished"


@pytest.mark.parametrize("shadow", [False, True])
def test_a_start_by_hand_needs_no_record_either(shadow: bool) -> None:
    stage = Stage(by_the_clock())
    stage.send("workflow.started", ITSELF, {"workflow": "flow", "shadow": shadow}, id="hand")
    run = run_id("hand", "flow")
    assert (stage.run(run).record, stage.run(run).loaded, stage.called()) == (ITSELF, True, ["a"])
    stage.answer(run, "a", {"industry": "steel"})
    assert stage.writes() == {"industry": ["shadow" if shadow else "applied"]}


def test_what_follows_such_a_run_asks_the_crm_as_little() -> None:
    book = by_the_clock()
    after = replace(book.workflows["flow"], name="after", on=("a.complete",), cron=None, steps=(step("b"),))
    stage = Stage(replace(book, workflows={**book.workflows, "after": after}))
    stage.answer(fire(stage), "a")
    assert stage.called() == ["a", "b", "b"]


def test_nobody_else_may_say_that_a_slot_has_come() -> None:
    assert "cron.fired" in RESERVED
