"""A CRM adapter whose process stops itself (SIGSTOP) once at a named point, and notes every call: for two controllers.

The tests put it into an installation as its `[crm] adapter = "stopping_crm:Keyed"`, "…:Comparing" or "…:Plain", and
into the file `stop` the point and how many passes go by before: "behind the gate 3". Who is stopped goes on only once
the file `go` is there, so that no instruction slips through. `calls.jsonl` has a line for each call and application:
pid, the epoch of whoever called, and the epoch that Redis knew right before the call.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from redis import Redis

from revops_lite.config import Settings
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmError
from revops_lite.models import CrmChange
from revops_lite.ports import CrmAbilities, CrmCall
from revops_lite.store import keys
from revops_lite.store.store import Store
from revops_lite.values import replace

POINTS = ("before the gate", "behind the gate", "in the call", "after the call", "before a commit")

_one = threading.Lock()
_number = count()
_epoch = [0]


def stop_at(point: str) -> None:
    """Stop the whole process here if that is what the file `stop` wants, and it is the one to do it."""
    with _one:
        try:
            wanted, _, left = Path("stop").read_text().rpartition(" ")
        except OSError:
            return
        if wanted != point:
            return
        if int(left):
            Path("stop").write_text(f"{point} {int(left) - 1}")
            return
        os.unlink("stop")
    folder = os.open("var/audit", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # not in the midst of a sealing: whoever holds this lock keeps its successor out
    os.close(folder)
    os.kill(os.getpid(), signal.SIGSTOP)
    while not os.path.exists("go"):  # the stop may come a few instructions late
        time.sleep(0.001)


def note(what: str, record: str, write_id: str, now: int | None = None) -> None:
    line = {"what": what, "pid": os.getpid(), "record": record, "write": write_id, "epoch": _epoch[0], "now": now}
    with open("calls.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _instrument(gate: Any, begin_commit: Any) -> None:
    def stopping_gate(self: Store, epoch: int, calls: Any, *rest: Any) -> Any:
        _epoch[0] = epoch
        if calls:
            stop_at("before the gate")
        verdicts = gate(self, epoch, calls, *rest)
        if any(verdict == "go" for verdict, _ in verdicts):
            stop_at("behind the gate")
        return verdicts

    def stopping_commit(self: Store, lead: Any, commands: Any, *rest: Any) -> Any:
        if len(commands) > 20:  # a decision, no heartbeat
            stop_at("before a commit")
        return begin_commit(self, lead, commands, *rest)

    Store.gate, Store.begin_commit = stopping_gate, stopping_commit  # `up` alone loads the adapter


_instrument(Store.gate, Store.begin_commit)


class Keyed(SqliteCrm):
    """The embedded CRM: a repeated write id is applied once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.crm.path, settings.crm.relations)
        self._redis = Redis.from_url(settings.redis_url())

    def write_many(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        now = int(self._redis.hget(keys.CONTROLLER, "epoch") or 0)
        for call in calls:
            note("call", call.record, call.write_id, now)
        stop_at("in the call")
        outcomes = self.apply(calls)
        stop_at("after the call")
        return outcomes

    def apply(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        return super().write_many(calls)


class Comparing(Keyed):
    """Knows no keys, but refuses a call whose expected values do not stand there."""

    abilities = CrmAbilities(lock="strong", history="none", keyed=False, batch=500, echo="id")

    def apply(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        return super().apply([replace(c, write_id=f"{c.write_id}#{os.getpid()}.{next(_number)}") for c in calls])

    def applied(self, *_: str) -> None:
        """It cannot tell."""

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        found, after = super().changes(cursor, limit)
        plain = [replace(c, write_ids=tuple(id_.partition("#")[0] for id_ in c.write_ids)) for c in found]
        return plain, after


class Plain(Comparing):
    """Neither keys nor comparison: it sets what it is told to."""

    abilities = CrmAbilities(lock="none", history="none", keyed=False, batch=500, echo="none")

    def apply(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        for call in calls:
            self.edit(call.record, dict(call.values), call.actor, "revops")
            note("applied", call.record, call.write_id)
        return [None] * len(calls)
