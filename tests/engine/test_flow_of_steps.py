"""How a run goes through its steps: sequences, forks, joins, retries, late results, cancelling, starting again."""

from __future__ import annotations

import pytest

from engine_stage import LEAD, Stage, agent, rulebook, step
from revops_lite.engine.ids import run_id
from revops_lite.models import OutNotice, Review, Run, Write
from revops_lite.policy import WorkflowDef
from revops_lite.values import replace

THREE = (step("a"), step("b", "a"), step("c", "b"))


def test_steps_follow_one_another_and_each_sees_what_came_before() -> None:
    stage = Stage(rulebook(*THREE))
    run = stage.start({"industry": "before"})
    assert stage.called() == ["a"]
    stage.answer(run, "a", {"industry": "software"})
    assert stage.called() == ["a", "b"]
    assert stage.jobs[-1].snapshot["values"] == {"industry": "software"}
    stage.answer(run, "b")
    stage.answer(run, "c")
    assert stage.run(run).state == "waiting", "for the CRM's word"
    stage.applied()
    assert stage.run(run).state == "finished"
    assert stage.run(run).effects == ()


def test_a_fork_starts_together_and_a_join_waits_for_all() -> None:
    stage = Stage(rulebook(step("a"), step("left", "a"), step("right", "a"), step("join", "left", "right")))
    run = stage.start()
    stage.answer(run, "a")
    assert stage.called() == ["a", "left", "right"]
    stage.answer(run, "right")
    assert "join" not in stage.called()
    stage.answer(run, "left")
    assert stage.called()[-1] == "join"


def test_steps_that_follow_nothing_start_at_once() -> None:
    stage = Stage(rulebook(step("a"), step("b"), step("c", "a")))
    stage.start()
    assert stage.called() == ["a", "b"]


def test_a_failure_skips_what_follows_and_ends_the_run() -> None:
    stage = Stage(rulebook(*THREE, step("beside")))
    run = stage.start()
    stage.answer(run, "a", outcome="failed", error="boom")
    assert stage.steps(run) == {"a": "failed", "b": "skipped", "c": "skipped", "beside": "running"}
    assert stage.run(run).state == "running", "the other branch goes on"
    stage.answer(run, "beside")
    assert stage.run(run).state == "failed"
    (item,) = stage.pending()
    assert (item.reason, item.step, item.field, item.problems) == ("failure", "a", None, ("boom",))


@pytest.mark.parametrize("outcome", ["failed", "timeout", "crashed"])
def test_an_optional_step_may_fail(outcome: str) -> None:
    stage = Stage(rulebook(step("a", optional=True), step("b", "a")))
    run = stage.start()
    stage.answer(run, "a", outcome=outcome)
    stage.answer(run, "b")
    assert stage.run(run).state == "finished"
    assert stage.steps(run) == {"a": "failed", "b": "done"}


def test_a_step_may_skip_itself_and_the_next_one_goes_on() -> None:
    stage = Stage(rulebook(*THREE))
    run = stage.start()
    stage.answer(run, "a", outcome="skipped", error="nothing to do")
    assert stage.steps(run)["a"] == "skipped"
    assert stage.step(run, "a").because == "nothing to do"
    assert stage.called() == ["a", "b"]


def test_an_answer_without_proposals_is_an_answer() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", proposals=[])
    assert stage.run(run).state == "finished"
    assert stage.all(Write) == []


# ---- trying again


def test_a_retry_comes_back_when_it_asked_to_and_only_so_often() -> None:
    stage = Stage(rulebook(step("a"), agents={"a": agent("a", attempts=3)}))
    run = stage.start()
    for attempt in (1, 2):
        stage.answer(run, "a", outcome="retry", error="rate limit", after=30.0)
        assert stage.run(run).state == "waiting"
        stage.wait(29.0)
        assert len(stage.jobs) == attempt
        stage.wait(1.0)
        assert [job.attempt for job in stage.jobs] == list(range(1, attempt + 2))
    stage.answer(run, "a", outcome="retry", error="rate limit", after=30.0)
    assert stage.run(run).state == "failed"
    assert "3 times; the last: rate limit" in stage.pending()[0].problems[0]


def test_jobs_of_one_step_have_different_ids_and_the_same_decision_the_same() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", outcome="retry", after=1.0)
    stage.wait(1.0)
    ids = [job.id for job in stage.jobs]
    assert len(set(ids)) == 2
    assert all(set(id_) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for id_ in ids)


