"""The writer: intent -> call -> confirm. Nobody else calls the CRM to change something.

One lane per record, its intents in the order of their decisions; lanes go in parallel. Before a call its before-image
is on record (`write.sending`), after it its outcome; a call whose outcome nobody knows is read back, never repeated
blindly. The writer decides nothing: it reports events, and goes on with an intent once the controller has heard them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

from msgspec import Struct

from revops_lite.engine.echoes import brought, has_come
from revops_lite.engine.state import over
from revops_lite.errors import BusError, CrmConflict, CrmError, CrmRefused, CrmUnavailable, CrmUnknown
from revops_lite.models import CrmRecord, Event, Intent, IntentState
from revops_lite.ports import BatchCrm, Crm, CrmCall
from revops_lite.rules.merge import behind
from revops_lite.store.store import Store
from revops_lite.times import ticking
from revops_lite.values import replace, same

log = logging.getLogger("revops.writer")

DOUBTFUL = frozenset({IntentState.SENDING, IntentState.IN_DOUBT})
LANES = 8  # calls at once to a CRM that takes one record a call
GONE = "the CRM no longer holds the record"
BEHIND = "the CRM shows the record as it was before its last change"
CALL_WITHIN = 5.0  # seconds behind the gate in which a call has to begin; others may take our place after ten
PAGE = 500  # of the CRM's changes
PATIENCE = 60.0  # longest wait between two tries of a CRM that is away


class Terms(Struct, frozen=True):
    """What the writer has to keep to."""

    budget: int  # CRM calls per record in any sliding hour
    hold_field: str | None = None  # a CRM field that stops every write to its record
    settle: float = 5.0  # seconds until a call of unknown outcome may be read back


class Writer:
    """`offer` it what the controller committed, call `tick(now)` when something is due."""

    def __init__(
        self,
        store: Store,
        crm: Crm,
        epoch: int,
        terms: Terms,
        truthy: Callable[[Any], bool],
        ticking: Callable[[], float] = ticking,
    ) -> None:
        """`ticking` counts seconds, also those through which this process sleeps."""
        self.store = store
        self.crm = crm
        self.epoch = epoch
        self.terms = terms
        self.truthy = truthy
        self._ticking = ticking
        self._inbox: SimpleQueue[Intent | list[Intent]] = SimpleQueue()  # a list: all that are open
        self._lanes: dict[str, dict[str, Intent]] = {}  # record -> its open intents, oldest first
        self._told: dict[str, int] = {}  # intent -> `passes` at our last report: until it grows we have not been heard
        self._unsent: list[Event] = []  # reports that Redis has not taken yet
        self._pool = ThreadPoolExecutor(LANES, "crm") if crm.abilities.batch == 1 else None

    def offer(self, intents: Iterable[Intent]) -> None:
        """Hand over intents as committed, new or changed. Callable from any thread."""
        for intent in intents:
            self._inbox.put(intent)

    def resync(self, intents: Iterable[Intent]) -> None:
        """These are all intents that are open: after a lost connection, when offers may have been missed."""
        self._inbox.put(list(intents))

    def idle(self) -> bool:
        return self._inbox.empty() and not self._lanes and not self._unsent

    def next_due(self) -> float | None:
        """When the next head of a lane is due; None where nothing waits for the clock."""
        heads = [next(iter(lane.values())) for lane in self._lanes.values()]
        return min((head.due for head in heads if not self._unheard(head)), default=None)

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    # -- one pass --

    def tick(self, now: float) -> int:
        """Send or read back what is due. Returns how many intents were moved. Raises BusError."""
        self._report()
        self._take_in()
        heads = [next(iter(lane.values())) for lane in self._lanes.values()]
        due = [head for head in heads if head.due <= now and not self._unheard(head)]
        size = max(self.crm.abilities.batch, LANES)
        for start in range(0, len(due), size):
            batch = due[start : start + size]
            try:
                self._unsent += self._handle(batch, now)
            except Exception:  # before any call was made: the next tick tries again
                for intent in batch:
                    self._told.pop(intent.id, None)
                raise
            self._report()
        return len(due)

    def _report(self) -> None:
        """What has been done is told, however often Redis has to be asked: a second telling is known by its id."""
        self.store.append(self._unsent)
        self._unsent = []

    def _take_in(self) -> None:
        while True:
            try:
                offered = self._inbox.get_nowait()
            except Empty:
                return
            if isinstance(offered, list):
                # What we have told stays told: a call whose outcome nobody has heard yet must not be made again.
                self._lanes.clear()
                self._told = {one.id: self._told[one.id] for one in offered if one.id in self._told}
                self._put(offered)
            else:
                self._put([offered])

    def _put(self, intents: Iterable[Intent]) -> None:
        for intent in intents:
            lane = self._lanes.setdefault(intent.record, {})
            if over(intent):
                lane.pop(intent.id, None)
                self._told.pop(intent.id, None)
                if not lane:
                    del self._lanes[intent.record]
            else:
                lane[intent.id] = intent

    def _unheard(self, intent: Intent) -> bool:
        told = self._told.get(intent.id)
        return told is not None and told >= intent.passes

    def _handle(self, batch: Sequence[Intent], now: float) -> list[Event]:
        for intent in batch:
            self._told[intent.id] = intent.passes
        try:
            found = self.crm.read([intent.record for intent in batch])
        except Exception as error:  # a CrmError, or an adapter's own mistake: nothing was called
            return [self._again(intent, now, error) for intent in batch]
        reports: list[Event] = []
        standing: dict[str, dict[str, Any]] = {}
        for intent in batch:
            record = found.get(intent.record)
            report = self._before(intent, record, now)
            if report is not None:
                reports.append(report)
            elif record is not None:
                standing[intent.id] = {name: record.values.get(name) for name in intent.values}
        begin_by = self._ticking() + CALL_WITHIN
        refused, calls = self._gate([intent for intent in batch if intent.id in standing], standing, now)
        return reports + refused + self._call(calls, found, now, begin_by)

    # -- before the call --

    def _before(self, intent: Intent, record: CrmRecord | None, now: float) -> Event | None:
        """What there is to report without a call; None where it may go to the gate."""
        if intent.state in DOUBTFUL:
            return self._read_back(intent, record, now)
        if record is None:
            return self._event(intent, "failed", now, why=GONE)
        hold, seen = self.terms.hold_field, {name: record.values.get(name) for name in intent.values}
        if hold and self.truthy(record.values.get(hold)):
            return self._event(intent, "stopped", now, reason="held", why=f"{hold} is set in the CRM", seen=seen)
        moved = {name: value for name, value in seen.items() if not same(value, intent.expected.get(name))}
        if moved and behind(intent.since, record, now):
            return self._again(intent, now, CrmUnavailable(BEHIND))
        if same(seen, intent.values):
            return self._already(intent, now)
        other = {name: value for name, value in moved.items() if not same(value, intent.values[name])}
        return self._event(intent, "conflicted", now, current=other) if other else None

    def _already(self, intent: Intent, now: float) -> Event:
        """Our values stand there before we call: somebody else's, unless a call of ours has been in doubt."""
        if not intent.doubted:
            return self._event(intent, "applied", now, already=True)
        try:
            applied = self.crm.applied(intent.record, intent.id)
        except Exception as error:
            return self._again(intent, now, error)
        note = "found after an earlier call of unknown outcome"
        return self._applied(intent, now, already=applied is False, note=note)

    def _gate(
        self, intents: Sequence[Intent], standing: dict[str, dict[str, Any]], now: float
    ) -> tuple[list[Event], list[Intent]]:
        """Ask the gate for each: what it refused, as reports, and the calls that may be made."""
        stored = self.store.raw_intents([intent.id for intent in intents])
        asked: list[tuple[bytes, Intent, Event]] = []
        for intent, found in zip(intents, stored, strict=True):
            if found is None or found[1].passes != intent.passes or found[1].state is not IntentState.PLANNED:
                # It changed under our hands, and nothing was told of it: its turn comes with the offer that brings it.
                self._told.pop(intent.id, None)
                self._lanes[intent.record][intent.id] = replace(intent, due=inf)
                continue
            raw, current = found
            asked.append((raw, current, self._event(current, "sending", now, before=standing[intent.id])))
        reports: list[Event] = []
        calls: list[Intent] = []
        verdicts = self.store.gate(self.epoch, asked, now, self.terms.budget)
        for (_, intent, _), (verdict, words) in zip(asked, verdicts, strict=True):
            if verdict == "go":
                calls.append(intent)
            elif (report := self._refused(intent, verdict, words, now, standing[intent.id])) is not None:
                reports.append(report)
        return reports, calls

    def _refused(
        self, intent: Intent, verdict: str, words: list[str], now: float, seen: dict[str, Any]
    ) -> Event | None:
        match verdict:
            case "held":
                fields = list(intent.values) if "*" in words else words
                why = "a hold came before"
                return self._event(intent, "stopped", now, reason="held", fields=fields, why=why, seen=seen)
            case "budget":
                why = f"{self.terms.budget} calls within the hour; {float(words[0]):.0f} s until the next may go"
                return self._event(intent, "deferred", now, retry_at=now + float(words[0]) + 0.01, why=why)
            case "fenced":
                raise BusError("another controller has taken over; nothing was sent")
            case _:
                self._told.pop(intent.id, None)
                return None

    def _read_back(self, intent: Intent, record: CrmRecord | None, now: float) -> Event:
        """The outcome of the last call is unknown: look what stands there."""
        if intent.state is IntentState.SENDING and not self.crm.abilities.keyed:
            why = "the call was begun, its outcome was never told"  # and it may still be on its way
            return self._event(intent, "doubted", now, settle_until=now + self.terms.settle, why=why)
        try:
            applied = self.crm.applied(intent.record, intent.id)
        except Exception as error:
            return self._again(intent, now, error, doubt=True)
        standing = {name: record.values.get(name) if record else None for name in intent.values}
        some = record is not None and any(brought(intent, name, value) for name, value in standing.items())
        if applied or intent.taken or (applied is None and (some or same(standing, intent.values))):
            return self._applied(intent, now, standing=standing, note="read back after an unknown outcome")
        before = {name: intent.expected.get(name) for name in intent.values}
        since = _edited_since(intent, record) if applied is None else {}
        if not since and (applied is False or (record is not None and same(standing, before))):
            return self._not_there(intent, now, standing, sure=applied is False)
        other = {name: value for name, value in standing.items() if not same(value, intent.values[name])}
        return self._event(intent, "conflicted", now, current=other | since, in_doubt=True)

    def _not_there(self, intent: Intent, now: float, standing: dict[str, Any], sure: bool) -> Event:
        """The old values stand there. Unless the CRM is sure, ours may have come, and somebody put those back since."""
        try:
            came = not sure and self._in_feed(intent)
        except Exception as error:
            return self._again(intent, now, error, doubt=True)
        if came:
            return self._applied(intent, now, standing=standing, note="found in the CRM's changes")
        return self._event(intent, "deferred", now, retry_at=now, why="read back: it had not been applied", doubt=True)

    def _in_feed(self, intent: Intent) -> bool:
        """Whether our values are among the changes that the poller has not told yet; of earlier ones we have heard."""
        cursor = self.store.poll_cursor()
        while True:
            changes, cursor = self.crm.changes(cursor, PAGE)
            ours = (one for one in changes if one.record == intent.record and not one.person)
            if any(has_come(intent, one.fields, one.at) for one in ours):
                return True
            if len(changes) < PAGE:
                return False

    # -- the call --

    def _call(
        self, intents: Sequence[Intent], found: Mapping[str, CrmRecord], now: float, begin_by: float
    ) -> list[Event]:
        hold = self.terms.hold_field
        calls = [
            CrmCall(
                record=intent.record,
                values=intent.values,
                expected={
                    # as we saw it: what was expected, or where one of several stands there already, our own value
                    **{name: found[intent.record].values.get(name) for name in intent.values},
                    # a CRM that compares also refuses where the hold field was set after we looked
                    **({hold: found[intent.record].values.get(hold)} if hold else {}),
                },
                write_id=intent.id,
                actor=intent.agent,
            )
            for intent in intents
        ]
        if not calls:
            return []
        if isinstance(self.crm, BatchCrm):
            late = self._late(begin_by)
            outcomes = [late] * len(calls) if late else _many(self.crm, calls)
        else:
            several = self._pool.map if self._pool else map
            outcomes = list(several(lambda call: self._late(begin_by) or self._one(call), calls))
        return [self._after(intent, outcome, now) for intent, outcome in zip(intents, outcomes, strict=True)]

    def _late(self, begin_by: float) -> CrmError | None:
        """Whoever has slept since the gate may have been replaced, and the call made by another: it asks again."""
        over = self._ticking() - begin_by
        return CrmUnavailable(f"not called: {over + CALL_WITHIN:.0f} s after the gate", 0.0) if over > 0 else None

    def _one(self, call: CrmCall) -> CrmError | None:
        try:
            self.crm.write(call.record, call.values, call.expected, call.write_id, call.actor)
        except CrmError as error:
            return error
        except Exception as error:
            return _unknown(error)
        return None

    def _after(self, intent: Intent, outcome: CrmError | None, now: float) -> Event:
        match outcome:
            case None:
                return self._applied(intent, now, called=True, keyed=self.crm.abilities.keyed)
            case CrmConflict():
                current = {name: outcome.current.get(name) for name in intent.values if name in outcome.current}
                other = {n: v for n, v in current.items() if not same(v, intent.expected.get(n))}
                if not other:  # what changed is not ours to write: look again
                    return self._event(intent, "deferred", now, retry_at=now, why="the CRM changed while we wrote")
                return self._event(intent, "conflicted", now, current=other)
            case CrmRefused():
                return self._event(intent, "failed", now, why=str(outcome))
            case CrmUnavailable():
                return self._again(intent, now, outcome)
            case _:
                until = now + self.terms.settle
                return self._event(intent, "doubted", now, settle_until=until, why=str(outcome))

    def _applied(self, intent: Intent, now: float, **data: Any) -> Event:
        if self.crm.abilities.lock == "strong":  # what a person has set meanwhile came after us
            data["compared"] = True
        return self._event(intent, "applied", now, **data)

    def _again(self, intent: Intent, now: float, error: Exception, doubt: bool = False) -> Event:
        """Certainly nothing happened: later, longer each time, or when the CRM says."""
        if isinstance(error, CrmRefused) and not doubt:
            return self._event(intent, "failed", now, why=str(error))
        asked = error.retry_after if isinstance(error, CrmUnavailable) else None
        pause = min(asked, 3600.0) if asked is not None else min(PATIENCE, 0.5 * 2 ** min(intent.passes, 8))
        if doubt or intent.state in DOUBTFUL:
            return self._event(intent, "doubted", now, settle_until=now + pause, why=str(error))
        return self._event(intent, "deferred", now, retry_at=now + pause, why=str(error))

    def _event(self, intent: Intent, what: str, now: float, **data: Any) -> Event:
        return Event(
            id=f"{intent.id}|{intent.passes}|{what}",
            type=f"write.{what}",
            subject=intent.record,
            source="writer",
            time=now,
            data={"intent": intent.id, "pass": intent.passes, **data},
            run=intent.run,
        )


def _edited_since(intent: Intent, record: CrmRecord | None) -> dict[str, Any]:
    """What people have set after the call: a value that stood there before it may stand there again."""
    edited = record.edited.items() if record is not None else ()
    since = intent.sent_at or 0.0
    return {name: record.values.get(name) for name, at in edited if record and name in intent.values and at >= since}


def _many(crm: BatchCrm, calls: Sequence[CrmCall]) -> Sequence[CrmError | None]:
    try:
        outcomes = crm.write_many(calls)
    except Exception as error:
        outcomes = [_unknown(error)] * len(calls)
    if len(outcomes) == len(calls):
        return outcomes
    return [CrmUnknown(f"{len(calls)} calls, and {len(outcomes)} outcomes")] * len(calls)


def _unknown(error: Exception) -> CrmError:
    """An adapter failed in its own way: nobody knows what the CRM did."""
    log.error("the CRM adapter failed", exc_info=error)
    return error if isinstance(error, CrmError) else CrmUnknown(f"{type(error).__name__}: {error}")
