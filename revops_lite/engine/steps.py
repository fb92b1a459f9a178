"""A step's life: begun with a snapshot, answered by its agent, checked, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from revops_lite.engine import breakers, effects, ids, proposals, rollback
from revops_lite.engine.state import Draft
from revops_lite.models import (
    Event,
    Job,
    Reason,
    Review,
    Run,
    RunState,
    Step,
    StepState,
    Touch,
)
from revops_lite.rules import checkpoint, dedupe, flow

ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED, RunState.ROLLED_BACK})
HISTORY_SHOWN = 20


def put_step(draft: Draft, run: Run, step: Step) -> Run:
    run = replace(run, steps={**run.steps, step.name: step})
    draft.put(run)
    return run


def parked_key(run: Run, step: Step) -> str:
    return f"{run.id}|{step.name}"


# ---- what comes next ---------------------------------------------------------------------------------------------


def advance(draft: Draft, run: Run) -> Run:
    """Start every step that may start, skip those that never can, and settle the run's state."""
    if not run.loaded:
        return settle(draft, run)
    for name in flow.doomed(run.steps):
        step = run.steps[name]
        run = put_step(draft, run, replace(step, state=StepState.SKIPPED, problems=("a step it follows failed",)))
    for name in flow.ready(run.steps):
        run = begin(draft, run, run.steps[name])
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
    draft.timer(f"deadline|{run.id}", None)
    took = max(0.0, draft.now - run.trigger.time) * 1000
    draft.audit(f"run.{state}", record=run.record, run=run.id, note=run.note, elapsed_ms=round(took, 3))
    workflow = draft.rulebook.workflows.get(run.workflow)
    if state is RunState.FAILED and workflow is not None and workflow.on_failure == "rollback":
        draft.need("write", run.writes)
        written = [write for id_ in run.writes if (write := draft.write(id_)) is not None]
        rollback.undo(draft, written, f"workflow {run.workflow}", f"{run.id}|on_failure")
        run = draft.run(run.id) or run
    return run


# ---- begin -------------------------------------------------------------------------------------------------------


def begin(draft: Draft, run: Run, step: Step) -> Run:
    """Hand the step to its agent, or park it while the agent's breaker says so."""
    key = parked_key(run, step)
    if step.agent not in draft.rulebook.agents:
        return _fail(draft, run, step, f"agent {step.agent!r} is no longer configured")
    if not breakers.admit(draft, step.agent, key):
        draft.changes.parked[key] = (step.agent, True)
        return put_step(draft, run, replace(step, state=StepState.PARKED, due=None))
    if step.state is StepState.PARKED:
        draft.changes.parked[key] = (step.agent, False)
    records = [run.record, *(record for several in run.related.values() for record in several)]
    draft.need("context", records)
    step = replace(
        step,
        state=StepState.RUNNING,
        attempt=step.attempt + 1,
        started_at=step.started_at or draft.now,
        due=None,
        versions={record: draft.context(record).version for record in records},
    )
    draft.changes.jobs.append(_job(draft, run, step))
    return put_step(draft, run, step)


def _job(draft: Draft, run: Run, step: Step) -> Job:
    agent = draft.rulebook.agents[step.agent]
    snapshot = _snapshot(draft, run.record, run)
    snapshot["related"] = {
        role: [_snapshot(draft, record, run) for record in records] for role, records in run.related.items()
    }
    snapshot["settings"] = dict(agent.settings)
    return Job(
        id=ids.job_id(run.id, step.agent, step.name, step.attempt),
        queue=agent.queue,
        run=run.id,
        step=step.name,
        attempt=step.attempt,
        agent=step.agent,
        record=run.record,
        timeout=agent.timeout,
        attempts=agent.attempts,
        snapshot=snapshot,
    )


def _snapshot(draft: Draft, record: str, run: Run) -> dict[str, Any]:
    context = draft.context(record)
    kind, _, id_ = record.partition(":")
    return {
        "kind": kind,
        "id": id_,
        "version": context.version,
        "values": {name: field.value for name, field in context.fields.items() if field.value is not None},
        "flags": [{"code": f.code, "severity": f.severity, "detail": f.detail} for f in context.flags.values()],
        "told": dedupe.told(context.told, context.flags),
        "history": [
            {
                "at": t.at,
                "agent": t.agent,
                "run": t.run,
                "outcome": t.outcome,
                "fields": t.fields,
                "confidence": t.confidence,
                "note": t.note,
            }
            for t in context.history[-HISTORY_SHOWN:]
        ],
        "now": draft.now,
        "deadline": run.deadline_at,
        "related": {},
        "settings": {},
    }


