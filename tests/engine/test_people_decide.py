"""What waits for a person, and what each decision does: whole steps and single values."""

from __future__ import annotations

from typing import Any

import pytest

from engine_stage import LEAD, Stage, agent, rulebook, step
from revops_lite.models import FieldValue, Hold, Mode, OutNotice, Review, Write
from revops_lite.policy import FieldPolicy, Governance
from revops_lite.values import replace

UNSURE = 0.5


def quarantined() -> tuple[Stage, str, Review]:
    """A run whose first step has answered something that the checkpoint refuses."""
    stage = Stage(rulebook(step("a"), step("b", "a")))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software", "size": 0}, because="guess")
    (item,) = stage.pending()
    return stage, run, item


def withheld(**more: Any) -> tuple[Stage, str, Review]:
    """A run whose only step was not sure enough of its value."""
    stage = Stage(rulebook(step("a", **more), step("b", "a")))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software"}, confidence=UNSURE)
    (item,) = stage.pending()
    return stage, run, item


# ---- a whole step, stopped at the checkpoint


def test_nothing_reads_an_answer_that_the_checkpoint_refused() -> None:
    stage, run, item = quarantined()
    assert stage.run(run).state == "held"
    assert stage.steps(run) == {"a": "quarantined", "b": "pending"}
    assert (item.reason, item.field, item.step, item.because) == ("checkpoint", None, "a", "guess")
    assert item.proposed == {"industry": "software", "size": 0}
    assert any("size" in problem for problem in item.problems)
    assert stage.value("industry") == "before"
    assert stage.context().proposed == {}
    assert stage.all(Write) == []
    assert stage.published == []


def test_corrected_values_go_on_as_if_the_agent_had_said_them() -> None:
    stage, run, item = quarantined()
    stage.decide(item, "edit", values={"size": 50})
    assert stage.steps(run) == {"a": "done", "b": "running"}
    assert (stage.value("industry"), stage.value("size")) == ("software", 50)
    stage.applied()
    stage.answer(run, "b")
    assert stage.run(run).state == "finished"


def test_a_correction_that_is_wrong_too_leaves_the_question_open() -> None:
    stage, run, item = quarantined()
    stage.decide(item, "edit", values={"size": -1})
    (again,) = stage.pending()
    assert again.id == item.id
    assert "size" in again.note
    assert stage.run(run).state == "held"


def test_retrying_a_step_calls_its_agent_again() -> None:
    stage, run, item = quarantined()
    stage.decide(item, "retry")
    assert stage.called() == ["a", "a"]
    stage.answer(run, "a", {"industry": "software", "size": 5})
    assert stage.steps(run) == {"a": "done", "b": "running"}
    assert stage.pending() == []


def test_rejecting_a_step_goes_on_without_its_output() -> None:
    stage, run, item = quarantined()
    stage.decide(item, "reject", note="nonsense")
    assert stage.steps(run) == {"a": "skipped", "b": "running"}
    assert stage.value("industry") == "before"
    (decided,) = stage.all(Review)
    assert (decided.state, decided.decided_by, decided.note) == ("rejected", "ana", "nonsense")


def test_approving_what_the_checkpoint_refused_is_refused() -> None:
    stage, run, item = quarantined()
    stage.decide(item, "approve")
    assert stage.run(run).state == "held"
    assert "edit, retry or reject it" in stage.pending()[0].note


def test_an_answer_the_host_could_not_read_is_quarantined_too() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", outcome="invalid", problems=["a number that is none"])
    (item,) = stage.pending()
    assert (item.reason, item.problems) == ("checkpoint", ("a number that is none",))
    stage.decide(item, "edit", values={"industry": "software"})
    assert stage.value("industry") == "software"


@pytest.mark.parametrize("decision", ["retry", "reject"])
def test_a_failed_step_may_be_retried_or_left(decision: str) -> None:
    stage = Stage(rulebook(step("a"), step("b", "a")))
    run = stage.start()
    stage.answer(run, "a", outcome="failed", error="boom")
    (item,) = stage.pending()
    stage.decide(item, decision)
    assert stage.pending() == []
    if decision == "retry":
        assert stage.steps(run) == {"a": "running", "b": "pending"}
        stage.answer(run, "a")
        stage.answer(run, "b")
        assert stage.run(run).state == "finished"
    else:
        assert stage.run(run).state == "failed"


# ---- one value, withheld


