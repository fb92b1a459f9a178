"""A thread that ticks: for parts that wait for something other than Redis (the CRM, channels, child processes)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from revops_lite.errors import BusError

log = logging.getLogger("revops.service")

LONGEST_NAP = 1.0


class Service:
    """Calls `tick(now)` when woken, when `next_due()` says so, and at least every second. Errors never end it.

    A tick that moved something is followed by another at once. `at_end` is called in the same thread once it has been
    stopped: for what has to end where it began.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[float], int],
        next_due: Callable[[], float | None] = lambda: None,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.tick = tick
        self.next_due = next_due
        self.at_end = at_end
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def ask_to_stop(self) -> None:
        """The tick under way is the last one. Returns at once."""
        self._stopped.set()
        self._woken.set()

    def stop(self, timeout: float) -> None:
        """Let the tick under way and `at_end` come to their end; wait for that up to `timeout` seconds."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.clear()
            if self._once():
                continue
            due = self.next_due()
            nap = LONGEST_NAP if due is None else max(0.0, min(LONGEST_NAP, due - time.time()))
            self._woken.wait(nap)
        try:
            self.at_end()
        except Exception:
            log.exception("%s: it did not stop cleanly", self.name)

    def _once(self) -> bool:
        try:
            return self.tick(time.time()) > 0
        except BusError as error:
            log.warning("%s: %s", self.name, error)
        except Exception:
            log.exception("%s: a tick failed; the next one comes in a second", self.name)
        self._stopped.wait(0.5)
        return False
