"""A run's life: started by an event or by hand, given its records, cancelled, tried again, reminded of its deadline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from revops_lite.engine import breakers, effects, ids, steps
from revops_lite.engine.state import Draft
from revops_lite.models import (
    CrmRecord,
    FieldValue,
    Hold,
    OpenRun,
    OutNotice,
    Reason,
    Review,
    ReviewState,
    Run,
    RunState,
    Step,
    StepState,
    Touch,
    Trigger,
)
from revops_lite.policy import WorkflowDef
from revops_lite.rules import merge
from revops_lite.values import same

UNPARKED_AT_ONCE = 100


# ---- starting ----------------------------------------------------------------------------------------------------


def triggered(draft: Draft) -> None:
    """An event from outside, or an agent's completion: start what listens to it."""
    event, rulebook = draft.event, draft.rulebook
    if event.source == "crm":
        _observe(draft)
    listening = [flow for flow in rulebook.workflows.values() if event.type in flow.on]
    if not listening:
        if event.source != "controller":
            draft.audit("event.ignored", who=event.source, record=event.subject, rule=f"no workflow on {event.type}")
        return
    if event.hop > rulebook.max_hops:
        dead_letter(draft, f"{event.hop} of our own runs led to this event; at most {rulebook.max_hops} may")
        return
    for workflow in listening:
        _start(draft, workflow)


def started_by_hand(draft: Draft) -> None:
    """`workflow.started`: a person starts one workflow on one record."""
    name = str(draft.event.data.get("workflow"))
    workflow = draft.rulebook.workflows.get(name)
    if workflow is None:
        dead_letter(draft, f"there is no workflow {name!r}")
        return
    _start(draft, workflow, shadow=bool(draft.event.data.get("shadow")))


def fired(draft: Draft) -> None:
    """`cron.fired`: a slot has come. Its workflow may have gone, or lost its line, since it was told."""
    event = draft.event
    workflow = draft.rulebook.workflows.get(str(event.data.get("workflow")))
    if workflow is None or workflow.cron is None:
        draft.audit("event.ignored", who=event.source, record=event.subject, rule="no workflow with this cron any more")
        return
    _start(draft, workflow)


def _start(draft: Draft, workflow: WorkflowDef, shadow: bool = False) -> None:
    event, rulebook = draft.event, draft.rulebook
    id_ = ids.run_id(event.id, workflow.name)
    if draft.run(id_) is not None:
        return
    deadline = event.time + workflow.deadline if workflow.deadline else None
    run = Run(
        id=id_,
        workflow=workflow.name,
        record=event.subject,
        trigger=Trigger(event.id, event.type, event.source, event.time),
        started_at=draft.now,
        steps={
            s.name: Step(s.name, s.agent, s.after, s.optional, s.wait_for_review) for s in workflow.steps
        },
        include=workflow.include,
        loaded=not rulebook.has_crm or ids.is_workflow(event.subject),  # a workflow is no record of the CRM
        deadline_at=deadline,
        deadline_missed=deadline is not None and deadline <= draft.now,
        hop=event.hop,
        shadow=shadow,
        seed={} if event.source in ("crm", "controller") else dict(event.data),
    )  # fmt: skip
    context = draft.context(run.record)
    draft.put(replace(context, runs={**context.runs, id_: OpenRun(workflow.name, deadline, draft.now)}))
    draft.put(run)
    if deadline is not None and deadline > draft.now:
        draft.timer(f"deadline|{id_}", deadline)
    draft.audit("run.started", who=event.source, record=run.record, run=id_, rule=workflow.name, note=event.id)
    if run.deadline_missed:  # it came too late to be met: counted, but no reason to wake anyone
        draft.audit("deadline.missed", record=run.record, run=id_, note="before the run could start")
    if run.loaded:
        _seed(draft, run)
        steps.advance(draft, run)


def dead_letter(draft: Draft, why: str, run: Run | None = None) -> None:
    """Nothing can be done with this event: it waits for a person, whole."""
    event = draft.event
    effects.ask(
        draft,
        Review(
            id=ids.review_id(event.id, "dead_letter"),
            reason=Reason.DEAD_LETTER,
            record=event.subject,
            run=run.id if run else None,
            agent="",
            created_at=draft.now,
            proposed={"id": event.id, "type": event.type, "subject": event.subject, "data": event.data},
            problems=(why,),
        ),
    )


def unreadable(draft: Draft) -> None:
    """The stream held something that is no event, or one that cannot be decided."""
    if timer := draft.event.data.get("timer"):
        draft.timer(str(timer), None)
    dead_letter(draft, str(draft.event.data.get("error", "unreadable")))


# ---- records -----------------------------------------------------------------------------------------------------


