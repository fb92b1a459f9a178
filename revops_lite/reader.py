"""Reading the CRM for the controller: records for runs that wait for them, and changes as events."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from revops_lite.engine.state import over
from revops_lite.errors import CrmError, CrmRefused, EventRefused
from revops_lite.models import CrmChange, CrmRecord, Event, IntentState, Run
from revops_lite.ports import Crm
from revops_lite.rules.merge import own
from revops_lite.store.events import encode_event
from revops_lite.store.store import Store
from revops_lite.times import ahead
from revops_lite.values import replace

log = logging.getLogger("revops.reader")

BATCH = 100
PAGE = 500
PATIENCE = 60.0
GIVEN_UP = (IntentState.FAILED, IntentState.CONFLICT, IntentState.CANCELLED)


class Loader:
    """Gives runs their records: `offer` runs as committed, `tick(now)` reads and reports `record.loaded`."""

    def __init__(self, store: Store, crm: Crm) -> None:
        self.store = store
        self.crm = crm
        self._inbox: SimpleQueue[Run] = SimpleQueue()
        self._waiting: dict[str, Run] = {}
        self._failures = 0
        self._not_before = 0.0

    def offer(self, runs: Iterable[Run]) -> None:
        """Runs whose record is not loaded yet. Callable from any thread."""
        for run in runs:
            self._inbox.put(run)

    def idle(self) -> bool:
        return self._inbox.empty() and not self._waiting

    def next_due(self) -> float | None:
        return self._not_before if self._waiting else None

    def tick(self, now: float) -> int:
        """Read for up to a batch of runs. A CRM that is away is asked again later. Raises BusError."""
        self._take_in()
        if not self._waiting or ahead(self._not_before, now, PATIENCE):
            return 0
        if self._failures:
            self._forget_ended()
        batch = list(self._waiting.values())[:BATCH]
        if not batch:
            return 0
        try:
            events = self.read(batch, now)
        except CrmError as error:
            self._failures += 1
            self._not_before = now + min(PATIENCE, 0.5 * 2 ** min(self._failures, 8))
            log.warning("records cannot be read, again in %.0f s: %s", self._not_before - now, error)
            return 0
        self._failures = 0
        self._report(batch, events, now)
        for run in batch:
            del self._waiting[run.id]
        return len(batch)

    def _take_in(self) -> None:
        while True:
            try:
                run = self._inbox.get_nowait()
            except Empty:
                return
            self._waiting[run.id] = run

    def _forget_ended(self) -> None:
        """Nobody offers a run that was cancelled while it waited for a CRM that is away: Redis knows of it."""
        for (_, id_), run in self.store.load(("run", id_) for id_ in self._waiting).items():
            if run is not None and over(run):
                del self._waiting[id_]

    def _report(self, batch: Sequence[Run], events: Sequence[Event], now: float) -> None:
        """Too much for one event is a run that cannot go on, and no reason to keep the others waiting."""
        try:
            self.store.append(events)
        except EventRefused:
            for run, event in zip(batch, events, strict=True):
                try:
                    self.store.append([event])
                except EventRefused as error:
                    why = f"{run.record} and what its workflow includes are too much: {error}"
                    self.store.append([_event(run, "missing", now, {"error": why})])

    def read(self, batch: Sequence[Run], now: float) -> list[Event]:
        """`record.loaded` for each run, or `record.missing` where the CRM refuses. Raises CrmError where it is away."""
        try:
            related = self._related(batch)
            names = {run.record for run in batch}
            names.update(name for roles in related.values() for several in roles.values() for name in several)
            records = self.crm.read(sorted(names))
        except CrmRefused as error:
            if len(batch) == 1:
                return [_event(batch[0], "missing", now, {"error": str(error)})]
            return [event for run in batch for event in self.read([run], now)]
        return [self._loaded(run, related[run.id], records, now) for run in batch]

    def _related(self, batch: Sequence[Run]) -> dict[str, dict[str, tuple[str, ...]]]:
        """What each run includes, by role. Raises CrmError."""
        related: dict[str, dict[str, tuple[str, ...]]] = {}
        for include in {run.include for run in batch}:
            asked = list({run.record for run in batch if run.include == include})
            found = self.crm.related(asked, include) if include else {}
            for run in batch:
                if run.include == include:
                    related[run.id] = found.get(run.record, {})
        return related

    def _loaded(self, run: Run, roles: dict[str, tuple[str, ...]], records: dict[str, CrmRecord], now: float) -> Event:
        wanted = [run.record, *(name for several in roles.values() for name in several)]
        found = {name: plain(records[name]) for name in wanted if name in records}
        # The decision that asked is the earliest moment this read can be from, by the controller's own clock.
        data = {"asked_at": run.started_at, "records": found, "related": {r: list(n) for r, n in roles.items()}}
        return _event(run, "loaded", now, data)


def _event(run: Run, what: str, now: float, data: dict[str, Any]) -> Event:
    id_ = f"{run.id}|{what}|{run.loads}" if run.loads else f"{run.id}|{what}"
    return Event(id_, f"record.{what}", run.record, "reader", now, data, run=run.id)


def plain(record: CrmRecord) -> dict[str, Any]:
    """A record as it travels in an event."""
    return {
        "values": dict(record.values),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "edited": dict(record.edited),
    }


class Poller:
    """Turns what came and changed in the CRM into events; our own writes coming back start nothing."""

    def __init__(self, store: Store, crm: Crm, every: float) -> None:
        self.store = store
        self.crm = crm
        self.every = every
        self._due = 0.0
        self._failures = 0
        self.drained = False  # the CRM had nothing new when it was last asked
        self.asked_at = 0.0  # and that was begun then

    def next_due(self) -> float:
        return self._due

    def hurry(self) -> None:
        """Ask at the next tick. Callable from any thread."""
        self._due = 0.0

    def tick(self, now: float) -> int:
        """Read on from the cursor until the CRM has nothing more. Returns how many events were accepted."""
        if ahead(self._due, now, max(self.every, PATIENCE)):
            return 0
        self._due = now + self.every
        self.drained, self.asked_at = False, now  # in this order: nobody may take the last answer for this one
        accepted = 0
        try:
            while True:
                cursor = self.store.poll_cursor()
                changes, after = self.crm.changes(cursor, PAGE)
                accepted += self._accept(changes, now)
                if after != cursor:
                    self.store.set_poll_cursor(after)
                if len(changes) < PAGE:
                    self._failures = 0
                    self.drained = not accepted
                    return accepted
        except CrmError as error:
            self._failures += 1
            self._due = now + min(PATIENCE, self.every * 2 ** min(self._failures, 6))
            log.warning("changes cannot be read, again in %.0f s: %s", self._due - now, error)
            return accepted

    def _accept(self, changes: Sequence[CrmChange], now: float) -> int:
        """An event's id comes from the change itself: reading a page twice accepts it once."""
        ours, seen = self._ours(changes), self._seen(changes)
        news = (_news(change, ours, seen.get(change.record), now) for change in changes)
        events = [event for event in news if event is not None]
        try:
            return self.store.append(events).count("new")
        except EventRefused:
            fitting = (_fitting(event) for event in events)
            return self.store.append([event for event in fitting if event is not None]).count("new")

    def _seen(self, changes: Sequence[CrmChange]) -> dict[str, CrmRecord]:
        """What stands by now in the records that people have edited: whether their word was the last one.

        A record that the CRM shows as it was before the edit says nothing; what it does not show is told as it was.
        """
        edited = {change.record: change.at for change in changes if change.person and not change.created}
        names, size = list(edited), max(1, self.crm.abilities.batch)
        found: dict[str, CrmRecord] = {}
        for start in range(0, len(names), size):
            try:
                found.update(self.crm.read(names[start : start + size]))
            except CrmRefused as error:
                log.warning("what people have edited cannot be read: %s", error)
        return {name: record for name, record in found.items() if record.updated_at >= edited[name]}

    def _ours(self, changes: Sequence[CrmChange]) -> dict[str, dict[str, Any]]:
        """The values that our own calls among these changes brought, by write id.

        Of a call that had been given up there are none: what the CRM has made of it after all is news.
        """
        found = self.store.load(("intent", id_) for change in changes for id_ in change.write_ids)
        return {
            id_: {} if intent.state in GIVEN_UP else dict(intent.values)
            for (_, id_), intent in found.items()
            if intent is not None
        }


