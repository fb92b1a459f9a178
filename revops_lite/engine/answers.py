"""What an agent answered to a step: taken in once, checked, and folded into what is known."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import breakers, ids, proposals, related, steps, waits
from revops_lite.engine.state import Draft
from revops_lite.models import Event, Run, RunState, Step, StepState
from revops_lite.rules import checkpoint
from revops_lite.values import finite, replace

AT_ONCE = 500  # proposals of one answer that are taken in by one decision


def finished(draft: Draft) -> None:
    """`step.finished`: exactly one result of a step's current attempt counts; every other is told and dropped.

    Those of a fan-out's records come together, each with its own outcome.
    """
    event = draft.event
    if "results" not in event.data:
        _take_in(draft, event.run, event.subject)
        return
    whole = draft.run(event.run)
    over = whole is None or whole.state is RunState.CANCELLED
    draft.need("run", [str(result["run"]) for result in event.data["results"]])
    for result in event.data["results"]:
        draft.heard = result
        _take_in(draft, None if over else str(result["run"]), str(result["record"]))


def _take_in(draft: Draft, run_id: str | None, record: str) -> None:
    event, data = draft.event, draft.heard
    run = draft.run(run_id)
    step = run.steps.get(str(data.get("step"))) if run else None
    if run is None or step is None or run.state in steps.ENDED or not _expected(step, data):
        draft.audit("step.late", who=event.source, record=record, run=event.run, note=str(data.get("step")))
        return
    if step.agent not in draft.rulebook.agents:  # taken out of the configuration while it was called
        breakers.neutral(draft, step.agent, steps.parked_key(run, step))
        steps.advance(draft, steps.fail(draft, run, step, f"agent {step.agent!r} is no longer configured"))
        return
    match data["outcome"]:
        case "done":
            run = _answered(draft, run, step, list(data.get("proposals") or []))
        case "skipped":
            run = _declined(draft, run, step, str(data.get("error", "")))
        case "invalid":
            breakers.passed(draft, step.agent, steps.parked_key(run, step))
            problems = tuple(str(problem) for problem in data.get("problems") or ["unreadable answer"])
            run = steps.quarantine(draft, run, step, list(data.get("proposals") or []), problems)
        case "retry":
            run = _later(draft, run, step, str(data.get("error", "")), finite(data.get("after") or 5.0))
        case "returned":
            draft.changes.parked[steps.parked_key(run, step)] = (step.agent, True)
            run = steps.put_step(draft, run, replace(step, state=StepState.PARKED))
            breakers.returned(draft, step.agent, steps.parked_key(run, step))
        case "crashed" if data.get("others"):
            steps.tell(draft, run, step, "step.retried", note="its host died with it and others; again, alone")
            run = steps.put_step(draft, run, replace(step, state=StepState.PENDING, alone=True))
            breakers.neutral(draft, step.agent, steps.parked_key(run, step))
        case "failed" | "timeout" | "crashed":
            run = _failed(draft, run, step, str(data.get("error") or data["outcome"]))
        case unknown:
            raise ValueError(f"step.finished with outcome {unknown!r}")
    steps.advance(draft, run)


def late(draft: Draft) -> None:
    """`step.late`: a host finished a job that had been recovered meanwhile; its result does not count."""
    event = draft.event
    draft.audit("step.late", who=event.source, record=event.subject, run=event.run, note=str(event.data.get("job")))


def refused(draft: Draft) -> None:
    """`job.refused`: what a host found in the queue is no call of ours, and was not made. Where it stands in for one
    that is waited for, that step fails: nobody else would ever answer it."""
    event, job = draft.event, str(draft.event.data.get("job"))
    why, run = str(event.data.get("error", "")), draft.run(event.run)
    record = run.record if run else None
    draft.audit("job.refused", who=event.source, record=record, run=run.id if run else None, note=f"{job}: {why}")
    for step in run.steps.values() if run is not None and run.state not in steps.ENDED else ():
        awaited = step.state is StepState.RUNNING and ids.job_id(event.run or "", step.agent, step.name, step.attempt)
        if run is not None and awaited == job:
            breakers.neutral(draft, step.agent, steps.parked_key(run, step))
            steps.advance(draft, steps.fail(draft, run, step, why))
            return


def _expected(step: Step, data: dict[str, Any]) -> bool:
    return step.state is StepState.RUNNING and step.attempt == data.get("attempt")


def _answered(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> Run:
    _know(draft, run, step, outputs)  # before the work of checking: it would be done again for each that is missing
    breakers.passed(draft, step.agent, steps.parked_key(run, step))
    step = related.widened(draft, run, step, outputs)
    outputs, problems = check(draft, run, step, outputs)
    if problems:
        return steps.quarantine(draft, run, step, outputs, problems)
    return accept(draft, run, step, outputs)


def _know(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> None:
    """The contexts that the next decision is about, in one go."""
    about = {str(output.get("target") or run.record) for output in outputs[:AT_ONCE]}
    draft.need("context", sorted(about & step.versions.keys()))


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
    """The step's output becomes values, withheld values, flags and notices; then it is done, or waits for review.

    An answer about thousands of records is taken in by several decisions, each small enough for one commit.
    """
    outputs, rest = outputs[:AT_ONCE], outputs[AT_ONCE:]
    run, waiting = proposals.accept(draft, run, step, outputs)
    if step.wait_for_review:
        run = waits.wait_for(draft, run, (*run.waits_for, *waiting))
    if rest:
        return _go_on_later(draft, run, step, rest)
    step = replace(
        step,
        finished_at=draft.now,
        values=proposals.merged(outputs),
        confidence=proposals.confidences(outputs),
        because=proposals.reasons(outputs),
        problems=(),
    )
    proposed = sum(len(output["values"]) for output in outputs)
    if step.wait_for_review and (waiting or waits.still_waits(draft, run, step)):
        problem = f"waits for the review of {len(run.waits_for)} withheld value(s)"
        steps.tell(draft, run, step, "step.quarantined", note=problem, proposals=proposed)
        return steps.put_step(draft, run, replace(step, state=StepState.QUARANTINED, problems=(problem,)))
    return steps.complete(draft, run, step, proposed)


def _go_on_later(draft: Draft, run: Run, step: Step, rest: list[dict[str, Any]]) -> Run:
    """The rest of a checked answer comes back as an event of its own; until then the step runs on."""
    data = {"step": step.name, "attempt": step.attempt, "proposals": rest}
    id_ = f"{run.id}|{step.name}|{step.attempt}|{len(rest)} more"
    more = Event(id_, "step.continued", run.record, "controller", draft.now, data, draft.event.id, run.id)
    draft.changes.events.append(more)
    draft.put(run)
    return steps.put_step(draft, run, step)


def continued(draft: Draft) -> None:
    """`step.continued`: more of an answer that passed the checkpoint as a whole."""
    data = draft.event.data
    run = draft.run(draft.event.run)
    step = run.steps.get(str(data["step"])) if run else None
    if run is None or step is None or run.state in steps.ENDED or not _expected(step, data):
        return
    _know(draft, run, step, data["proposals"])
    steps.advance(draft, accept(draft, run, step, list(data["proposals"])))


def _declined(draft: Draft, run: Run, step: Step, why: str) -> Run:
    breakers.passed(draft, step.agent, steps.parked_key(run, step))
    return steps.skipped(draft, run, step, why)


def _later(draft: Draft, run: Run, step: Step, why: str, after: float) -> Run:
    breakers.neutral(draft, step.agent, steps.parked_key(run, step))
    asked = step.asked + 1  # and not `attempt`: calls that came back unmade, or from a dead host, are no tries
    if asked >= draft.rulebook.agents[step.agent].attempts:
        return steps.fail(draft, run, step, f"asked for another try {asked} times; the last: {why}")
    due = draft.now + min(max(after, 0.0), 86_400.0)
    draft.timer(f"retry|{run.id}|{step.name}", due)
    steps.tell(draft, run, step, "step.retried", note=why)
    return steps.put_step(draft, run, replace(step, state=StepState.PENDING, due=due, because=why, asked=asked))


def _failed(draft: Draft, run: Run, step: Step, error: str) -> Run:
    key = steps.parked_key(run, step)
    if breakers.failed(draft, step.agent, key, error):
        steps.tell(draft, run, step, "step.parked", note=error)
        draft.changes.parked[key] = (step.agent, True)
        return steps.put_step(draft, run, replace(step, state=StepState.PARKED, problems=(error,)))
    return steps.fail(draft, run, step, error)