def test_a_job_that_came_back_unclaimed_parks_until_its_agent_is_called_again() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.send("breaker.opened", "agent:a", {"agent": "a", "by": "ana"})
    assert stage.drained == ["a"]
    stage.answer(run, "a", outcome="returned")
    assert stage.run(run).state == "waiting"
    assert stage.steps(run) == {"a": "parked"}
    stage.send("breaker.reset", "agent:a", {"agent": "a", "by": "ana"})
    stage.wait(0.0)
    assert stage.steps(run) == {"a": "running"}
    stage.answer(run, "a", {"industry": "x"}, attempt=1)
    assert stage.steps(run) == {"a": "running"}, "the returned turn counts no more"
    stage.answer(run, "a")
    assert stage.run(run).state == "finished"


# ---- results that come late


def test_only_the_current_attempts_first_result_counts() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a")))
    run = stage.start()
    stage.answer(run, "a", {"industry": "first"})
    before = dict(stage.state.docs)
    stage.answer(run, "a", {"industry": "second"}, attempt=1)
    stage.answer(run, "a", {"industry": "other"}, attempt=7)
    stage.answer(run, "b", {"industry": "early"}, attempt=0)
    assert stage.state.docs == before
    assert len(stage.audited("step.late")) == 3


def test_a_result_for_a_step_or_run_that_is_not_there_is_told_and_dropped() -> None:
    stage = Stage(rulebook(step("a")))
    data = {"step": "a", "attempt": 1, "outcome": "done"}
    stage.send("step.finished", LEAD, data, run="rnone")
    run = stage.start()
    stage.send("step.finished", LEAD, {**data, "step": "zzz"}, run=run)
    stage.send("step.late", LEAD, {"job": "j1"}, run=run)
    assert len(stage.audited("step.late")) == 3
    assert stage.run(run).state == "running"


def test_an_unknown_outcome_is_an_error_not_a_success() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    with pytest.raises(ValueError, match="'fine'"):
        stage.answer(run, "a", outcome="fine")


# ---- cancelled, and started again


def test_cancelling_stops_what_follows_and_drops_what_comes_late() -> None:
    stage = Stage(rulebook(*THREE))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software"})
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=run)
    assert stage.run(run).state == "cancelled"
    stage.answer(run, "b", {"size": 5}, attempt=1)
    assert stage.value("size") is None
    stage.applied()
    assert stage.value("industry") == "software", "what was sent stays"
    assert stage.context().runs == {}
    before = stage.run(run)
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=run)
    assert stage.run(run) == before


def test_cancelling_closes_the_questions_about_its_steps() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", {"industry": 7})
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=run)
    assert [item.state for item in stage.all(Review)] == ["expired"]


def test_retrying_a_failed_run_calls_only_what_has_not_succeeded() -> None:
    stage = Stage(rulebook(*THREE, step("idle")))
    run = stage.start()
    stage.answer(run, "idle", outcome="skipped", error="not this one")
    stage.answer(run, "a")
    stage.answer(run, "b", outcome="failed", error="boom")
    assert stage.run(run).state == "failed"
    stage.send("run.retried", LEAD, {"by": "ana"}, run=run)
    assert stage.steps(run) == {"a": "done", "b": "running", "c": "pending", "idle": "skipped"}
    assert stage.run(run).state == "running"
    assert run in stage.context().runs
    assert stage.pending() == []
    stage.answer(run, "b")
    stage.answer(run, "c")
    assert stage.run(run).state == "finished"


@pytest.mark.parametrize("state", ["running", "finished"])
def test_only_failed_or_cancelled_runs_are_retried(state: str) -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    if state == "finished":
        stage.answer(run, "a")
    jobs = len(stage.jobs)
    stage.send("run.retried", LEAD, {"by": "ana"}, run=run)
    assert len(stage.jobs) == jobs
    assert stage.run(run).state == state


def test_a_run_retried_before_its_records_came_waits_for_them_again() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.created", LEAD, id="s")
    run = run_id("s", "flow")
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=run)
    stage.send("run.retried", LEAD, {"by": "ana"}, run=run)
    assert stage.jobs == []
    assert (stage.run(run).state, stage.run(run).loads) == ("running", 1)
    stage.load(run, {"industry": "known"})
    assert stage.jobs[0].snapshot["values"] == {"industry": "known"}