def _news(
    change: CrmChange, ours: Mapping[str, Mapping[str, Any]], standing: CrmRecord | None, now: float
) -> Event | None:
    """A change as an event, with what stands there by now where a person made it; None for our own write's echo."""
    mine = {name: value for id_ in change.write_ids for name, value in ours.get(id_, {}).items()}
    rest = own(change.fields, mine)
    if not rest and change.write_ids and not change.created:
        return None
    data: dict[str, Any] = {"values": rest, "actor": change.actor, "person": change.person}
    if late := [id_ for id_ in change.write_ids if ours.get(id_) == {}]:
        data["late"] = late
    if standing is not None:
        data["standing"] = {name: standing.values.get(name) for name in rest}
        data["asked_at"] = max(now, change.at)  # it was after the edit that somebody looked, whatever our clock says
    return Event(
        id=f"crm|{change.record}|{change.key}",
        type=f"{change.record.partition(':')[0]}.{'created' if change.created else 'updated'}",
        subject=change.record,
        source="crm",
        time=change.at,
        data=data,
    )


def _fitting(event: Event) -> Event | None:
    """A change as an event can carry it: without its values, where those are too much or no text. Whoever needs them
    reads them. None where it cannot be told at all, which is no reason to stop at it for ever."""
    refused = _refusal(event)
    if refused is None:
        return event
    data = {name: value for name, value in event.data.items() if name not in ("standing", "asked_at")}
    bare = replace(event, data={**data, "values": {}})
    still = _refusal(bare)
    if still is None:
        log.warning("a change of %r is told without its values: %s", event.subject, refused)
        return bare
    mend = "correct in the CRM what the record is called, or the name of who changed it, and change it once more"
    log.error("a change of %r is told to nobody: %s. Mend: %s", event.subject, still, mend)
    return None


def _refusal(event: Event) -> EventRefused | None:
    try:
        encode_event(event)
    except EventRefused as error:
        return error
    return None
