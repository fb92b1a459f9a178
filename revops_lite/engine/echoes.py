"""A change that the CRM tells of, held against our own writes: their echo, a late one, or a person's edit that crossed.

A CRM that names the write behind each change needs little of this: the poller drops our own. Of the others nothing is
known but the values and the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from revops_lite.engine import effects, ids
from revops_lite.engine.state import Draft
from revops_lite.models import Context, FieldValue, Intent, IntentState, Reason, Review, Touch, Write
from revops_lite.rules.merge import LAG, PERSON
from revops_lite.values import replace, same

SKEW = 5.0  # seconds by which the CRM's clock may be behind ours
SENT = ("write.applied", "write.given_up")  # what may come back from the CRM, of a record's history
CALLED = frozenset({IntentState.SENDING, IntentState.IN_DOUBT})


def others(draft: Draft, changed: dict[str, Any]) -> dict[str, Any]:
    """What is left of a change that nobody says a person made, without what our own calls have brought."""
    context = draft.context(draft.event.subject)
    draft.need("intent", context.intents)
    rest, echoed = {}, []
    for id_ in draft.event.data.get("late", ()):
        note = f"{id_}: the CRM applied it after it had been given up"
        draft.audit("write.late", who=str(draft.event.data.get("actor", "")), record=draft.event.subject, note=note)
    for name, value in changed.items():
        touch = _our_call(draft, context, name, value)
        if touch is None:
            rest[name] = value
        elif _since_then(draft, context, name, touch):
            _late(draft, touch, name, value)
            rest[name] = value
        else:
            echoed.append(name)
    _arrived(draft, context, {name: changed[name] for name in echoed})
    _count(draft, context, echoed)
    _timed(draft, context, echoed)
    return rest


def has_come(intent: Intent, changed: Mapping[str, Any], at: float) -> bool:
    """Whether a change that nobody says a person made, at that time by the CRM's clock, is the call's arrival."""
    recent = intent.sent_at is not None and at >= intent.sent_at - SKEW
    return recent and any(brought(intent, name, value) for name, value in changed.items())


def brought(intent: Intent, name: str, value: Any) -> bool:
    """Whether a value that stands there is one that the call has brought; it brings all of its values or none."""
    ours = name in intent.values and same(value, intent.values[name])
    return ours and not same(value, intent.expected.get(name))


def crossed(draft: Draft, changed: dict[str, Any], standing: dict[str, Any], asked_at: float) -> None:
    """A person's edit that reached the CRM while a call of ours for the same field was on its way there.

    `standing` is what stood there at `asked_at`, when somebody looked.
    """
    context = draft.context(draft.event.subject)
    for name, value in changed.items():
        known = context.fields.get(name)
        if known is None:
            continue
        _before_the_call(draft, known, name, value, standing.get(name, value))
        call = _latest_call(draft, known.write)
        if call is None:
            continue
        write, intent = call
        if same(value, write.before) or same(value, write.after) or same(value, known.value):
            continue
        if intent.state in CALLED:
            draft.put(replace(intent, crossed={**intent.crossed, name: (value, draft.event.time)}))
        elif write.id != known.write:  # what we have planned since was planned without it
            if not intent.compared:
                _ask_which(draft, write, value)
        elif known.pending is None and _came_before(draft, known, write, standing):
            _resolve(draft, intent, write, (value, draft.event.time), standing if asked_at > known.at else {})


def _came_before(draft: Draft, known: FieldValue, write: Write, standing: dict[str, Any]) -> bool:
    """Whether an edit was made before our call had arrived. Where the clocks do not tell, what stands there does."""
    later = draft.event.time - known.at
    return later <= 0 or (later < SKEW and write.field in standing and same(standing[write.field], write.after))


def _before_the_call(draft: Draft, known: FieldValue, name: str, value: Any, stands: Any) -> None:
    """An edit while our call is planned. The writer sees it when it looks, unless it looked just before."""
    write = draft.write(known.pending) if known.pending else None
    intent = draft.intent(write.intent) if write is not None and write.intent else None
    if write is None or intent is None or intent.state is not IntentState.PLANNED:
        return
    unseen = {other: edit for other, edit in intent.unseen.items() if other != name}
    if not same(value, write.before) and same(value, stands):
        unseen[name] = (value, draft.event.time)
    if unseen != intent.unseen:
        draft.put(replace(intent, unseen=unseen))


def unclear(draft: Draft, intent: Intent) -> bool:
    """Whether a call that was applied was crossed by a person's edit, and nobody knows which of them stands."""
    return bool(_crossing(draft, intent)) and not {"standing", "compared"} & draft.event.data.keys()


