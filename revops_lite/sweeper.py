"""Sweeping the CRM for fan-out runs: every record of a kind once, in pages, each with what is related to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

from revops_lite.crm.extract import extract
from revops_lite.errors import CrmError, EventRefused
from revops_lite.models import CrmRecord, Event, Run
from revops_lite.policy import WorkflowDef
from revops_lite.ports import Crm
from revops_lite.reader import PATIENCE, plain
from revops_lite.store.store import Store

log = logging.getLogger("revops.sweeper")

PAGE = 100  # records


class Sweeper:
    """`offer` runs as committed, `tick(now)` sweeps for one of them and reports `records.swept` and `sweep.ended`.

    A sweep that was cut off starts anew. Whoever takes its pages in leaves out the records that have come before, so
    that none comes twice.
    """

    def __init__(self, store: Store, crm: Crm, workflows: Mapping[str, WorkflowDef], extracts: Path) -> None:
        """`extracts` is the folder for the files that workflows want of the CRM."""
        self.store = store
        self.crm = crm
        self.workflows = workflows
        self.extracts = extracts
        self._inbox: SimpleQueue[Run] = SimpleQueue()
        self._waiting: dict[str, Run] = {}
        self._swept: set[tuple[str, int]] = set()  # its pages are on record, though not all taken in yet
        self._failures = 0
        self._not_before = 0.0

    def offer(self, runs: Iterable[Run]) -> None:
        """Fan-out runs that have not been swept. Callable from any thread."""
        for run in runs:
            self._inbox.put(run)

    def idle(self) -> bool:
        return self._inbox.empty() and not self._waiting

    def next_due(self) -> float | None:
        return self._not_before if self._waiting else None

    def tick(self, now: float) -> int:
        """Sweep for one run. A CRM that is away is asked again later. Raises BusError."""
        while True:
            try:
                run = self._inbox.get_nowait()
            except Empty:
                break
            if (run.id, run.loads) not in self._swept:
                self._waiting[run.id] = run
        if not self._waiting or now < self._not_before:
            return 0
        run = next(iter(self._waiting.values()))
        try:
            self._extract(run)
            self._sweep(run, now)
        except (CrmError, OSError) as error:
            self._failures += 1
            self._not_before = now + min(PATIENCE, 0.5 * 2 ** min(self._failures, 8))
            log.warning("%s cannot be swept, again in %.0f s: %s", run.workflow, self._not_before - now, error)
            return 0
        self._failures = 0
        del self._waiting[run.id]
        self._swept.add((run.id, run.loads))
        return 1

    def _extract(self, run: Run) -> None:
        workflow = self.workflows.get(run.workflow)
        for name, which in workflow.extract.items() if workflow else ():
            extract(self.crm, which.kind, which.where, self.extracts / f"{name}.csv")

    def _sweep(self, run: Run, now: float) -> None:
        """The pages are told as they come: agents are at work on the first while the next is read."""
        assert run.over is not None
        number = count = 0
        with closing(cast(Any, self.crm.sweep(run.over.kind, run.over.where, PAGE))) as pages:
            for number, page in enumerate(pages, 1):
                count += len(page)
                self._tell(run, now, f"{number}", page)
        data = {"asked_at": now, "pages": number, "records": count}
        self.store.append([_event(run, f"sweep.ended|{now!r}", "sweep.ended", now, data)])

    def _tell(self, run: Run, now: float, number: str, page: Sequence[CrmRecord]) -> None:
        names = [record.record for record in page]
        related = self.crm.related(names, run.include) if run.include else {}
        others = sorted({name for roles in related.values() for several in roles.values() for name in several})
        seen = self.crm.read(others) if others else {}
        data = {
            "asked_at": now,
            "records": {record.record: plain(record) for record in page},
            "related": {name: {role: list(names) for role, names in related.get(name, {}).items()} for name in names},
            "seen": {name: plain(record) for name, record in seen.items()},
        }
        try:
            self.store.append([_event(run, f"records.swept|{now!r}|{number}", "records.swept", now, data)])
        except EventRefused:
            if len(page) == 1:
                raise
            for half, part in enumerate((page[: len(page) // 2], page[len(page) // 2 :])):
                self._tell(run, now, f"{number}.{half}", part)


def _event(run: Run, turn: str, type_: str, now: float, data: dict[str, Any]) -> Event:
    """A page is what this very sweep has read: another sweep of the same run tells its own."""
    return Event(f"{run.id}|{turn}", type_, run.record, "sweeper", now, data, run=run.id)
