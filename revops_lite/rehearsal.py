"""One agent on one record with nothing committed: the same decisions as in earnest, on a state of its own."""

from __future__ import annotations

from functools import partial

from msgspec import Struct

from revops_lite.engine import Changes, Missing, State, decide
from revops_lite.engine.ids import run_id
from revops_lite.errors import NotFound
from revops_lite.host.call import call
from revops_lite.models import Event, OutNotice, Run, Write
from revops_lite.policy import Over, Rulebook, StepDef, WorkflowDef
from revops_lite.ports import Crm
from revops_lite.queue.outcomes import step_finished
from revops_lite.reader import Loader
from revops_lite.registry import AgentSpec, load
from revops_lite.store.store import Store
from revops_lite.sweeper import page_of
from revops_lite.values import replace

NAME = "rehearsal"


class Rehearsal(Struct, frozen=True):
    """What would have happened. `outcome` is a step's state: done, skipped, quarantined, failed."""

    outcome: str
    because: str
    problems: tuple[str, ...]
    writes: tuple[Write, ...]
    notices: tuple[OutNotice, ...]


def rehearse(rulebook: Rulebook, store: Store, crm: Crm | None, agent: str, record: str, now: float) -> Rehearsal:
    """Raises NotFound where neither the CRM nor the context knows the record, and CrmError where the CRM is away."""
    flow = _flow(rulebook, agent, record.partition(":")[0])
    stage = _Stage(replace(rulebook, workflows={flow.name: flow}), store, now)
    start = Event(f"{NAME}|{now!r}", f"{NAME}.started", record, "cli", now)
    changes = stage.play(start)
    run = _run(changes, run_id(start.id, flow.name))
    if crm is not None and not run.loaded:
        found = _sweep(crm, run, record, now) if run.over else Loader(store, crm).read([run], now)
        changes = stage.play(*found)
    if not changes.jobs:
        run = _run(changes, run.id)
        raise NotFound(run.note or f"{agent}'s breaker is open; `revops breaker reset {agent}` closes it")
    job = changes.jobs[0]
    entry = rulebook.agents[agent].entry
    answer = call(job, partial(_load, entry))
    finished = step_finished(
        job,
        now,
        outcome=answer.kind,
        error=answer.error,
        proposals=answer.proposals,
        problems=answer.problems,
        after=answer.after,
        tries=answer.tries,
    )
    changes = stage.play(finished)
    step = _run(changes, job.run).steps[agent]
    writes = tuple(value for value in changes.docs.values() if isinstance(value, Write))
    notices = tuple(value for value in changes.docs.values() if isinstance(value, OutNotice))
    return Rehearsal(step.state, step.because, step.problems, writes, notices)


def _flow(rulebook: Rulebook, agent: str, kind: str) -> WorkflowDef:
    """One with this agent alone: with what its own workflow includes, and over one record's kind where it gathers."""
    turns = ((flow, step) for flow in rulebook.workflows.values() for step in flow.steps if step.agent == agent)
    own, step = next(turns, (None, StepDef(agent, agent)))
    flow = WorkflowDef(NAME, (f"{NAME}.started",), (StepDef(agent, agent),), include=own.include if own else ())
    if own is None or step.gather is None:
        return flow
    alone = StepDef(agent, agent, gather=step.gather, gather_field=step.gather_field)
    return replace(flow, name=own.name, steps=(alone,), over=Over(kind))  # `own`: what it keeps there, it finds


def _sweep(crm: Crm, run: Run, record: str, now: float) -> tuple[Event, Event]:
    """A sweep that finds this record alone. Raises NotFound."""
    found = crm.read([record])
    if not found:
        raise NotFound(f"the CRM holds no {record}")
    data = page_of(crm, found, run.include, now)
    return (
        Event(f"{run.id}|swept", "records.swept", run.record, "sweeper", now, data, run=run.id),
        Event(f"{run.id}|ended", "sweep.ended", run.record, "sweeper", now, {"asked_at": now}, run=run.id),
    )


def _load(entry: str, _name: str) -> AgentSpec:
    return load(entry)


def _run(changes: Changes, id_: str) -> Run:
    run = changes.docs["run", id_]
    assert isinstance(run, Run)
    return run


class _Stage:
    """A state that starts as Redis has it and is thrown away."""

    def __init__(self, rulebook: Rulebook, store: Store, now: float) -> None:
        self.rulebook = rulebook
        self.store = store
        self.now = now
        self.state = State(holds=store.working_set().holds)

    def play(self, *events: Event) -> Changes:
        changes = Changes()
        for event in events:
            changes.add(self._decide(event))
        return changes

    def _decide(self, event: Event) -> Changes:
        while True:
            try:
                changes = decide(self.state, self.rulebook, event, self.now)
            except Missing as missing:
                self.state.docs.update(self.store.load(missing.keys))
            else:
                self.state.apply(changes)
                return changes