def loaded(draft: Draft) -> None:
    """`record.loaded`: the CRM's values of the run's record and of what it includes."""
    data = draft.event.data
    run = draft.run(draft.event.run)
    if run is None or run.loaded or run.state in steps.ENDED:
        return
    found: dict[str, dict[str, Any]] = data["records"]
    draft.need("context", [run.record, *found])
    if run.record not in found and not run.seed and not draft.context(run.record).known:
        _unknown(draft, run)
        return
    for name, raw in found.items():
        fold(draft, _crm_record(name, raw), float(data["asked_at"]))
    if run.record not in found:
        _seed(draft, run)
    related = {role: tuple(name for name in names if name in found) for role, names in data["related"].items()}
    run = replace(run, loaded=True, related=related, seed={})
    draft.put(run)
    steps.advance(draft, run)


def missing(draft: Draft) -> None:
    """`record.missing`: the CRM refuses to show it at all."""
    run = draft.run(draft.event.run)
    if run is not None and not run.loaded and run.state not in steps.ENDED:
        _unknown(draft, run, str(draft.event.data.get("error", "")))


def _unknown(draft: Draft, run: Run, why: str = "") -> None:
    why = why or f"the CRM holds no {run.record}, and the event brought no values for it"
    dead_letter(draft, why, run)
    run = replace(run, reviews=(*run.reviews, ids.review_id(draft.event.id, "dead_letter")))
    steps.finish(draft, run, RunState.FAILED, why)


def _crm_record(name: str, raw: Mapping[str, Any]) -> CrmRecord:
    kind, _, id_ = name.partition(":")
    return CrmRecord(
        kind, id_, raw["values"], float(raw["created_at"]), float(raw["updated_at"]), raw.get("edited") or {}
    )


def fold(draft: Draft, record: CrmRecord, asked_at: float) -> None:
    """Fold what the CRM showed into the context; a person's edits are audited, the hold field is obeyed."""
    before = draft.context(record.record)
    after, edited = merge.merge(before, record, asked_at, draft.now)
    if not after.known or after.local or after is not before:
        draft.put(replace(after, known=True, local=False))
    for name in edited:
        draft.audit(
            "person.edited",
            who="person",
            record=record.record,
            field=name,
            before=before.fields[name].value if name in before.fields else None,
            after=after.fields[name].value,
        )
    hold_field = draft.rulebook.governance.hold_field
    if hold_field and hold_field in record.values:
        _hold_by_field(draft, record.record, hold_field, truthy(record.values[hold_field]))


def truthy(value: Any) -> bool:
    """CRMs write a checkbox in many ways."""
    return str(value).strip().lower() in ("true", "1", "yes", "y", "x", "on")


def _hold_by_field(draft: Draft, record: str, name: str, wanted: bool) -> None:
    held = draft.holds(record).get("*")
    if wanted and held is None:
        hold = Hold(record, "*", "crm", f"{name} is set in the CRM", draft.now)
        draft.changes.holds[record, "*"] = hold
        draft.audit("hold.placed", who="crm", record=record, rule=name)
    elif not wanted and held is not None and held.by == "crm":
        draft.changes.holds[record, "*"] = None
        draft.audit("hold.released", who="crm", record=record, rule=name)


def _seed(draft: Draft, run: Run) -> None:
    """The event's data are the first values of a record that no CRM holds."""
    context = draft.context(run.record)
    new = {
        name: value
        for name, value in run.seed.items()
        if name not in context.fields or not same(context.fields[name].value, value)
    }
    version = context.version + bool(new)
    fields = {n: FieldValue(v, "event", 1.0, draft.now, version, run.id) for n, v in new.items()}
    local = draft.rulebook.has_crm
    draft.put(replace(context, version=version, fields={**context.fields, **fields}, known=True, local=local))


def _observe(draft: Draft) -> None:
    """The poller saw a record change: what we know of it follows, if we know it at all."""
    event = draft.event
    context = draft.context(event.subject)
    changed = event.data.get("values")
    if not context.known or not changed:
        return
    kind, _, id_ = event.subject.partition(":")
    read_before = {n: f.value for n, f in context.fields.items() if f.value is not None}
    edited = dict.fromkeys(changed, event.time) if event.data.get("person") else {}
    fold(draft, CrmRecord(kind, id_, {**read_before, **changed}, event.time, event.time, edited), event.time)


# ---- by hand, and by the clock -----------------------------------------------------------------------------------


def cancelled(draft: Draft) -> None:
    """`run.cancelled`: no further step starts; what was already sent stays, late results are dropped."""
    run = draft.run(draft.event.run)
    if run is None or run.state in steps.ENDED:
        return
    by = str(draft.event.data.get("by", draft.event.source))
    for step in run.steps.values():
        if step.state is StepState.PARKED:
            draft.changes.parked[steps.parked_key(run, step)] = (step.agent, False)
        elif step.state is StepState.RUNNING:  # nobody will hear its result: a probe or a place is free again
            breakers.neutral(draft, step.agent, steps.parked_key(run, step))
    steps.finish(draft, replace(run, waits_for=()), RunState.CANCELLED, f"cancelled by {by}")
    _close_reviews(draft, run, by)


def _close_reviews(draft: Draft, run: Run, by: str) -> None:
    """Whole-step items of an ended run ask nothing any more; withheld values still do."""
    draft.need("review", run.reviews)
    for id_ in run.reviews:
        item = draft.review(id_)
        if item and item.state is ReviewState.PENDING and item.field is None:
            effects.close(draft, item, by, "its run has ended")


