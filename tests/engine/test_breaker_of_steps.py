"""A breaker in the engine: opens at exactly its last failure, parks, probes once, and lets all go on."""

from __future__ import annotations

import pytest

from engine_stage import LEAD, Stage, fragile, rulebook, step
from revops_lite.models import Breaker, OutNotice
from revops_lite.values import replace


def stage_with(
    runs: int, failures: int = 5, proven: bool = True, within: float | None = None
) -> tuple[Stage, list[str]]:
    """So many runs of one step whose agent has worked before (`proven`) or has never been called."""
    stage = Stage(rulebook(step("a"), agents={"a": fragile("a", failures, within=within)}))
    if proven:
        stage.state.breakers["a"] = Breaker("a", proven=True)
    return stage, [stage.start(record=f"lead:{n}") for n in range(runs)]


def fail(stage: Stage, runs: list[str]) -> None:
    for run in runs:
        stage.answer(run, "a", outcome="failed", error="down")


def states(stage: Stage, runs: list[str]) -> list[str]:
    return [stage.steps(run)["a"] for run in runs]


def test_it_opens_at_exactly_the_fifth_failure_and_there_is_no_sixth_call() -> None:
    stage, runs = stage_with(5)
    fail(stage, runs[:4])
    assert stage.state.breakers["a"].state == "closed"
    fail(stage, runs[4:])
    assert stage.state.breakers["a"].state == "open"
    late = stage.start(record="lead:late")
    assert len(stage.jobs) == 5
    assert stage.steps(late) == {"a": "parked"}
    assert stage.run(late).state == "waiting"


def test_ops_are_told_once_with_the_reason() -> None:
    stage, runs = stage_with(7)
    fail(stage, runs)
    (told,) = stage.all(OutNotice)
    assert (told.subject, told.to) == ("Breaker of a is open", "console")
    assert "5 failures; the last: down" in told.body
    assert stage.drained == ["a"]


def test_an_agent_that_never_worked_gets_no_more_calls_than_it_takes_to_open() -> None:
    stage, runs = stage_with(20, proven=False)
    assert len(stage.jobs) == 5
    fail(stage, runs[:5])
    assert len(stage.jobs) == 5
    assert states(stage, runs[5:]) == ["parked"] * 15


def test_the_first_success_of_a_new_agent_lets_the_others_in() -> None:
    stage, runs = stage_with(8, proven=False)
    stage.answer(runs[0], "a")
    stage.wait(0.0)
    assert len(stage.jobs) == 8
    assert states(stage, runs[1:]) == ["running"] * 7


def test_failures_that_have_aged_out_of_the_window_leave_nobody_parked() -> None:
    stage, runs = stage_with(8, failures=3, proven=False, within=600.0)
    fail(stage, runs[:2])
    stage.wait(700.0)
    fail(stage, runs[2:3])
    stage.wait(0.0)
    assert stage.state.breakers["a"].state == "closed"
    assert "running" in states(stage, runs[3:]), "the free places are taken"


def test_what_was_under_way_when_it_opened_parks() -> None:
    stage, runs = stage_with(7)
    fail(stage, runs)
    assert states(stage, runs) == ["failed"] * 5 + ["parked"] * 2


def test_one_probe_goes_out_after_the_cooldown_and_no_second() -> None:
    stage, runs = stage_with(9)
    fail(stage, runs)
    stage.wait(299.0)
    assert len(stage.jobs) == 9
    stage.wait(1.0)
    assert states(stage, runs[5:]) == ["running", "parked", "parked", "parked"]
    stage.wait(5000.0)
    assert len(stage.jobs) == 10, "until the probe is back"


def test_a_failed_probe_parks_again_for_twice_as_long() -> None:
    stage, runs = stage_with(7)
    fail(stage, runs)
    stage.wait(300.0)
    fail(stage, runs[5:6])
    assert states(stage, runs[5:]) == ["parked", "parked"]
    assert len(stage.all(OutNotice)) == 1, "the same opening is told once"
    stage.wait(599.0)
    assert len(stage.jobs) == 8
    stage.wait(1.0)
    assert len(stage.jobs) == 9
    for pause in (1000.0, 1000.0):
        fail(stage, [run for run in runs[5:] if stage.steps(run)["a"] == "running"])
        stage.wait(pause - 1.0)
        assert states(stage, runs[5:]).count("running") == 0, "the pause has a cap"
        stage.wait(1.0)
        assert states(stage, runs[5:]).count("running") == 1