def test_a_withheld_value_is_proposed_and_never_a_fact() -> None:
    stage, run, item = withheld()
    assert stage.value("industry") == "before"
    proposed = stage.context().proposed["industry"]
    assert (proposed.value, proposed.agent, proposed.review) == ("software", "a", item.id)
    assert stage.jobs[-1].snapshot["values"] == {"industry": "before"}, "the next agent does not see it"
    assert (item.reason, item.current, item.proposed, item.confidence) == ("confidence", "before", "software", UNSURE)
    assert stage.writes() == {"industry": ["withheld"]}
    assert stage.calls() == []
    stage.answer(run, "b")
    assert stage.run(run).state == "finished", "it does not stop the run unless the step says so"


@pytest.mark.parametrize(
    ("decision", "values", "value"), [("approve", {}, "software"), ("edit", {"industry": "x"}, "x")]
)
def test_an_approved_value_is_written_as_the_persons(decision: str, values: dict[str, Any], value: str) -> None:
    stage, _, item = withheld()
    stage.decide(item, decision, values=values)
    (call,) = stage.calls()
    assert (call.values, call.expected, call.agent) == ({"industry": value}, {"industry": "before"}, "review:ana")
    stage.applied()
    standing = stage.context().fields["industry"]
    assert (standing.value, standing.writer, standing.confidence) == (value, "review:ana", 1.0)
    assert stage.context().proposed == {}
    assert sorted(stage.writes()["industry"]) == ["applied", "superseded"]


def test_a_rejected_value_is_gone() -> None:
    stage, _, item = withheld()
    stage.decide(item, "reject")
    assert stage.context().proposed == {}
    assert stage.value("industry") == "before"
    assert stage.calls() == []


def test_the_first_decision_wins() -> None:
    stage, _, item = withheld()
    stage.decide(item, "reject", by="ana")
    before = dict(stage.state.docs)
    stage.decide(item, "approve", by="bob")
    assert stage.state.docs == before
    assert [entry.who for entry in stage.audited("review.late")] == ["bob"]


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_a_value_that_changed_since_it_was_seen_comes_back(answer: str) -> None:
    stage, run, item = withheld(wait_for_review=True)
    context = stage.context()
    moved = FieldValue("moved on", "person", 1.0, stage.now, context.version + 1)
    stage.state.docs["context", LEAD] = replace(context, fields={"industry": moved}, version=context.version + 1)
    stage.decide(item, "approve")
    assert stage.value("industry") == "moved on"
    (again,) = stage.pending()
    assert (again.current, again.proposed) == ("moved on", "software")
    assert again.id != item.id
    assert stage.run(run).waits_for == (again.id,), "the run waits for the new question"
    assert stage.context().proposed["industry"].review == again.id, "whoever wants the same shares it"
    stage.decide(again, answer)
    assert stage.value("industry") == ("software" if answer == "approve" else "moved on")
    assert stage.context().proposed == {}
    assert stage.steps(run)["a"] == "done"


@pytest.mark.parametrize("field", ["*", "industry"])
@pytest.mark.parametrize("decision", ["approve", "edit"])
def test_approval_never_bypasses_a_hold(field: str, decision: str) -> None:
    stage, _, item = withheld()
    stage.state.holds[LEAD] = {field: Hold(LEAD, field, "legal", "case 7", stage.now)}
    stage.decide(item, decision, values={"industry": "x"} if decision == "edit" else {})
    assert stage.calls() == []
    (still,) = stage.pending()
    assert "case 7" in still.note
    stage.send("hold.released", LEAD, {"by": "legal", "field": field})
    stage.decide(item, "approve")
    assert stage.value("industry") == "software"


@pytest.mark.parametrize(
    ("decision", "data", "note"),
    [
        ("edit", {"values": {"industry": 7}}, "industry"),
        ("edit", {"values": {"size": 7}}, "give --set industry=VALUE"),
        ("edit", {}, "give --set industry=VALUE"),
        ("retry", {}, "only a whole step can be retried"),
        ("sing", {}, "sing does not fit"),
    ],
)
def test_a_decision_that_cannot_be_carried_out_says_why_and_leaves_it_open(
    decision: str, data: dict[str, Any], note: str
) -> None:
    stage, _, item = withheld()
    stage.decide(item, decision, **data)
    (still,) = stage.pending()
    assert still.id == item.id
    assert note in still.note
    assert stage.calls() == []


def test_a_decision_about_nothing_is_audited() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("review.decided", LEAD, {"review": "q0", "decision": "approve", "by": "ana"})
    assert [entry.note for entry in stage.audited("review.unknown")] == ["q0"]


