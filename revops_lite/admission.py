"""Admission control: how many runs of one workflow are at work at once. What would start more waits its turn.

Without it all of a large backlog would be started before any of it went on: each run then waits in memory, half done,
and none ends before nearly all have. So an event from outside that would start a workflow with `MOST` runs at work
goes into a list in Redis, and is decided when there is room; its deadline counts from when it happened, as ever. Events
about one record keep their order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from revops_lite.engine.decide import RESERVED
from revops_lite.engine.records import truthy
from revops_lite.models import Context, Event, Key, Run, RunState
from revops_lite.policy import Rulebook
from revops_lite.store.backlog import Backlog, Waited, moves
from revops_lite.store.commit import Command
from revops_lite.store.store import Store

# Runs of a workflow that work at once. Those that wait do not count, whether for a person, a breaker, another try or
# the CRM's answer: while one agent is down, the others shall go on with what comes.
MOST = 1_000
AHEAD = 256  # events of a list that are read at once
PAGE = 500  # runs that are looked at, at once


class Line(Struct):
    """One list of events that wait: how many there are, and the first of them where they have been read."""

    size: int = 0
    head: deque[Waited] = field(default_factory=deque)


class Admission:
    """The controller's: what it says holds once the commit with its commands has arrived."""

    def __init__(self, store: Store, rulebook: Rulebook, most: int = MOST) -> None:
        self._store = store
        self._backlog = Backlog(store.redis)
        self._most = most
        self._hold_field = rulebook.governance.hold_field
        self._flows = {
            type_: [flow.name for flow in rulebook.workflows.values() if type_ in flow.on]
            for type_ in {type_ for flow in rulebook.workflows.values() for type_ in flow.on}
        }
        self._busy: Counter[str] = Counter()  # workflow -> runs at work
        self._lines: dict[str, Line] = {}
        self._records: dict[str, tuple[str, int]] = {}  # that wait: in which line, how often
        # -- of the commit to come --
        self._taken: Counter[str] = Counter()  # line -> events
        self._put: dict[str, list[Waited]] = {}  # line -> events
        self._started: Counter[str] = Counter()  # workflow -> runs at most

    def forget(self) -> None:
        """Read anew what is at work and what waits."""
        self._busy, self._records = Counter(), {}
        self._taken, self._put, self._started = Counter(), {}, Counter()
        open_ = self._store.opened("runs")
        for start in range(0, len(open_), PAGE):
            found = self._store.load(("run", id_) for id_ in open_[start : start + PAGE])
            self._busy.update(run.workflow for run in found.values() if run is not None and _works(run))
        self._lines = {name: Line(size) for name, size in self._backlog.sizes().items()}
        for name, event in self._backlog.all(self._lines):
            self._note(event.subject, name, 1)

    @property
    def waiting(self) -> bool:
        """Whether any event waits."""
        return bool(self._lines)

    @property
    def ready(self) -> bool:
        """Whether one of them can go on now."""
        return any(not line.head or self._room(line.head[0][0].type) > 0 for line in self._lines.values())

    def tight(self, count: int) -> bool:
        """Whether some of `count` more events may have to wait."""
        return self.waiting or any(busy + count > self._most for busy in self._busy.values())

    def due(self, count: int, land: Callable[[], None]) -> list[Waited]:
        """Up to `count` events whose turn it is. `land` waits for the commit that is under way, if there is one."""
        found: list[Waited] = []
        for name, line in self._lines.items():
            while len(found) < count and line.size > self._taken[name]:
                if not line.head:
                    if self._taken[name]:
                        break  # the list in Redis still begins with what this commit takes
                    land()
                    line.head.extend(self._backlog.head(name, AHEAD))
                if not line.head:
                    break  # Redis has been emptied, as the next commit will find out
                if self._room(line.head[0][0].type) <= 0:
                    break
                event, since = line.head.popleft()
                self._taken[name] += 1
                self._note(event.subject, name, -1)
                self._started.update(self._flows.get(event.type, ()))
                found.append((event, since))
        return found

    def sort(self, events: Sequence[Event], docs: Mapping[Key, Any], now: float) -> list[Event]:
        """Those of a batch that are to be decided now, after what is `due`; the others are put into their lines."""
        at_once = []
        for event in events:
            name = self._line_of(event, docs)
            if name is None:
                at_once.append(event)
                self._started.update(self._flows.get(event.type, ()))
            else:
                self._put.setdefault(name, []).append((event, now))
                self._note(event.subject, name, 1)
        return at_once

    def _line_of(self, event: Event, docs: Mapping[Key, Any]) -> str | None:
        if event.source == "controller" or event.type in RESERVED:
            return None
        if event.source == "crm" and (_worked_on(docs.get(("context", event.subject))) or self._is_held(event)):
            return None  # what is decided meanwhile has to know of it
        if event.subject in self._records:
            return self._records[event.subject][0]
        if event.type not in self._flows:
            return None
        waits = event.type in self._lines or event.type in self._put
        return event.type if waits or self._room(event.type) <= 0 else None

    def _is_held(self, event: Event) -> bool:
        values = event.data.get("values")
        return bool(self._hold_field and isinstance(values, dict) and truthy(values.get(self._hold_field)))

    def _room(self, type_: str) -> int:
        """How many more events of this type may start their workflows."""
        flows = self._flows.get(type_, ())
        return min((self._most - self._busy[flow] - self._started[flow] for flow in flows), default=self._most)

    def _note(self, record: str, name: str, number: int) -> None:
        name, before = self._records.get(record, (name, 0))
        if before + number:
            self._records[record] = name, before + number
        else:
            del self._records[record]

    def moved(self, before: Mapping[Key, Any], docs: Mapping[Key, Any]) -> list[Command]:
        """Commands for what `due` and `sort` have said, in the commit of these documents; `before` it they stood so.
        From now on it counts as committed: whoever cannot commit has to `forget`."""
        commands = list(moves({name: line.size for name, line in self._lines.items()}, self._taken, self._put))
        for key, value in docs.items():
            if key[0] == "run" and isinstance(value, Run):
                self._busy[value.workflow] += _works(value) - _works(before.get(key))
        for name, events in self._put.items():
            self._lines.setdefault(name, Line()).size += len(events)
        for name, number in self._taken.items():
            self._lines[name].size -= number
            if not self._lines[name].size:
                del self._lines[name]
        self._taken, self._put, self._started = Counter(), {}, Counter()
        return commands


def _works(run: Run | None) -> bool:
    """A part of a fan-out is the sweep's to hold back."""
    return run is not None and run.state is RunState.RUNNING and not run.part_of


def _worked_on(context: Context | None) -> bool:
    return context is not None and bool(context.runs or context.intents)
