"""The engine by hand, as the controller drives it: every decision is made twice and has to be the same both times.

stage = Stage(rulebook(step("enrich"), step("score", "enrich")))
run = stage.start({"industry": "before"})
stage.answer(run, "enrich", {"industry": "software"})
stage.applied()                                   # the CRM takes what is planned
stage.answer(run, "score")
assert stage.run(run).state == "finished"
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from revops_lite.engine import Changes, Missing, State, decide
from revops_lite.engine.ids import run_id
from revops_lite.models import AuditEntry, Context, Event, Intent, Job, OutNotice, Review, Run, Write
from revops_lite.policy import AgentPolicy, BreakerPolicy, Governance, Rulebook, StepDef, WorkflowDef

LEAD = "lead:1"
T = TypeVar("T")


class Answer(BaseModel):
    industry: str | None = None
    size: int | None = Field(default=None, ge=1)


def step(name: str, *after: str, **more: Any) -> StepDef:
    return StepDef(name, name, after, **more)


def agent(name: str, **more: Any) -> AgentPolicy:
    return AgentPolicy(name, f"agents.{name}:run", **{"schema": Answer, "priority": 10, **more})


def rulebook(
    *steps: StepDef, agents: dict[str, AgentPolicy] | None = None, governance: Governance | None = None, **more: Any
) -> Rulebook:
    """One workflow, `flow`, on lead.created; agents that are not given are plain ones."""
    flow = WorkflowDef("flow", ("lead.created",), steps, deadline=more.pop("deadline", None))
    named = {one.agent: agent(one.agent) for one in steps} | (agents or {})
    return Rulebook(agents=named, workflows={"flow": flow}, governance=governance or Governance(), **more)


def fragile(name: str, failures: int = 5, **more: Any) -> AgentPolicy:
    """An agent whose breaker opens after so many failures, for 300 seconds."""
    return agent(name, breaker=BreakerPolicy(failures=failures, cooldown=300.0, cap=1000.0, **more))


class Stage:
    """State, clock, timers and what was asked of others: jobs of agents, calls of the CRM."""

    def __init__(self, rulebook: Rulebook, state: State | None = None) -> None:
        self.rulebook = rulebook
        self.state = state or State()
        self.now = 1000.0
        self.timers: dict[str, float] = {}
        self.jobs: list[Job] = []
        self.audit: list[AuditEntry] = []
        self.published: list[Event] = []
        self.drained: list[str] = []
        self._sent = 0

    # ---- events

    def send(self, type_: str, subject: str = LEAD, data: dict[str, Any] | None = None, **more: Any) -> Changes:
        """An event, decided at the stage's clock; what the controller publishes in turn is decided behind it."""
        self._sent += 1
        given = {"id": f"e{self._sent}", "source": "cli", "time": self.now, **more}
        return self.take(Event(type=type_, subject=subject, data=data or {}, **given))

    def take(self, event: Event) -> Changes:
        changes = self._decide(event)
        self.state.apply(changes)
        for name, due in changes.timers.items():
            self.timers.pop(name, None)
            if due is not None:
                self.timers[name] = due
        self.jobs += changes.jobs
        self.audit += changes.audit
        self.published += changes.events
        self.drained += changes.drained
        for follow_up in changes.events:
            self.take(follow_up)
        return changes

    def _decide(self, event: Event) -> Changes:
        while True:
            untouched = deepcopy(self.state)
            try:
                changes = decide(self.state, self.rulebook, event, self.now)
            except Missing as missing:
                assert self.state == untouched
                self.state.docs.update(dict.fromkeys(missing.keys))
                continue
            assert self.state == untouched, "deciding has no effects"
            assert decide(self.state, self.rulebook, event, self.now) == changes, "deciding twice is deciding the same"
            return changes

    def wait(self, seconds: float) -> None:
        """Let time pass; every alarm rings at its time."""
        until = self.now + seconds
        while due := [(at, name) for name, at in self.timers.items() if at <= until]:
            at, name = min(due)
            self.now = max(self.now, at)
            self.take(Event(f"timer|{name}|{at!r}", "timer.due", "timer:due", "controller", self.now, {"timer": name}))
        self.now = until

    # ---- what others report

    def start(self, values: dict[str, Any] | None = None, record: str = LEAD, **more: Any) -> str:
        """A run of `flow` on a record that the CRM holds with these values. Returns its id."""
        id_ = f"start{self._sent}"
        self.send("lead.created", record, id=id_, **more)
        run = run_id(id_, "flow")
        self.load(run, values)
        return run

    def load(
        self, run: str, values: dict[str, Any] | None = None, related: dict[str, dict[str, Any]] | None = None
    ) -> None:
        """The CRM's answer to a run that waits for its records; `related`: role -> record -> values."""
        record = self.run(run).record
        found = {record: values or {}} | {name: v for role in (related or {}).values() for name, v in role.items()}
        data = {
            "asked_at": self.now,
            "records": {name: {"values": v, "created_at": 0.0, "updated_at": 0.0} for name, v in found.items()},
            "related": {role: list(names) for role, names in (related or {}).items()},
        }
        self.send("record.loaded", record, data, source="reader", run=run)

    def answer(
        self,
        run: str,
        step: str,
        values: dict[str, Any] | None = None,
        *,
        outcome: str = "done",
        attempt: int | None = None,
        confidence: float = 0.95,
        target: str | None = None,
        proposals: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> Changes:
        """The step's agent has answered; more keys of the one proposal: flags, clears, notices, reports, because."""
        known = ("flags", "clears", "notices", "reports", "because")
        said = {name: more.pop(name) for name in known if name in more}
        one = {"values": values or {}, "confidence": confidence, "target": target, **said}
        data = {
            "step": step,
            "attempt": self.step(run, step).attempt if attempt is None else attempt,
            "outcome": outcome,
            "proposals": ([one] if proposals is None else proposals) if outcome == "done" else [],
            **more,
        }
        return self.send("step.finished", self.run(run).record, data, source="host", run=run)

    def report(self, what: str, intent: Intent | None = None, **data: Any) -> Changes:
        """The writer's word about the oldest open intent, or this one."""
        intent = intent or self.calls()[0]
        data = {"intent": intent.id, **data}
        return self.send(f"write.{what}", intent.record, data, source="writer", run=intent.run)

    def applied(self) -> None:
        """The CRM takes everything that is planned."""
        while calls := self.calls():
            self.report("sending", calls[0])
            self.report("applied", calls[0])

    def told(self) -> None:
        """All notices that are planned go out."""
        for notice in [one for one in self.all(OutNotice) if one.state == "planned"]:
            self.send("notice.sent", notice.id, {"notice": notice.id}, source="notifier", run=notice.run)

    def decide(self, item: Review, decision: str, by: str = "ana", **data: Any) -> Changes:
        return self.send("review.decided", item.record, {"review": item.id, "decision": decision, "by": by, **data})

    # ---- what there is

    def all(self, kind: type[T]) -> list[T]:
        return [value for value in self.state.docs.values() if isinstance(value, kind)]

    def one(self, kind: type[T]) -> T:
        (found,) = self.all(kind)
        return found

    def run(self, id_: str) -> Run:
        found = self.state.docs["run", id_]
        assert isinstance(found, Run)
        return found

    def step(self, run: str, name: str) -> Any:
        return self.run(run).steps[name]

    def steps(self, run: str) -> dict[str, str]:
        return {name: str(one.state) for name, one in self.run(run).steps.items()}

    def context(self, record: str = LEAD) -> Context:
        found = self.state.docs["context", record]
        assert isinstance(found, Context)
        return found

    def value(self, field: str, record: str = LEAD) -> Any:
        fields = self.context(record).fields
        return fields[field].value if field in fields else None

    def calls(self) -> list[Intent]:
        """Intents that are open, in the order in which they have to be made."""
        open_ = {one.id: one for one in self.all(Intent) if one.state in ("planned", "sending", "in_doubt")}
        order = [id_ for context in self.all(Context) for id_ in context.intents]
        assert sorted(order) == sorted(open_)
        return [open_[id_] for id_ in order]

    def pending(self) -> list[Review]:
        return [item for item in self.all(Review) if item.state == "pending"]

    def writes(self) -> dict[str, list[str]]:
        """field -> states of its writes, oldest first."""
        found: dict[str, list[str]] = {}
        for write in self.all(Write):
            found.setdefault(write.field, []).append(str(write.state))
        return found

    def audited(self, what: str) -> list[AuditEntry]:
        return [entry for entry in self.audit if entry.what == what]

    def called(self) -> list[str]:
        """Steps handed to agents, in order."""
        return [job.step for job in self.jobs]
