"""A run's life: started by an event or by hand, given its records, cancelled, tried again."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import breakers, effects, ids, records, steps, waits
from revops_lite.engine.state import Draft
from revops_lite.models import (
    Event,
    OpenRun,
    Reason,
    Review,
    ReviewState,
    Run,
    RunState,
    Step,
    StepState,
    Trigger,
)
from revops_lite.policy import WorkflowDef
from revops_lite.values import finite, replace

# ---- starting ----------------------------------------------------------------------------------------------------


def triggered(draft: Draft) -> None:
    """An event from outside, or an agent's completion: start what listens to it."""
    event, rulebook = draft.event, draft.rulebook
    if event.source == "crm" and not records.observe(draft):
        draft.audit("event.ignored", who=event.source, record=event.subject, rule="our own write came back")
        return
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
    came = draft.state.waited.get(event.id, draft.now)
    record = event.subject if workflow.over is None else ids.itself(workflow.name)
    run = Run(
        id=id_,
        workflow=workflow.name,
        record=record,
        trigger=Trigger(event.id, event.type, event.source, event.time),
        started_at=draft.now,
        steps={
            s.name: Step(s.name, s.agent, s.after, s.optional, s.wait_for_review, when=s.when, gather=s.gather)
            for s in workflow.steps
        },
        include=workflow.include,
        # A workflow is no record of the CRM; a fan-out has its records once they have been swept.
        loaded=workflow.over is None and (not rulebook.has_crm or ids.is_workflow(event.subject)),
        deadline_at=deadline,
        deadline_missed=deadline is not None and deadline <= came,
        hop=event.hop,
        shadow=shadow,
        seed=_first_values(event),
        over=workflow.over,
    )  # fmt: skip
    context = draft.context(run.record)
    if run.over is not None:  # no CRM holds it: what gathering agents keep there is ours alone
        context = replace(context, known=True, local=rulebook.has_crm)
    draft.put(replace(context, runs={**context.runs, id_: OpenRun(workflow.name, deadline, draft.now)}))
    draft.put(run)
    if deadline is not None and deadline > came:
        draft.timer(f"deadline|{id_}", deadline)
    draft.audit("run.started", who=event.source, record=run.record, run=id_, rule=workflow.name, note=event.id)
    if run.deadline_missed:  # its event came too late for it to be met: counted, but no reason to wake anyone
        draft.audit("deadline.missed", record=run.record, run=id_, note="before the run could start")
    if run.loaded:
        records.seed(draft, run)
        steps.advance(draft, run)


def _first_values(event: Event) -> dict[str, Any]:
    """What an event brings of a record that no CRM holds; a start by hand tells of the workflow alone."""
    by_hand = event.type == "workflow.started" and not ids.is_workflow(event.subject)
    return {} if event.source in ("crm", "controller") or by_hand else dict(event.data)


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
    if run.record not in found and (why := _lacking(draft, run)):
        _unknown(draft, run, why)
        return
    for name, raw in found.items():
        records.fold(draft, records.crm_record(name, raw), finite(data["asked_at"]))
    if run.record not in found:
        records.seed(draft, run)
    related = {role: tuple(name for name in names if name in found) for role, names in data["related"].items()}
    run = replace(run, loaded=True, related=related, seed={})
    draft.put(run)
    steps.advance(draft, run)


def missing(draft: Draft) -> None:
    """`record.missing`: the CRM refuses to show it at all."""
    run = draft.run(draft.event.run)
    if run is not None and not run.loaded and run.state not in steps.ENDED:
        _unknown(draft, run, str(draft.event.data.get("error", "")))


def _lacking(draft: Draft, run: Run) -> str:
    """Why a run cannot go on without a record in the CRM; empty where the record is, or becomes, ours alone."""
    context = draft.context(run.record)
    if context.known and not context.local:
        return f"the CRM no longer holds {run.record}"
    return "" if context.known or run.seed else _nowhere(run)


def _nowhere(run: Run) -> str:
    return f"the CRM holds no {run.record}, and the event brought no values for it"


def _unknown(draft: Draft, run: Run, why: str = "") -> None:
    why = why or _nowhere(run)
    dead_letter(draft, why, run)
    run = replace(run, reviews=(*run.reviews, ids.review_id(draft.event.id, "dead_letter")))
    steps.finish(draft, run, RunState.FAILED, why)


# ---- by hand, and by the clock -----------------------------------------------------------------------------------


def cancelled(draft: Draft) -> None:
    """`run.cancelled`: no further step starts; what was already sent stays, late results are dropped."""
    run = draft.run(draft.event.run)
    if run is not None:
        cancel(draft, run, str(draft.event.data.get("by", draft.event.source)))


def cancel(draft: Draft, run: Run, by: str) -> None:
    if run.state in steps.ENDED:
        return
    if run.over is not None:
        draft.timer(steps.walk(run, "cancel", by), draft.now)
    for step in run.steps.values():
        if step.state is StepState.PARKED:
            draft.changes.parked[steps.parked_key(run, step)] = (step.agent, False)
        elif step.state is StepState.RUNNING:  # nobody will hear its result: a probe or a place is free again
            breakers.neutral(draft, step.agent, steps.parked_key(run, step))
    steps.finish(draft, waits.wait_for(draft, run, ()), RunState.CANCELLED, f"cancelled by {by}")
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
    if run is not None:
        retry(draft, run, str(draft.event.data.get("by", draft.event.source)))


def retry(draft: Draft, run: Run, by: str) -> None:
    """A fan-out's parts are looked at page by page, whatever became of the whole."""
    if run.over is not None and run.pages:
        draft.timer(steps.walk(run, "retry", by), draft.now)
    if run.state not in (RunState.FAILED, RunState.CANCELLED):
        return
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
            again[step.name] = replace(step, state=StepState.PENDING, problems=(), finished_at=None, due=None, asked=0)
    run = replace(run, steps=again, state=RunState.RUNNING, finished_at=None, waits_for=(), note="")
    if not run.loaded:  # its records are asked for once more, under a new name
        run = replace(run, loads=run.loads + 1)
    context = draft.context(run.record)
    opened = OpenRun(run.workflow, run.deadline_at, draft.now)
    draft.put(replace(context, runs={**context.runs, run.id: opened}))
    draft.put(run)
    draft.audit("run.retried", who=by, record=run.record, run=run.id)
    return steps.advance(draft, run)
