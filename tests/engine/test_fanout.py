"""A fan-out: one run over many records, each with its own outcome, and groups that wait for them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine_review import ALERT, FLAG, FORECAST, INSPECT, ITSELF, ROLL_UP, Review, deals, proven
from engine_stage import agent, fragile
from revops_lite.engine.answers import AT_ONCE
from revops_lite.engine.ids import part_id
from revops_lite.engine.jobs import TOGETHER
from revops_lite.models import Run
from revops_lite.policy import Over, Rulebook, StepDef, WorkflowDef
from revops_lite.rules import fanout


def test_records_share_jobs_and_each_has_its_own_outcome() -> None:
    stage = Review(INSPECT, agents={"inspect": agent("inspect")})
    stage.state.breakers["inspect"] = proven("inspect")
    run = stage.begin(deals(60))
    assert [len(job.snapshot["each"]) for job in stage.jobs] == [TOGETHER, TOGETHER, 10]
    first = stage.jobs[0].snapshot["each"][0]
    assert (first["kind"], first["id"]) == ("deal", "0")
    assert first["related"]["contacts"][0]["values"] == {"role": "champion"}
    stage.work({"inspect": {"values": {"size": 5}}})
    assert stage.value("size", "deal:59") == 5
    assert stage.run(run).state == "waiting"  # for the CRM to take what is planned
    stage.applied()
    assert stage.run(run).state == "finished"
    assert fanout.records(stage.run(run).tally) == {"total": 60, "done": 60, "failed": 0, "held": 0}


def test_a_page_that_comes_again_changes_nothing() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(3))
    jobs, before = len(stage.jobs), stage.run(run)
    stage.page(run, deals(3))
    assert (len(stage.jobs), stage.run(run)) == (jobs, before)


def test_how_many_records_there_are_is_known_before_they_have_all_come() -> None:
    stage = Review(INSPECT)
    stage.send("workflow.started", ITSELF, {"workflow": "review"})
    run = stage.one(Run).id
    stage.page(run, deals(2), of=5)
    records = fanout.records(stage.run(run).tally, stage.run(run).expected)
    assert records == {"total": 5, "done": 0, "failed": 0, "held": 0}
    stage.ended(run)
    assert fanout.records(stage.run(run).tally, stage.run(run).expected)["total"] == 2


def test_groups_wait_for_their_records_and_a_record_in_quarantine_keeps_nobody_waiting() -> None:
    stage = Review(INSPECT, FORECAST, ALERT, ROLL_UP)
    run = stage.begin(deals(4))
    bad = {"outcome": "invalid", "problems": ["size: poisoned"], "proposals": [{"values": {"size": -1}}]}
    flagged = {"flags": [FLAG], "values": {"industry": "software"}}
    stage.work({"deal:1": flagged, "deal:2": bad}, only="inspect")
    assert [job.step for job in stage.jobs[1:]] == ["forecast"]
    assert [call["id"] for call in stage.jobs[1].snapshot["each"]] == ["1"]  # the others have no open flag
    stage.work({"forecast": {}}, only="forecast")
    groups = {job.record: [one["id"] for one in job.snapshot["many"]] for job in stage.jobs[2:]}
    assert groups == {"owner:ben": ["0", "2"], "owner:ana": ["1", "3"]}
    stage.work()
    (all_of_them,) = [job for job in stage.jobs if job.step == "roll_up"]
    assert (all_of_them.record, len(all_of_them.snapshot["many"])) == (ITSELF, 4)
    assert all_of_them.snapshot["now"] == stage.jobs[0].snapshot["now"]
    stage.applied()
    assert stage.run(run).state == "held"
    assert fanout.records(stage.run(run).tally) == {"total": 4, "done": 3, "failed": 0, "held": 1}
    stage.decide(stage.pending()[0], "edit", values={"size": 7})
    stage.work()
    stage.applied()
    assert stage.value("size", "deal:2") == 7
    assert stage.run(run).state == "finished"
    assert stage.steps(run) == dict.fromkeys(("inspect", "forecast", "alert", "roll_up"), "done")


def test_a_failed_record_is_asked_about_and_tried_again_while_the_others_are_done() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(3))
    stage.work({"deal:1": {"outcome": "failed", "error": "ValueError: no"}})
    assert stage.run(run).state == "finished"
    assert fanout.records(stage.run(run).tally) == {"total": 3, "done": 2, "failed": 1, "held": 0}
    (item,) = stage.pending()
    assert (item.record, item.run, item.reason) == ("deal:1", part_id(run, "deal:1"), "failure")
    stage.send("run.retried", ITSELF, {"by": "ana"}, run=run)
    stage.wait(0)
    stage.work()
    assert fanout.records(stage.run(run).tally) == {"total": 3, "done": 3, "failed": 0, "held": 0}
    assert stage.run(run).state == "finished"
    assert not stage.pending()


def test_where_all_records_fail_the_groups_are_skipped_and_the_run_has_failed() -> None:
    stage = Review(INSPECT, StepDef("roll_up", "roll_up", ("inspect",), gather="all"))
    run = stage.begin(deals(3))
    stage.work({"inspect": {"outcome": "failed", "error": "no"}})
    assert stage.steps(run) == {"inspect": "failed", "roll_up": "skipped"}
    assert stage.run(run).state == "failed"


def test_a_cancelled_run_takes_its_parts_with_it() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(5), page=2)
    stage.send("run.cancelled", ITSELF, {"by": "ana"}, run=run)
    stage.wait(0)
    assert {stage.part(run, record).state for record in deals(5)} == {"cancelled"}
    stage.work({"inspect": {"values": {"size": 5}}})
    assert stage.value("size", "deal:0") is None
    assert stage.run(run).state == "cancelled"


def test_after_a_crash_of_many_each_goes_alone() -> None:
    stage = Review(INSPECT)
    stage.begin(deals(3))
    job = stage.jobs[0]
    stage.handled = 1
    stage.end(job, {"inspect": {"outcome": "crashed", "error": "its host died"}})
    assert [len(one.snapshot["each"]) for one in stage.jobs[1:]] == [1, 1, 1]
    assert {one.snapshot["each"][0]["about"]["attempt"] for one in stage.jobs[1:]} == {2}


def test_an_agent_that_is_broken_from_the_start_gets_one_job_and_the_rest_parks() -> None:
    stage = Review(INSPECT, agents={"inspect": fragile("inspect", failures=2)})
    run = stage.begin(deals(60))
    (job,) = stage.jobs
    assert (len(job.snapshot["each"]), job.snapshot["stop_after"]) == (TOGETHER, 2)
    failed = {"outcome": "failed", "error": "no"}
    answers = {"deal:0": failed, "deal:1": failed, "inspect": {"outcome": "returned"}}
    stage.handled = 1
    stage.end(job, answers)
    assert len(stage.jobs) == 1
    assert stage.state.breakers["inspect"].state == "open"
    assert stage.run(run).tally["inspect"] == {"failed": 2, "parked": 58}
    stage.wait(301)
    stage.work()
    stage.wait(0)
    stage.work()
    assert stage.run(run).tally["inspect"] == {"failed": 2, "done": 58}


def test_an_answer_about_thousands_of_records_is_taken_in_piece_by_piece() -> None:
    count = AT_ONCE + 10
    stage = Review(StepDef("roll_up", "roll_up", gather="all"))
    run = stage.begin(deals(count), page=count)
    answers = [{"target": f"deal:{number}", "values": {"size": number + 1}} for number in range(count)]
    stage.work({"roll_up": answers})
    assert [stage.value("size", f"deal:{number}") for number in (0, count - 1)] == [1, count]
    assert [len(one.data["proposals"]) for one in stage.published if one.type == "step.continued"] == [10]
    assert stage.steps(run) == {"roll_up": "done"}


def test_a_related_record_becomes_known_when_something_is_proposed_for_it() -> None:
    stage = Review(INSPECT)
    run = stage.begin(deals(2))
    stage.work({"deal:0": {"target": "contact:of-0", "values": {"size": 3}}})
    context = stage.context("contact:of-0")
    assert (context.fields["role"].value, context.fields["size"].value) == ("champion", 3)
    assert ("context", "contact:of-1") not in {k for k, v in stage.state.docs.items() if v is not None}
    stage.applied()
    assert stage.run(run).state == "finished"


def test_a_gathering_agent_sees_what_others_have_written_whether_or_not_the_crm_has_confirmed_it() -> None:
    stage = Review(INSPECT, StepDef("audit", "audit", ("inspect",), gather="all"))
    stage.begin(deals(1))
    stage.work({"inspect": {"values": {"size": 5}}}, only="inspect")
    (deal,) = stage.jobs[-1].snapshot["many"]
    assert deal["written"] == {"size": ("inspect", stage.now)}
    stage.applied()
    stage.work()
    stage.begin(deals(1))
    stage.work({"inspect": {"values": {"size": 5}}}, only="inspect")
    (deal,) = stage.jobs[-1].snapshot["many"]
    assert deal["written"] == {"size": ("inspect", stage.now)}


def test_what_a_gathering_agent_proposes_without_a_target_stays_in_the_context_of_its_group() -> None:
    stage = Review(StepDef("roll_up", "roll_up", gather="all"))
    stage.begin(deals(2))
    stage.work({"roll_up": {"values": {"industry": "memory"}}})
    assert stage.calls() == []
    assert stage.value("industry", ITSELF) == "memory"
    again = stage.begin(deals(2))
    assert stage.jobs[-1].snapshot["values"] == {"industry": "memory"}
    stage.work()
    assert stage.run(again).state == "finished"


def test_a_notice_about_flags_of_several_records_goes_out_with_news_only() -> None:
    stage = Review(INSPECT, ALERT)
    stage.rulebook = Rulebook(
        agents=stage.rulebook.agents,
        workflows={"review": WorkflowDef("review", (), (INSPECT, StepDef("alert", "alert", ("inspect",), gather="all")),
                                         over=Over("deal"))},
    )  # fmt: skip
    notice = {"to": "ana", "subject": "two", "body": "…", "key": "day", "about": ["deal:0|stale", "deal:1|stale"]}
    answers = {"inspect": {"flags": [FLAG]}, "alert": {"notices": [notice]}}
    for _ in range(2):
        stage.begin(deals(2))
        stage.work(answers)
        stage.told()
        stage.now += 86_400
    assert len(stage.audited("notice.planned")) == 1
    assert len(stage.audited("notice.repeated")) == 1
    assert stage.jobs[-1].snapshot["many"][0]["told"] == {"stale": ["ana"]}


def test_what_an_agent_says_of_its_flag_today_takes_the_place_of_what_it_said_yesterday() -> None:
    stage = Review(INSPECT)
    for days in (14, 15):
        stage.begin(deals(1))
        stage.work({"inspect": {"flags": [{**FLAG, "detail": f"{days} d"}]}})
    assert stage.context("deal:0").flags["stale"].detail == "15 d"
    assert [entry.what for entry in stage.audit if entry.what.startswith("flag.")] == ["flag.raised", "flag.restated"]


OUTCOMES = st.sampled_from(["done", "failed", "invalid", "skipped", "retry", "returned", "crashed", "flagged"])


@settings(max_examples=40, deadline=None)
@given(st.lists(OUTCOMES, min_size=1, max_size=24), st.integers(1, 7))
def test_the_tally_is_what_a_count_of_all_parts_finds(outcomes: list[str], page: int) -> None:
    stage = Review(INSPECT, FORECAST, ALERT)
    run = stage.begin(deals(len(outcomes)), page=page)
    answers: dict[str, Any] = {}
    for number, outcome in enumerate(outcomes):
        said = {"outcome": outcome, "error": outcome, "problems": [outcome]}
        answers[f"deal:{number}"] = {"flags": [FLAG]} if outcome == "flagged" else {} if outcome == "done" else said
    for _ in range(4):
        stage.work(answers)
        stage.wait(10)
    counted: dict[str, dict[str, int]] = {}
    for part in [one for one in stage.all(Run) if one.part_of == run]:
        counted = fanout.tallied(counted, fanout.moves(None, part))
    assert counted == {row: counts for row, counts in stage.run(run).tally.items() if counts}