def test_a_step_whose_agent_is_gone_from_the_configuration_fails_and_the_run_ends() -> None:
    stage = Stage(rulebook(*THREE))
    run = stage.start()
    stage.rulebook = replace(stage.rulebook, agents={})
    stage.answer(run, "a")
    assert stage.run(run).state == "failed"
    assert "no longer configured" in stage.pending()[0].problems[0]


# ---- starting


def test_the_same_event_starts_nothing_twice() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    before = dict(stage.state.docs)
    stage.send("lead.created", LEAD, id="start0")
    assert stage.state.docs == before
    assert stage.run(run).state == "running"


def test_every_workflow_that_listens_starts_a_run_of_its_own() -> None:
    rules = rulebook(step("a"))
    second = WorkflowDef("second", ("lead.created", "lead.updated"), (step("a"),))
    stage = Stage(replace(rules, workflows={**rules.workflows, "second": second}))
    stage.send("lead.created", LEAD, id="s")
    assert {run.workflow for run in stage.all(Run)} == {"flow", "second"}
    stage.send("lead.updated", LEAD, id="t")
    assert len(stage.all(Run)) == 3


def test_an_event_nobody_listens_to_is_audited() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.sneezed", LEAD)
    assert [entry.rule for entry in stage.audited("event.ignored")] == ["no workflow on lead.sneezed"]
    assert stage.all(Run) == []


def test_a_workflow_may_start_on_an_agents_completion_and_a_loop_ends() -> None:
    """Each run's completion starts the next, on the same record, until the limit of hops."""
    rules = rulebook(step("a"), max_hops=3)
    loop = replace(rules.workflows["flow"], on=("lead.created", "a.complete"))
    stage = Stage(replace(rules, workflows={"flow": loop}))
    stage.send("lead.created", LEAD, id="s")
    for _ in range(10):
        for run in [one for one in stage.all(Run) if one.state == "running"]:
            if not run.loaded:
                stage.load(run.id)
            stage.answer(run.id, "a")
    runs = stage.all(Run)
    assert sorted(run.hop for run in runs) == [0, 1, 2, 3]
    assert {run.state for run in runs} == {"finished"}
    (item,) = stage.pending()
    assert (item.reason, item.record) == ("dead_letter", LEAD)
    assert "4 of our own runs" in item.problems[0]


def test_started_by_hand_a_run_may_be_a_shadow() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("workflow.started", LEAD, {"workflow": "flow", "shadow": True}, id="s")
    run = run_id("s", "flow")
    stage.load(run, {"industry": "before"})
    stage.answer(run, "a", {"industry": "software"})
    assert stage.run(run).state == "finished"
    assert stage.value("industry") == "before"
    assert stage.writes() == {"industry": ["shadow"]}
    stage.send("workflow.started", LEAD, {"workflow": "none"}, id="t")
    assert stage.pending()[0].reason == "dead_letter"


# ---- records


def test_an_agent_sees_the_records_that_the_workflow_includes() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.created", LEAD, id="s")
    run = run_id("s", "flow")
    stage.load(run, {"name": "Ada"}, {"company": {"company:7": {"industry": "retail"}}})
    snapshot = stage.jobs[0].snapshot
    assert (snapshot["kind"], snapshot["id"], snapshot["values"]) == ("lead", "1", {"name": "Ada"})
    (company,) = snapshot["related"]["company"]
    assert (company["id"], company["values"]) == ("7", {"industry": "retail"})


def test_a_record_nobody_knows_is_a_dead_letter_that_can_be_sent_again() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.created", LEAD, id="s", source="crm")
    run = run_id("s", "flow")
    stage.send("record.loaded", LEAD, {"asked_at": 1.0, "records": {}, "related": {}}, run=run)
    assert stage.run(run).state == "failed"
    assert stage.jobs == []
    (item,) = stage.pending()
    assert (item.reason, item.run) == ("dead_letter", run)
    stage.decide(item, "retry")
    (again,) = [one for one in stage.all(Run) if one.id != run]
    assert (again.record, again.workflow, again.state) == (LEAD, "flow", "running")
    assert again.trigger.type == "lead.created"


def test_a_record_that_the_crm_refuses_to_show_is_a_dead_letter() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.created", LEAD, id="s")
    run = run_id("s", "flow")
    stage.send("record.missing", LEAD, {"error": "403"}, run=run)
    assert (stage.run(run).state, stage.run(run).note) == ("failed", "403")


