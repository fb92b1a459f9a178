"""Rollback: the write protocol backwards. New intents restore before-images where the value is still ours; the rest
is a question for a person. Asking twice changes nothing: what has been undone is no longer applied."""

from __future__ import annotations

from collections.abc import Sequence

from revops_lite.engine import effects, ids
from revops_lite.engine.state import Draft
from revops_lite.models import Reason, Review, RunState, Write, WriteState
from revops_lite.rules import governance
from revops_lite.rules import rollback as rules
from revops_lite.values import replace, same

UNDER_WAY = frozenset({WriteState.PLANNED, WriteState.SENDING})
ON_HOLD = "on hold: "  # how the question about a held value begins
ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED})


def requested(draft: Draft) -> None:
    """`rollback.requested`: data {writes: ids, by}. What is not, and will not be, in the CRM is passed over."""
    wanted = [str(id_) for id_ in draft.event.data["writes"]]
    by = str(draft.event.data.get("by", draft.event.source))
    draft.need("write", wanted)
    found = [write for id_ in wanted if (write := draft.write(id_)) is not None]
    draft.need("context", {write.record for write in found})
    draft.audit("rollback.requested", who=by, note=f"{len(wanted)} writes")
    undo(draft, found, by, draft.event.id)


def undo(draft: Draft, writes: Sequence[Write], by: str, cause: str) -> None:
    """Plan the way back of these writes, record by record. Those still under way follow once they are applied."""
    for write in writes:
        if write.state in UNDER_WAY:
            draft.put(replace(write, undo=by))
    applied = [write for write in writes if write.state is WriteState.APPLIED]
    for record in dict.fromkeys(write.record for write in applied):
        _record(draft, record, [write for write in applied if write.record == record], by, cause)


def _record(draft: Draft, record: str, writes: list[Write], by: str, cause: str) -> None:
    context = draft.context(record)
    reverts, lost = rules.plan(writes, {name: field.value for name, field in context.fields.items()})
    holds = governance.active_holds(draft.holds(record), draft.now)
    by_id = {write.id: write for write in writes}
    planned: list[Write] = []
    for revert in reverts:
        newest = by_id[revert.undoes[0]]
        if "*" in holds or revert.field in holds:
            hold = holds.get("*") or holds[revert.field]
            _ask(draft, newest, revert.current, revert.target, f"{ON_HOLD}{hold.reason}", by)
        elif same(revert.current, revert.target):
            undone(draft, revert.undoes, by)
        else:
            planned.append(_write(draft, newest, revert, by, cause))
    for write in lost:
        standing = context.fields[write.field].value if write.field in context.fields else None
        _ask(
            draft, write, standing, write.before, "somebody has changed it since; our value no longer stands there", by
        )
    if planned and effects.plan(draft, record, f"rollback:{by}", planned, None, cause, "rollback") is None:
        for write in planned:
            undone(draft, write.undoes, by)


def _write(draft: Draft, newest: Write, revert: rules.Revert, by: str, cause: str) -> Write:
    write = Write(
        id=ids.write_id("", "rollback", cause, newest.record, revert.field),
        record=newest.record,
        field=revert.field,
        before=revert.current,
        after=revert.target,
        agent=f"rollback:{by}",
        confidence=1.0,
        run=newest.run,
        state=WriteState.PLANNED,
        at=draft.now,
        rule=f"rollback of {', '.join(revert.undoes)}",
        undoes=revert.undoes,
    )
    draft.audit(
        "rollback.planned",
        who=by,
        record=write.record,
        run=write.run,
        field=write.field,
        before=write.before,
        after=write.after,
        note=write.rule,
    )
    return write


def _ask(draft: Draft, write: Write, standing: object, target: object, why: str, by: str) -> None:
    """The same question is asked once, however often the rollback is."""
    item = Review(
        id=ids.review_id(write.id, Reason.ROLLBACK, repr(standing)),
        reason=Reason.ROLLBACK,
        record=write.record,
        run=write.run,
        agent=write.agent,
        created_at=draft.now,
        field=write.field,
        step=write.step,
        current=standing,
        proposed=target,
        confidence=write.confidence,
        because=f"rollback asked by {by}",
        problems=(why,),
        write=write.id,
    )
    if draft.review(item.id) is None:
        effects.ask(draft, item)


def undone(draft: Draft, writes: Sequence[str], by: str) -> None:
    """These writes no longer stand in the CRM. A run none of whose writes stands there any more is rolled back."""
    draft.need("write", writes)
    runs: dict[str, None] = {}
    for id_ in writes:
        write = draft.write(id_)
        if write is None or write.state is not WriteState.APPLIED:
            continue
        draft.put(replace(write, state=WriteState.ROLLED_BACK, note=f"rolled back by {by}"))
        draft.audit(
            "write.rolled_back",
            who=by,
            record=write.record,
            run=write.run,
            field=write.field,
            before=write.after,
            after=write.before,
            note=write.id,
        )
        if write.run:
            runs[write.run] = None
    for run_id in runs:
        _run_undone(draft, run_id, by)


def _run_undone(draft: Draft, run_id: str, by: str) -> None:
    run = draft.run(run_id)
    if run is None or run.state not in ENDED:
        return
    draft.need("write", run.writes)
    own = [write for id_ in run.writes if (write := draft.write(id_)) is not None]
    if all(write.state not in (WriteState.APPLIED, *UNDER_WAY) for write in own):
        draft.put(replace(run, state=RunState.ROLLED_BACK, note=f"rolled back by {by}; it had ended {run.state}"))
        draft.audit("run.rolled_back", who=by, record=run.record, run=run.id)
