"""A decision as Redis commands. Pure: what was known before and what shall be known, in; commands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from revops_lite.engine.ids import agent_tag
from revops_lite.engine.jobs import page_ids
from revops_lite.engine.state import Changes, State, over
from revops_lite.models import BreakerState, Context, Intent, OutNotice, Review, ReviewState, Run
from revops_lite.store import codec, keys
from revops_lite.store.metrics import counting

Command = tuple[Any, ...]

RUN_ENDED = ("finished", "failed", "cancelled", "rolled_back")
UNDER_WAY = ("sending", "in_doubt")  # the call to the CRM may still arrive
LONG_PAST = 1e-9  # of a time of today is a moment of 1970
WORDS = 1_000  # of one command: Lua cannot unpack more than some thousands
# Commands that take as many members as there are, and how many words stand before those.
HEADS = {"ZADD": 2, "ZREM": 2, "SADD": 2, "RPUSH": 2, "SETS": 2, "XADDS": 3, "TELL": 4}


def commands(before: State, changes: Changes, now: float) -> Iterator[Command]:
    """Everything a decision changes, except its RQ jobs: those are the queue's to write."""
    for (kind, id_), value in changes.docs.items():
        old = before.docs.get((kind, id_))
        if value == old:
            continue
        if kind == "context":
            yield from _context(old, value, now)
        else:
            ttl = keys.DOC_TTL[kind] if over(value) and kind != "page" else keys.OPEN_TTL
            yield ("SETS", ttl, keys.doc(kind, id_), codec.dump(value))
            yield from _indexes(kind, id_, old, value)
            if isinstance(value, Intent) and value.tries and value.state not in UNDER_WAY:
                # How the call ended is on record: a hold that has waited for it may say that it is in force.
                yield ("HDEL", keys.CALLING, value.record)
    yield from _lifetimes(before, changes)
    yield from _small(before, changes, now)
    for event in changes.events:
        # Whatever its size: refusing our own decision would stop every later one.
        yield ("TELL", keys.EVENTS, "e", keys.CHANNEL, codec.dump(event))
    for entry in changes.audit:
        yield ("XADDS", keys.AUDIT, "a", codec.dump(entry))
    yield from counting(changes.audit, now)


def _small(before: State, changes: Changes, now: float) -> Iterator[Command]:
    for name, breaker in changes.breakers.items():
        yield ("HSET", keys.BREAKERS, name, codec.dump(breaker))
        was = before.breakers.get(name)
        shut = breaker.state is BreakerState.OPEN
        if shut != (was is not None and was.state is BreakerState.OPEN):
            yield ("SADD" if shut else "SREM", keys.PAUSED, agent_tag(name))
    yield from _holds(before, changes)
    for name, (agent, there) in changes.parked.items():
        yield ("HSET", keys.PARKED, name, agent) if there else ("HDEL", keys.PARKED, name)
    for timer, due in changes.timers.items():
        yield ("ZREM", keys.TIMERS, timer) if due is None else ("ZADD", keys.TIMERS, kept_due(due, now), timer)


def kept_due(due: float, now: float) -> float:
    """What is to come at once is kept as long past, in its order: so it comes although the clock is set back."""
    return due if due > now else due * LONG_PAST


def _holds(before: State, changes: Changes) -> Iterator[Command]:
    """What a person places or releases is at the gate before we hear of it. Our own changes (an end date, the hold
    field) give way to it: a hold that was placed meanwhile is neither replaced nor taken away."""
    for (record, field), hold in changes.holds.items():
        if (record, field) in changes.gated:
            continue
        known = before.holds.get(record, {}).get(field)
        if hold is not None:
            yield ("HSETNX", keys.HOLDS, f"{record}|{field}", codec.dump(hold))
        elif known is not None:
            yield ("HDELSAME", keys.HOLDS, f"{record}|{field}", codec.dump(known))


