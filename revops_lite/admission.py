"""Admission control: how many runs of one workflow are under way at once. What would start more waits its turn.

Without it all of a large backlog would be started before any of it went on: each run then waits in memory, half done,
and none ends before nearly all have. So an event from outside that would start a workflow with `MOST` runs under way
goes into a lane, a list in Redis, and is decided when there is room; its run takes its time from when it happened, as
ever. Events of one type, and those about one record, keep their order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from revops_lite.engine.decide import RESERVED
from revops_lite.engine.state import Key
from revops_lite.models import Context, Event, Run, RunState
from revops_lite.policy import Rulebook
from revops_lite.store.commit import Command
from revops_lite.store.lanes import Lanes, moves
from revops_lite.store.store import Store

MOST = 1_000  # runs of a workflow that work at once; those that wait for a person, or for a breaker, do not count
AHEAD = 256  # events of a lane that are read at once
PAGE = 500  # runs that are looked at, at once


@dataclass(slots=True)
class Lane:
    """One list of events that wait: how many there are, and the first of them where they have been read."""

    size: int = 0
    head: deque[Event] = field(default_factory=deque)


class Admission:
    """The controller's: what it says holds once the commit with its commands has arrived."""

    def __init__(self, store: Store, rulebook: Rulebook, most: int = MOST) -> None:
        self._store = store
        self._lanes = Lanes(store.redis)
        self._most = most
        self._flows = {
            type_: [flow.name for flow in rulebook.workflows.values() if type_ in flow.on]
            for type_ in {type_ for flow in rulebook.workflows.values() for type_ in flow.on}
        }
        self._busy: Counter[str] = Counter()  # workflow -> runs at work
        self._waiting: dict[str, Lane] = {}
        self._records: dict[str, tuple[str, int]] = {}  # that wait: in which lane, how often
        # -- of the commit to come --
        self._taken: Counter[str] = Counter()  # lane -> events
        self._put: dict[str, list[Event]] = {}  # lane -> events
        self._started: Counter[str] = Counter()  # workflow -> runs at most

    def forget(self) -> None:
        """Read anew what is under way and what waits."""
        self._busy, self._records = Counter(), {}
        self._taken, self._put, self._started = Counter(), {}, Counter()
        open_ = self._store.opened("runs")
        for start in range(0, len(open_), PAGE):
            found = self._store.load(("run", id_) for id_ in open_[start : start + PAGE])
            self._busy.update(run.workflow for run in found.values() if run is not None and _works(run))
        self._waiting = {name: Lane(size) for name, size in self._lanes.sizes().items()}
        for lane, event in self._lanes.all(self._waiting):
            self._note(event.subject, lane, 1)

    @property
    def waiting(self) -> bool:
        """Whether any event waits."""
        return bool(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether one of them can go on now."""
        return any(not lane.head or self._room(lane.head[0].type) > 0 for lane in self._waiting.values())

    def sort(self, events: Sequence[Event], docs: Mapping[Key, Any]) -> list[Event]:
        """Those of a batch that are to be decided now; the others are put into their lanes."""
        now = []
        for event in events:
            lane = self._lane_of(event, docs)
            if lane is None:
                now.append(event)
                self._started.update(self._flows.get(event.type, ()))
            else:
                self._put.setdefault(lane, []).append(event)
                self._note(event.subject, lane, 1)
        return now

    def _lane_of(self, event: Event, docs: Mapping[Key, Any]) -> str | None:
        if event.source == "controller" or event.type in RESERVED:
            return None
        if event.source == "crm" and _worked_on(docs.get(("context", event.subject))):
            return None  # what is decided about this record meanwhile has to know of it
        if event.subject in self._records:
            return self._records[event.subject][0]
        if event.type not in self._flows:
            return None
        waits = event.type in self._waiting or event.type in self._put
        return event.type if waits or self._room(event.type) <= 0 else None

    def _room(self, type_: str) -> int:
        """How many more events of this type may start their workflows."""
        flows = self._flows.get(type_, ())
        return min((self._most - self._busy[flow] - self._started[flow] for flow in flows), default=self._most)

    def due(self, count: int, land: Callable[[], None]) -> list[Event]:
        """Up to `count` events whose turn it is. `land` waits for the commit that is under way, if there is one."""
        found: list[Event] = []
        for name, lane in self._waiting.items():
            while len(found) < count and lane.size > self._taken[name]:
                if not lane.head:
                    if self._taken[name]:
                        break  # the list in Redis still begins with what this commit takes
                    land()
                    lane.head.extend(self._lanes.head(name, AHEAD))
                if not lane.head or self._room(lane.head[0].type) <= 0:
                    break  # nothing there: Redis has been emptied, as the next commit will find out
                event = lane.head.popleft()
                self._taken[name] += 1
                self._note(event.subject, name, -1)
                self._started.update(self._flows.get(event.type, ()))
                found.append(event)
        return found

    def _note(self, record: str, lane: str, number: int) -> None:
        lane, before = self._records.get(record, (lane, 0))
        if before + number:
            self._records[record] = lane, before + number
        else:
            del self._records[record]

    def commands(self) -> Iterator[Command]:
        """What `sort` and `due` have said since the last commit."""
        return moves({name: lane.size for name, lane in self._waiting.items()}, self._taken, self._put)

    def moved(self, before: Mapping[Key, Any], docs: Mapping[Key, Any]) -> None:
        """A commit with these documents, and with `commands`, goes out; so stood the documents before."""
        for key, value in docs.items():
            if key[0] == "run" and isinstance(value, Run):
                self._busy[value.workflow] += _works(value) - _works(before.get(key))
        for name, events in self._put.items():
            self._waiting.setdefault(name, Lane()).size += len(events)
        for name, number in self._taken.items():
            self._waiting[name].size -= number
            if not self._waiting[name].size:
                del self._waiting[name]
        self._taken, self._put, self._started = Counter(), {}, Counter()


def _works(run: Run | None) -> bool:
    """A part of a fan-out is the sweep's to hold back."""
    return run is not None and run.state is RunState.RUNNING and not run.part_of


def _worked_on(context: Context | None) -> bool:
    return context is not None and bool(context.runs)
