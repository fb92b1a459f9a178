"""What travels to an agent: the snapshot of a record, of a group, or of several records that share one job."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import ids
from revops_lite.engine.state import Call, Draft
from revops_lite.models import Context, Job, Page, Run, Step
from revops_lite.policy import AgentPolicy
from revops_lite.rules import dedupe

HISTORY_SHOWN = 20
HISTORY_OF_RELATED = 5  # in a fan-out: they travel by the ten thousand
FROM_OUTSIDE = ("crm", "person", "event")  # writers of values that nobody wrote here
TOGETHER = 25  # records of a fan-out in one job


def job(draft: Draft, run: Run, step: Step) -> Job:
    """One call of one agent: on the run's record, or on all members of a group."""
    snapshot = _own(draft, run)
    if run.members:
        pages = [draft.page(id_) for id_ in page_ids(_whole(draft, run))]
        page_of = {record: page for page in pages for record in page.records}
        snapshot["many"] = [of_record(draft, record, page_of[record]) for record in run.members]
    else:
        related = {**dict.fromkeys(run.include, ()), **run.related}  # a role without records is there all the same
        snapshot["related"] = {
            role: [shown(draft.context(record), HISTORY_SHOWN) for record in records]
            for role, records in related.items()
        }
    agent = draft.rulebook.agents[step.agent]
    return _job(run, step, agent, ids.job_id(run.id, step.agent, step.name, step.attempt), snapshot)


def page_ids(run: Run) -> list[str]:
    """The pages of records that a fan-out has."""
    return [f"{run.id}.p{number}" for number in range(run.pages)]


def _own(draft: Draft, run: Run) -> dict[str, Any]:
    """The run's record, with what holds for the whole call."""
    return {**shown(draft.context(run.record), HISTORY_SHOWN), **_frame(draft, run)}


def _frame(draft: Draft, run: Run) -> dict[str, Any]:
    as_of = _whole(draft, run).as_of if run.part_of else None
    return {"now": draft.now if as_of is None else as_of, "deadline": run.deadline_at}


def _whole(draft: Draft, part: Run) -> Run:
    run = draft.run(part.part_of)
    assert run is not None, "a part does not outlive its whole"
    return run


def _job(run: Run, step: Step, agent: AgentPolicy, id_: str, snapshot: dict[str, Any]) -> Job:
    return Job(
        id=id_,
        queue=agent.queue,
        run=run.id,
        step=step.name,
        attempt=step.attempt,
        agent=step.agent,
        record=run.record,
        timeout=agent.timeout,
        attempts=agent.attempts,
        snapshot={**snapshot, "settings": dict(agent.settings)},
    )


# ---- records of a fan-out ------------------------------------------------------------------------------------------


def together(draft: Draft) -> list[Job]:
    """The calls of one decision, several in a job. One with which a host has died goes alone."""
    found: list[Job] = []
    by_step: dict[tuple[str, str], list[Call]] = {}
    for call in draft.calls:
        by_step.setdefault((call.part.part_of or "", call.step.name), []).append(call)
    for calls in by_step.values():
        alone = [call for call in calls if call.step.alone]
        others = [call for call in calls if not call.step.alone]
        chunks = [[call] for call in alone] + [others[at : at + TOGETHER] for at in range(0, len(others), TOGETHER)]
        found += [_chunk(draft, chunk) for chunk in chunks]
    return found


def _chunk(draft: Draft, calls: list[Call]) -> Job:
    run, step = _whole(draft, calls[0].part), calls[0].step
    agent = draft.rulebook.agents[step.agent]
    turns = [f"{call.part.id}|{call.step.name}|{call.step.attempt}" for call in calls]
    id_ = f"{run.id}-{ids.agent_tag(step.agent)}-{ids.derived('c', *turns)}"
    each = [
        {
            "about": {
                "run": call.part.id,
                "record": call.part.record,
                "page": call.part.page,
                "step": call.step.name,
                "attempt": call.step.attempt,
            },
            **call.snapshot,
        }
        for call in calls
    ]
    frame = {**_frame(draft, calls[0].part), "stop_after": agent.breaker.failures}
    return _job(run, step, agent, id_, {"each": each, **frame})


def of_record(draft: Draft, record: str, page: Page) -> dict[str, Any]:
    """A record of a fan-out, with what was related to it when it was swept."""
    snapshot = shown(draft.context(record), HISTORY_SHOWN)
    snapshot["related"] = {
        role: [page.seen[name].shown for name in names] for role, names in page.records[record].items()
    }
    return snapshot


def shown(context: Context, history: int) -> dict[str, Any]:
    """A context as it travels: what there is none of is left out."""
    kind, _, id_ = context.record.partition(":")
    values = {name: field.value for name, field in context.fields.items() if field.value is not None}
    snapshot: dict[str, Any] = {"kind": kind, "id": id_, "version": context.version, "values": values}
    written = {
        name: (field.writer, field.at) for name, field in context.fields.items() if field.writer not in FROM_OUTSIDE
    }
    if written:
        snapshot["written"] = written
    if context.flags:
        flags = context.flags.values()
        snapshot["flags"] = [{"code": f.code, "severity": f.severity, "detail": f.detail} for f in flags]
        snapshot["told"] = dedupe.told(context.told, context.flags)
    if lines := context.history[-history:]:
        snapshot["history"] = [
            {
                "at": t.at,
                "agent": t.agent,
                "run": t.run,
                "outcome": t.outcome,
                "fields": t.fields,
                "confidence": t.confidence,
                "note": t.note,
            }
            for t in lines
        ]
    return snapshot
