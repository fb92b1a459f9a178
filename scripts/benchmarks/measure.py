"""Memory and CPU time of processes, and what a Redis server counted between two looks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(after_name[1]), []).append(int(path.parent.name))
    found = list(dict.fromkeys(roots))
    for pid in found:
        found += [child for child in children.get(pid, []) if child not in found]
    return found


def megabytes(roots: Iterable[int]) -> float:
    """PSS of the processes and their children: shared pages are counted once, divided among those who share them."""
    total = 0
    for pid in tree(roots):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return round(total / 1024, 1)


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time, user and system, that the processes and their children have taken so far."""
    ticks = 0
    for pid in tree(roots):
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(after_name[11]) + int(after_name[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Peak:
    """The most memory that was seen inside a `with` block."""

    def __init__(self, roots: Callable[[], list[int]], every: float = 0.5) -> None:
        self.mb = 0.0
        self._roots, self._every = roots, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(self._every):
            self.mb = max(self.mb, megabytes(self._roots()))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Traffic:
    """What a server did since this was made. `redis` is a client, used for this only.

    A round trip is one read of a client's socket by the server. A request of more than 16 KB takes several, so for very
    large batches this is an upper bound. Commands are all that were executed, those inside of scripts included.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._before = self._look()

    def _look(self) -> tuple[int, int]:
        stats = self._redis.info("stats")
        commands = sum(of["calls"] for of in self._redis.info("commandstats").values())
        return int(stats["total_reads_processed"]), commands

    def per(self, steps: int, own_trips: int, own_commands: int) -> dict[str, float]:
        """Per step, without the benchmark's own, and the two by which this looks."""
        trips, commands = (now - before for now, before in zip(self._look(), self._before, strict=True))
        return {
            "trips": round((trips - own_trips - 2) / steps, 2),
            "commands": round((commands - own_commands - 2) / steps, 2),
        }