def _context(old: Context | None, new: Context, now: float) -> Iterator[Command]:
    """Only the hash fields that changed; the rest of a record's context stays as it lies."""
    key = keys.context(new.record)
    words: list[Any] = []
    gone: list[str] = []
    for prefix, then, today in (
        ("v", old.fields if old else {}, new.fields),
        ("p", old.proposed if old else {}, new.proposed),
        ("f", old.flags if old else {}, new.flags),
    ):
        if then is today:
            continue
        for name, value in today.items():
            was = then.get(name)
            if was is not value and was != value:
                words += (f"{prefix}:{name}", codec.dump(value))
        gone += [f"{prefix}:{name}" for name in then if name not in today]
    meta = {
        "version": new.version,
        "history": new.history,
        "runs": new.runs,
        "sent": new.sent,
        "intents": new.intents,
        "known": new.known,
        "told": new.told,
        "local": new.local,
    }
    words = ["r", new.record, "m", codec.dump(meta), *words]
    for start in range(0, len(words), WORDS):
        yield ("HSET", key, *words[start : start + WORDS])
    for start in range(0, len(gone), WORDS):
        yield ("HDEL", key, *gone[start : start + WORDS])
    if old is not None and old.history and now - old.history[-1].at < keys.DAY:
        return  # its lifetime was set within the day
    yield ("EXPIRE", key, keys.CONTEXT_TTL)
    yield ("ZADD", keys.index("contexts"), now, new.record)  # by the last change: leaves the index as the key expires


def _indexes(kind: str, id_: str, old: Any, new: Any) -> Iterator[Command]:
    """Sorted sets by which lists and services find documents. A part is found by its whole."""
    at = _time(new)
    if isinstance(new, Run) and new.part_of:
        if old is None:
            yield ("ZADD", keys.parts(new.part_of), at, id_)
            yield ("EXPIRE", keys.parts(new.part_of), keys.OPEN_TTL)
        return
    if old is None and kind not in ("intent", "page"):
        yield ("ZADD", keys.index(f"{kind}s"), at, id_)
    was = _open(old) if old is not None else {}
    for name, opened in _open(new).items():
        if was.get(name, False) != opened:
            yield ("ZADD", keys.open_(name), at, id_) if opened else ("ZREM", keys.open_(name), id_)


def _lifetimes(before: State, changes: Changes) -> Iterator[Command]:
    """A fan-out has ended, or is open again: so it is for its pages, without which none of its parts can be called."""
    for key, run in changes.docs.items():
        if not isinstance(run, Run) or run.over is None or over(run) == over(before.docs.get(key)):
            continue
        for id_ in page_ids(run):
            yield ("EXPIRE", keys.doc("page", id_), keys.DOC_TTL["page"] if over(run) else keys.OPEN_TTL)
        yield ("EXPIRE", keys.parts(run.id), keys.DOC_TTL["run"] if over(run) else keys.OPEN_TTL)


def _time(value: Any) -> float:
    match value:
        case Run():
            return value.started_at
        case Review():
            return value.created_at
        case _:
            return float(value.at)


def _open(value: Any) -> dict[str, bool]:
    """Which lists of unfinished business a document stands in."""
    match value:
        case Run():
            opened = value.state not in RUN_ENDED
            return {"runs": opened, "loads": opened and not value.loaded}
        case Review():
            return {"reviews": value.state is ReviewState.PENDING}
        case Intent():
            return {"intents": not over(value)}
        case OutNotice():
            return {"notices": value.state == "planned"}
        case _:
            return {}


def together(commands: Iterable[Command]) -> list[list[Any]]:
    """The same with fewer commands: those that differ in their members only become one, where the first of them stood.

    To be used on one decision's commands, of which no two say different things about the same member.
    """
    found: list[list[Any]] = []
    by_head: dict[tuple[Any, ...], list[Any]] = {}
    for command in commands:
        size = HEADS.get(command[0])
        if size is None:
            found.append(list(command))
            continue
        head = command[:size]
        words = by_head.get(head)
        if words is None or len(words) >= WORDS:
            words = by_head[head] = list(head)
            found.append(words)
        words += command[size:]
    return found


def flat(commands: Iterable[Sequence[Any]]) -> list[Any]:
    """Commands as the commit script takes them: each behind the number of its words."""
    words: list[Any] = []
    for command in commands:
        words.append(len(command))
        words += command
    return words
