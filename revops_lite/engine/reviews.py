"""What people decide: items in quarantine, and holds. The first decision wins; approval never bypasses a hold."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import answers, effects, ids, runs, steps, waits
from revops_lite.engine.state import Draft
from revops_lite.models import (
    Event,
    Hold,
    OutNotice,
    Reason,
    Review,
    ReviewState,
    RunState,
    Touch,
    Write,
    WriteState,
)
from revops_lite.rules import checkpoint, governance
from revops_lite.values import finite, replace, same


def decided(draft: Draft) -> None:
    """`review.decided`: data {review, decision: approve|edit|reject|retry, values, by, note}."""
    data = draft.event.data
    item = draft.review(str(data["review"]))
    by = str(data.get("by", draft.event.source))
    if item is None:
        draft.audit("review.unknown", who=by, note=str(data["review"]))
        return
    if item.state is not ReviewState.PENDING:
        draft.audit("review.late", who=by, record=item.record, run=item.run, field=item.field, note=item.id)
        return
    waits.know(draft, [item])
    decision = str(data["decision"])
    problem = _decide(draft, item, decision, by)
    if problem:
        draft.put(replace(item, note=problem))
        draft.audit("review.refused", who=by, record=item.record, run=item.run, field=item.field, note=problem)


def _decide(draft: Draft, item: Review, decision: str, by: str) -> str:
    """Carry a decision out. Returns why it cannot be, or an empty string."""
    match decision, item.field is None:
        case "approve" | "edit", False:
            return _approve_field(draft, item, decision, by)
        case "reject", False:
            return _reject_field(draft, item, by)
        case "retry", False:
            return "only a whole step can be retried; approve, edit or reject this value"
        case _ if item.reason is Reason.DEAD_LETTER:
            return _dead_letter(draft, item, decision, by)
        case "edit", True if item.reason is Reason.CHECKPOINT:
            return _edit_step(draft, item, by)
        case "retry", True:
            return _retry_step(draft, item, by)
        case "reject", True:
            return _reject_step(draft, item, by)
    return f"{decision} does not fit an item of reason {item.reason}; edit, retry or reject it"


def _close(draft: Draft, item: Review, state: ReviewState, by: str) -> Review:
    note = str(draft.event.data.get("note") or "")
    item = replace(item, state=state, decided_by=by, decided_at=draft.now, note=note)
    draft.put(item)
    draft.timer(f"expire|{item.id}", None)
    draft.audit(
        "review.decided",
        who=by,
        record=item.record,
        run=item.run,
        field=item.field,
        before=item.current,
        after=item.proposed,
        rule=state,
        note=note,
    )
    draft.touch(item.record, Touch(draft.now, f"review:{by}", item.run, f"review.{state}", note=note or item.reason))
    return item


# ---- one field ---------------------------------------------------------------------------------------------------


def _approve_field(draft: Draft, item: Review, decision: str, by: str) -> str:
    field = item.field or ""
    values = draft.event.data.get("values") or {}
    if decision == "edit" and list(values) != [field]:
        return f"this item is about {field}: give --set {field}=VALUE"
    value = values[field] if decision == "edit" else item.proposed
    holds = governance.active_holds(draft.holds(item.record), draft.now)
    if "*" in holds or field in holds:
        return f"{item.record} is on hold ({(holds.get('*') or holds[field]).reason}); release the hold first"
    context = draft.context(item.record)
    standing = context.fields[field].value if field in context.fields else None
    if not same(standing, item.current):
        return _come_back(draft, item, standing)
    problems = _against_schema(draft, item, {field: value}) if decision == "edit" else ()
    if problems:
        return "; ".join(problems)
    state = ReviewState.EDITED if decision == "edit" else ReviewState.APPROVED
    _close(draft, item, state, by)
    _write_for(draft, item, value, by)
    return ""


def _come_back(draft: Draft, item: Review, standing: Any) -> str:
    """The value that the reviewer saw is gone: the same question again, with what stands now."""
    by = str(draft.event.data.get("by", draft.event.source))
    again = replace(
        item,
        id=ids.review_id(item.id, repr(standing)),
        current=standing,
        created_at=draft.now,
        note=f"the value changed since {item.id} was seen",
    )
    effects.close(draft, item, by, again.id)
    effects.ask(draft, again)
    context = draft.context(item.record)
    asked = context.proposed.get(item.field or "")
    if asked is not None and asked.review == item.id:  # or who wants the same would ask a second time
        proposed = {**context.proposed, item.field or "": replace(asked, review=again.id)}
        draft.put(replace(context, proposed=proposed))
    for run in waits.askers(draft, item):
        followed = tuple(again.id if other == item.id else other for other in run.waits_for)
        draft.put(replace(run, reviews=(*run.reviews, again.id), waits_for=followed))
    return ""


def _against_schema(draft: Draft, item: Review, values: dict[str, Any]) -> tuple[str, ...]:
    """An edited value has to pass the checkpoint as the agent's would; fields it does not touch do not count."""
    agent = draft.rulebook.agents.get(item.agent)
    kind = item.record.partition(":")[0]
    if agent is None or agent.schema is None:
        return ()
    found = checkpoint.check(values, agent.schema, draft.rulebook.governance.fields, kind)
    return tuple(p for p in found.problems if p.partition(":")[0].strip() in values)


