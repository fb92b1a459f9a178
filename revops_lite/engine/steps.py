"""A step's life: begun with a snapshot, done, skipped, failed or quarantined, and what follows from it."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import breakers, effects, ids, jobs, proposals, rollback
from revops_lite.engine.state import Call, Draft
from revops_lite.models import (
    Event,
    Reason,
    Review,
    Run,
    RunState,
    Step,
    StepState,
    Touch,
)
from revops_lite.rules import flow
from revops_lite.values import finite, replace

ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED, RunState.ROLLED_BACK})


def put_step(draft: Draft, run: Run, step: Step) -> Run:
    run = replace(run, steps={**run.steps, step.name: step})
    draft.put(run)
    return run


def parked_key(run: Run, step: Step) -> str:
    return f"{run.id}|{step.name}"


def walk(run: Run, verb: str, by: str, page: int = 0) -> str:
    """The alarm that does something ("cancel", "retry") to the parts of a fan-out, a page at a time."""
    return f"parts|{verb}|{run.id}|{page}|{by}"


# ---- what comes next ---------------------------------------------------------------------------------------------


def advance(draft: Draft, run: Run) -> Run:
    """Start every step that may start, skip those that never can, and settle the run's state."""
    if run.over is not None:  # its steps are those of its parts
        draft.moved[run.id] = None
        return run
    if not run.loaded:
        return settle(draft, run)
    ended = True
    while ended:  # a step that ends as it begins (skipped; its agent is gone) lets others start, or dooms them
        for name in flow.doomed(run.steps):
            step = run.steps[name]
            run = put_step(draft, run, replace(step, state=StepState.SKIPPED, problems=("a step it follows failed",)))
        begun = flow.ready(run.steps)
        for name in begun:
            run = begin(draft, run, run.steps[name])
        ended = any(run.steps[name].state in (StepState.SKIPPED, StepState.FAILED) for name in begun)
    return settle(draft, run)


def settle(draft: Draft, run: Run) -> Run:
    """Bring the run's state up to date; finish it when nothing is left to come."""
    if run.state in ENDED:
        return run
    state = flow.run_state(run.steps, run.effects, run.waits_for, run.loaded)
    if state != run.state:
        run = replace(run, state=state)
        draft.put(run)
    return finish(draft, run, state) if state in ENDED else run


def finish(draft: Draft, run: Run, state: RunState, note: str = "") -> Run:
    if run.deadline_at is not None and draft.now > run.deadline_at and not run.deadline_missed:
        run = replace(run, deadline_missed=True)  # its alarm was not heard in time, and will not be
        draft.audit("deadline.missed", record=run.record, run=run.id)
    run = replace(run, state=state, finished_at=draft.now, note=note or run.note)
    draft.put(run)
    context = draft.context(run.record)
    if run.id in context.runs:
        draft.put(replace(context, runs={id_: other for id_, other in context.runs.items() if id_ != run.id}))
    _tell_end(draft, run, state)
    workflow = draft.rulebook.workflows.get(run.workflow)
    if state is RunState.FAILED and workflow is not None and workflow.on_failure == "rollback":
        draft.need("write", run.writes)
        written = [write for id_ in run.writes if (write := draft.write(id_)) is not None]
        rollback.undo(draft, written, f"workflow {run.workflow}", f"{run.id}|on_failure")
        run = draft.run(run.id) or run
    return run


def _tell_end(draft: Draft, run: Run, state: RunState) -> None:
    """A part that finishes says nothing more than its last step did: there may be ten thousand of them."""
    if run.part_of is None:
        if run.deadline_at is not None:
            draft.timer(f"deadline|{run.id}", None)
        took = max(0.0, draft.now - run.trigger.time) * 1000
        draft.audit(f"run.{state}", record=run.record, run=run.id, note=run.note, elapsed_ms=round(took, 3))
    elif state is not RunState.FINISHED:
        draft.audit(f"part.{state}", record=run.record, run=run.id, note=run.note)


# ---- begin -------------------------------------------------------------------------------------------------------


def begin(draft: Draft, run: Run, step: Step) -> Run:
    """Hand the step to its agent, or park it while the agent's breaker says so."""
    key, of_many = parked_key(run, step), run.part_of is not None and not run.members
    if step.agent not in draft.rulebook.agents:
        if step.state is StepState.PARKED:
            draft.changes.parked[key] = (step.agent, False)
        return fail(draft, run, step, f"agent {step.agent!r} is no longer configured")
    if of_many and step.when == "flagged" and not draft.context(run.record).flags:
        return skipped(draft, run, step, "no open flag")
    if run.part_of is not None and not _kept(draft, run):
        return fail(draft, run, step, "what the sweep found is kept no longer")
    if not breakers.admit(draft, step.agent, key, together=jobs.TOGETHER if of_many else 0):
        draft.changes.parked[key] = (step.agent, True)
        return put_step(draft, run, replace(step, state=StepState.PARKED, due=None))
    if step.state is StepState.PARKED:
        draft.changes.parked[key] = (step.agent, False)
    records = _records(draft, run)
    step = replace(
        step,
        state=StepState.RUNNING,
        attempt=step.attempt + 1,
        started_at=step.started_at or draft.now,
        due=None,
        versions={record: draft.context(record).version for record in records},
    )
    if of_many:
        snapshot = jobs.of_record(draft, run.record, draft.page(run.page or ""))
        draft.calls.append(Call(run, step, snapshot))
    else:
        draft.changes.jobs.append(jobs.job(draft, run, step))
    return put_step(draft, run, step)


