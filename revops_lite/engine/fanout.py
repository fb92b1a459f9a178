"""Fan-out: one run over all records of a kind. Each record has a part of the run, and so has each group it gathers.

A part is a run like any other: its steps are called, checked, quarantined, tried again and rolled back by the same
rules. What is special stands here: how parts come to be (`swept`, `_gather`), and how the whole follows from them
(`settle`). The whole keeps count of its parts and never looks at all of them, except to gather, cancel or retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from revops_lite.engine import ids, jobs, records, related, runs, steps
from revops_lite.engine.state import Draft
from revops_lite.models import OpenRun, Page, Run, RunState, Seen, Step, StepState
from revops_lite.rules import fanout as rules
from revops_lite.rules import flow
from revops_lite.values import finite, replace

GATHERED = "gathered"  # in a group's id, so that it is never a record's


# ---- the sweep ---------------------------------------------------------------------------------------------------


def swept(draft: Draft) -> None:
    """`records.swept`: a page of records, with what is related to them. Those that came before are left alone."""
    data = draft.event.data
    run = draft.run(draft.event.run)
    if run is None or run.over is None or run.state in steps.ENDED:
        return
    part_of = {record: ids.part_id(run.id, record) for record in data["records"]}
    draft.need("run", part_of.values())
    new = [record for record, id_ in part_of.items() if draft.run(id_) is None]
    if not new:
        return
    draft.need("context", {*new, *data["seen"]})
    asked_at = finite(data["asked_at"])
    for record in new:
        records.fold(draft, records.crm_record(record, data["records"][record]), asked_at)
    seen = {name: _see(draft, name, raw, asked_at) for name, raw in data["seen"].items()}
    roles = {r: {role: tuple(n for n in ns if n in seen) for role, ns in data["related"][r].items()} for r in new}
    page = Page(f"{run.id}.p{run.pages}", run.id, draft.now, roles, seen)
    draft.put(page)
    as_of = asked_at if run.as_of is None else run.as_of
    draft.put(replace(run, pages=run.pages + 1, as_of=as_of, expected=int(data.get("of") or 0)))
    for record in new:
        steps.advance(draft, _part(draft, run, part_of[record], record, page.id))


def _see(draft: Draft, name: str, raw: Mapping[str, Any], asked_at: float) -> Seen:
    """What is shown of a related record: its context, where the system has one; else what the CRM holds."""
    record = records.crm_record(name, raw)
    if draft.context(name).known:
        records.fold(draft, record, asked_at)
        return Seen(jobs.shown(draft.context(name), jobs.HISTORY_OF_RELATED), known=True)
    values = {field: value for field, value in record.values.items() if value is not None}
    bare = {"kind": record.kind, "id": record.id, "version": 0, "values": values}
    return Seen(bare, False, record.created_at, record.updated_at, dict(record.edited))


def _part(draft: Draft, run: Run, id_: str, record: str, page: str) -> Run:
    flow_of = {name: step for name, step in run.steps.items() if step.gather is None}
    fresh = {name: replace(step, state=StepState.PENDING, started_at=None, finished_at=None, attempt=0)
             for name, step in flow_of.items()}  # fmt: skip
    part = _new(draft, run, id_, record, fresh)
    return replace(part, page=page)


def _new(draft: Draft, run: Run, id_: str, record: str, its_steps: dict[str, Step]) -> Run:
    context = draft.context(record)
    draft.put(replace(context, runs={**context.runs, id_: OpenRun(run.workflow, run.deadline_at, draft.now)}))
    return Run(
        id=id_,
        workflow=run.workflow,
        record=record,
        trigger=run.trigger,
        started_at=draft.now,
        steps=its_steps,
        loaded=True,
        hop=run.hop,
        shadow=run.shadow,
        part_of=run.id,
    )


def sweep_ended(draft: Draft) -> None:
    """`sweep.ended`: there are no more records than have come."""
    run = draft.run(draft.event.run)
    if run is None or run.over is None or run.loaded or run.state in steps.ENDED:
        return
    draft.put(replace(run, loaded=True, as_of=run.as_of or finite(draft.event.data["asked_at"]), expected=0))
    count = rules.records(run.tally)["total"]
    draft.audit("run.swept", who=draft.event.source, record=run.record, run=run.id, note=f"{count} records")
    draft.moved[run.id] = None


# ---- the whole follows its parts -----------------------------------------------------------------------------------


def settle(draft: Draft) -> None:
    """Bring every fan-out of which a part has moved up to date; what that starts moves further parts."""
    while draft.moved:
        run = draft.run(draft.moved.popitem()[0])
        if run is not None and run.state not in (RunState.CANCELLED, RunState.ROLLED_BACK):
            _settle(draft, run)


def _settle(draft: Draft, run: Run) -> None:
    summed = {name: _summed(run, step, draft.now) for name, step in run.steps.items()}
    run = replace(run, steps=summed) if summed != run.steps else run
    draft.put(run)
    if run.loaded:
        for name in flow.doomed(run.steps):
            skipped = replace(run.steps[name], state=StepState.SKIPPED, problems=("a step it follows failed",))
            run = steps.put_step(draft, run, skipped)
        for name in flow.ready(run.steps):
            if run.steps[name].gather is not None:
                _gather(draft, draft.run(run.id) or run, run.steps[name])
    run = draft.run(run.id) or run
    if run.id not in draft.moved:
        _bring_to_state(draft, run)


def _summed(run: Run, step: Step, now: float) -> Step:
    if step.gather is None and not run.loaded and step.name not in run.tally:
        return step
    if step.gather is not None and step.name not in run.tally:
        return step  # its time has not come, or there was nothing to gather
    return rules.summed(step, run.tally.get(step.name, {}), now)


def _bring_to_state(draft: Draft, run: Run) -> None:
    effects = ("parts",) if rules.open_(run.tally) else ()
    waits_for = ("parts",) if rules.held(run.tally) else ()
    state = flow.run_state(run.steps, effects, waits_for, run.loaded)
    if state is run.state:
        return
    if state in steps.ENDED:
        steps.finish(draft, run, state)
    else:
        draft.put(replace(run, state=state, finished_at=None))


# ---- gathering -----------------------------------------------------------------------------------------------------


def _gather(draft: Draft, run: Run, step: Step) -> None:
    """Everything it follows is over for every record: one call for each group. What a person is asked about a record
    keeps no group waiting; the record is in it as it stands."""
    groups = _groups(draft, run, step)
    if not groups:
        why = "no record has an open flag" if step.when else "there are no records"
        done = replace(step, state=StepState.SKIPPED, because=why, started_at=draft.now, finished_at=draft.now)
        steps.put_step(draft, run, done)
        draft.moved[run.id] = None
        return
    part_of = {name: ids.part_id(run.id, GATHERED, step.name, name) for name in groups}
    draft.need("run", part_of.values())
    draft.need("context", groups)
    pages = [draft.page(id_) for id_ in jobs.page_ids(run)]
    for name, members in groups.items():
        if draft.run(part_of[name]) is None:
            _know(draft, name, pages)
            alone = replace(step, after=(), state=StepState.PENDING, attempt=0, started_at=None, finished_at=None)
            part = _new(draft, run, part_of[name], name, {step.name: alone})
            steps.advance(draft, replace(part, members=tuple(members)))


def _groups(draft: Draft, run: Run, step: Step) -> dict[str, list[str]]:
    """What each group is gathered by -> its records, in the order of the sweep."""
    page_ids = jobs.page_ids(run)
    draft.need("page", page_ids)
    pages = [draft.page(id_) for id_ in page_ids]
    draft.need("context", [record for page in pages for record in page.records])
    workflow = draft.rulebook.workflows.get(run.workflow)
    field = next((s.gather_field for s in workflow.steps if s.name == step.name), None) if workflow else None
    groups: dict[str, list[str]] = {}
    for page in pages:
        for record, roles in page.records.items():
            context = draft.context(record)
            if step.when == "flagged" and not context.flags:
                continue
            by = step.gather or "all"
            values = {name: held.value for name, held in context.fields.items()}
            name = run.record if by == "all" else rules.group_of(by, roles, values, field)
            groups.setdefault(name, []).append(record)
    return groups


def _know(draft: Draft, name: str, pages: list[Page]) -> None:
    """A group may stand for a record of the CRM; what stands for none lives in its context only."""
    if draft.context(name).known:
        return
    seen = next((page.seen[name] for page in pages if name in page.seen), None)
    if seen is None:
        draft.put(replace(draft.context(name), known=True, local=draft.rulebook.has_crm))
    else:
        related.fold(draft, name, seen)


# ---- all parts, page by page ---------------------------------------------------------------------------------------


def walked(draft: Draft, rest: str) -> None:
    """The alarm of one page: `rest` is "verb|run|page|by"."""
    verb, run_id, number, by = rest.split("|", 3)
    run = draft.run(run_id)
    if run is None:
        return
    pages = jobs.page_ids(run)
    if int(number) < len(pages):
        records = draft.page(pages[int(number)]).records
        _each(draft, verb, by, [ids.part_id(run.id, record) for record in records])
        draft.timer(steps.walk(run, verb, by, int(number) + 1), draft.now)
        return
    for step in run.steps.values():
        if step.gather is not None and step.name in run.tally:
            groups = _groups(draft, run, step)
            _each(draft, verb, by, [ids.part_id(run.id, GATHERED, step.name, name) for name in groups])


def _each(draft: Draft, verb: str, by: str, part_ids: list[str]) -> None:
    draft.need("run", part_ids)
    parts = [part for id_ in part_ids if (part := draft.run(id_)) is not None]
    draft.need("context", [part.record for part in parts])
    for part in parts:
        if verb == "cancel":
            runs.cancel(draft, part, by)
        else:
            runs.retry(draft, part, by)