def test_the_same_value_that_waits_already_is_one_question() -> None:
    stage, _, item = withheld()
    second = stage.start({"industry": "before"})
    stage.answer(second, "a", {"industry": "software"}, confidence=UNSURE)
    assert [one.id for one in stage.pending()] == [item.id]
    assert len(stage.all(Write)) == 2


# ---- runs that wait for it


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_step_that_waits_for_review_goes_on_when_the_last_value_is_decided(decision: str) -> None:
    stage = Stage(rulebook(step("a", wait_for_review=True), step("b", "a")))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software", "size": 5}, confidence=UNSURE)
    assert stage.run(run).state == "held"
    first, second = stage.pending()
    stage.decide(first, decision)
    assert stage.steps(run) == {"a": "quarantined", "b": "pending"}
    stage.decide(second, decision)
    assert stage.steps(run) == {"a": "done", "b": "running"}
    stage.applied()
    stage.answer(run, "b")
    assert stage.run(run).state == "finished"


def test_a_question_may_expire_and_the_run_goes_on_without_the_answer() -> None:
    stage = Stage(rulebook(step("a", wait_for_review=True), step("b", "a"), review_expires={"confidence": 3600.0}))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software"}, confidence=UNSURE)
    stage.wait(3600.0)
    assert [item.state for item in stage.all(Review)] == ["expired"]
    assert stage.steps(run)["b"] == "running"
    assert stage.value("industry") is None


def test_a_decision_in_time_leaves_no_alarm() -> None:
    stage = Stage(rulebook(step("a"), review_expires={"confidence": 3600.0}))
    run = stage.start()
    stage.answer(run, "a", {"industry": "software"}, confidence=UNSURE)
    stage.decide(stage.pending()[0], "reject")
    assert stage.timers == {}


# ---- governance on the way


@pytest.mark.parametrize(
    ("policy", "confidence", "reason"),
    [
        (Governance(), 0.79, "confidence"),
        (Governance(fields={"lead.industry": FieldPolicy(confidence=0.97)}), 0.95, "confidence"),
        (Governance(fields={"lead.industry": FieldPolicy(sensitive=True)}), 1.0, "sensitive"),
        (Governance(fields={"lead.industry": FieldPolicy(mode=Mode.REVIEW)}), 1.0, "sensitive"),
        (Governance(mode=Mode.REVIEW), 1.0, "sensitive"),
        (Governance(max_writes_per_record_per_hour=0), 1.0, "budget"),
    ],
)
def test_governance_withholds(policy: Governance, confidence: float, reason: str) -> None:
    stage = Stage(rulebook(step("a"), governance=policy))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software"}, confidence=confidence)
    (item,) = stage.pending()
    assert item.reason == reason
    assert stage.value("industry") == "before"
    assert stage.calls() == []


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
def test_what_is_only_watched_is_recorded_and_asks_nobody(mode: Mode) -> None:
    stage = Stage(rulebook(step("a"), agents={"a": agent("a", mode=mode)}))
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software"})
    assert stage.run(run).state == "finished"
    assert stage.writes() == {"industry": ["shadow"]}
    assert stage.pending() == []
    assert stage.value("industry") == "before"
    assert stage.context().proposed["industry"].review is None


def test_a_confidence_that_is_no_number_is_none() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", proposals=[{"values": {"industry": "x"}, "confidence": {"*": float("nan")}}])
    (item,) = stage.pending()
    assert (item.reason, item.confidence) == ("confidence", 0.0)


def test_the_budget_counts_calls_in_any_sliding_hour() -> None:
    stage = Stage(rulebook(step("a"), governance=Governance(max_writes_per_record_per_hour=2)))
    for number in range(3):
        run = stage.start({})
        stage.answer(run, "a", {"industry": f"v{number}"})
        stage.applied()
        stage.wait(100.0)
    (item,) = stage.pending()
    assert (item.reason, item.proposed) == ("budget", "v2")
    assert stage.value("industry") == "v1"
    stage.wait(3400.0)
    run = stage.start({"industry": "v1"})
    stage.answer(run, "a", {"industry": "v3"})
    assert stage.value("industry") == "v3"


@pytest.mark.parametrize("field", ["*", "industry"])
def test_a_hold_keeps_values_out(field: str) -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("hold.placed", LEAD, {"field": field, "by": "legal", "reason": "case 7"})
    run = stage.start({"industry": "before"})
    stage.answer(run, "a", {"industry": "software"})
    (item,) = stage.pending()
    assert item.reason == "held"
    assert "case 7" in item.problems[0]
    assert stage.value("industry") == "before"