# ---- what the agent answered -------------------------------------------------------------------------------------


def finished(draft: Draft) -> None:
    """`step.finished`: exactly one result of a step's current attempt counts; every other is told and dropped."""
    event, data = draft.event, draft.event.data
    run = draft.run(event.run)
    step = run.steps.get(str(data.get("step"))) if run else None
    if run is None or step is None or run.state in ENDED or not _expected(step, data):
        draft.audit("step.late", who=event.source, record=event.subject, run=event.run, note=str(data.get("step")))
        return
    if step.agent not in draft.rulebook.agents:  # taken out of the configuration while it was called
        breakers.neutral(draft, step.agent, parked_key(run, step))
        advance(draft, _fail(draft, run, step, f"agent {step.agent!r} is no longer configured"))
        return
    match data["outcome"]:
        case "done":
            run = _answered(draft, run, step, list(data.get("proposals") or []))
        case "skipped":
            run = _skipped(draft, run, step, str(data.get("error", "")))
        case "invalid":
            breakers.passed(draft, step.agent, parked_key(run, step))
            problems = tuple(str(problem) for problem in data.get("problems") or ["unreadable answer"])
            run = quarantine(draft, run, step, list(data.get("proposals") or []), problems)
        case "retry":
            run = _later(draft, run, step, str(data.get("error", "")), float(data.get("after") or 5.0))
        case "returned":
            draft.changes.parked[parked_key(run, step)] = (step.agent, True)
            run = put_step(draft, run, replace(step, state=StepState.PARKED))
            breakers.returned(draft, step.agent, parked_key(run, step))
        case "failed" | "timeout" | "crashed":
            run = _failed(draft, run, step, str(data.get("error") or data["outcome"]))
        case unknown:
            raise ValueError(f"step.finished with outcome {unknown!r}")
    advance(draft, run)


def late(draft: Draft) -> None:
    """`step.late`: a host finished a job that had been recovered meanwhile; its result does not count."""
    event = draft.event
    draft.audit("step.late", who=event.source, record=event.subject, run=event.run, note=str(event.data.get("job")))


def _expected(step: Step, data: dict[str, Any]) -> bool:
    return step.state is StepState.RUNNING and step.attempt == data.get("attempt")


