"""The verbs: what the program does with Redis. Keys stand in keys.py, atomic changes in scripts/."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from redis import Redis
from redis.exceptions import ResponseError

from revops_lite.engine.state import State
from revops_lite.errors import AnotherController, Fenced
from revops_lite.models import AuditEntry, Breaker, Event, Hold, Intent, Key
from revops_lite.store import codec, keys
from revops_lite.store.archive import Archive
from revops_lite.store.audit import milliseconds, trim_limit
from revops_lite.store.client import bus_errors
from revops_lite.store.codec import read_context, read_holds
from revops_lite.store.commit import flat
from revops_lite.store.events import Entry, encode_event, entries_of
from revops_lite.store.metrics import beats
from revops_lite.store.scripts import Script
from revops_lite.values import replace
from revops_lite.wire import Wire, mapping

SILENT_AFTER = 10.0  # seconds without a heartbeat after which a controller counts as gone


GateCall = tuple[bytes, Intent, Event]  # the intent as stored and as read, and its write.sending


class Lead(Struct):
    """A controller's claim to be the only one: its epoch, the number of its last commit, and where it has read to."""

    epoch: int
    seq: int
    cursor: str
    marked: float | None = None  # when a minute was last marked as one with a heartbeat


class Store:
    """One Redis, bytes in and out. Every method raises BusError when Redis does not answer."""

    def __init__(self, redis: Redis, archive: Archive | None = None) -> None:
        """`archive` has what has left Redis; None where nothing ever does."""
        self.redis: Any = redis  # redis-py types every answer as all it could be in any protocol
        self.archive = archive
        self._wire = Wire(redis.connection_pool, ResponseError)
        self._append = Script(redis, __package__, "append")
        self._begin = Script(redis, __package__, "begin")
        self._commit = Script(redis, __package__, "commit")
        self._gate = Script(redis, __package__, "gate")
        self._hold = Script(redis, __package__, "hold")

    # -- the event bus --

    def append(self, events: Sequence[Event]) -> list[str]:
        """Accept events: "new", "known", or "other" (the id is known with another body). Durable when it returns."""
        if not events:
            return []
        names = [keys.EVENTS]
        args: list[Any] = [keys.CHANNEL, keys.SEEN_TTL]
        for event in events:
            raw = encode_event(event)
            names.append(keys.seen(event.id))
            args += (_mark(event), raw)
        return [("known", "new", "other")[int(n)] for n in self._append(names, args)]

    def read(self, after: str, count: int) -> list[Entry]:
        """Up to `count` events behind the stream id `after`."""
        with bus_errors():
            return entries_of(self.redis.xrange(keys.EVENTS, f"({after}", "+", count=count))

    def tail(self, count: int) -> list[Entry]:
        """The newest events, oldest first."""
        with bus_errors():
            return entries_of(reversed(self.redis.xrevrange(keys.EVENTS, count=count)))

    def last_event(self) -> str:
        with bus_errors():
            newest = self.redis.xrevrange(keys.EVENTS, count=1)
        return newest[0][0].decode() if newest else "0-0"

    def all_decided(self) -> bool:
        """Whether no accepted event is left that the controller has not decided, or lets wait for its turn."""
        with bus_errors():
            pipe = self.redis.pipeline(transaction=False)
            pipe.hget(keys.CONTROLLER, "cursor").xrevrange(keys.EVENTS, count=1).exists(keys.WAITING)
            cursor, newest, waits = pipe.execute()
        return not waits and (not newest or newest[0][0] == cursor)

    # -- the controller --

    def begin(self, owner: str, now: float, force: bool) -> Lead:
        """Become the controller. `force` where a lock proves that no other can be alive. Raises AnotherController."""
        try:
            epoch, seq, cursor = self._begin([keys.CONTROLLER], [owner, now, SILENT_AFTER, "1" if force else "0"])
        except ResponseError as error:
            if "TAKEN" in str(error):
                other = str(error).partition("TAKEN ")[2]
                raise AnotherController(f"another controller works on this Redis: {other}") from None
            raise
        with bus_errors():
            marked = self.redis.hget(keys.CONTROLLER, "marked")
        return Lead(int(epoch), int(seq), cursor.decode(), float(marked) if marked else None)

    def resign(self, lead: Lead, now: float) -> None:
        """The controller stops in good order: the next one need not wait. Raises Fenced where it is there already."""
        self.commit(lead, [("HSET", keys.CONTROLLER, "owner", "")], None, now)

    def commit(
        self, lead: Lead, commands: Sequence[Sequence[Any]], cursor: str | None, now: float, quiet: bool = False
    ) -> None:
        """All commands or none; afterwards `lead` has moved on. Raises Fenced when another controller took over.

        `quiet`: there is nothing to decide about the events among the commands, so they need not be read back.
        """
        self.begin_commit(lead, commands, cursor, now, quiet)()

    def begin_commit(
        self, lead: Lead, commands: Sequence[Sequence[Any]], cursor: str | None, now: float, quiet: bool = False
    ) -> Callable[[], None]:
        """The same, only sent: what is returned waits for the answer, and raises. There is one at a time."""
        marks = list(beats(lead.marked, now))
        cursor = cursor or lead.cursor
        here = [lead.epoch, lead.seq, cursor, now, "1" if quiet else "0"]
        answer = self._commit.begin([keys.CONTROLLER, keys.EVENTS], [*here, *flat([*commands, *marks])])

        def end() -> None:
            reached = _unless_fenced(answer)
            lead.seq += 1
            lead.marked = now if marks else lead.marked
            lead.cursor = reached.decode() or cursor

        return end

    def working_set(self) -> State:
        """What the controller always has in memory: breakers, holds, parked steps."""
        with bus_errors():
            pipe = self.redis.pipeline(transaction=False)
            pipe.hgetall(keys.BREAKERS).hgetall(keys.HOLDS).hgetall(keys.PARKED)
            breakers, holds, parked = pipe.execute()
        state = State(breakers={name.decode(): codec.load("breaker", raw) for name, raw in breakers.items()})
        state.holds = read_holds(holds)
        waiting: dict[str, dict[str, None]] = defaultdict(dict)
        for key, agent in sorted(parked.items()):
            waiting[agent.decode()][key.decode()] = None
        state.parked = dict(waiting)
        return state

    def load(self, wanted: Iterable[Key]) -> dict[Key, Any]:
        """Documents by kind and id; None for what is neither in Redis nor in the archive."""
        found = self.held(wanted)
        absent = [key for key, value in found.items() if value is None]
        if absent and self.archive is not None:
            found.update((key, row.document()) for key, row in self.archive.find(absent).items())
        return found

    def held(self, wanted: Iterable[Key]) -> dict[Key, Any]:
        """Documents by kind and id; None for what Redis does not hold. One round trip."""
        wanted = list(wanted)
        docs = [(kind, id_) for kind, id_ in wanted if kind != "context"]
        records = [id_ for kind, id_ in wanted if kind == "context"]
        with bus_errors():
            asked: list[tuple[Any, ...]] = [("HGETALL", keys.context(record)) for record in records]
            if docs:
                asked.append(("MGET", *(keys.doc(kind, id_) for kind, id_ in docs)))
            found = self._wire.many(asked)
        raws = found.pop() if docs else []
        return {
            **{key: codec.load(key[0], raw) if raw is not None else None for key, raw in zip(docs, raws, strict=True)},
            **{("context", record): read_context(mapping(raw)) for record, raw in zip(records, found, strict=True)},
        }

    def oldest(self, kind: str, start: int, count: int, kept: int, some: int) -> dict[str, float]:
        """Ids with their times, oldest first, of a list that is longer than `kept` by `some` at least, from the one
        with the number `start` on: a third of those beyond, but `count` at most and an eighth of it at least."""
        index = keys.index(f"{kind}s")
        with bus_errors():
            beyond = self.redis.zcard(index) - kept
            if beyond < some or beyond <= start:
                return {}
            piece = min(count, max(count // 8, (beyond - start) // 3))
            found = self.redis.zrange(index, start, min(beyond, start + piece) - 1, withscores=True)
        return {id_.decode(): at for id_, at in found}

    def raw(self, kind: str, ids: Sequence[str]) -> list[Any]:
        """Documents as they lie in Redis: bytes, or of contexts their fields; empty for what is not there."""
        if not ids:
            return []
        with bus_errors():
            if kind == "context":
                return [mapping(raw) for raw in self._wire.many([("HGETALL", keys.context(id_)) for id_ in ids])]
            return list(self._wire("MGET", *(keys.doc(kind, id_) for id_ in ids)))

    def opened(self, kind: str) -> list[str]:
        """Ids of unfinished runs, loads, intents, notices or reviews, oldest first."""
        with bus_errors():
            return [id_.decode() for id_ in self.redis.zrange(keys.open_(kind), 0, -1)]

    def counted(self, *kinds: str) -> dict[str, int]:
        """How many of each are unfinished."""
        with bus_errors():
            pipe = self.redis.pipeline(transaction=False)
            for kind in kinds:
                pipe.zcard(keys.open_(kind))
            return dict(zip(kinds, pipe.execute(), strict=True))

    def due_timers(self, now: float, limit: int) -> list[tuple[str, float]]:
        with bus_errors():
            found = self.redis.zrangebyscore(keys.TIMERS, "-inf", now, start=0, num=limit, withscores=True)
        return [(name.decode(), due) for name, due in found]

    def next_timer(self) -> float | None:
        with bus_errors():
            first = self.redis.zrange(keys.TIMERS, 0, 0, withscores=True)
        return float(first[0][1]) if first else None

    def controller(self) -> dict[str, str]:
        """What the controller says of itself: epoch, seq, cursor, heartbeat, owner."""
        with bus_errors():
            return {name.decode(): value.decode() for name, value in self.redis.hgetall(keys.CONTROLLER).items()}

    def trim(self, now: float, enough: str = "0-0") -> None:
        """Forget what has served its time: processed events, sealed audit entries, index entries without a document.

        Before the stream id `enough`, events and audit entries need not be of their age: enough have come since.
        """
        with bus_errors():
            sealed = trim_limit(self.redis.get(keys.SEALED))
            cursor, trimmed = self.redis.hmget(keys.CONTROLLER, "cursor", "trimmed")
            processed = milliseconds((cursor or b"0-0").decode())
            crowded = milliseconds(enough)
            events = min(processed, max(crowded, int((now - keys.EVENTS_KEPT) * 1000)))
            audit = min(sealed, max(crowded, int((now - keys.AUDIT_KEPT) * 1000)))
            pipe = self.redis.pipeline(transaction=False)
            pipe.xtrim(keys.EVENTS, minid=max(events, 0), approximate=True, limit=0)
            if audit > int(trimmed or 0):
                # First the word, then the deed: from here on nobody takes what is missing for a loss.
                pipe.hset(keys.CONTROLLER, "trimmed", audit)
                pipe.xtrim(keys.AUDIT, minid=audit, approximate=True, limit=0)
            for kind, ttl in {**keys.DOC_TTL, "context": keys.CONTEXT_TTL}.items():
                if kind not in ("intent", "page"):
                    pipe.zremrangebyscore(keys.index(f"{kind}s"), "-inf", now - ttl)
            pipe.execute()

    # -- the gate before the CRM, and holds --

    def gate(self, epoch: int, calls: Sequence[GateCall], now: float, budget: int) -> list[tuple[str, list[str]]]:
        """The verdict on each CRM call: "go" (and its event, write.sending, is on record), "fenced", "changed",
        "held" (with the fields; "*" is all) or "budget" (with the seconds to wait). One round trip for all."""
        arguments = [self._gate_call(epoch, call, now, budget) for call in calls]
        return [(verdict.decode(), [word.decode() for word in rest]) for verdict, *rest in self._gate.many(arguments)]

    def _gate_call(self, epoch: int, call: GateCall, now: float, budget: int) -> tuple[list[str], list[Any]]:
        raw, intent, event = call
        names = [
            keys.CONTROLLER,
            keys.doc("intent", intent.id),
            keys.HOLDS,
            keys.sent(intent.record),
            keys.EVENTS,
            keys.seen(event.id),
            keys.CALLING,
        ]
        args = [epoch, raw, now, budget, event.id, keys.CHANNEL, keys.SEEN_TTL, encode_event(event), intent.record]
        return names, [*args, *intent.values]

    def call_under_way(self, record: str) -> bool:
        """Whether a call for this record has passed the gate and nobody knows yet how it ended."""
        with bus_errors():
            return bool(self.redis.hexists(keys.CALLING, record))

    def raw_intents(self, ids: Sequence[str]) -> list[tuple[bytes, Intent] | None]:
        """Intents and the bytes they are stored as, for the gate to compare."""
        return [(raw, codec.load("intent", raw)) if raw else None for raw in self.raw("intent", ids)]

    def hold(self, event: Event, hold: Hold | None, field: str) -> None:
        """Place (or, with None, release) a hold: effective at the gate at once, told as `event`."""
        name = f"{event.subject}|{field}"
        body = codec.dump(replace(hold, at=event.time)) if hold is not None else b""  # as the controller will know it
        names = [keys.HOLDS, keys.EVENTS, keys.seen(event.id)]
        self._hold(names, [keys.CHANNEL, keys.SEEN_TTL, encode_event(event), name, body])

    # -- small things --

    def poll_cursor(self) -> str | None:
        with bus_errors():
            raw = self.redis.get(keys.POLL)
        return raw.decode() if raw else None

    def set_poll_cursor(self, cursor: str) -> None:
        with bus_errors():
            self.redis.set(keys.POLL, cursor)

    def breakers(self) -> dict[str, Breaker]:
        return self.working_set().breakers

    def audit(self, limit: int) -> list[AuditEntry]:
        """The newest audit entries, oldest first."""
        with bus_errors():
            found = self.redis.xrevrange(keys.AUDIT, count=limit)
        return [codec.load("audit", fields[b"a"]) for _, fields in reversed(found)]


def _mark(event: Event) -> bytes:
    """Tells one body from another; the time of sending does not count."""
    body = codec.dump([event.type, event.subject, event.data])
    return blake2b(body, digest_size=8).hexdigest().encode()


def _unless_fenced(answer: Callable[[], bytes]) -> bytes:
    try:
        return answer()
    except ResponseError as error:
        if "FENCED epoch false" in str(error):
            raise Fenced(
                "Redis has been emptied while `up` was running: what this controller had written is gone. Start "
                "`revops up` again: it says what the sealed audit trail still knows of"
            ) from None
        if "FENCED" in str(error):
            raise Fenced(f"another controller has taken over ({error})") from None
        raise