def test_a_successful_probe_lets_all_parked_steps_go_on() -> None:
    stage, runs = stage_with(150)
    fail(stage, runs)
    stage.wait(300.0)
    (probe,) = [run for run in runs if stage.steps(run)["a"] == "running"]
    stage.answer(probe, "a")
    stage.wait(1.0)
    assert stage.state.breakers["a"] == Breaker("a", proven=True)
    assert states(stage, runs).count("parked") == 0
    assert states(stage, runs).count("running") == 144
    assert stage.state.parked == {}


@pytest.mark.parametrize("outcome", ["skipped", "invalid"])
def test_an_agent_that_answers_anything_works(outcome: str) -> None:
    stage, runs = stage_with(6)
    fail(stage, runs[:4])
    stage.answer(runs[4], "a", outcome=outcome)
    assert stage.state.breakers["a"].failures == ()
    fail(stage, runs[5:])
    assert stage.state.breakers["a"].state == "closed"


def test_a_retry_is_neither_a_failure_nor_a_success() -> None:
    stage, runs = stage_with(6)
    fail(stage, runs[:4])
    stage.answer(runs[4], "a", outcome="retry", after=1.0)
    assert len(stage.state.breakers["a"].failures) == 4
    fail(stage, runs[5:])
    assert stage.state.breakers["a"].state == "open"


@pytest.mark.parametrize("how", ["returned", "retry", "cancelled"])
def test_a_probe_that_comes_back_without_an_answer_is_followed_by_another(how: str) -> None:
    stage, runs = stage_with(8)
    fail(stage, runs)
    stage.wait(300.0)
    probe = runs[5]
    if how == "cancelled":
        stage.send("run.cancelled", LEAD, {"by": "ana"}, run=probe)
    else:
        stage.answer(probe, "a", outcome=how, after=1000.0)
    stage.wait(0.0)
    assert stage.state.breakers["a"].state == "half_open"
    assert len(stage.jobs) == 10
    others = [run for run in runs[5:] if run != probe]
    assert states(stage, others).count("running") == 1


def test_a_job_taken_back_that_is_told_after_the_breaker_closed_is_called_again() -> None:
    stage, runs = stage_with(7)
    fail(stage, runs[:5])
    stage.send("breaker.reset", "agent:a", {"agent": "a", "by": "ana"})
    stage.answer(runs[5], "a", outcome="returned")
    assert states(stage, runs[5:]) == ["parked", "running"]
    stage.wait(0.0)
    assert states(stage, runs[5:]) == ["running", "running"]


def test_parked_steps_of_cancelled_runs_are_passed_over() -> None:
    stage, runs = stage_with(8)
    fail(stage, runs)
    stage.send("run.cancelled", LEAD, {"by": "ana"}, run=runs[5])
    stage.wait(300.0)
    assert states(stage, runs[6:]) == ["running", "parked"]


def test_opened_by_hand_it_stays_open_until_reset() -> None:
    stage, _ = stage_with(0)
    stage.send("breaker.opened", "agent:a", {"agent": "a", "by": "ana", "reason": "maintenance"})
    runs = [stage.start(record=f"lead:{n}") for n in range(3)]
    stage.wait(100_000.0)
    assert states(stage, runs) == ["parked"] * 3
    stage.send("breaker.reset", "agent:a", {"agent": "a", "by": "ana"})
    stage.wait(0.0)
    assert states(stage, runs) == ["running"] * 3


def test_parked_optional_steps_of_an_agent_that_is_gone_end_and_their_runs_go_on() -> None:
    stage = Stage(rulebook(step("a", optional=True), step("b", "a"), agents={"a": fragile("a", 1)}))
    first, *parked = (stage.start(record=f"lead:{n}") for n in range(3))
    stage.answer(first, "a", outcome="failed")
    left = {name: one for name, one in stage.rulebook.agents.items() if name != "a"}
    stage.rulebook = replace(stage.rulebook, agents=left)
    stage.wait(301.0)
    assert [stage.steps(run) for run in parked] == [{"a": "failed", "b": "running"}] * 2
