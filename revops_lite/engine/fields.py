"""One field of a proposal: against a person's edit, by governance, against other agents' claims; then its fate."""

from __future__ import annotations

from math import inf, nextafter
from typing import Any

from msgspec import Struct

from revops_lite.engine import effects, ids
from revops_lite.engine.state import Draft
from revops_lite.models import Claimed, FieldValue, Reason, ReviewState, Run, Step, Write, WriteState
from revops_lite.policy import AgentPolicy
from revops_lite.rules import arbitration, checkpoint, governance
from revops_lite.values import replace, same


class Asked(Struct, frozen=True):
    """One field that an agent would like to write."""

    record: str
    field: str
    value: Any
    confidence: float
    because: str

    @property
    def kind(self) -> str:
        return self.record.partition(":")[0]

    @property
    def key(self) -> str:
        return f"{self.record}|{self.field}"


class Fate(Struct, frozen=True):
    """What became of it: the write (None where nothing is new), the question to a person, CRM calls already planned."""

    run: Run
    write: Write | None = None
    review: str | None = None
    intents: tuple[str, ...] = ()


def settle(draft: Draft, run: Run, step: Step, beside: frozenset[str], asked: Asked) -> Fate:
    """One field's way. A PLANNED write in the answer still has to be planned, with the others of its record.

    `beside` are the steps that are concurrent to this one.
    """
    agent = draft.rulebook.agents[step.agent]
    incumbent = draft.context(asked.record).fields.get(asked.field)
    standing = incumbent.value if incumbent else None
    rivals = [c for c in run.claims.get(asked.key, ()) if c.step in beside] if beside else []
    contested = any(not same(rival.value, asked.value) for rival in rivals)
    if incumbent is not None and same(standing, asked.value) and not contested:
        if beside and _judge(draft, run, agent, asked).answer == "allow":
            before = rivals[0].before if rivals else standing
            run = _remember(run, _claim(step, agent, asked, before, incumbent.write), asked)
        return Fate(run)
    write = _write(draft, run, step, asked, standing)
    ruling = _against_others(draft, run, step, agent, incumbent, asked)
    if ruling is not None and incumbent is not None:
        _tell(draft, write, ruling.rule, [f"{incumbent.writer} {incumbent.confidence:.2f}", _who(agent, asked)])
        if ruling.winner is None:
            rival = {"value": standing, "writer": incumbent.writer, "confidence": incumbent.confidence}
            write, item = effects.withhold(draft, write, Reason.CONFLICT, f"conflict: {ruling.rule}", rival)
            return Fate(run, write, item)
        if ruling.winner == 0:
            return Fate(run, _superseded(draft, write, f"lost the conflict with {incumbent.writer}: {ruling.rule}"))
        write = replace(write, note=f"won the conflict with {incumbent.writer}: {ruling.rule}")
    verdict = _judge(draft, run, agent, asked)
    if verdict.answer != "allow":
        write, refused = _carry_out(draft, write, verdict)
        return Fate(run, write, refused)
    mine = _claim(step, agent, asked, rivals[0].before if rivals else standing, write.id)
    write = replace(write, rule=verdict.rule)
    if contested:
        return _join(draft, _remember(run, mine, asked), write, mine, rivals)
    draft.audit("write.allowed", rule=verdict.rule, **effects.facts(write))
    return Fate(_remember(run, mine, asked) if beside else run, write)


def _write(draft: Draft, run: Run, step: Step, asked: Asked, standing: Any) -> Write:
    return Write(
        id=ids.write_id(run.id, step.name, str(step.attempt), asked.record, asked.field),
        record=asked.record,
        field=asked.field,
        before=standing,
        after=asked.value,
        agent=step.agent,
        confidence=asked.confidence,
        run=run.id,
        state=WriteState.PLANNED,
        at=draft.now,
        step=step.name,
        because=asked.because,
    )


def _superseded(draft: Draft, write: Write, rule: str) -> Write:
    write = replace(write, state=WriteState.SUPERSEDED, rule=rule)
    draft.put(write)
    return write


def _judge(draft: Draft, run: Run, agent: AgentPolicy, asked: Asked) -> governance.Verdict:
    return governance.judge(
        kind=asked.kind,
        field=asked.field,
        value=asked.value,
        confidence=asked.confidence,
        agent=agent,
        policy=draft.rulebook.governance,
        declared=checkpoint.fields_of(agent.schema),
        holds=draft.holds(asked.record),
        sent=draft.context(asked.record).sent,
        now=draft.now,
        shadow=run.shadow,
    )


def _carry_out(draft: Draft, write: Write, verdict: governance.Verdict) -> tuple[Write, str | None]:
    match verdict.answer:
        case "allow":
            draft.audit("write.allowed", rule=verdict.rule, **effects.facts(write))
            return replace(write, rule=verdict.rule), None
        case "withhold":
            return effects.withhold(draft, write, verdict.reason or Reason.CONFIDENCE, verdict.rule)
        case "shadow" | "off":
            write = replace(write, state=WriteState.SHADOW, rule=verdict.rule)
            draft.put(write)
            effects.propose(draft, write, None, verdict.rule)
            draft.audit("write.shadowed", rule=verdict.rule, **effects.facts(write))
            return write, None
        case "deny":
            write = replace(write, state=WriteState.FAILED, rule=verdict.rule)
            draft.put(write)
            draft.audit("write.denied", rule=verdict.rule, **effects.facts(write))
            return write, None
        case unknown:
            raise ValueError(f"verdict {unknown!r}")


# ---- conflicts ---------------------------------------------------------------------------------------------------


