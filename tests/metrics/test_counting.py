"""What decisions leave for the figures to count: the engine by hand, its audit entries tallied."""

from __future__ import annotations

from collections import Counter
from typing import Any

from engine_play import Answer, Play
from revops_lite.engine import Changes
from revops_lite.models import AuditEntry, Event, Review
from revops_lite.policy import AgentPolicy, BreakerPolicy, Governance, Rulebook, StepDef, WorkflowDef
from revops_lite.rules import health

DEADLINE = 100.0


class Counted(Play):
    """A play of which all audit entries are kept."""

    def __init__(self, *steps: StepDef, deadline: float | None = None, failures: int = 5) -> None:
        breaker = BreakerPolicy(failures=failures)
        agents = {
            step.agent: AgentPolicy(step.agent, f"agents.{step.agent}:run", schema=Answer, breaker=breaker)
            for step in steps
        }
        flow = WorkflowDef("new_lead", ("lead.created",), steps, deadline)
        self.entries: list[AuditEntry] = []
        self.calls: list[Event] | None = None  # where a list: the CRM answers nothing, its calls wait here
        super().__init__(Rulebook(agents=agents, workflows={"new_lead": flow}, governance=Governance()))

    def send(self, event: Event, now: float = 1.0) -> Changes:
        changes = super().send(event, now)
        self.entries += changes.audit
        return changes

    def _reports(self, changes: Changes) -> list[Event]:
        reports = super()._reports(changes)
        if self.calls is None:
            return reports
        self.calls += reports
        return []

    def report(self, run: str, outcome: str, now: float = 2.0, **facts: Any) -> None:
        found = self.state.docs["run", run]
        (step,) = found.steps.values()
        data = {"step": step.name, "attempt": step.attempt, "outcome": outcome, "elapsed_ms": 40.0, **facts}
        event = Event(f"{run}|{step.attempt}|{outcome}", "step.finished", found.record, "host", now, data, run=run)
        self.send(event, now)

    def decide(self, decision: str, values: dict[str, Any] | None = None, now: float = 3.0) -> None:
        item = next(found for found in self.find(Review) if found.state == "pending")
        data = {"review": item.id, "decision": decision, "values": values, "by": "ana"}
        self.send(Event(f"{item.id}|{decision}", "review.decided", item.record, "cli", now, data, run=item.run), now)

    def ring(self, timer: str, now: float) -> None:
        self.send(Event(f"{timer}|{now}", "timer.due", "timer:due", "controller", now, {"timer": timer}), now)

    @property
    def health(self) -> health.Health:
        counts: Counter[health.Name] = Counter()
        for entry in self.entries:
            counts.update(dict(health.tally(entry)))
        return health.figures(health.Tallies(counts, 0, 0, 0, 0))

    @property
    def handoffs(self) -> tuple[int, int]:
        return self.health.checkpoint.part, self.health.checkpoint.whole

    def whats(self, what: str) -> list[AuditEntry]:
        return [entry for entry in self.entries if entry.what == what]


def one(**how: Any) -> Counted:
    return Counted(StepDef("scoring", "scoring"), **how)


def answer(**values: Any) -> dict[str, Any]:
    return {"proposals": [{"values": values, "confidence": {"*": 0.95}}]}


# ---- handoffs ----------------------------------------------------------------------------------------------------


def test_an_answer_that_goes_on_by_itself_is_a_handoff_passed() -> None:
    game = one()
    game.report(game.start("new_lead", {}), "done", **answer(industry="retail"))
    assert game.handoffs == (1, 1)
    assert (game.health.conflicts.part, game.health.conflicts.whole) == (0, 1)
    assert game.health.agents["scoring"].runs == 1


def test_an_agent_with_nothing_to_say_passes_too() -> None:
    game = one()
    game.report(game.start("new_lead", {}), "skipped", error="no domain")
    assert game.handoffs == (1, 1)


def test_an_answer_stopped_at_the_checkpoint_stays_stopped_when_a_person_mends_it() -> None:
    game = one()
    game.report(game.start("new_lead", {}), "done", **answer(industry=7))
    assert game.handoffs == (0, 1)
    game.decide("edit", {"industry": "retail"})
    assert game.whats("step.done")[0].rule == "review"
    assert game.handoffs == (0, 1)
    assert game.health.conflicts.whole == 1  # what the person let through is a proposal, once
    assert game.health.agents["scoring"].runs == 1


def test_another_try_of_a_stopped_step_is_another_handoff() -> None:
    game = one()
    run = game.start("new_lead", {})
    game.report(run, "done", **answer(industry=7))
    game.decide("retry")
    game.report(run, "done", 4.0, **answer(industry="retail"))
    assert game.handoffs == (1, 2)
    assert game.health.agents["scoring"].runs == 2


