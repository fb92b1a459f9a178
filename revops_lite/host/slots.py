"""One call under a time limit, in a thread that can be interrupted but never after the call is over."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable

from revops_lite.host.call import Outcome, Overtime
from revops_lite.host.many import Many
from revops_lite.models import Job
from revops_lite.queue.work import Claim

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)
_raise_in.restype = ctypes.c_int


class Call:
    """A claimed job while a slot works on it.

    `interrupt` delivers Overtime at most once, and only until `close`. The lock belongs to this one call: should the
    exception strike while the slot holds it, nobody needs it again.
    """

    def __init__(self, claim: Claim, job: Job, many: Many | None = None) -> None:
        """`many` is the job that this call is one of, where the claim is for several."""
        self.claim = claim
        self.job = job
        self.many = many
        self.began = time.monotonic()
        self.ends = self.began + job.timeout
        self.interrupted_at: float | None = None
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._open = True
        self._came_back = self.began
        self.over = False  # the slot's thread has come back

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def interrupt(self) -> None:
        """Raise Overtime in the slot's thread, unless the agent has come back. Called once, by the watchdog."""
        with self._lock:
            if self._open:
                self.interrupted_at = time.monotonic()
                _raise_in(self._thread, ctypes.py_object(Overtime))

    def run(self, work: Callable[[], Outcome]) -> Outcome:
        """In the slot's thread. Once Overtime was sent the outcome is "timeout", whatever the agent made of it."""
        outcome: Outcome | None = None
        try:
            try:
                outcome = work()
            except Overtime:
                pass  # sent by the watchdog, or raised by the call itself at its end
            self._close()
        except Overtime:
            pass  # the watchdog's one and only: nothing is pending from here on
        if self.interrupted_at is not None:
            give_back_locks()
        self.over = True
        # Too late is too late, also where it held Python's lock and nobody could interrupt it.
        if outcome is None or self.interrupted_at is not None or self._came_back > self.ends:
            return timed_out(self.job)
        return outcome

    def _close(self) -> None:
        self._came_back = time.monotonic()
        with self._lock:
            self._open = False
        # Sent before the lock was taken, not raised yet: withdrawn here, or raised on the way, inside `run`.
        _raise_in(self._thread, ctypes.py_object())


def give_back_locks() -> None:
    """Release what this thread still holds of logging's locks: struck between taking one and letting it go, it would
    keep every other thread of the process from ever logging, or forking, again."""
    handlers = [ref() for ref in list(vars(logging)["_handlerList"])]
    locks = [vars(logging)["_lock"], *(handler.lock for handler in handlers if handler is not None)]
    for lock in locks:
        while lock is not None and lock._is_owned():
            lock.release()


def timed_out(job: Job) -> Outcome:
    return Outcome("timeout", error=f"no answer within {job.timeout:g} s")