def _against_others(
    draft: Draft, run: Run, step: Step, agent: AgentPolicy, incumbent: FieldValue | None, asked: Asked
) -> arbitration.Ruling | None:
    """Against a person, or against what another run wrote meanwhile. None where there is nothing to decide: nobody's
    value stands there, or one that the agent saw and that is no person's. Claims of one run are decided in `_join`.
    That a person has emptied the field is their word for it, too."""
    if incumbent is None or (incumbent.value is None and not is_person(incumbent.writer)):
        return None
    policy = draft.rulebook.governance
    person = is_person(incumbent.writer) and draft.now - incumbent.at < policy.human_wins_for
    seen = step.versions.get(asked.record)
    foreign = incumbent.run != run.id and arbitration.conflicts(seen, incumbent, asked.value)
    if not person and not foreign:
        return None
    theirs = arbitration.Claim(
        incumbent.value,
        incumbent.writer,
        incumbent.priority,
        incumbent.confidence,
        incumbent.at,
        is_person(incumbent.writer),
    )
    later = max(draft.now, nextafter(incumbent.at, inf))  # by the log, even where one batch shares one clock reading
    ours = arbitration.Claim(asked.value, agent.name, agent.priority, asked.confidence, later)
    return arbitration.arbitrate([theirs, ours], policy, policy.fields.get(f"{asked.kind}.{asked.field}"), draft.now)


def is_person(writer: str) -> bool:
    """A person's edit in the CRM, or a person's decision here."""
    return writer == "person" or writer.startswith("review:")


def _join(draft: Draft, run: Run, write: Write, mine: Claimed, rivals: list[Claimed]) -> Fate:
    """Parallel branches of one run say different things. All their claims are weighed together, as if made at the
    same moment, so that it does not matter whose answer came first."""
    policy = draft.rulebook.governance
    claims = [*rivals, mine]
    ruling = arbitration.arbitrate(
        [arbitration.Claim(c.value, c.agent, c.priority, c.confidence, run.started_at) for c in claims],
        policy,
        policy.fields.get(f"{write.record.partition(':')[0]}.{write.field}"),
        draft.now,
    )
    _tell(draft, write, ruling.rule, [f"{c.agent} {c.confidence:.2f}" for c in claims])
    winner = None if ruling.winner is None else claims[ruling.winner]
    standing = write.before
    if winner is None:
        return _tie(draft, run, write, mine, rivals, standing)
    _answer_open_question(draft, run, write)
    if same(winner.value, mine.value):
        if same(standing, mine.value):
            return Fate(run)
        return Fate(run, replace(write, note=f"won the conflict in its run: {ruling.rule}"))
    lost = _superseded(draft, write, f"lost the conflict with {winner.agent}: {ruling.rule}")
    if same(standing, winner.value):
        return Fate(run, lost)
    again = replace(
        write,
        id=ids.write_id(run.id, winner.step, f"join|{write.id}", write.record, write.field),
        after=winner.value,
        agent=winner.agent,
        confidence=winner.confidence,
        step=winner.step,
        rule=f"won the conflict in its run: {ruling.rule}",
    )
    intent = effects.plan(draft, write.record, winner.agent, [again], run.id, again.id)
    return Fate(replace(run, writes=(*run.writes, again.id)), lost, intents=(intent,) if intent else ())


def _tie(draft: Draft, run: Run, write: Write, mine: Claimed, rivals: list[Claimed], standing: Any) -> Fate:
    """Neither of equal claims stands: what was there before goes back, and a person sees them all."""
    told = {"value": rivals[0].value, "writer": rivals[0].agent, "confidence": rivals[0].confidence}
    intents: tuple[str, ...] = ()
    first = next((rival for rival in rivals if same(rival.value, standing)), None)
    if first is not None and first.write:
        back = replace(
            write,
            id=ids.write_id(run.id, write.step or "", f"tie|{write.id}", write.record, write.field),
            before=standing,
            after=mine.before,
            agent="conflict",
            confidence=1.0,
            rule="a tie: no value stands until a person has decided",
            undoes=(first.write,),
        )
        intent = effects.plan(draft, write.record, "conflict", [back], run.id, back.id)
        run = replace(run, writes=(*run.writes, back.id))
        intents = (intent,) if intent else ()
    write, item = effects.withhold(draft, replace(write, before=mine.before), Reason.CONFLICT, "conflict: tie", told)
    return Fate(run, write, item, intents)


def _answer_open_question(draft: Draft, run: Run, write: Write) -> None:
    """A later claim has broken an earlier tie: nobody need be asked any more."""
    draft.need("review", run.reviews)
    for id_ in run.reviews:
        item = draft.review(id_)
        asked = item is not None and item.reason is Reason.CONFLICT and item.state is ReviewState.PENDING
        if item is not None and asked and (item.record, item.field) == (write.record, write.field):
            effects.close(draft, item, "arbitration", "a later claim has decided")


def _claim(step: Step, agent: AgentPolicy, asked: Asked, before: Any, write: str | None) -> Claimed:
    return Claimed(asked.value, agent.name, agent.priority, asked.confidence, step.name, before, write)


def _remember(run: Run, claim: Claimed, asked: Asked) -> Run:
    others = [other for other in run.claims.get(asked.key, ()) if other.step != claim.step]
    return replace(run, claims={**run.claims, asked.key: (*others, claim)})


def _who(agent: AgentPolicy, asked: Asked) -> str:
    return f"{agent.name} {asked.confidence:.2f}"


def _tell(draft: Draft, write: Write, rule: str, claims: list[str]) -> None:
    about = {**effects.facts(write), "note": " against ".join(claims)}
    draft.audit("conflict.decided", who=write.agent, rule=rule, **about)