def test_a_step_that_waits_for_the_review_of_a_value_has_not_passed_by_itself() -> None:
    game = Counted(StepDef("scoring", "scoring", wait_for_review=True))
    proposals = [{"values": {"industry": "retail"}, "confidence": {"*": 0.1}}]
    game.report(game.start("new_lead", {}), "done", proposals=proposals)
    assert game.handoffs == (0, 1)
    game.decide("approve")
    assert game.handoffs == (0, 1)
    assert game.health.conflicts.whole == 1


def test_a_withheld_value_that_nobody_waits_for_stops_no_handoff() -> None:
    game = one()
    proposals = [{"values": {"industry": "retail"}, "confidence": {"*": 0.1}}]
    game.report(game.start("new_lead", {}), "done", proposals=proposals)
    assert game.handoffs == (1, 1)


# ---- calls -------------------------------------------------------------------------------------------------------


def test_a_failed_call_is_a_failure_and_no_handoff() -> None:
    game = one()
    game.report(game.start("new_lead", {}), "failed", error="boom")
    assert game.handoffs == (0, 0)
    assert (game.health.agents["scoring"].runs, game.health.agents["scoring"].failures) == (1, 1)


def test_a_failed_probe_is_a_failure_of_its_own_though_its_step_only_parks() -> None:
    game = one(failures=1)
    game.report(game.start("new_lead", {}), "failed", error="boom")
    again = game.start("new_lead", {}, "e2", "lead:2", 500.0)
    game.ring("probe|scoring", 500.0)
    game.report(again, "failed", 501.0, error="boom")
    assert len(game.whats("step.parked")) == 1
    assert (game.health.agents["scoring"].runs, game.health.agents["scoring"].failures) == (2, 2)


def test_a_job_that_comes_back_unclaimed_was_no_call() -> None:
    game = one()
    game.report(game.start("new_lead", {}), "returned")
    assert game.health.agents == {}


def test_every_try_an_agent_asks_for_is_a_call() -> None:
    game = one()
    run = game.start("new_lead", {})
    game.report(run, "retry", error="busy", after=5.0)
    game.ring(f"retry|{run}|scoring", 10.0)
    game.report(run, "done", 11.0, **answer(industry="retail"))
    assert (game.health.agents["scoring"].runs, game.health.agents["scoring"].failures) == (2, 0)
    assert game.handoffs == (1, 1)


# ---- runs --------------------------------------------------------------------------------------------------------


def test_latency_reaches_from_the_trigger_to_the_last_confirmed_side_effect() -> None:
    game = one()
    game.report(game.start("new_lead", {}), "done", 31.0, **answer(industry="retail"))
    (finished,) = game.whats("run.finished")
    assert (finished.elapsed_ms, finished.workflow) == (30_000.0, "new_lead")
    assert game.health.latency["new_lead"].count == 1


def test_a_deadline_is_missed_once_when_its_alarm_rings() -> None:
    game = one(deadline=DEADLINE)
    run = game.start("new_lead", {})
    game.ring(f"deadline|{run}", 102.0)
    game.report(run, "done", 200.0, **answer(industry="retail"))
    assert game.health.latency["new_lead"].deadline_missed == 1


def test_a_deadline_is_missed_though_the_run_ends_before_its_alarm_is_heard() -> None:
    game = one(deadline=DEADLINE)
    run = game.start("new_lead", {})
    game.report(run, "done", 102.0, **answer(industry="retail"))
    assert game.health.latency["new_lead"].deadline_missed == 1
    assert game.state.docs["run", run].deadline_missed


def test_an_event_that_comes_too_late_has_missed_its_deadline_at_once() -> None:
    game = one(deadline=DEADLINE)
    game.send(Event("e1", "lead.created", "lead:1", "cli", 1.0), 500.0)
    assert game.health.latency["new_lead"].deadline_missed == 1


# ---- conflicts ---------------------------------------------------------------------------------------------------


def test_two_branches_that_say_different_things_are_two_proposals_and_one_conflict() -> None:
    game = Counted(StepDef("a", "a"), StepDef("b", "b"))
    run = game.start("new_lead", {})
    game.answer(run, "a", {"industry": "retail"})
    game.answer(run, "b", {"industry": "software"}, 0.85)
    assert (game.health.conflicts.part, game.health.conflicts.whole) == (1, 2)


def test_a_value_that_the_writer_finds_changed_in_the_crm_is_a_conflict() -> None:
    game = one()
    run = game.start("new_lead", {"industry": "old"})
    game.calls = []
    game.report(run, "done", **answer(industry="retail"))
    (call,) = game.calls
    found = {"intent": call.data["intent"], "current": {"industry": "by hand"}}
    game.send(Event("conflict", "write.conflicted", call.subject, "writer", 3.0, found, run=run), 3.0)
    (told,) = game.whats("write.conflicted")
    assert (told.field, told.before, told.after, told.rule) == ("industry", "old", "by hand", "human_edit")
    assert (game.health.conflicts.part, game.health.conflicts.whole) == (1, 1)