def test_a_hold_ends_with_its_date() -> None:
    stage = Stage(rulebook(step("a")))
    stage.send("hold.placed", LEAD, {"by": "legal", "reason": "case 7", "until": stage.now + 60.0})
    stage.wait(59.0)
    assert LEAD in stage.state.holds
    stage.wait(1.0)
    assert stage.state.holds == {}
    assert [entry.who for entry in stage.audited("hold.released")] == ["clock"]


def test_the_hold_field_of_the_crm_holds_and_frees() -> None:
    stage = Stage(rulebook(step("a"), governance=Governance(hold_field="legal_hold")))
    run = stage.start({"industry": "before", "legal_hold": "true"})
    stage.answer(run, "a", {"industry": "software"})
    assert stage.pending()[0].reason == "held"
    stage.wait(1.0)
    free = {"values": {"legal_hold": "false"}, "person": True}
    stage.send("lead.updated", LEAD, free, source="crm")
    assert stage.state.holds == {}


def test_a_persons_hold_is_not_freed_by_the_hold_field() -> None:
    stage = Stage(rulebook(step("a"), governance=Governance(hold_field="legal_hold")))
    stage.send("hold.placed", LEAD, {"by": "legal", "reason": "case 7"})
    stage.start({"legal_hold": "false"})
    assert stage.state.holds[LEAD]["*"].by == "legal"


# ---- flags and notices


def flag(code: str, severity: str = "medium") -> dict[str, str]:
    return {"code": code, "severity": severity, "detail": "14 days"}


def notice(key: str = "k", about: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"to": "ops", "subject": "s", "body": "b", "key": key, "about": list(about)}


def test_a_flag_is_open_once_whoever_raises_it() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a")))
    run = stage.start()
    stage.answer(run, "a", flags=[flag("stale")])
    stage.answer(run, "b", flags=[flag("stale"), flag("slipped")])
    assert {code: open_.agent for code, open_ in stage.context().flags.items()} == {"stale": "a", "slipped": "b"}
    assert [entry.rule for entry in stage.audited("flag.raised")] == ["stale", "slipped"]


def test_a_cleared_flag_that_comes_back_is_new() -> None:
    stage = Stage(rulebook(step("a")))
    for said in ({"flags": [flag("stale")]}, {"clears": ["stale", "unknown"]}, {"flags": [flag("stale", "high")]}):
        run = stage.start()
        stage.answer(run, "a", **said)
    assert stage.context().flags["stale"].severity == "high"
    assert [entry.what for entry in stage.audit if entry.what.startswith("flag.")] == [
        "flag.raised",
        "flag.cleared",
        "flag.raised",
    ]


def test_a_notice_goes_out_once_per_key_and_window() -> None:
    stage = Stage(rulebook(step("a"), dedupe=600.0))
    for seconds in (0.0, 500.0, 200.0):
        stage.wait(seconds)
        run = stage.start()
        stage.answer(run, "a", notices=[notice()])
        stage.told()
        assert stage.run(run).state == "finished"
    assert len(stage.audited("notice.planned")) == 2
    assert len(stage.audited("notice.repeated")) == 1


def test_a_run_waits_for_its_notice_and_a_failed_one_is_tried_again() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", notices=[notice()])
    assert stage.run(run).state == "waiting"
    out = stage.one(OutNotice)
    failed = {"notice": out.id, "error": "500", "retry_at": stage.now + 5.0, "final": False}
    stage.send("notice.failed", out.id, failed)
    assert (stage.one(OutNotice).state, stage.one(OutNotice).tries) == ("planned", 1)
    assert stage.run(run).state == "waiting"
    stage.send("notice.failed", out.id, {**failed, "final": True})
    assert stage.one(OutNotice).state == "failed"
    assert stage.run(run).state == "finished"


def test_a_notice_about_flags_tells_its_reader_only_what_is_new() -> None:
    stage = Stage(rulebook(step("a")))
    for _ in range(2):
        run = stage.start()
        stage.answer(run, "a", flags=[flag("stale")], notices=[notice("k", ("stale",))])
        stage.told()
    assert len(stage.audited("notice.planned")) == 1


def test_a_report_is_a_notice_of_its_own_kind() -> None:
    stage = Stage(rulebook(step("a")))
    run = stage.start()
    stage.answer(run, "a", reports=[{"name": "rollup", "html": "<p>"}])
    out = stage.one(OutNotice)
    assert (out.to, out.subject, out.body) == ("report:rollup", "rollup", "<p>")
    stage.told()
    assert stage.run(run).state == "finished"