def confirmed(draft: Draft, intent: Intent) -> None:
    """A call has been applied: the edits that crossed it are taken in, or put before a person."""
    standing = draft.event.data.get("standing", {})
    unheard = {
        name: (value, draft.event.time) for name, value in standing.items() if _replaced(draft, intent, name, value)
    }
    for name, edit in (unheard | _crossing(draft, intent)).items():
        write = draft.write(intent.writes[name])
        if write is not None:
            _resolve(draft, intent, write, edit, standing)


def _replaced(draft: Draft, intent: Intent, name: str, stands: Any) -> bool:
    """Whether the value that was read back is another than ours, while ours is the last that we know of."""
    known = draft.context(intent.record).fields.get(name)
    return known is not None and known.write == intent.writes.get(name) and not same(stands, intent.values[name])


def _crossing(draft: Draft, intent: Intent) -> dict[str, tuple[Any, float]]:
    """The edits that our call did not know of. One that came before it a CRM that compares would have told of."""
    found = {}
    compared = intent.compared or draft.event.data.get("compared")
    for name, edit in (intent.crossed if compared else intent.unseen | intent.crossed).items():
        write = draft.write(intent.writes[name]) if name in intent.writes else None
        if write is not None and not same(write.before, edit[0]):
            found[name] = edit
    return found


def _our_call(draft: Draft, context: Context, name: str, value: Any) -> Touch | None:
    """The latest call of ours that brought this value, at about the time of the change."""
    for id_ in context.intents:
        intent = draft.intent(id_)
        if intent is not None and name in intent.values and same(intent.values[name], value):
            return Touch(draft.now, intent.agent, intent.run, "write.sending", dict(intent.values))
    for touch in reversed(context.history):
        ours = touch.outcome in SENT and name in touch.fields and same(touch.fields[name], value)
        if ours and abs(draft.event.time - touch.at) <= LAG:
            return touch
    return None


def _arrived(draft: Draft, context: Context, echoed: dict[str, Any]) -> None:
    """A call whose outcome is open has come: whoever reads back later may find what somebody has set since."""
    for id_ in context.intents:
        intent = draft.intent(id_)
        if intent is not None and intent.state in CALLED and has_come(intent, echoed, draft.event.time):
            draft.put(replace(intent, taken=True))


def _since_then(draft: Draft, context: Context, name: str, touch: Touch) -> bool:
    """Whether another value, a person's or a later one of ours, had replaced this one before it came again."""
    known = context.fields.get(name)
    if known is None or draft.event.time <= known.at or same(known.value, touch.fields[name]):
        return False
    return touch.outcome == "write.given_up" or (touch.outcome == "write.applied" and known.at > touch.at)


def _late(draft: Draft, touch: Touch, name: str, value: Any) -> None:
    """The CRM has applied a call of ours after its settle time, over what had been set meanwhile."""
    event, context = draft.event, draft.context(draft.event.subject)
    theirs = context.fields[name].value
    why = "the CRM applied an earlier call of ours only now, over what had been set since"
    facts: dict[str, Any] = {"record": event.subject, "run": touch.run, "field": name}
    draft.audit("write.late", who=touch.agent, before=theirs, after=value, note=why, **facts)
    _ask(draft, touch.agent, facts, Reason.IN_DOUBT, value, theirs, why)


