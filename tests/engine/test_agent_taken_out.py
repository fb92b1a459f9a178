"""An agent is taken out of the configuration while runs wait for it: every run ends, and nothing stays open."""

from __future__ import annotations

from engine_review import FLAG, INSPECT, Review, deals, proven
from engine_stage import Stage, fragile, rulebook, step
from revops_lite.models import Breaker
from revops_lite.policy import StepDef
from revops_lite.values import replace


def without(stage: Stage, agent: str) -> None:
    """The next start's configuration."""
    kept = {name: policy for name, policy in stage.rulebook.agents.items() if name != agent}
    stage.rulebook = replace(stage.rulebook, agents=kept)


def test_what_follows_a_step_whose_agent_is_gone_is_skipped() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a"), step("c", "b")))
    run = stage.start()
    without(stage, "b")
    stage.answer(run, "a")
    stage.applied()
    assert stage.steps(run) == {"a": "done", "b": "failed", "c": "skipped"}
    assert stage.run(run).state == "failed"


def test_what_follows_an_optional_step_whose_agent_is_gone_starts() -> None:
    stage = Stage(rulebook(step("a"), step("b", "a", optional=True), step("c", "b")))
    run = stage.start()
    without(stage, "b")
    stage.answer(run, "a")
    assert stage.steps(run) == {"a": "done", "b": "failed", "c": "running"}
    stage.answer(run, "c")
    stage.applied()
    assert stage.run(run).state == "finished"


def test_a_step_for_single_records_that_nothing_flagged_lets_the_next_one_start() -> None:
    flagged = StepDef("look", "look", ("inspect",), when="flagged")
    stage = Review(INSPECT, flagged, StepDef("last", "last", ("look",)))
    stage.state.breakers.update({name: proven(name) for name in ("inspect", "look", "last")})
    run = stage.begin(deals(2))
    stage.work({"deal:0": {"flags": [FLAG]}, "deal:1": {}}, only="inspect")
    stage.work()
    assert stage.run(run).state == "finished"


def parked() -> tuple[Stage, list[str]]:
    """Two runs that wait for a breaker which was opened by hand: no alarm will ever try it."""
    stage = Stage(rulebook(step("a"), step("b", "a"), agents={"a": fragile("a")}))
    stage.state.breakers["a"] = Breaker("a", proven=True)
    stage.send("breaker.opened", "agent:a", {"agent": "a", "by": "ana"})
    runs = [stage.start(record=f"lead:{n}") for n in range(2)]
    assert [stage.steps(run)["a"] for run in runs] == ["parked", "parked"]
    return stage, runs


def test_steps_parked_for_an_agent_that_is_gone_fail_when_they_are_woken() -> None:
    stage, runs = parked()
    without(stage, "a")
    stage.send("timer.due", "timer:due", {"timer": "unpark|a"}, source="controller")
    for run in runs:
        assert stage.steps(run) == {"a": "failed", "b": "skipped"}
        assert stage.run(run).state == "failed"
    assert stage.state.parked == {}


def test_an_agent_put_back_takes_up_what_had_failed_for_it() -> None:
    stage, (run, _) = parked()
    before = stage.rulebook
    without(stage, "a")
    stage.send("timer.due", "timer:due", {"timer": "unpark|a"}, source="controller")
    stage.rulebook = before
    stage.send("breaker.reset", "agent:a", {"agent": "a", "by": "ana"})
    stage.decide(next(item for item in stage.pending() if item.run == run), "retry")
    assert stage.steps(run)["a"] == "running"
