"""Records: what the CRM shows of them, or an event brings, becomes their context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from revops_lite.engine import effects, ids
from revops_lite.engine.state import Draft
from revops_lite.models import Context, CrmRecord, FieldValue, Hold, Reason, Review, Run, Write, WriteState
from revops_lite.rules import merge
from revops_lite.values import replace, same

CLOCKS = 5.0  # seconds by which the CRM's clock may be behind ours, or a read of it


def crm_record(name: str, raw: Mapping[str, Any]) -> CrmRecord:
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


def seed(draft: Draft, run: Run) -> None:
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


def observe(draft: Draft) -> None:
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
    for name in edited:
        _look_for_overwritten(draft, context, name, changed[name])


def _look_for_overwritten(draft: Draft, context: Context, name: str, value: Any) -> None:
    """A person's value that came while one of our calls was on its way may have been replaced by it, where the CRM does
    not compare: whoever reads the changes afterwards is the first to see that. Nobody's edit goes unnoticed."""
    known = context.fields.get(name)
    write = draft.write(known.write) if known is not None and known.write else None
    while write is not None:
        called = write.state in (WriteState.SENDING, WriteState.APPLIED, WriteState.ROLLED_BACK)
        if called and draft.event.time >= write.at - CLOCKS:
            if not same(value, write.before) and not same(value, write.after):
                _ask_about_overwritten(draft, write, value)
            return
        write = draft.write(write.replaces) if write.replaces else None


def _ask_about_overwritten(draft: Draft, write: Write, value: Any) -> None:
    standing = draft.context(write.record).fields[write.field].value
    item = Review(
        id=ids.review_id(write.id, Reason.HUMAN_EDIT, repr(value), repr(draft.event.time)),
        reason=Reason.HUMAN_EDIT,
        record=write.record,
        run=write.run,
        agent=write.agent,
        created_at=draft.now,
        field=write.field,
        step=write.step,
        current=standing,
        proposed=value,
        because=f"{draft.event.data.get('actor')} set it in the CRM while {write.agent} wrote {write.after!r}",
        problems=("our call may have replaced a person's value; approving puts theirs back",),
        write=write.id,
    )
    if same(standing, value) or draft.review(item.id) is not None:
        return
    effects.ask(draft, item)
    run = draft.run(write.run)
    if run is not None:
        draft.put(replace(run, reviews=(*run.reviews, item.id)))