def _count(draft: Draft, context: Context, names: list[str]) -> None:
    """A call that was sent again after a doubt and comes back twice has been applied twice."""
    held = [context.fields[name].write for name in names if name in context.fields]
    draft.need("write", [id_ for id_ in held if id_])
    writes = [write for id_ in held if id_ and (write := draft.write(id_)) is not None]
    draft.need("intent", [write.intent for write in writes if write.intent])
    for id_ in dict.fromkeys(write.intent for write in writes if write.intent):
        intent = draft.intent(id_)
        if intent is None or intent.tries < 2:
            continue
        draft.put(replace(intent, echoes=intent.echoes + 1))
        if intent.echoes:
            note = f"{intent.id}: the CRM applied it again, later than it was given to settle"
            draft.audit("write.late", who=intent.agent, record=intent.record, run=intent.run, note=note)


def _timed(draft: Draft, context: Context, names: list[str]) -> None:
    """When our values came, by the CRM's own clock: what it shows later is compared with its own times, then."""
    fields = dict(context.fields)
    for name in names:
        known = fields.get(name)
        if known is not None and known.write and known.pending is None and known.at < draft.event.time:
            fields[name] = replace(known, at=draft.event.time)
    if fields != context.fields:
        draft.put(replace(context, fields=fields))


def _latest_call(draft: Draft, write_id: str | None) -> tuple[Write, Intent] | None:
    """Of the calls that have brought this field where it is, the last one that was made before the edit."""
    while write_id:
        write = draft.write(write_id)
        intent = draft.intent(write.intent) if write is not None and write.intent else None
        if write is None or intent is None:
            return None
        if intent.sent_at is not None and draft.event.time > intent.sent_at - SKEW:
            return write, intent
        write_id = write.replaces
    return None


def _resolve(draft: Draft, intent: Intent, write: Write, edit: tuple[Any, float], standing: dict[str, Any]) -> None:
    """What somebody saw there afterwards (empty where nobody looked) says who was last; so does a CRM that compares,
    where an edit can only have come after our call."""
    value, at = edit
    unseen = value if intent.compared else write.after
    stands = standing.get(write.field, unseen)
    if same(stands, write.after):
        _ask_which(draft, write, value)
        return
    context = draft.context(write.record)
    version = context.version + 1
    theirs = FieldValue(stands, PERSON, 1.0, min(at, draft.now), version)
    draft.put(replace(context, fields={**context.fields, write.field: theirs}, version=version))
    facts = {"record": write.record, "field": write.field, "before": write.after, "after": stands}
    draft.audit("person.edited", who=PERSON, **facts)


def _ask_which(draft: Draft, write: Write, value: Any) -> None:
    why = "a person set it in the CRM while our own value was on its way there: one of them replaced the other"
    facts: dict[str, Any] = {"record": write.record, "run": write.run, "field": write.field}
    draft.audit("person.crossed", who=write.agent, before=value, after=write.after, note=write.intent or "", **facts)
    standing = draft.context(write.record).fields[write.field].value
    _ask(draft, write.agent, facts, Reason.HUMAN_EDIT, standing, value, why, write)


def _ask(
    draft: Draft,
    agent: str,
    facts: dict[str, Any],
    reason: Reason,
    current: Any,
    proposed: Any,
    why: str,
    write: Write | None = None,
) -> None:
    """Which of the two shall stand? Approving puts the person's value back."""
    item = Review(
        id=ids.review_id(draft.event.id, facts["record"], facts["field"], reason),
        reason=reason,
        agent=agent,
        created_at=draft.now,
        step=write.step if write else None,
        current=current,
        proposed=proposed,
        confidence=1.0,
        problems=(why,),
        write=write.id if write else None,
        **facts,
    )
    effects.ask(draft, item)
    run = draft.run(item.run)
    if run is not None:
        draft.put(replace(run, reviews=(*run.reviews, item.id)))
