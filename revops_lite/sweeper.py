"""Sweeping the CRM for fan-out runs: every record of a kind once, in pages, each with what is related to it."""

from __future__ import annotations

import logging
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

from msgspec import Struct, field
from pydantic_core import PydanticSerializationError, from_json, to_json

from revops_lite.crm.extract import extract
from revops_lite.errors import CrmError, EventRefused
from revops_lite.models import CrmRecord, Event, Run
from revops_lite.policy import WorkflowDef
from revops_lite.ports import Crm
from revops_lite.reader import PATIENCE, plain
from revops_lite.rules import fanout
from revops_lite.store.store import Store
from revops_lite.times import ahead
from revops_lite.values import replace

log = logging.getLogger("revops.sweeper")

PAGE = 100  # records
AT_ONCE = 500  # records under way, beyond which no further page is told


class _Found(Struct):
    """What one sweep has found and not told yet: pages as compressed JSON, since there may be many."""

    run: Run
    asked_at: float
    pages: deque[tuple[int, bytes]] = field(default_factory=deque)  # number of records, data of the event
    refused: deque[tuple[str, str]] = field(default_factory=deque)  # records that no event can carry, and why
    told: int = 0  # records
    number: int = 0  # pages


class Sweeper:
    """`offer` runs as committed, `tick(now)` sweeps for one of them and reports `records.swept` and `sweep.ended`.

    Everything is read at once, so that all records are of one moment, and told by and by, so that those under way stay
    few. A sweep that was cut off starts anew: whoever takes its pages in leaves out the records that have come before.
    """

    def __init__(self, store: Store, crm: Crm, workflows: Mapping[str, WorkflowDef], extracts: Path) -> None:
        """`extracts` is the folder for the files that workflows want of the CRM."""
        self.store = store
        self.crm = crm
        self.workflows = workflows
        self.extracts = extracts
        self._inbox: SimpleQueue[Run | None] = SimpleQueue()
        self._waiting: dict[str, Run] = {}
        self._found: _Found | None = None
        self._swept: set[tuple[str, int]] = set()  # its pages are on record, though not all taken in yet
        self._failures = 0
        self._not_before = 0.0

    def offer(self, runs: Iterable[Run]) -> None:
        """Fan-out runs that have not been swept, as they stand, or ended before they were. Callable from any thread."""
        for run in runs:
            self._inbox.put(run)

    def forget(self) -> None:
        """Redis may have lost what it was told: what is offered from now on is swept anew. Callable from any thread."""
        self._inbox.put(None)

    def idle(self) -> bool:
        return self._inbox.empty() and not self._waiting

    def next_due(self) -> float | None:
        """When the CRM is asked again. What was read waits for no time, but for the records under way to end."""
        return self._not_before if self._waiting and self._found is None else None

    def tick(self, now: float) -> int:
        """Read for one run, or tell of what was read. A CRM that is away is asked again later. Raises BusError."""
        self._take_in()
        if self._found is None and self._waiting and not ahead(self._not_before, now, PATIENCE):
            self._found = self._read_for(next(iter(self._waiting.values())), now)
        if self._found is None:
            return 0
        moved = 0
        while self._found.pages and self._under_way(self._found) < AT_ONCE:
            self._tell_page(self._found)
            moved += 1
        if not self._found.pages:
            self._end(self._found)
            moved += 1
        return moved

    def _take_in(self) -> None:
        while True:
            try:
                run = self._inbox.get_nowait()
            except Empty:
                break
            if run is None:
                self._swept.clear()
                self._waiting.clear()
            elif run.finished_at is not None:
                self._waiting.pop(run.id, None)
            elif (run.id, run.loads) not in self._swept:
                self._waiting[run.id] = run
        if self._found is not None:
            now = self._waiting.get(self._found.run.id)
            if now is None or now.loads != self._found.run.loads:  # cancelled; if tried again, it lacks what was told
                self._found = None

    def _under_way(self, found: _Found) -> int:
        """How many of the records that were told of have not come to an end, or to a person."""
        tally = self._waiting[found.run.id].tally
        taken_in = fanout.under_way(tally)
        coming = found.told - fanout.records(tally)["total"]
        if taken_in < AT_ONCE <= taken_in + coming and self._all_decided():
            return taken_in  # the others will not come: they cannot be decided, and wait for a person
        return taken_in + coming

    def _all_decided(self) -> bool:
        return self.store.controller().get("cursor") == self.store.last_event()

    # -- reading --

    def _read_for(self, run: Run, now: float) -> _Found | None:
        try:
            self._extract(run)
            found = _Found(run, now)
            self._read_pages(found)
        except (CrmError, OSError) as error:
            self._failures += 1
            self._not_before = now + min(PATIENCE, 0.5 * 2 ** min(self._failures, 8))
            log.warning("%s cannot be swept, again in %.0f s: %s", run.workflow, self._not_before - now, error)
            return None
        self._failures = 0
        return found

    def _extract(self, run: Run) -> None:
        workflow = self.workflows.get(run.workflow)
        for name, which in workflow.extract.items() if workflow else ():
            extract(self.crm, which.kind, which.where, self.extracts / f"{name}.csv")

    def _read_pages(self, found: _Found) -> None:
        over = found.run.over
        assert over is not None
        come: set[str] = set()  # a CRM that changes while it is read may show a record twice
        with closing(cast(Any, self.crm.sweep(over.kind, over.where, PAGE))) as pages:
            for page in pages:
                new = {record.record: record for record in page if record.record not in come}
                come.update(new)
                if new:
                    self._pack(found, page_of(self.crm, new, found.run.include, found.asked_at))

    def _pack(self, found: _Found, data: dict[str, Any]) -> None:
        try:
            raw = _json(data)
        except PydanticSerializationError:
            found.refused += _unwritable(data["records"])
            data = _only(data, [name for name in data["records"] if name not in dict(found.refused)])
            for name, why in _unwritable(data["seen"]):
                log.warning("%s is shown to nobody: %s", name, why)
                del data["seen"][name]
            raw = _json(data)
        found.pages.append((len(data["records"]), zlib.compress(raw, 1)))

    # -- telling --

    def _tell_page(self, found: _Found) -> None:
        count, packed = found.pages[0]
        data = {**from_json(zlib.decompress(packed)), "of": found.told + sum(count for count, _ in found.pages)}
        self._tell(found, f"{found.number}", data)
        found.pages.popleft()
        found.number += 1
        found.told += count

    def _tell(self, found: _Found, number: str, data: dict[str, Any]) -> None:
        try:
            self.store.append([_event(found, f"records.swept|{number}", "records.swept", data)])
        except EventRefused as refusal:
            names = list(data["records"])
            if len(names) == 1:
                found.refused.append((names[0], str(refusal)))
                found.told -= 1
                return
            for half, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :])):
                self._tell(found, f"{number}.{half}", _only(data, part))

    def _end(self, found: _Found) -> None:
        for name, why in found.refused:
            error = f"{name} cannot be told to run {found.run.id}, which goes on without it: {why}"
            letter = _event(found, "", "event.unreadable", {"error": error})
            self.store.append([replace(letter, id=f"{found.run.id}|refused|{name}", subject=name)])
        data = {"asked_at": found.asked_at, "records": found.told}
        self.store.append([_event(found, "sweep.ended", "sweep.ended", data)])
        self._swept.add((found.run.id, found.run.loads))
        self._waiting.pop(found.run.id, None)
        self._found = None