def test_without_a_crm_the_events_data_are_the_first_values_and_writes_stay_here() -> None:
    stage = Stage(rulebook(step("a"), has_crm=False))
    stage.send("lead.created", LEAD, {"industry": "before", "name": "Ada"}, id="s")
    run = run_id("s", "flow")
    assert stage.jobs[0].snapshot["values"] == {"industry": "before", "name": "Ada"}
    stage.answer(run, "a", {"industry": "software"})
    assert stage.run(run).state == "finished"
    assert stage.value("industry") == "software"
    assert stage.writes() == {"industry": ["applied"]}
    assert stage.calls() == []


def test_a_record_that_the_crm_does_not_hold_lives_here_only() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.created", LEAD, {"industry": "before"}, id="s")
    run = run_id("s", "flow")
    stage.send("record.loaded", LEAD, {"asked_at": 1.0, "records": {}, "related": {}}, run=run)
    stage.answer(run, "a", {"industry": "software"})
    assert stage.run(run).state == "finished"
    assert stage.calls() == []
    assert stage.context().local


# ---- the checkpoint's borders


def test_what_an_agent_did_not_declare_stops_at_the_checkpoint() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a")))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software", "amount": 5})
    assert stage.run(run).state == "held"
    assert stage.context().fields == {}
    assert any("amount" in problem for problem in stage.pending()[0].problems)


def test_a_target_outside_the_run_stops_at_the_checkpoint() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software"}, target="lead:999")
    assert stage.run(run).state == "held"
    assert "lead:999" in stage.pending()[0].problems[0]
    assert ("context", "lead:999") not in stage.state.docs


def test_an_included_record_may_be_the_target() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("lead.created", LEAD, id="s")
    run = run_id("s", "flow")
    stage.load(run, {}, {"company": {"company:7": {}}})
    stage.answer(run, "a", {"industry": "software"}, target="company:7")
    stage.applied()
    assert stage.value("industry", "company:7") == "software"
    assert stage.value("industry") is None
    assert stage.run(run).state == "finished"


def test_two_values_for_one_field_in_one_answer_are_one_call_on_what_stood_there() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start({"industry": "before"})
    one = [{"values": {"industry": value}, "confidence": 0.95} for value in ("first", "second")]
    stage.answer(run, "a", proposals=one)
    (call,) = stage.calls()
    assert (call.values, call.expected) == ({"industry": "second"}, {"industry": "before"})
    stage.applied()
    assert stage.run(run).state == "finished"


# ---- deadlines, completion, history


def test_a_missed_deadline_is_told_to_ops_once() -> None:
    stage = Stage(rulebook(step("a"), deadline=90.0))
    run = stage.start()
    stage.wait(90.0)
    assert stage.run(run).deadline_missed
    assert stage.one(OutNotice).subject == f"Deadline missed: flow on {LEAD}"
    stage.wait(900.0)
    assert len(stage.audited("deadline.missed")) == 1


def test_a_run_that_waits_for_a_person_alerts_nobody_about_its_deadline() -> None:
    stage = Stage(rulebook(step("a"), deadline=90.0))
    run = stage.start()
    stage.answer(run, "a", {"industry": 7})
    stage.wait(90.0)
    assert stage.run(run).deadline_missed
    assert stage.all(OutNotice) == []


def test_a_deadline_met_leaves_no_alarm() -> None:
    stage = Stage(rulebook(step("a"), deadline=90.0))
    run = stage.start()
    stage.answer(run, "a")
    assert stage.timers == {}
    assert not stage.run(run).deadline_missed


def test_a_finished_step_is_published_and_stands_in_the_history() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software"}, because="two sources")
    (event,) = stage.published
    assert (event.type, event.subject, event.data, event.run) == ("a.complete", LEAD, {"industry": "software"}, run)
    assert event.hop == 1
    touch = stage.context().history[-1]
    assert (touch.agent, touch.outcome, touch.note) == ("a", "done", "two sources")


def test_what_cannot_be_read_waits_for_a_person_and_an_alarm_that_cannot_be_decided_goes() -> None:
    stage = Stage(rulebook(step("a")))
    stage.timers["odd|x"] = 1.0
    stage.send("event.unreadable", "event:unreadable", {"error": "not JSON", "timer": "odd|x"}, id="stream|1-1")
    assert stage.timers == {}
    (item,) = stage.pending()
    assert (item.reason, item.problems) == ("dead_letter", ("not JSON",))
    stage.decide(item, "reject")
    assert stage.pending() == []