def _kept(draft: Draft, part: Run) -> bool:
    """Whether the pages it needs are there. They outlive their run for some days only."""
    whole = draft.run(part.part_of) if part.members else None
    pages = jobs.page_ids(whole) if whole else [part.page or ""]
    draft.need("page", pages)
    return all(draft.page(id_).records for id_ in pages)


def concerned(run: Run) -> list[str]:
    """The records an answer may be about. Related ones of a fan-out's record are looked up when one is."""
    if run.part_of is None:
        return [run.record, *(record for several in run.related.values() for record in several)]
    return [run.record, *run.members]


def _records(draft: Draft, run: Run) -> list[str]:
    records = concerned(run)
    draft.need("context", records)
    return records


# ---- how it ends -------------------------------------------------------------------------------------


def complete(draft: Draft, run: Run, step: Step, proposals: int = 0) -> Run:
    """The step is done: history, and the event that other workflows may start on."""
    by_person = run.steps[step.name].state is StepState.QUARANTINED
    run = put_step(draft, run, replace(step, state=StepState.DONE, finished_at=step.finished_at or draft.now))
    confidence = min(step.confidence.values(), default=None)
    touch = Touch(draft.now, step.agent, run.id, "done", step.values, confidence, step.because)
    draft.touch(run.record, touch)
    rule = "review" if by_person else "checkpoint"
    tell(draft, run, step, "step.done", rule=rule, note=step.because, proposals=proposals)
    completion = f"{step.agent}.complete"
    if run.part_of and not any(completion in flow.on for flow in draft.rulebook.workflows.values()):
        return run  # ten thousand events that nobody listens to
    draft.changes.events.append(
        Event(
            id=f"{run.id}|{step.name}|{step.attempt}|complete",
            type=completion,
            subject=run.record,
            source="controller",
            time=draft.now,
            data=dict(step.values),
            cause=draft.event.id,
            run=run.id,
            hop=run.hop + 1,
        )
    )
    return run


def quarantine(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]], problems: tuple[str, ...]) -> Run:
    """The checkpoint refused the answer: nothing reads it until a person has decided."""
    item = Review(
        id=ids.review_id(run.id, step.name, str(step.attempt), "checkpoint"),
        reason=Reason.CHECKPOINT,
        record=run.record,
        run=run.id,
        agent=step.agent,
        created_at=draft.now,
        step=step.name,
        proposed=proposals.merged(outputs),
        because=proposals.reasons(outputs),
        problems=problems,
        output=tuple(outputs),
    )
    effects.ask(draft, item)
    tell(draft, run, step, "step.quarantined", rule="checkpoint", note="; ".join(problems))
    run = replace(run, reviews=(*run.reviews, item.id), waits_for=(*run.waits_for, item.id))
    return put_step(draft, run, replace(step, state=StepState.QUARANTINED, problems=problems, finished_at=draft.now))


def skipped(draft: Draft, run: Run, step: Step, why: str) -> Run:
    tell(draft, run, step, "step.skipped", note=why)
    draft.touch(run.record, Touch(draft.now, step.agent, run.id, "skipped", note=why))
    return put_step(draft, run, replace(step, state=StepState.SKIPPED, because=why, finished_at=draft.now))


def fail(draft: Draft, run: Run, step: Step, error: str) -> Run:
    item = Review(
        id=ids.review_id(run.id, step.name, str(step.attempt), "failure"),
        reason=Reason.FAILURE,
        record=run.record,
        run=run.id,
        agent=step.agent,
        created_at=draft.now,
        step=step.name,
        problems=(error,),
    )
    effects.ask(draft, item)
    tell(draft, run, step, "step.failed", note=error)
    draft.touch(run.record, Touch(draft.now, step.agent, run.id, "failed", note=error))
    run = replace(run, reviews=(*run.reviews, item.id))
    return put_step(draft, run, replace(step, state=StepState.FAILED, problems=(error,), finished_at=draft.now))


def tell(draft: Draft, run: Run, step: Step, what: str, **facts: Any) -> None:
    """An audit entry about a step; where it is its agent's answer that is being decided, with how long that took."""
    event, data = draft.event, draft.heard
    answered = event.type == "step.finished" and (data.get("step"), data.get("attempt")) == (step.name, step.attempt)
    took = finite(data.get("elapsed_ms") or 0.0) if answered else None
    draft.audit(what, who=step.agent, record=run.record, run=run.id, elapsed_ms=took, **facts)
