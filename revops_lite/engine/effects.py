"""Effects of decisions on fields: the call to the CRM that is planned, and the question that is put to a person."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import ids
from revops_lite.engine.state import Draft
from revops_lite.models import (
    FieldValue,
    Intent,
    Proposed,
    Reason,
    Review,
    ReviewState,
    Write,
    WriteState,
)
from revops_lite.rules import governance, merge
from revops_lite.values import replace, same


def plan(draft: Draft, record: str, agent: str, writes: list[Write], run: str | None, *cause: str) -> str | None:
    """The values become the context's, and one call to the CRM is recorded that carries them all.

    Returns the intent's id, or None where there is no CRM to call.
    """
    intent = ids.intent_id(*cause, record)
    context = draft.context(record)
    has_crm = draft.rulebook.has_crm and not context.local
    version = context.version + 1
    fields, proposed = dict(context.fields), dict(context.proposed)
    standing = {write.field: context.fields.get(write.field) for write in writes}
    policy = draft.rulebook.agents.get(agent)
    for write in writes:
        fields[write.field] = FieldValue(
            value=write.after,
            writer=agent,
            confidence=write.confidence,
            at=draft.now,
            version=version,
            run=write.run,
            priority=policy.priority if policy else 0,
            pending=write.id if has_crm else None,
            write=write.id,
        )
        proposed.pop(write.field, None)
        state = WriteState.PLANNED if has_crm else WriteState.APPLIED
        known = standing[write.field]
        replaces = known.write if known else None
        draft.put(replace(write, state=state, intent=intent if has_crm else None, replaces=replaces))
    context = replace(context, version=version, fields=fields, proposed=proposed, known=True)
    if not has_crm:
        draft.put(context)
        return None
    sent = (*governance.in_window(context.sent, draft.now), draft.now)
    draft.put(replace(context, sent=sent, intents=(*context.intents, intent)))
    draft.put(
        Intent(
            id=intent,
            record=record,
            run=run,
            agent=agent,
            at=draft.now,
            values={write.field: write.after for write in writes},
            expected={name: known.value if known else None for name, known in standing.items()},
            writes={write.field: write.id for write in writes},
            since=max((known.at for known in standing.values() if known and merge.told(known)), default=0.0),
        )
    )
    return intent


def withhold(
    draft: Draft, write: Write, reason: Reason, rule: str, rival: dict[str, Any] | None = None
) -> tuple[Write, str]:
    """Keep a value out of the CRM and out of `values` until a person has decided.

    The same value for the same field, already waiting, is one question and not two.
    """
    asked = draft.context(write.record).proposed.get(write.field)
    if asked is not None and asked.review and asked.agent == write.agent and same(asked.value, write.after):
        waiting = draft.review(asked.review)
        if waiting is not None and waiting.state is ReviewState.PENDING and waiting.reason is reason:
            write = replace(write, state=WriteState.WITHHELD, rule=rule)
            draft.put(write)
            draft.audit("write.withheld", rule=rule, **facts(write))
            return write, waiting.id
    item = Review(
        id=ids.review_id(write.id, reason, str(write.before)),
        reason=reason,
        record=write.record,
        run=write.run,
        agent=write.agent,
        created_at=draft.now,
        field=write.field,
        step=write.step,
        current=write.before,
        proposed=write.after,
        confidence=write.confidence,
        because=write.because,
        problems=(rule,),
        write=write.id,
        competing=rival,
    )
    write = replace(write, state=WriteState.WITHHELD, rule=rule)
    draft.put(write)
    ask(draft, item)
    propose(draft, write, item.id, rule)
    draft.audit("write.withheld", rule=rule, **facts(write))
    return write, item.id


def ask(draft: Draft, item: Review) -> None:
    """Put an item before a person, with the end date its reason has."""
    seconds = draft.rulebook.review_expires.get(item.reason)
    if seconds is not None:
        item = replace(item, expires_at=draft.now + seconds)
        draft.timer(f"expire|{item.id}", draft.now + seconds)
    draft.put(item)
    draft.audit("review.asked", record=item.record, run=item.run, field=item.field, rule=item.reason)


def close(draft: Draft, item: Review, by: str, why: str) -> None:
    """The question needs no answer any more."""
    draft.put(replace(item, state=ReviewState.EXPIRED, decided_by=by, decided_at=draft.now, note=why))
    draft.timer(f"expire|{item.id}", None)
    draft.audit("review.expired", who=by, record=item.record, run=item.run, field=item.field, note=why)


def propose(draft: Draft, write: Write, review: str | None, why: str) -> None:
    """The value is visible in the context, but nobody's fact."""
    context = draft.context(write.record)
    proposed = Proposed(write.after, write.agent, write.confidence, draft.now, write.run, review, why)
    draft.put(replace(context, proposed={**context.proposed, write.field: proposed}))


def facts(write: Write) -> dict[str, Any]:
    """What the audit says of a write."""
    return {
        "record": write.record,
        "run": write.run,
        "field": write.field,
        "before": write.before,
        "after": write.after,
        "note": write.agent,
    }
