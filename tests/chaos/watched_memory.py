"""How much memory the processes of an installation hold: now, and at most while somebody looked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY = 0.1  # seconds between two looks; a figure, never a condition

Pids = Callable[[], Mapping[str, int]]


def megabytes(pid: int) -> float:
    """Resident memory of a process; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


class Watched:
    """Looks at the processes that `pids()` names (name -> pid) until the block ends; `peak` is the most of each."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)
        self.peak: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def look(self) -> dict[str, float]:
        """MB of each process now."""
        found = {name: megabytes(pid) for name, pid in self._pids().items()}
        for name, size in found.items():
            if size:
                self.last[name] = size
                self.peak[name] = max(size, self.peak.get(name, 0.0))
        return found

    def told(self) -> str:
        return ", ".join(f"{name} {self.peak[name]:.0f} MB (at last {self.last[name]:.0f})" for name in self.peak)

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            self.look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