def _write_for(draft: Draft, item: Review, value: Any, by: str) -> None:
    """Plan the write a person stands for."""
    old = draft.write(item.write) if item.write else None
    write = Write(
        id=ids.write_id(item.run or "", item.step or "", item.id, item.record, item.field or ""),
        record=item.record,
        field=item.field or "",
        before=item.current,
        after=value,
        agent=item.agent,
        confidence=1.0,
        run=item.run,
        state=WriteState.PLANNED,
        at=draft.now,
        rule=f"approved by {by}",
        step=item.step,
        because=item.because,
    )
    if old is not None and old.state is WriteState.WITHHELD:
        draft.put(replace(old, state=WriteState.SUPERSEDED, note=f"decided by {by}"))
    intent = effects.plan(draft, item.record, f"review:{by}", [write], item.run, item.id, "approved")
    run = draft.run(item.run)
    if run is None:
        return
    under_way = (*run.effects, intent) if intent and run.state not in steps.ENDED else run.effects
    draft.put(replace(run, writes=(*run.writes, write.id), effects=under_way))


def _reject_field(draft: Draft, item: Review, by: str) -> str:
    _close(draft, item, ReviewState.REJECTED, by)
    context = draft.context(item.record)
    if item.field in context.proposed and context.proposed[item.field].review == item.id:
        rest = {name: value for name, value in context.proposed.items() if name != item.field}
        draft.put(replace(context, proposed=rest))
    return ""


# ---- a whole step ------------------------------------------------------------------------------------------------


def _edit_step(draft: Draft, item: Review, by: str) -> str:
    """Corrected values go through the same checkpoint; the run goes on as if the agent had said them."""
    run = draft.run(item.run)
    if run is None or item.step not in run.steps or run.state in steps.ENDED:
        return "its run has ended"
    step = run.steps[item.step]
    values: dict[str, Any] = dict(draft.event.data.get("values") or {})
    outputs = [dict(output) for output in item.output] or [{"values": {}}]
    for name, value in values.items():
        owner = next((output for output in outputs if name in (output.get("values") or {})), outputs[0])
        owner["values"] = {**(owner.get("values") or {}), name: value}
        owner["confidence"] = _certain(owner.get("confidence"), name)
    checked, problems = answers.check(draft, run, step, outputs)
    if problems:
        return "; ".join(problems)
    _close(draft, item, ReviewState.EDITED, by)
    run = replace(run, waits_for=tuple(other for other in run.waits_for if other != item.id))
    run = answers.accept(draft, run, step, checked)
    steps.advance(draft, run)
    return ""


def _certain(confidence: Any, name: str) -> dict[str, float]:
    """What a person typed is certain; the rest keeps the agent's own confidence."""
    base = confidence if isinstance(confidence, dict) else {"*": 1.0 if confidence is None else float(confidence)}
    return {**base, name: 1.0}


def _retry_step(draft: Draft, item: Review, by: str) -> str:
    run = draft.run(item.run)
    if run is None or item.step not in run.steps:
        return "its run is gone"
    if run.state in (RunState.CANCELLED, RunState.ROLLED_BACK):
        return f"its run is {run.state}"
    _close(draft, item, ReviewState.RETRIED, by)
    waits = tuple(other for other in run.waits_for if other != item.id)
    run = runs.reopen(draft, run, [item.step], by)
    draft.put(replace(run, waits_for=waits))
    return ""


def _reject_step(draft: Draft, item: Review, by: str) -> str:
    _close(draft, item, ReviewState.REJECTED, by)
    return ""


def _dead_letter(draft: Draft, item: Review, decision: str, by: str) -> str:
    """Retry publishes the event again under a new id; reject drops it."""
    if decision == "reject":
        _close(draft, item, ReviewState.REJECTED, by)
        return ""
    if decision != "retry" or "type" not in (item.proposed or {}):
        return "retry or reject a dead letter"
    _close(draft, item, ReviewState.RETRIED, by)
    run = draft.run(item.run)
    old = item.proposed
    type_, subject, data = old["type"], old["subject"], old["data"]
    if run is not None:
        type_, subject, data = run.trigger.type, run.record, run.seed
    draft.changes.events.append(
        Event(f"{old['id']}|again|{item.id}", type_, subject, "review", draft.now, dict(data), draft.event.id)
    )
    return ""


def digest(draft: Draft) -> None:
    """`digest.due`: data {window, to, subject, text}. What waits is told to a channel, once in each window."""
    data = draft.event.data
    key = f"review-digest|{data['window']}"
    id_ = ids.notice_id(key)
    if draft.notice(id_) is None:
        draft.put(OutNotice(id_, key, str(data["to"]), str(data["subject"]), str(data["text"]), draft.now, None))
        draft.audit("notice.planned", who=draft.event.source, note=str(data["subject"]))


# ---- holds -------------------------------------------------------------------------------------------------------


def hold_placed(draft: Draft) -> None:
    """`hold.placed`: the gate in front of the CRM already knows it; here it becomes everybody's."""
    data, record = draft.event.data, draft.event.subject
    name = str(data.get("field") or "*")
    until = None if data.get("until") is None else finite(data["until"])
    hold = Hold(record, name, str(data["by"]), str(data.get("reason", "")), draft.event.time, until)
    draft.changes.holds[record, name] = hold
    draft.changes.gated.add((record, name))
    draft.timer(f"release|{record}|{name}", hold.until)
    draft.audit("hold.placed", who=hold.by, record=record, field=name, note=hold.reason)


def hold_released(draft: Draft) -> None:
    data, record = draft.event.data, draft.event.subject
    name = str(data.get("field") or "*")
    draft.changes.holds[record, name] = None
    draft.changes.gated.add((record, name))
    draft.timer(f"release|{record}|{name}", None)
    draft.audit("hold.released", who=str(data["by"]), record=record, field=name, note=str(data.get("reason", "")))