def retried(draft: Draft) -> None:
    """`run.retried`: failed steps, and those skipped because of them, start again."""
    run = draft.run(draft.event.run)
    if run is None or run.state not in (RunState.FAILED, RunState.CANCELLED):
        return
    by = str(draft.event.data.get("by", draft.event.source))
    _close_reviews(draft, run, by)
    ended_well = (StepState.DONE, StepState.SKIPPED)
    reopen(draft, run, [step.name for step in run.steps.values() if step.state not in ended_well], by)


def reopen(draft: Draft, run: Run, names: list[str], by: str) -> Run:
    """Put steps back to the start, with those that were skipped for their sake, and let the run go on."""
    again = dict(run.steps)
    for step in run.steps.values():
        follows = step.name in names or (step.state is StepState.SKIPPED and set(step.after) & set(names))
        if follows and step.state is not StepState.DONE:
            names = [*names, step.name]
            again[step.name] = replace(step, state=StepState.PENDING, problems=(), finished_at=None, due=None)
    run = replace(run, steps=again, state=RunState.RUNNING, finished_at=None, waits_for=(), note="")
    if not run.loaded:  # its records are asked for once more, under a new name
        run = replace(run, loads=run.loads + 1)
    context = draft.context(run.record)
    opened = OpenRun(run.workflow, run.deadline_at, draft.now)
    draft.put(replace(context, runs={**context.runs, run.id: opened}))
    draft.put(run)
    draft.audit("run.retried", who=by, record=run.record, run=run.id)
    return steps.advance(draft, run)


def due(draft: Draft) -> None:
    """`timer.due`: the controller's own alarm; its name says what for."""
    name = str(draft.event.data["timer"])
    draft.timer(name, None)
    what, _, rest = name.partition("|")
    match what:
        case "deadline":
            _deadline(draft, rest)
        case "retry":
            _retry(draft, rest)
        case "probe" | "unpark":
            _unpark(draft, rest, 1 if what == "probe" else UNPARKED_AT_ONCE)
        case "expire":
            _expire(draft, rest)
        case "release":
            _release(draft, rest)
        case _:
            draft.audit("timer.unknown", note=name)


def _deadline(draft: Draft, run_id: str) -> None:
    run = draft.run(run_id)
    if run is None or run.state in steps.ENDED:
        return
    draft.put(replace(run, deadline_missed=True))
    draft.audit("deadline.missed", record=run.record, run=run.id)
    if run.state is RunState.HELD:
        return  # a person is being waited for, and has been told
    key = f"deadline|{run.id}"
    subject, body = f"Deadline missed: {run.workflow} on {run.record}", f"Run {run.id} is still {run.state}."
    draft.put(OutNotice(ids.notice_id(key), key, draft.rulebook.ops_channel, subject, body, draft.now, None))


def _retry(draft: Draft, rest: str) -> None:
    run_id, _, name = rest.partition("|")
    run = draft.run(run_id)
    step = run.steps.get(name) if run else None
    if run is None or step is None or run.state in steps.ENDED or step.state is not StepState.PENDING:
        return
    run = steps.put_step(draft, run, replace(step, due=None))
    steps.advance(draft, run)


def _unpark(draft: Draft, agent: str, at_most: int) -> None:
    """Parked steps try their agent again; where it lets none through they stay parked."""
    waiting = draft.parked(agent)
    begun = False
    draft.need("run", [key.partition("|")[0] for key in waiting[:at_most]])
    for key in waiting[:at_most]:
        run_id, _, name = key.partition("|")
        run = draft.run(run_id)
        if run is None or run.state in steps.ENDED or run.steps[name].state is not StepState.PARKED:
            draft.changes.parked[key] = (agent, False)
            continue
        run = steps.advance(draft, steps.begin(draft, run, run.steps[name]))
        if run.steps[name].state is StepState.PARKED:
            return
        begun = begun or run.steps[name].state is StepState.RUNNING
    if len(waiting) > at_most and (at_most > 1 or not begun):
        draft.timer(f"{'unpark' if at_most > 1 else 'probe'}|{agent}", draft.now)


def _release(draft: Draft, rest: str) -> None:
    """A hold has come to its end date."""
    record, _, field = rest.rpartition("|")
    hold = draft.holds(record).get(field)
    if hold is not None and hold.until is not None and hold.until <= draft.now:
        draft.changes.holds[record, field] = None
        draft.audit("hold.released", who="clock", record=record, field=field, note="its end date has come")


def _expire(draft: Draft, review_id: str) -> None:
    item = draft.review(review_id)
    if item is None or item.state is not ReviewState.PENDING:
        return
    effects.close(draft, item, "clock", "nobody has decided it in time")
    draft.touch(item.record, Touch(draft.now, item.agent, item.run, "review.expired", note=item.reason))
    run = draft.run(item.run)
    if run is not None and item.id in run.waits_for:
        steps.resume(draft, run, item, StepState.SKIPPED)
