"""A fan-out by hand: what the sweep found, what agents answer for each record, and what became of it."""

from __future__ import annotations

from typing import Any

from engine_stage import Stage, agent
from revops_lite.engine.ids import part_id
from revops_lite.models import Breaker, Job, Run
from revops_lite.policy import AgentPolicy, Over, Rulebook, StepDef, WorkflowDef

ITSELF = "workflow:review"
INSPECT = StepDef("inspect", "inspect")
FORECAST = StepDef("forecast", "forecast", ("inspect",), when="flagged")
ALERT = StepDef("alert", "alert", ("forecast",), gather="owner")
ROLL_UP = StepDef("roll_up", "roll_up", ("alert",), gather="all")
FLAG = {"code": "stale", "severity": "high", "detail": "14 d"}


class Review(Stage):
    """A stage with one workflow, `review`, over all deals."""

    def __init__(self, *steps: StepDef, agents: dict[str, AgentPolicy] | None = None) -> None:
        flow = WorkflowDef("review", (), steps, over=Over("deal", {"is_closed": False}), include=("contacts",))
        named = {one.agent: agent(one.agent) for one in steps} | (agents or {})
        super().__init__(Rulebook(agents=named, workflows={"review": flow}))
        self.handled = 0

    def begin(self, deals: dict[str, dict[str, Any]], page: int = 100, **more: Any) -> str:
        """A run, started by hand, whose sweep found these deals."""
        self.send("workflow.started", ITSELF, {"workflow": "review", **more})
        (run,) = {one.id for one in self.all(Run) if one.part_of is None and not one.loaded}
        names = list(deals)
        for at in range(0, len(names), page):
            self.page(run, {name: deals[name] for name in names[at : at + page]})
        self.ended(run)
        return run

    def page(self, run: str, deals: dict[str, dict[str, Any]], of: int = 0) -> None:
        contact = {"values": {"role": "champion"}, "created_at": 0.0, "updated_at": 0.0}
        data = {
            "asked_at": self.now,
            "records": {n: {"values": v, "created_at": 0.0, "updated_at": 0.0} for n, v in deals.items()},
            "related": {name: {"contacts": [f"contact:of-{name[5:]}"]} for name in deals},
            "seen": {f"contact:of-{name[5:]}": contact for name in deals},
            "of": of,
        }
        self.send("records.swept", ITSELF, data, source="sweeper", run=run)

    def ended(self, run: str) -> None:
        self.send("sweep.ended", ITSELF, {"asked_at": self.now}, source="sweeper", run=run)

    def work(self, answers: dict[str, Any] | None = None, only: str | None = None) -> None:
        """Agents answer every job there is: `answers` are by record or step, {"outcome": …} or one proposal."""
        while self.handled < len(self.jobs):
            job = self.jobs[self.handled]
            if only is not None and job.step != only:
                return
            self.handled += 1
            self.end(job, answers or {})

    def end(self, job: Job, answers: dict[str, Any]) -> None:
        calls = job.snapshot.get("each")
        if calls is None:
            data = {"step": job.step, "attempt": job.attempt, **told(answers, job.record, job.step)}
        else:
            data = {"job": job.id, "results": [
                {**c["about"], **told(answers, c["about"]["record"], job.step), "others": len(calls) > 1} for c in calls
            ]}  # fmt: skip
        self.send("step.finished", job.record, data, source="host", run=job.run)

    def part(self, run: str, record: str) -> Run:
        return self.run(part_id(run, record))


def told(answers: dict[str, Any], record: str, step: str) -> dict[str, Any]:
    said = answers.get(record, answers.get(step, {}))
    if "outcome" in said:
        return {"proposals": [], **said}
    several = said if isinstance(said, list) else [said]
    return {"outcome": "done", "proposals": [{"values": {}, "confidence": 0.95, **one} for one in several]}


def deals(count: int, **values: Any) -> dict[str, dict[str, Any]]:
    return {f"deal:{number}": {"owner": "ana" if number % 2 else "ben", **values} for number in range(count)}


def proven(name: str) -> Any:
    return Breaker(name, proven=True)
