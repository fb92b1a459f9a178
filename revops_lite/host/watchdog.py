"""Ends calls that take too long: an interrupt at the time-out, and after a grace the thread is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from revops_lite.host.slots import Call

GRACE = 1.0  # seconds an agent has to react to its timeout


class Watchdog:
    """Watches calls. `abandon(call)` is told about each one whose thread has not reacted within the grace;
    it may not raise."""

    def __init__(self, abandon: Callable[[Call], None], limit: int) -> None:
        self._abandon = abandon
        self._limit = limit
        self._calls: dict[int, Call] = {}
        self._given_up: list[Call] = []
        self._changed = threading.Condition()
        self._next = float("inf")
        self._stopped = False

    @property
    def abandoned(self) -> int:
        """Threads given up that have not come back."""
        return sum(not call.over for call in list(self._given_up))

    @property
    def exhausted(self) -> bool:
        return self.abandoned > self._limit

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def watch(self, call: Call) -> None:
        with self._changed:
            self._calls[id(call)] = call
            if call.ends < self._next:
                self._changed.notify()

    def forget(self, call: Call) -> None:
        with self._changed:
            self._calls.pop(id(call), None)

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                overdue = [call for call in self._calls.values() if self._due(call) <= now]
                for call in overdue:
                    self._act(call)
                self._given_up = [call for call in self._given_up if not call.over]
                self._next = min(map(self._due, self._calls.values()), default=float("inf"))
                self._changed.wait(None if self._next == float("inf") else max(0.0, self._next - time.monotonic()))

    def _due(self, call: Call) -> float:
        return call.ends if call.interrupted_at is None else call.interrupted_at + GRACE

    def _act(self, call: Call) -> None:
        if call.interrupted_at is None:
            call.interrupt()
            if call.interrupted_at is None:  # it has just come back
                self._calls.pop(id(call), None)
        else:
            self._calls.pop(id(call), None)
            self._given_up.append(call)
            self._abandon(call)
