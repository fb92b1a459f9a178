"""What the writer and the notifier report: an intent's way to its end, and a notice's."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import echoes, effects, ids, rollback, steps
from revops_lite.engine.state import Draft, over
from revops_lite.models import (
    Context,
    FieldValue,
    Intent,
    IntentState,
    OutNotice,
    Reason,
    Touch,
    Write,
    WriteState,
)
from revops_lite.values import finite, replace, same


def _open(draft: Draft) -> Intent | None:
    """The intent an event is about, with all it touches; None where the report counts no more."""
    intent = draft.intent(str(draft.event.data["intent"]))
    if intent is None or not _counts(draft, intent):
        return None
    draft.need("write", intent.writes.values())
    draft.need("context", [intent.record])
    draft.need("intent", draft.context(intent.record).intents)
    draft.run(intent.run)
    return intent


def _counts(draft: Draft, intent: Intent) -> bool:
    """Whether a report is about the call that is awaited. It is not where the intent has ended, nor where others have
    gone on with it since: then it is the word of a writer that slept meanwhile, and has been replaced.

    That its call was applied is worth knowing even so: it settles a doubt, or tells of a call too many.
    """
    told = draft.event.data
    behind = intent.passes - int(told.get("pass", intent.passes))
    ended = over(intent)
    if not told.get("called"):
        return not ended and behind == 0
    if told.get("keyed") or behind == 0:
        return not ended
    if behind == 1 and (ended or intent.state is IntentState.IN_DOUBT):
        return not ended  # the doubt was about this very call; or it is what has ended the intent
    if intent.tries > 1 or intent.state is not IntentState.APPLIED:  # else this one call has been read back already
        _late(draft, intent)
    return False


def _late(draft: Draft, intent: Intent) -> None:
    """A call came through after it had been read back as not applied: the CRM took the values once too often."""
    for name, value in intent.values.items():
        draft.audit(
            "write.late",
            who=intent.agent,
            record=intent.record,
            run=intent.run,
            field=name,
            after=value,
            note=intent.id,
        )
    key = f"late|{draft.event.id}"
    subject = f"A call to the CRM came late: {intent.record}"
    body = (
        f"{intent.agent}'s values for {', '.join(intent.values)} were written a second time, by a controller that had "
        "been replaced. If somebody changed them in between, that change is gone: look at the record in the CRM."
    )
    draft.put(OutNotice(ids.notice_id(key), key, draft.rulebook.ops_channel, subject, body, draft.now, None))


def _heard(intent: Intent) -> Intent:
    return replace(intent, passes=intent.passes + 1)


def _mark(draft: Draft, intent: Intent, fields: list[str], state: WriteState, note: str = "") -> list[Write]:
    marked = []
    for name in fields:
        write = draft.write(intent.writes[name])
        if write is not None:
            write = replace(write, state=state, note=note or write.note)
            draft.put(write)
            marked.append(write)
    return marked


def sending(draft: Draft) -> None:
    """The call is about to be made: the before-image is safe first."""
    if (intent := _open(draft)) is None:
        return
    seen = {**intent.expected, **draft.event.data.get("before", {})}  # what the writer saw counts from here on
    before = {name: seen.get(name) for name in intent.values}
    tries, at = intent.tries + 1, draft.event.time
    draft.put(replace(intent, state=IntentState.SENDING, tries=tries, expected=before, sent_at=at, taken=False))
    for write in _mark(draft, intent, list(intent.values), WriteState.SENDING):
        draft.put(replace(write, before=before[write.field]))
    draft.audit("write.sending", record=intent.record, run=intent.run, note=intent.id, after=intent.values)


def applied(draft: Draft) -> None:
    if (intent := _open(draft)) is None:
        return
    already = bool(draft.event.data.get("already"))  # it stood in the CRM before we called: not our write
    if already:  # so nothing of ours has met anybody's edit
        intent = replace(intent, unseen={}, crossed={})
    if echoes.unclear(draft, intent):
        _look_again(draft, intent, "applied, and a person edited it meanwhile: to be looked at")
        return
    state = WriteState.SUPERSEDED if already else WriteState.APPLIED
    _mark(draft, intent, list(intent.values), state, "it stood there already" if already else "")
    context = draft.context(intent.record)
    fields = dict(context.fields)
    for name, write in intent.writes.items():
        value = fields.get(name)
        if value is not None and value.pending == write:
            fields[name] = replace(value, pending=None, at=draft.now)
    draft.put(replace(context, fields=fields))
    for name, value in intent.values.items():
        draft.audit(
            "write.needless" if already else "write.applied",
            who=intent.agent,
            record=intent.record,
            run=intent.run,
            field=name,
            before=intent.expected.get(name),
            after=value,
            note=intent.id,
        )
    intent = replace(intent, compared=bool(draft.event.data.get("compared")))
    _end(draft, intent, IntentState.APPLIED)
    echoes.confirmed(draft, intent)
    _roll_on(draft, intent)


def _look_again(draft: Draft, intent: Intent, why: str) -> None:
    """The CRM has taken the call; what stands there now is for the writer to see."""
    look = replace(_heard(intent), state=IntentState.IN_DOUBT, settle_until=draft.now, due=draft.now, taken=True)
    draft.put(look)
    draft.audit("write.doubted", record=intent.record, run=intent.run, note=f"{intent.id}: {why}")


def _roll_on(draft: Draft, intent: Intent) -> None:
    """A rollback that has arrived ends the writes it undoes; a write that was to be undone is undone now."""
    for id_ in intent.writes.values():
        write = draft.write(id_)
        if write is not None and write.undoes:
            rollback.undone(draft, write.undoes, write.agent.removeprefix("rollback:"))
        if write is not None and write.undo and write.state is WriteState.APPLIED:
            rollback.undo(draft, [write], write.undo, f"{write.id}|undo")


def deferred(draft: Draft) -> None:
    """Certainly not applied, and worth another try at `retry_at`."""
    if (intent := _open(draft)) is None:
        return
    why = str(draft.event.data.get("why", ""))
    due = finite(draft.event.data.get("retry_at") or draft.now)
    doubt = bool(draft.event.data.get("doubt"))
    if doubt and intent.taken:
        _look_again(draft, intent, "it had been applied, as the CRM has told meanwhile: to be looked at")
        return
    doubted = intent.doubted or doubt
    heard = _heard(intent)
    draft.put(replace(heard, state=IntentState.PLANNED, due=due, settle_until=None, note=why, doubted=doubted))
    _mark(draft, intent, list(intent.values), WriteState.PLANNED, why)
    draft.audit("write.deferred", record=intent.record, run=intent.run, note=f"{intent.id}: {why}")


def doubted(draft: Draft) -> None:
    """Nobody knows whether it was applied: settle, then read back."""
    if (intent := _open(draft)) is None:
        return
    until, why = finite(draft.event.data["settle_until"]), str(draft.event.data.get("why", ""))
    heard = _heard(intent)
    draft.put(replace(heard, state=IntentState.IN_DOUBT, settle_until=until, due=until, note=why, doubted=True))
    draft.audit("write.doubted", record=intent.record, run=intent.run, note=f"{intent.id}: {why}")


def failed(draft: Draft) -> None:
    """The CRM refused it for good: the old values stand again, and a person is asked."""
    if (intent := _open(draft)) is None:
        return
    why = str(draft.event.data.get("why", "the CRM refused it"))
    back = {name: intent.expected.get(name) for name in intent.values}
    _take_back(draft, intent, back, Reason.WRITE_FAILED, WriteState.FAILED, why, writer="crm")


def conflicted(draft: Draft) -> None:
    """Other values than expected stand in the CRM: they stay, and a person is asked; the rest of the call goes on."""
    if (intent := _open(draft)) is None:
        return
    found = {name: value for name, value in draft.event.data["current"].items() if name in intent.values}
    doubt = bool(draft.event.data.get("in_doubt"))
    reason = Reason.IN_DOUBT if doubt else Reason.HUMAN_EDIT
    if intent.agent.startswith("rollback:"):
        reason = Reason.ROLLBACK
    why = "the CRM holds neither the old nor the new value" if doubt else "somebody changed it in the CRM meanwhile"
    for name, value in found.items():
        draft.audit(
            "write.conflicted",
            who=intent.agent,
            record=intent.record,
            run=intent.run,
            field=name,
            before=intent.expected.get(name),
            after=value,
            rule=reason,
            note=intent.id,
        )
    _take_back(draft, intent, found, reason, WriteState.CONFLICT, why, writer="person")


def stopped(draft: Draft) -> None:
    """The writer's gate refused: a hold came between decision and call, or the hour's budget is used up."""
    if (intent := _open(draft)) is None:
        return
    data = draft.event.data
    reason = Reason(data["reason"])
    names = [name for name in data.get("fields") or intent.values if name in intent.values]
    seen = {**intent.expected, **data.get("seen", {})}  # the writer has looked: a person's value may stand there by now
    back = {name: seen.get(name) for name in names}
    _take_back(draft, intent, back, reason, WriteState.WITHHELD, str(data.get("why", reason)), writer="crm")


def _take_back(
    draft: Draft, intent: Intent, back: dict[str, Any], reason: Reason, state: WriteState, why: str, writer: str
) -> None:
    """These fields do not go out: `back` stands in the context again, each becomes a review item.

    Later calls that build on ours have to expect what stands instead; not so where a person's value stands: they shall
    find it unexpected, too, and ask.
    """
    context = draft.context(intent.record)
    fields, version = dict(context.fields), context.version + 1
    looked = min(draft.event.time, draft.now)  # what the CRM tells of the time since then is newer
    for name, value in back.items():
        held = fields.get(name)
        if held is not None and held.pending == intent.writes[name]:
            whose = writer if same(value, intent.expected.get(name)) else "person"
            fields[name] = FieldValue(value, whose, 1.0, looked, version)
            edit = (intent.unseen | intent.crossed).get(name)
            if edit is not None and writer != "person":  # nothing of ours came: the edit stands
                fields[name] = FieldValue(edit[0], "person", 1.0, edit[1], version)
    draft.put(replace(context, fields=fields, version=version))
    if intent.doubted or draft.event.data.get("in_doubt"):  # it may have arrived, or do so yet: the feed will tell
        given_up = {name: intent.values[name] for name in back}
        draft.touch(intent.record, Touch(draft.now, intent.agent, intent.run, "write.given_up", given_up))
    run = draft.run(intent.run)
    for write in _mark(draft, intent, list(back), state, why):
        write, item = effects.withhold(draft, replace(write, before=back[write.field]), reason, why)
        draft.put(replace(write, state=state))
        if run is not None:
            run = replace(run, reviews=(*run.reviews, item))
    if run is not None:
        draft.put(run)
    if writer != "person":
        _rebase(draft, intent, {n: value for n, value in back.items() if same(value, intent.expected.get(n))})
    rest = {name: value for name, value in intent.values.items() if name not in back}
    if rest:
        left = replace(
            _heard(intent),
            values=rest,
            expected={name: intent.expected.get(name) for name in rest},
            writes={name: intent.writes[name] for name in rest},
            state=IntentState.PLANNED,
            doubted=intent.doubted or bool(draft.event.data.get("in_doubt")),
        )
        draft.put(left)
        _mark(draft, left, list(rest), WriteState.PLANNED)
        return
    _end(draft, intent, IntentState.CONFLICT if state is WriteState.CONFLICT else IntentState.FAILED)


def _rebase(draft: Draft, intent: Intent, standing: dict[str, Any]) -> None:
    """The next call of the same record that expected our values has to expect what stands instead."""
    context: Context = draft.context(intent.record)
    open_names = dict(standing)
    turn = context.intents.index(intent.id) if intent.id in context.intents else 0
    for other_id in context.intents[turn:]:  # by their turn: a clock that was set back says nothing about it
        other = draft.intent(other_id)
        if other is None or other.id == intent.id or over(other):
            continue
        touched = {name: value for name, value in open_names.items() if name in other.expected}
        if touched:
            draft.put(replace(other, expected={**other.expected, **touched}))
        for name in touched:
            del open_names[name]


def _end(draft: Draft, intent: Intent, state: IntentState) -> None:
    draft.put(replace(_heard(intent), state=state, settle_until=None))
    context = draft.context(intent.record)
    draft.put(replace(context, intents=tuple(other for other in context.intents if other != intent.id)))
    if state is IntentState.APPLIED:
        touch = Touch(draft.now, intent.agent, intent.run, "write.applied", dict(intent.values))
        draft.touch(intent.record, touch)
    _settle_run(draft, intent.run, intent.id)


def _settle_run(draft: Draft, run_id: str | None, effect: str) -> None:
    run = draft.run(run_id)
    if run is None or effect not in run.effects:
        return
    run = replace(run, effects=tuple(other for other in run.effects if other != effect))
    draft.put(run)
    steps.settle(draft, run)


# ---- notices -----------------------------------------------------------------------------------------------------


def notice_sent(draft: Draft) -> None:
    _notice(draft, "sent")


def notice_failed(draft: Draft) -> None:
    _notice(draft, "failed" if draft.event.data.get("final") else "planned")


def _notice(draft: Draft, state: str) -> None:
    notice = draft.notice(str(draft.event.data["notice"]))
    if notice is None or notice.state != "planned":
        return
    why = str(draft.event.data.get("error") or "")
    due = finite(draft.event.data.get("retry_at") or 0.0)
    draft.put(replace(notice, state=state, tries=notice.tries + 1, due=due, note=why))
    draft.audit(f"notice.{state if state != 'planned' else 'deferred'}", run=notice.run, note=f"{notice.subject} {why}")
    if state != "planned":
        _settle_run(draft, notice.run, notice.id)
