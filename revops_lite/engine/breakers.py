"""Letting steps through to their agent or parking them, and telling the ops channel once when a breaker opens."""

from __future__ import annotations

from revops_lite.engine import ids
from revops_lite.engine.state import Draft
from revops_lite.models import Breaker, BreakerState, OutNotice
from revops_lite.rules import breaker as rules
from revops_lite.rules import fanout
from revops_lite.values import replace


def admit(draft: Draft, agent: str, key: str, together: int = 0) -> bool:
    """Whether this step ("run|step") may call its agent now; otherwise it parks.

    An agent that has never succeeded gets only as many calls at a time as could still open its breaker, so that an
    agent which is broken from the start is called exactly that often, however many steps wait. Of a fan-out's records
    as many as go `together` in one job have one place: the job stops by itself after that many failures in a row.
    """
    breaker = draft.breaker(agent)
    gate = rules.gate(breaker, draft.now)
    if gate == "park":
        return False
    if gate == "probe":
        _put(draft, rules.probing(breaker, key))
        draft.audit("breaker.probing", rule=agent, note=key)
    elif not breaker.proven:
        return _try(draft, breaker, of_whole(key), together) if together else _try(draft, breaker, key, 1)
    return True


def _try(draft: Draft, breaker: Breaker, key: str, at_once: int) -> bool:
    """Give it one of the few places of an agent that is not proven yet; the same place to all of one decision."""
    places = draft.rulebook.agents[breaker.name].breaker.failures - len(breaker.failures)
    if key in draft.trials:
        draft.trials[key] += 1
        return draft.trials[key] <= at_once
    if breaker.trying and (at_once > 1 or len(breaker.trying) >= places):
        return False
    draft.trials[key] = 1
    _put(draft, replace(breaker, trying=(*breaker.trying, key)))
    return True


def of_whole(key: str) -> str:
    """The place that the parts of a fan-out share: "run|step" without what tells the part."""
    run, _, step = key.partition("|")
    return f"{fanout.whole(run)}|{step}"


def passed(draft: Draft, agent: str, key: str) -> None:
    """The agent answered (whatever it said): it works."""
    before, policy = draft.breaker(agent), draft.rulebook.agents[agent].breaker
    after = replace(_tried(rules.succeeded(before, policy, key=key), key), proven=True)
    if after == before:
        return
    _put(draft, after)
    if before.state is not BreakerState.CLOSED and after.state is BreakerState.CLOSED:
        draft.audit("breaker.closed", rule=agent)
        draft.timer(f"probe|{agent}", None)
    if after.state is BreakerState.CLOSED:
        wake(draft, agent)


def failed(draft: Draft, agent: str, key: str, why: str) -> bool:
    """The agent failed. True where its breaker was not closed: the agent is known to be broken, its step parks.

    That is the probe, or a call that was under way when the breaker opened.
    """
    before = draft.breaker(agent)
    policy = draft.rulebook.agents[agent].breaker
    after = _tried(rules.failed(before, policy, draft.now, why, key=key), key)
    _put(draft, after)
    if after.state is BreakerState.OPEN and after.until is not None:
        draft.timer(f"probe|{agent}", after.until)
    if rules.opened(before, after):
        _tell(draft, after)
    elif after.state is BreakerState.CLOSED:
        wake(draft, agent)  # of an agent not proven yet, a place is free
    return before.state is not BreakerState.CLOSED


def neutral(draft: Draft, agent: str, key: str) -> None:
    """The call came back without an answer either way: its place is free again, and a probe may be tried anew."""
    before = draft.breaker(agent)
    after = _tried(before, key)
    if after.probe == key:
        after = replace(after, state=BreakerState.OPEN, probe=None)
        draft.timer(f"probe|{agent}", draft.now)
    if after != before:
        _put(draft, after)
        wake(draft, agent)


def returned(draft: Draft, agent: str, key: str) -> None:
    """Its job was taken back unclaimed, since the breaker was open; it may have been closed before this was told."""
    neutral(draft, agent, key)
    if draft.breaker(agent).state is BreakerState.CLOSED:
        wake(draft, agent)


def wake(draft: Draft, agent: str) -> None:
    """Let parked steps try again, in a decision of their own."""
    if draft.parked(agent):
        draft.timer(f"unpark|{agent}", draft.now)


def _tried(breaker: Breaker, key: str) -> Breaker:
    gone = {key, of_whole(key)} & set(breaker.trying)
    if not gone:
        return breaker
    return replace(breaker, trying=tuple(other for other in breaker.trying if other not in gone))


def _put(draft: Draft, breaker: Breaker) -> None:
    draft.changes.breakers[breaker.name] = breaker


def _tell(draft: Draft, breaker: Breaker) -> None:
    """One notice an opening; the unclaimed jobs of the agent come back and park."""
    draft.changes.drained.append(breaker.name)
    draft.audit("breaker.opened", rule=breaker.name, note=breaker.reason)
    key = f"breaker|{breaker.name}|{breaker.opened_at!r}"
    until = "until `revops breaker reset`" if breaker.forced else f"for {breaker.cooldown:.0f} s, then one probe"
    notice = OutNotice(
        id=ids.notice_id(key),
        key=key,
        to=draft.rulebook.ops_channel,
        subject=f"Breaker of {breaker.name} is open",
        body=f"{len(breaker.failures)} failures; the last: {breaker.reason}. Its steps are parked {until}.",
        at=draft.now,
        run=None,
    )
    draft.put(notice)


def opened_by_hand(draft: Draft) -> None:
    name = str(draft.event.data["agent"])
    by = str(draft.event.data.get("by", draft.event.source))
    after = rules.force_open(draft.breaker(name), draft.now, f"opened by {by}")
    _put(draft, after)
    draft.changes.drained.append(name)
    draft.timer(f"probe|{name}", None)
    draft.audit("breaker.opened", who=by, rule=name, note=str(draft.event.data.get("reason", "")))


def reset_by_hand(draft: Draft) -> None:
    name = str(draft.event.data["agent"])
    _put(draft, replace(rules.reset(draft.breaker(name)), proven=True))
    draft.timer(f"probe|{name}", None)
    draft.audit("breaker.reset", who=str(draft.event.data.get("by", draft.event.source)), rule=name)
    wake(draft, name)
