"""One peer, once: started, measured, stopped. Runs in the peer's environment; what it found goes to stdout as JSON.

python scripts/benchmarks/drive.py '{"peer": "huey", "server": "/usr/bin/redis-server", …}'   (see `Task`)
"""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lead import STEPS, Values, lead
from measure import Peak, Traffic, cpu_seconds, megabytes
from peers import Base, Place


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for. Where a peer would take longer than `patience` seconds for something, it gets less of it."""

    peer: str
    server: str
    folder: str
    durability: str = "everysec"
    detail: str = ""
    slots: int = 0
    pause: float = 0.0
    many: int = 1000  # workflows submitted at once
    alone: int = 100  # workflows one after the other; 0: not measured
    growth: int = 0  # so many at once, and then again `many`
    patience: float = 12.0


class Measured:
    """A peer at work, with leads that are new each time."""

    def __init__(self, task: Task) -> None:
        self.task = task
        place = Place(Path(task.folder), task.server, task.durability, task.slots, task.pause, task.detail)
        os.environ |= place.environment()
        began = time.perf_counter()
        self.peer: Base = importlib.import_module(f"peers.{task.peer}").Peer(place)
        self.import_s = time.perf_counter() - began if self.peer.in_process else 0.0
        self.known = 1 + self.peer.warm_up + task.many + task.alone
        self.leads: Iterator[Values] = map(lead, range(10**9))

    def started(self) -> dict[str, float]:
        self.peer.prepare(list(map(lead, range(self.known))))
        cold = self.import_s + self.peer.cold(next(self.leads))
        self.rate = self.peer.warm_up / self.at_once(self.peer.warm_up)
        idle = megabytes(self.peer.processes())
        return {"cold_s": round(cold, 3), "idle_mb": idle}

    def at_once(self, count: int) -> float:
        """Seconds from the first submission to the last end."""
        leads = list(islice(self.leads, count))
        began = time.perf_counter()
        self.peer.submit(leads)
        self.submit_s = time.perf_counter() - began
        self.peer.wait(count)
        return time.perf_counter() - began

    def many(self) -> dict[str, Any]:
        within = int(self.rate * self.task.patience)  # by the warm-up, which is slower than what comes
        count = self.task.many if within * 2 >= self.task.many else max(8, within)
        with Traffics(self.peer, count) as traffic:
            spent = cpu_seconds(self.peer.processes())
            took = self.at_once(count)
            spent = cpu_seconds(self.peer.processes()) - spent
        found = {"count": count, "per_s": round(count / took, 2), "submit_s": round(self.submit_s, 3)}
        return {**found, "cpu_ms": round(spent * 1000 / count, 2), **traffic.found}

    def alone(self, count: int) -> dict[str, Any]:
        took: list[float] = []
        until = time.perf_counter() + self.task.patience / 2
        with Traffics(self.peer, 0) as traffic:
            while len(took) < count and (time.perf_counter() < until or len(took) < 3):
                took.append(self.at_once(1))
            traffic.workflows = len(took)
        took.sort()
        p50, p99 = took[len(took) // 2], took[math.ceil(len(took) * 0.99) - 1]
        return {"count": len(took), "p50_ms": round(p50 * 1000, 2), "p99_ms": round(p99 * 1000, 2), **traffic.found}

    def growth(self) -> dict[str, Any]:
        """The same load, few and many at once, and whether many finished runs are felt afterwards."""
        few = self.bulk(self.task.many)
        then = self.alone(self.task.alone)
        with Peak(self.peer.processes) as peak:
            many = self.bulk(self.task.growth)
        later = self.alone(self.task.alone)
        return {
            "few": {**few, "p50_ms": then["p50_ms"]},
            "many": {**many, "p50_ms": later["p50_ms"], "peak_mb": peak.mb},
            "again": self.bulk(self.task.many),
        }

    def bulk(self, count: int) -> dict[str, float]:
        leads = list(islice(self.leads, count))
        began = time.perf_counter()
        self.peer.submit_in_batches(leads)
        self.peer.wait(count)
        took = time.perf_counter() - began
        return {"count": count, "ms_each": round(took * 1000 / count, 3), "mb": megabytes(self.peer.processes())}


class Traffics:
    """Traffic per step of the workflows inside a `with` block, where there is a Redis."""

    def __init__(self, peer: Base, workflows: int) -> None:
        self.peer, self.workflows = peer, workflows
        self.found: dict[str, float] = {}

    def __enter__(self) -> Traffics:
        redis = self.peer.redis()
        self._traffic = Traffic(redis) if redis else None
        self._own = self.peer.own_trips, self.peer.own_commands
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._traffic and kind is None:
            trips, commands = self._own
            steps = self.workflows * len(STEPS)
            self.found = self._traffic.per(steps, self.peer.own_trips - trips, self.peer.own_commands - commands)


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    shutil.rmtree(task.folder, ignore_errors=True)
    Path(task.folder).mkdir(parents=True)
    measured = Measured(task)
    try:
        found: dict[str, Any] = measured.started()
        if task.growth:
            found["growth"] = measured.growth()
            found["commands"] = measured.peer.commands()
        else:
            found["many"] = measured.many()
            found["busy_mb"] = megabytes(measured.peer.processes())
            if task.alone:
                found["alone"] = measured.alone(task.alone)
    finally:
        measured.peer.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
