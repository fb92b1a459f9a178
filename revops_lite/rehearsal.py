"""One agent on one record with nothing committed: the same decisions as in earnest, on a state of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from revops_lite.engine import Changes, Missing, State, decide
from revops_lite.engine.ids import run_id
from revops_lite.errors import NotFound
from revops_lite.host.call import call
from revops_lite.models import Event, OutNotice, Run, Write
from revops_lite.policy import Rulebook, StepDef, WorkflowDef
from revops_lite.ports import Crm
from revops_lite.queue.outcomes import step_finished
from revops_lite.reader import Loader
from revops_lite.registry import AgentSpec, load
from revops_lite.store.store import Store

NAME = "rehearsal"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would have happened. `outcome` is a step's state: done, skipped, quarantined, failed."""

    outcome: str
    because: str
    problems: tuple[str, ...]
    writes: tuple[Write, ...]
    notices: tuple[OutNotice, ...]


def rehearse(rulebook: Rulebook, store: Store, crm: Crm | None, agent: str, record: str, now: float) -> Rehearsal:
    """Raises NotFound where neither the CRM nor the context knows the record, and CrmError where the CRM is away."""
    include = next((f.include for f in rulebook.workflows.values() if any(s.agent == agent for s in f.steps)), ())
    flow = WorkflowDef(NAME, (f"{NAME}.started",), (StepDef(agent, agent),), include=include)
    stage = _Stage(replace(rulebook, workflows={NAME: flow}), store, now)
    start = Event(f"{NAME}|{now!r}", f"{NAME}.started", record, "cli", now)
    changes = stage.play(start)
    run = _run(changes, run_id(start.id, NAME))
    if crm is not None and not run.loaded:
        changes = stage.play(*Loader(store, crm).read([run], now))
    if not changes.jobs:
        run = _run(changes, run_id(start.id, NAME))
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
