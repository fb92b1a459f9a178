"""A CRM for simulations, in three classes, with a log of everything that ever changed in it.

| class     | a repeated write id   | a value that is not the expected one | what it tells afterwards        |
|-----------|-----------------------|--------------------------------------|---------------------------------|
| `keyed`   | is applied once       | is overwritten                       | whether a write id was applied  |
| `compare` | is applied once more  | is a conflict                        | nothing                         |
| `plain`   | is applied once more  | is overwritten                       | nothing                         |

All have a feed of changes that says who made each. The log and the list of calls are the CRM's own testimony: a check
that reads only them cannot be deceived by what the program believes.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from revops_lite.errors import CrmConflict, CrmError, CrmRefused, CrmUnavailable, CrmUnknown
from revops_lite.models import CrmChange, CrmRecord
from revops_lite.ports import CrmAbilities, CrmCall
from simulated_redis import Boundaries

KINDS = ("keyed", "compare", "plain")
ABILITIES = {
    "keyed": CrmAbilities(lock="none", history="full", keyed=True, batch=100, echo="id"),
    "compare": CrmAbilities(lock="strong", history="none", keyed=False, batch=100, echo="values"),
    "plain": CrmAbilities(lock="none", history="none", keyed=False, batch=100, echo="values"),
}
STALE = 2.0  # seconds by which a stale read is behind
SOON = 2.0  # seconds after which a delayed call is applied: before the writer reads back
LATE = 20.0  # seconds after which a late call is applied: long after the writer has read back

READ_FAULTS = ("read unavailable", "read unknown", "read garbage", "read stale", "record gone")
FEED_FAULTS = ("feed unavailable",)
WRITE_FAULTS = (
    "unavailable",
    "unavailable, asks for 7 s",
    "unavailable, asks for 10^9 s",
    "refused",
    "unknown before",
    "unknown after",
    "garbage before",
    "garbage after",
    "delayed",
    "late",
)
FAULTS = (*READ_FAULTS, *FEED_FAULTS, *WRITE_FAULTS)


class AdapterMistake(Exception):
    """What no adapter should raise, and some will."""


@dataclass(frozen=True)
class Line:
    """One line of the CRM's log: a record came, or fields of it changed."""

    seq: int
    at: float
    record: str
    before: dict[str, Any]
    after: dict[str, Any]
    actor: str
    source: str  # "import", "person" or "revops"
    write_id: str | None = None
    call: int | None = None  # number of the call that brought it
    created: bool = False
    late: bool = False  # applied long after its caller had been told that nobody knows


@dataclass(frozen=True)
class Received:
    """One call that reached the CRM, whatever became of it."""

    number: int
    seq: int  # lines in the log when it came
    at: float
    record: str
    values: dict[str, Any]
    write_id: str


@dataclass
class _Coming:
    due: float
    call: CrmCall
    number: int
    late: bool