def page_of(crm: Crm, records: Mapping[str, CrmRecord], include: Sequence[str], asked_at: float) -> dict[str, Any]:
    """The data of `records.swept`: these records with what is related to them. Raises CrmError."""
    names = list(records)
    related = crm.related(names, include) if include else {}
    others = sorted({name for roles in related.values() for several in roles.values() for name in several})
    seen = crm.read(others) if others else {}
    return {
        "asked_at": asked_at,
        "records": {name: plain(record) for name, record in records.items()},
        "related": {name: {r: list(ns) for r, ns in related.get(name, {}).items()} for name in names},
        "seen": {name: plain(record) for name, record in seen.items()},
    }


def _json(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="null")


def _unwritable(records: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those that are no JSON, and why: half a surrogate pair is no text."""
    for name, raw in records.items():
        try:
            _json(raw)
        except PydanticSerializationError as error:
            yield name, str(error)


def _only(data: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The same page for some of its records."""
    related = {name: data["related"][name] for name in names}
    wanted = {other for roles in related.values() for several in roles.values() for other in several}
    seen = {name: raw for name, raw in data["seen"].items() if name in wanted}
    return {**data, "records": {name: data["records"][name] for name in names}, "related": related, "seen": seen}


def _event(found: _Found, turn: str, type_: str, data: dict[str, Any]) -> Event:
    """A page is what this very sweep has read: another sweep of the same run tells its own."""
    run, now = found.run, found.asked_at
    return Event(f"{run.id}|{turn}|{now!r}", type_, run.record, "sweeper", now, data, run=run.id)
