"""Records: what the CRM shows of them, or an event brings, becomes their context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from revops_lite.engine import echoes
from revops_lite.engine.state import Draft
from revops_lite.models import CrmRecord, FieldValue, Hold, Run
from revops_lite.rules import merge
from revops_lite.values import finite, replace, same


def crm_record(name: str, raw: Mapping[str, Any]) -> CrmRecord:
    kind, _, id_ = name.partition(":")
    return CrmRecord(
        kind, id_, raw["values"], finite(raw["created_at"]), finite(raw["updated_at"]), raw.get("edited") or {}
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
    if hold_field and hold_field in record.values:  # by what is known now: what was shown may be older
        _hold_by_field(draft, record.record, hold_field, truthy(after.fields[hold_field].value))


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


def observe(draft: Draft) -> bool:
    """The poller saw a record change: what we know of it follows, if we know it at all.

    False where it was nothing but our own writes coming back.
    """
    event = draft.event
    context = draft.context(event.subject)
    changed = event.data.get("values")
    if not context.known or not changed:
        return True
    standing, asked_at = event.data.get("standing") or {}, finite(event.data.get("asked_at") or event.time)
    edited: dict[str, float] = {}
    if event.data.get("person"):
        echoes.crossed(draft, changed, standing, asked_at)
        edited = {name: event.time for name, value in changed.items() if same(standing.get(name, value), value)}
        changed = {name: standing.get(name, value) for name, value in changed.items()}
    elif not (changed := echoes.others(draft, changed)):
        return False
    context = draft.context(event.subject)
    kind, _, id_ = event.subject.partition(":")
    read_before = {n: f.value for n, f in context.fields.items() if f.value is not None}
    fold(draft, CrmRecord(kind, id_, {**read_before, **changed}, event.time, event.time, edited), asked_at)
    return True