@dataclass
class SimulatedCrm:
    """`faults` are met one after the other, each by the first call that it fits."""

    kind: str
    clock: Callable[[], float]
    boundaries: Boundaries
    log: list[Line] = field(default_factory=list)
    calls: list[Received] = field(default_factory=list)
    faults: deque[str] = field(default_factory=deque)
    fired: Counter[str] = field(default_factory=Counter)
    between: list[Callable[[], None]] = field(default_factory=list)  # happens between the writer's read and its call
    before_call: list[Callable[[], None]] = field(default_factory=list)  # happens as a call arrives, past the gate
    _coming: list[_Coming] = field(default_factory=list)

    @property
    def abilities(self) -> CrmAbilities:
        return ABILITIES[self.kind]

    # ---- the port

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        return self.boundaries.cross("crm read", lambda: self._read(records))

    def _read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        self.arrive()
        fault = self._fault(READ_FAULTS)
        self._fail(fault)
        then = self.clock() - STALE if fault == "read stale" else None
        found = {name: record for name in records if (record := self._out(name, then))}
        if fault == "record gone":
            found.pop(records[0], None)
        _let_happen(self.between)
        return found

    def related(self, records: Sequence[str], include: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        return {name: dict.fromkeys(include, ()) for name in records}

    def write(
        self, record: str, values: Mapping[str, Any], expected: Mapping[str, Any], write_id: str, actor: str
    ) -> None:
        call = CrmCall(record, dict(values), dict(expected), write_id, actor)
        self.boundaries.cross("crm write", lambda: self._take(call))

    def applied(self, record: str, write_id: str) -> bool | None:
        def answer() -> bool | None:
            self.arrive()
            self._fail(self._fault(READ_FAULTS[:3]))
            return self._has(record, write_id) if self.abilities.keyed else None

        return self.boundaries.cross("crm applied", answer)

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        return self.boundaries.cross("crm changes", lambda: self._changes(int(cursor or 0), limit))

    def _changes(self, start: int, limit: int) -> tuple[list[CrmChange], str]:
        self.arrive()
        if self._fault(FEED_FAULTS):
            raise CrmUnavailable("the feed is away")
        lines = self.log[start : start + limit]
        return [self._change(line) for line in lines], str(start + len(lines))

    def sweep(self, kind: str, where: Mapping[str, Any], page: int) -> Iterator[list[CrmRecord]]:
        raise CrmRefused(f"nobody sweeps {kind} {where} here, {page} a page")

    def close(self) -> None:
        pass

    # ---- a call

    def _take(self, call: CrmCall) -> None:
        self.arrive()
        _let_happen(self.before_call)
        number = len(self.calls)
        self.calls.append(Received(number, len(self.log), self.clock(), call.record, dict(call.values), call.write_id))
        fault = self._fault(WRITE_FAULTS)
        match fault:
            case "refused":
                raise CrmRefused("the CRM does not like it")
            case "unavailable":
                raise CrmUnavailable("the CRM is away")
            case "unavailable, asks for 7 s" | "unavailable, asks for 10^9 s":
                raise CrmUnavailable("too many requests", retry_after=7.0 if "7" in fault else 1e9)
            case "unknown before":
                raise CrmUnknown("timeout")
            case "garbage before":
                raise AdapterMistake
            case "delayed" | "late":
                due = self.clock() + (LATE if fault == "late" else SOON)
                self._coming.append(_Coming(due, call, number, fault == "late"))
                raise CrmUnknown("timeout")
        self._apply(call, number)
        if fault == "unknown after":
            raise CrmUnknown("reset")
        if fault == "garbage after":
            raise AdapterMistake

    def _apply(self, call: CrmCall, number: int, late: bool = False) -> None:
        if self.abilities.keyed and self._has(call.record, call.write_id):
            return
        held = self.values(call.record)
        if held is None:
            raise CrmRefused(f"{call.record} is not held")
        if self.kind == "compare":
            current = {name: held.get(name) for name in [*call.expected, *call.values]}
            if any(_text(held.get(name)) != _text(value) for name, value in call.expected.items()):
                raise CrmConflict(current=current)
        self._put(call.record, call.values, call.actor, "revops", call.write_id, number, late=late)

    def arrive(self, everything: bool = False) -> None:
        """What was under way when its caller lost sight of it is applied when its time has come."""
        due = [one for one in self._coming if everything or one.due <= self.clock()]
        self._coming = [one for one in self._coming if one not in due]
        for one in due:
            try:
                self._apply(one.call, one.number, one.late)
            except CrmError:
                continue  # it is too late to tell anyone

    def _has(self, record: str, write_id: str) -> bool:
        return any((line.record, line.write_id) == (record, write_id) for line in self.log)

    # ---- people's side

    def create(self, record: str, values: Mapping[str, Any]) -> None:
        self._put(record, values, "import", "import", None, None, created=True)

    def edit(self, record: str, values: Mapping[str, Any], actor: str = "paula") -> None:
        self._put(record, values, actor, "person", None, None)

    def values(self, record: str, then: float | None = None) -> dict[str, Any] | None:
        """What stands there now, or stood there then; None for a record that the CRM does not hold."""
        found: dict[str, Any] | None = None
        for line in self.log:
            if line.record == record and (line.created or then is None or line.at <= then):
                found = {**(found or {}), **line.after}
        return found

    # ---- inside

    def _fault(self, fitting: Sequence[str]) -> str | None:
        for fault in self.faults:
            if fault in fitting:
                self.faults.remove(fault)
                self.fired[fault] += 1
                return fault
        return None

    def _fail(self, fault: str | None) -> None:
        match fault:
            case "read unavailable":
                raise CrmUnavailable("the CRM is away", retry_after=3.0)
            case "read unknown":
                raise CrmUnknown("timeout")
            case "read garbage":
                raise AdapterMistake

    def _put(
        self,
        record: str,
        values: Mapping[str, Any],
        actor: str,
        source: str,
        write_id: str | None,
        call: int | None,
        created: bool = False,
        late: bool = False,
    ) -> None:
        held = self.values(record) or {}
        given = json.loads(json.dumps(dict(values), allow_nan=False))
        before = {name: held.get(name) for name in given}
        self.log.append(
            Line(len(self.log), self.clock(), record, before, given, actor, source, write_id, call, created, late)
        )

    def _change(self, line: Line) -> CrmChange:
        ours = (line.write_id,) if line.write_id and self.abilities.echo == "id" else ()
        person = line.source == "person"
        return CrmChange(
            line.record, line.created, line.at, line.after, line.actor, ours, key=f"line-{line.seq}", person=person
        )

    def _out(self, name: str, then: float | None) -> CrmRecord | None:
        values = self.values(name, then)
        if values is None:
            return None
        lines = [one for one in self.log if one.record == name and (one.created or then is None or one.at <= then)]
        edited: dict[str, float] = {}
        for line in lines if self.abilities.history == "full" else ():
            for one in line.after:
                edited.pop(one, None)
                if line.source == "person":
                    edited[one] = line.at
        kind, _, id_ = name.partition(":")
        return CrmRecord(kind, id_, values, lines[0].at, lines[-1].at, edited)


class KeyedCrm(SimulatedCrm):
    """The class that takes several calls at once."""

    def write_many(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        outcomes: list[CrmError | None] = []
        for call in calls:
            try:
                self.write(call.record, call.values, call.expected, call.write_id, call.actor)
                outcomes.append(None)
            except CrmError as error:
                outcomes.append(error)
        return outcomes


def new_crm(kind: str, clock: Callable[[], float], boundaries: Boundaries) -> SimulatedCrm:
    return (KeyedCrm if kind == "keyed" else SimulatedCrm)(kind, clock, boundaries)


def _let_happen(several: list[Callable[[], None]]) -> None:
    acts, several[:] = list(several), []
    for act in acts:
        act()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
