"""DBOS on SQLite, the database it takes where none is named.

Its documentation advises PostgreSQL for production; SQLite is what runs on one machine without another server.
Workflows are started in the background by `DBOS.start_workflow` and run in its thread pool. Two choices of ours: the
file is in write-ahead mode (with a full sync at each commit, as durable), and there are two threads where agents
return at once, as without a limit they wait for each other's transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from dbos import DBOS
from lead import STEPS, Values, call

from peers import PAUSE, Base, Place

AT_ONCE = 2  # of 1 to 8 and no limit the fastest, or as fast as the fastest


@DBOS.step()
def work(step: str, values: Values) -> Values:
    return call(step, values, PAUSE)


@DBOS.workflow()
def new_lead(values: Values) -> Values:
    for step in STEPS:
        values = values | work(step, values)
    return values


class Peer(Base):
    in_process = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.under_way: list[Any] = []

    def start(self) -> None:
        path = self.place.folder / "dbos.sqlite3"
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA journal_mode=WAL")
        config: Any = {
            "name": "new-lead",
            "system_database_url": f"sqlite:///{path}",
            "run_admin_server": False,
            "max_executor_threads": self.place.slots or AT_ONCE,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.launch()

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        self.under_way += [DBOS.start_workflow(new_lead, values) for values in leads]

    def wait(self, count: int) -> None:
        ending, self.under_way = self.under_way[:count], self.under_way[count:]
        for one in ending:
            one.get_result()

    def stop(self) -> None:
        DBOS.destroy()
        super().stop()