def _answered(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> Run:
    breakers.passed(draft, step.agent, parked_key(run, step))
    outputs, problems = check(draft, run, step, outputs)
    if problems:
        return quarantine(draft, run, step, outputs, problems)
    return accept(draft, run, step, outputs)


def check(
    draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The checkpoint over everything a step answered: normalised outputs, and what is wrong with them."""
    agent = draft.rulebook.agents[step.agent]
    problems: list[str] = []
    checked: list[dict[str, Any]] = []
    for output in outputs:
        target = output.get("target") or run.record
        if target not in step.versions:
            problems.append(f"target {target!r} is no record of this run")
            checked.append(output)
            continue
        kind = str(target).partition(":")[0]
        values = output.get("values") or {}
        result = checkpoint.check(values, agent.schema, draft.rulebook.governance.fields, kind) if values else None
        if result and result.problems:
            problems += result.problems
            checked.append(output)
        else:
            checked.append({**output, "values": result.values if result else {}})
    return checked, tuple(problems)


def accept(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> Run:
    """The step's output becomes values, withheld values, flags and notices; then it is done, or waits for review."""
    run, waiting = proposals.accept(draft, run, step, outputs)
    step = replace(
        step,
        finished_at=draft.now,
        values=proposals.merged(outputs),
        confidence=proposals.confidences(outputs),
        because="; ".join(str(o["because"]) for o in outputs if o.get("because")),
        problems=(),
    )
    proposed = sum(len(output["values"]) for output in outputs)
    if waiting and step.wait_for_review:
        run = replace(run, waits_for=(*run.waits_for, *waiting))
        problem = f"waits for the review of {len(waiting)} withheld value(s)"
        _tell(draft, run, step, "step.quarantined", note=problem, proposals=proposed)
        return put_step(draft, run, replace(step, state=StepState.QUARANTINED, problems=(problem,)))
    return complete(draft, run, step, proposed)


def complete(draft: Draft, run: Run, step: Step, proposals: int = 0) -> Run:
    """The step is done: history, and the event that other workflows may start on."""
    by_person = run.steps[step.name].state is StepState.QUARANTINED
    run = put_step(draft, run, replace(step, state=StepState.DONE, finished_at=step.finished_at or draft.now))
    confidence = min(step.confidence.values(), default=None)
    touch = Touch(draft.now, step.agent, run.id, "done", step.values, confidence, step.because)
    draft.touch(run.record, touch)
    rule = "review" if by_person else "checkpoint"
    _tell(draft, run, step, "step.done", rule=rule, note=step.because, proposals=proposals)
    draft.changes.events.append(
        Event(
            id=f"{run.id}|{step.name}|{step.attempt}|complete",
            type=f"{step.agent}.complete",
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
        because="; ".join(str(o["because"]) for o in outputs if o.get("because")),
        problems=problems,
        output=tuple(outputs),
    )
    effects.ask(draft, item)
    _tell(draft, run, step, "step.quarantined", rule="checkpoint", note="; ".join(problems))
    run = replace(run, reviews=(*run.reviews, item.id), waits_for=(*run.waits_for, item.id))
    return put_step(draft, run, replace(step, state=StepState.QUARANTINED, problems=problems, finished_at=draft.now))


def _skipped(draft: Draft, run: Run, step: Step, why: str) -> Run:
    breakers.passed(draft, step.agent, parked_key(run, step))
    _tell(draft, run, step, "step.skipped", note=why)
    draft.touch(run.record, Touch(draft.now, step.agent, run.id, "skipped", note=why))
    return put_step(draft, run, replace(step, state=StepState.SKIPPED, because=why, finished_at=draft.now))


def _later(draft: Draft, run: Run, step: Step, why: str, after: float) -> Run:
    breakers.neutral(draft, step.agent, parked_key(run, step))
    if step.attempt >= draft.rulebook.agents[step.agent].attempts:
        return _fail(draft, run, step, f"asked for another try {step.attempt} times; the last: {why}")
    due = draft.now + min(max(after, 0.0), 86_400.0)
    draft.timer(f"retry|{run.id}|{step.name}", due)
    _tell(draft, run, step, "step.retried", note=why)
    return put_step(draft, run, replace(step, state=StepState.PENDING, due=due, because=why))


def _failed(draft: Draft, run: Run, step: Step, error: str) -> Run:
    key = parked_key(run, step)
    if breakers.failed(draft, step.agent, key, error):
        _tell(draft, run, step, "step.parked", note=error)
        draft.changes.parked[key] = (step.agent, True)
        return put_step(draft, run, replace(step, state=StepState.PARKED, problems=(error,)))
    return _fail(draft, run, step, error)


def _fail(draft: Draft, run: Run, step: Step, error: str) -> Run:
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
    _tell(draft, run, step, "step.failed", note=error)
    draft.touch(run.record, Touch(draft.now, step.agent, run.id, "failed", note=error))
    run = replace(run, reviews=(*run.reviews, item.id))
    return put_step(draft, run, replace(step, state=StepState.FAILED, problems=(error,), finished_at=draft.now))


def _tell(draft: Draft, run: Run, step: Step, what: str, **facts: Any) -> None:
    """An audit entry about a step; where it is its agent's answer that is being decided, with how long that took."""
    event, data = draft.event, draft.event.data
    answered = event.type == "step.finished" and (data.get("step"), data.get("attempt")) == (step.name, step.attempt)
    took = float(data.get("elapsed_ms") or 0.0) if answered else None
    draft.audit(what, who=step.agent, record=run.record, run=run.id, elapsed_ms=took, **facts)


def resume(draft: Draft, run: Run, item: Review, state: StepState) -> Run:
    """A person has decided an item that a step waited for. When it was the last, the step ends and the run goes on."""
    run = replace(run, waits_for=tuple(other for other in run.waits_for if other != item.id))
    step = run.steps[item.step] if item.step else None
    if step is not None and step.state is StepState.QUARANTINED and not _still_waits(draft, run, step):
        if item.field is not None or state is StepState.DONE:
            run = complete(draft, run, step)
        else:
            run = put_step(draft, run, replace(step, state=state, finished_at=draft.now))
    draft.put(run)
    return advance(draft, run)


def _still_waits(draft: Draft, run: Run, step: Step) -> bool:
    draft.need("review", run.waits_for)
    return any((item := draft.review(id_)) is not None and item.step == step.name for id_ in run.waits_for)
