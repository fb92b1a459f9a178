"""What a proposal may write: arbitration against what stands, then governance, field by field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from revops_lite.engine import ids
from revops_lite.engine.state import Draft
from revops_lite.models import (
    FieldValue,
    Flag,
    Intent,
    IntentState,
    OpenFlag,
    OutNotice,
    Proposed,
    Reason,
    Review,
    ReviewState,
    Run,
    Step,
    Write,
    WriteState,
)
from revops_lite.policy import AgentPolicy
from revops_lite.rules import arbitration, dedupe, governance
from revops_lite.values import same

BODY_KEPT = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One field that an agent would like to write."""

    record: str
    field: str
    value: Any
    confidence: float
    because: str

    @property
    def kind(self) -> str:
        return self.record.partition(":")[0]


# ---- reading an agent's answer -----------------------------------------------------------------------------------


def merged(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """All values of an answer in one mapping; a name used for two records keeps the first."""
    values: dict[str, Any] = {}
    for output in outputs:
        for name, value in (output.get("values") or {}).items():
            values.setdefault(str(name), value)
    return values


def confidences(outputs: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for output in outputs:
        for name in output.get("values") or {}:
            found.setdefault(str(name), confidence_of(output, str(name)))
    return found


def confidence_of(output: dict[str, Any], name: str) -> float:
    given = output.get("confidence")
    if isinstance(given, dict):
        given = given.get(name, given.get("*", 1.0))
    return float(given) if given is not None else 1.0


# ---- accepting it ------------------------------------------------------------------------------------------------


def accept(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> tuple[Run, list[str]]:
    """Fold a checked answer in. Returns the run and the ids of the review items that came of it."""
    waiting: list[str] = []
    allowed: dict[str, list[Write]] = {}
    for output in outputs:
        record = str(output.get("target") or run.record)
        for name, value in output["values"].items():
            asked = Asked(record, name, value, confidence_of(output, name), str(output.get("because") or ""))
            write, item = _field(draft, run, step, asked)
            if write is not None:
                run = replace(run, writes=(*run.writes, write.id))
                if write.state is WriteState.PLANNED:
                    allowed.setdefault(record, []).append(write)
            if item is not None:
                run = replace(run, reviews=(*run.reviews, item))
                waiting.append(item)
        _flags(draft, record, step.agent, run.id, output)
        run = _messages(draft, run, step, output)
    for record, writes in allowed.items():
        intent = plan(draft, record, step.agent, writes, run.id, run.id, step.name, str(step.attempt))
        if intent is not None:
            run = replace(run, effects=(*run.effects, intent))
    draft.put(run)
    return run, waiting


def _field(draft: Draft, run: Run, step: Step, asked: Asked) -> tuple[Write | None, str | None]:
    """One field's way: nothing new, a lost conflict, withheld, recorded only, or planned."""
    agent = draft.rulebook.agents[step.agent]
    context = draft.context(asked.record)
    draft.count("proposals")
    incumbent = context.fields.get(asked.field)
    if incumbent is not None and same(incumbent.value, asked.value):
        return None, None
    write = Write(
        id=ids.write_id(run.id, step.name, str(step.attempt), asked.record, asked.field),
        record=asked.record,
        field=asked.field,
        before=incumbent.value if incumbent else None,
        after=asked.value,
        agent=step.agent,
        confidence=asked.confidence,
        run=run.id,
        state=WriteState.PLANNED,
        at=draft.now,
        step=step.name,
        because=asked.because,
    )
    ruling = _arbitrate(draft, agent, step.versions.get(asked.record), incumbent, asked)
    if ruling is not None:
        draft.count("conflicts")
        draft.audit("conflict.decided", rule=ruling.rule, **_facts(write))
        if ruling.winner is None:
            rival = {"value": write.before, "writer": incumbent.writer if incumbent else ""}
            return withhold(draft, write, Reason.CONFLICT, f"conflict: {ruling.rule}", rival)
        if ruling.winner == 0:
            write = replace(write, state=WriteState.SUPERSEDED, rule=f"conflict: {ruling.rule}")
            draft.put(write)
            return write, None
    verdict = governance.judge(
        kind=asked.kind,
        field=asked.field,
        value=asked.value,
        confidence=asked.confidence,
        agent=agent,
        policy=draft.rulebook.governance,
        declared=tuple(agent.schema.model_fields) if agent.schema else (),
        holds=draft.holds(asked.record),
        sent=context.sent,
        now=draft.now,
        shadow=run.shadow,
    )
    return _carry_out(draft, write, verdict)


def _arbitrate(
    draft: Draft, agent: AgentPolicy, seen: int | None, incumbent: FieldValue | None, asked: Asked
) -> arbitration.Ruling | None:
    """None where nothing stands against it: nobody else's value, or one that the agent knew of and is no person's."""
    if incumbent is None or incumbent.value is None:
        return None
    policy = draft.rulebook.governance
    person = is_person(incumbent.writer)
    if not arbitration.conflicts(seen, incumbent, asked.value) and not (
        person and draft.now - incumbent.at < policy.human_wins_for
    ):
        return None
    claims = [
        arbitration.Claim(
            incumbent.value, incumbent.writer, incumbent.priority, incumbent.confidence, incumbent.at, person
        ),
        arbitration.Claim(asked.value, agent.name, agent.priority, asked.confidence, draft.now),
    ]
    return arbitration.arbitrate(claims, policy, policy.fields.get(f"{asked.kind}.{asked.field}"), draft.now)


def is_person(writer: str) -> bool:
    return writer == "person" or writer.startswith("review:")


def _carry_out(draft: Draft, write: Write, verdict: governance.Verdict) -> tuple[Write | None, str | None]:
    match verdict.answer:
        case "allow":
            draft.audit("write.allowed", rule=verdict.rule, **_facts(write))
            return replace(write, rule=verdict.rule), None
        case "withhold":
            return withhold(draft, write, verdict.reason or Reason.CONFIDENCE, verdict.rule)
        case "shadow" | "off":
            write = replace(write, state=WriteState.SHADOW, rule=verdict.rule)
            draft.put(write)
            _propose(draft, write, None, verdict.rule)
            draft.audit("write.shadowed", rule=verdict.rule, **_facts(write))
            return write, None
        case "deny":
            write = replace(write, state=WriteState.FAILED, rule=verdict.rule)
            draft.put(write)
            draft.audit("write.denied", rule=verdict.rule, **_facts(write))
            return write, None
        case unknown:
            raise ValueError(f"verdict {unknown!r}")


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
            draft.audit("write.withheld", rule=rule, **_facts(write))
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
    _propose(draft, write, item.id, rule)
    draft.audit("write.withheld", rule=rule, **_facts(write))
    return write, item.id


def ask(draft: Draft, item: Review) -> None:
    """Put an item before a person, with the end date its reason has."""
    seconds = draft.rulebook.review_expires.get(item.reason)
    if seconds is not None:
        item = replace(item, expires_at=draft.now + seconds)
        draft.timer(f"expire|{item.id}", draft.now + seconds)
    draft.put(item)
    draft.count("reviews")
    draft.audit("review.asked", record=item.record, run=item.run, field=item.field, rule=item.reason)


def _propose(draft: Draft, write: Write, review: str | None, why: str) -> None:
    context = draft.context(write.record)
    proposed = Proposed(write.after, write.agent, write.confidence, draft.now, write.run, review, why)
    draft.put(replace(context, proposed={**context.proposed, write.field: proposed}))


def _facts(write: Write) -> dict[str, Any]:
    return {
        "record": write.record,
        "run": write.run,
        "field": write.field,
        "before": write.before,
        "after": write.after,
        "note": write.agent,
    }


# ---- planning the CRM call ---------------------------------------------------------------------------------------


def plan(draft: Draft, record: str, agent: str, writes: list[Write], run: str | None, *cause: str) -> str | None:
    """The values become the context's, and one call to the CRM is recorded that carries them all.

    Returns the intent's id, or None where there is no CRM to call.
    """
    intent = ids.intent_id(*cause, record)
    context = draft.context(record)
    has_crm = draft.rulebook.has_crm and not context.local
    version = context.version + 1
    fields, proposed, expected = dict(context.fields), dict(context.proposed), {}
    policy = draft.rulebook.agents.get(agent)
    for write in writes:
        expected[write.field] = fields[write.field].value if write.field in fields else None
        fields[write.field] = FieldValue(
            value=write.after,
            writer=agent,
            confidence=write.confidence,
            at=draft.now,
            version=version,
            run=write.run,
            priority=policy.priority if policy else 0,
            pending=write.id if has_crm else None,
        )
        proposed.pop(write.field, None)
        state = WriteState.PLANNED if has_crm else WriteState.APPLIED
        draft.put(replace(write, state=state, intent=intent if has_crm else None))
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
            expected=expected,
            writes={write.field: write.id for write in writes},
            state=IntentState.PLANNED,
        )
    )
    return intent


# ---- flags, notices, reports -------------------------------------------------------------------------------------


def _flags(draft: Draft, record: str, agent: str, run: str, output: dict[str, Any]) -> None:
    raised = [Flag(f["code"], f.get("severity", "medium"), f.get("detail", "")) for f in output.get("flags") or []]
    context = draft.context(record)
    cleared = [code for code in output.get("clears") or [] if code in context.flags]
    fresh = dedupe.fresh_flags(context.flags, raised)
    if not fresh and not cleared:
        return
    flags = {code: flag for code, flag in context.flags.items() if code not in cleared}
    for flag in fresh:
        flags[flag.code] = OpenFlag(flag.code, flag.severity, flag.detail, agent, draft.now, run)
        draft.audit("flag.raised", who=agent, record=record, run=run, rule=flag.code, note=flag.detail)
    for code in cleared:
        draft.audit("flag.cleared", who=agent, record=record, run=run, rule=code)
    draft.put(replace(context, flags=flags))


def _messages(draft: Draft, run: Run, step: Step, output: dict[str, Any]) -> Run:
    for notice in output.get("notices") or []:
        run = tell(draft, run, step.agent, **{k: str(notice.get(k, "")) for k in ("to", "subject", "body", "key")})
    for report in output.get("reports") or []:
        name, html = str(report.get("name", "")), str(report.get("html", ""))
        run = tell(draft, run, step.agent, f"report:{name}", name, html, f"report|{name}|{run.id}|{step.attempt}")
    return run


def tell(draft: Draft, run: Run, agent: str, to: str, subject: str, body: str, key: str) -> Run:
    """A notice goes out once per key and window, whoever raises it."""
    key = key or f"{agent}|{run.record}|{subject}"
    id_ = ids.notice_id(key)
    known = draft.notice(id_)
    if known is not None and dedupe.repeat(known.at, draft.now, draft.rulebook.dedupe):
        draft.audit("notice.repeated", who=agent, record=run.record, run=run.id, note=subject)
        return run
    draft.put(OutNotice(id_, key, to, subject[:500], body[:BODY_KEPT], draft.now, run.id))
    draft.audit("notice.planned", who=agent, record=run.record, run=run.id, note=subject)
    return replace(run, effects=(*run.effects, id_))
