"""`revops explain`: a run's or a value's story in plain sentences, from writes, reviews and steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from revops_lite.cli.shapes import milliseconds, short, stamp
from revops_lite.errors import NotFound
from revops_lite.models import Review, Run, Step, StepState, Write, WriteState
from revops_lite.rules import fanout
from revops_lite.store.views import Views

SHOWN = 10  # records of a fan-out that went wrong
WRONG = (StepState.FAILED, StepState.QUARANTINED)
FATE = {
    WriteState.PLANNED: "is on its way to the CRM",
    WriteState.SENDING: "is being written to the CRM",
    WriteState.APPLIED: "was written to the CRM",
    WriteState.SUPERSEDED: "was not needed any more",
    WriteState.FAILED: "was refused",
    WriteState.CONFLICT: "met another value in the CRM and was not written",
    WriteState.WITHHELD: "was withheld for a person",
    WriteState.SHADOW: "was only recorded",
    WriteState.ROLLED_BACK: "was written and rolled back later",
}


def of_run(views: Views, prefix: str) -> Iterator[str]:
    """Raises NotFound."""
    run = views.run(prefix)
    if run.over is not None:
        yield from _of_many(run, views.parts(run))
        return
    writes = [write for write in views.many("write", list(run.writes)) if write]
    reviews = [item for item in views.many("review", list(run.reviews)) if item]
    yield _start(run, run.record)
    if run.part_of:
        records = f" with {len(run.members)} records" if run.members else ""
        yield f"This is the part of run {run.part_of} about {run.record}{records}."
    for step in run.steps.values():
        yield from _step(step, [w for w in writes if w.step == step.name], [r for r in reviews if r.step == step.name])
    yield _end(run)


def _start(run: Run, on: str) -> str:
    why = f"{run.trigger.type} ({run.trigger.source}) at {stamp(run.trigger.time)}"
    return f"Workflow {run.workflow} started on {on} because of {why}."


def _of_many(run: Run, parts: list[Run]) -> Iterator[str]:
    """A fan-out: how many records came to what; then those that went wrong, and what was written in all."""
    assert run.over is not None
    where = " and ".join(f"{name} = {short(value)}" for name, value in run.over.where.items())
    yield _start(run, f"every {run.over.kind}" + (f" with {where}" if where else ""))
    count = fanout.records(run.tally, run.expected)
    found = (
        f"The sweep found {count['total']}" if run.loaded else f"The sweep goes on; so far it found {count['total']}"
    )
    yield f"{found} records: {_counts({name: count[name] for name in ('done', 'failed', 'held')})}."
    for step in run.steps.values():
        answers = [part.steps[step.name] for part in parts if part.members and step.name in part.steps]
        if step.gather is not None and len(answers) == 1:
            yield from _step(answers[0], [], [])
        elif counts := run.tally.get(step.name):
            yield f"{step.name}: {_counts(counts)}" + (f", gathered by {step.gather}." if step.gather else ".")
        else:
            yield from _step(step, [], [])
    wrong = [(part, step) for part in parts for step in part.steps.values() if step.state in WRONG]
    for part, step in wrong[:SHOWN]:
        yield from (f"  {part.record}: {line}" for line in _step(step, [], []))
    if len(wrong) > SHOWN:
        yield f"  … and {len(wrong) - SHOWN} more; `revops review list --run {run.id}` shows what waits."
    if values := sum(len(part.writes) for part in parts):
        yield f"It proposed {values} values; `revops write list --run {run.id}` shows what became of each."
    yield _end(run)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "none ended yet"


def _step(step: Step, writes: list[Write], reviews: list[Review]) -> Iterator[str]:
    match step.state:
        case StepState.DONE:
            yield f"{step.name} answered: {step.because or 'without giving a reason'}."
        case StepState.SKIPPED:
            why = step.because or "; ".join(step.problems) or "rejected by a person"
            yield f"{step.name} had nothing to do: {why}."
        case StepState.FAILED:
            yield f"{step.name} failed: {'; '.join(step.problems)}."
        case StepState.QUARANTINED:
            yield f"{step.name} waits for a person: {'; '.join(step.problems)}."
        case StepState.PARKED:
            yield f"{step.name} is parked: its agent's breaker is open."
        case StepState.RUNNING:
            yield f"{step.name} is with its agent since {stamp(step.started_at)}."
        case StepState.PENDING:
            yield f"{step.name} has not started; it follows {', '.join(step.after) or 'nothing'}."
    for write in writes:
        yield "  " + _write(write)
    for item in reviews:
        if item.field is None or item.decided_by:
            yield "  " + _review(item)


def _write(write: Write) -> str:
    text = (
        f"{write.record}.{write.field}: {short(write.before)} → {short(write.after)} by {write.agent} "
        f"(confidence {write.confidence:.2f}) {FATE[write.state]}"
    )
    why = write.note or write.rule
    return f"{text}: {why}." if why else f"{text}."


def _review(item: Review) -> str:
    what = item.field or f"step {item.step}"
    if item.decided_by:
        said = f', saying "{item.note}"' if item.note else ""
        return f"{item.decided_by} decided {what} ({item.reason}): {item.state}{said}."
    return f"{what} waits as {item.id} ({item.reason}): {'; '.join(item.problems)}."


def _end(run: Run) -> str:
    took = milliseconds(run.trigger.time, run.finished_at)
    if run.finished_at:
        late = ", after its deadline" if run.deadline_missed else ""
        return f"The run ended {run.state}, {took} ms after its trigger{late}. {run.note}".rstrip()
    return f"The run is {run.state}."


def of_field(views: Views, record: str, field: str) -> Iterator[str]:
    """Raises NotFound where nobody ever held or proposed a value."""
    context = views.context(record)
    writes = views.writes(lambda write: write.record == record and write.field == field, None)
    if context is None or (field not in context.fields and not writes):
        raise NotFound(f"nothing is known of {record}.{field}; `revops record view {record}` shows what is")
    held = context.fields.get(field)
    if held is None or held.value is None:
        yield f"{record}.{field} has no value."
    else:
        source = {"crm": "read from the CRM", "person": "a person's edit in the CRM", "event": "came with the event"}
        whose = source.get(held.writer, f"written by {held.writer} (confidence {held.confidence:.2f})")
        waiting = ", not yet confirmed by the CRM" if held.pending else ""
        yield f"{record}.{field} is {short(held.value, 80)}: {whose} at {stamp(held.at)}{waiting}."
    if field in context.proposed:
        p = context.proposed[field]
        yield f"Proposed but not written: {short(p.value, 80)} by {p.agent} ({p.confidence:.2f}): {p.why}."
    for write in reversed(writes):
        yield f"{stamp(write.at)}: {_write(write)}"
        if write.because:
            yield f"    {write.agent} said: {write.because}"
    for item in views.reviews(lambda item: item.record == record and item.field == field, None):
        yield f"{stamp(item.decided_at or item.created_at)}: {_review(item)}"
