"""The notifier: takes the notices that are due, sends them, reports what became of them. It decides nothing.

Redis remembers what has to be sent, so a restart loses nothing; a crash between a sending and its report repeats that
one notice. Each channel is a lane of its own: one sending at a time, oldest notice first, and a channel that is slow or
away holds up no other. A lane whose channel fails pauses; a notice that keeps failing lets the others pass.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

from msgspec import Struct, field

from revops_lite.clean import clean
from revops_lite.errors import ChannelError, ConfigError, RevopsError
from revops_lite.models import Event, OutNotice
from revops_lite.ports import Channel

log = logging.getLogger("revops.notifier")

FIRST_WAIT = 5.0  # seconds until the second try; doubled up to LONGEST_WAIT
LONGEST_WAIT = 600.0
LANE_WAIT = 60.0  # longest pause of a whole channel that does not name its own
STEPS_ASIDE = 5  # from this try on, a failing notice no longer holds up those behind it
LONGEST_PAUSE = 3600.0  # seconds; a channel that asks for more is asked again after that
GIVE_UP = 86_400.0  # seconds after its making a notice is given up,
ENOUGH_TRIES = 8  # but not before so many tries: it may have been made long before we were started
AT_ONCE = 256  # notices taken in one tick
REPORTS = "report:"  # the channel that takes every notice to "report:<name>"
TOLD_KEPT = 65_536

Key = tuple[
    str, float
]  # a notice's id and the time it was made: the id alone comes back once its dedupe window is over


class _Lane(Struct):
    """One channel, what waits for it, and how it fares."""

    name: str
    channel: Channel
    waiting: list[OutNotice] = field(default_factory=list)  # oldest first
    busy: bool = False
    failures: int = 0  # in a row
    paused_until: float = 0.0

    def paused(self, now: float) -> bool:
        """A pause longer than any that is given out comes from a clock that has been set back."""
        return now < self.paused_until <= now + LONGEST_PAUSE


class Notifier:
    """Call `tick(now)` whenever notices may be due, from one thread; `close` at the end."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        default: str,
        due: Callable[[float, int], Sequence[OutNotice]],
        report: Callable[[Event], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`due(now, limit)` gives planned notices whose time has come, oldest first.

        It may give a notice once per try, or go on giving it until the report about it has been decided. `report`
        must be callable from any thread and may raise a RevopsError: the same event is then reported again later.
        Raises ConfigError when there is no channel `default`.
        """
        if default not in channels:
            raise ConfigError(
                f"notify.default: there is no channel {clean(default)!r}; add [notify.channels.{default}]"
            )
        self._lanes = {name: _Lane(name, channel) for name, channel in channels.items()}
        self._default = self._lanes[default]
        self._due = due
        self._report = report
        self._clock = clock
        self._closing = False
        self._lock = threading.Condition()  # guards everything below, and the lanes
        self._flying: set[Key] = set()  # taken, outcome not reported yet
        self._told: OrderedDict[Key, int] = OrderedDict()  # -> `tries` at our last report: less has not been heard yet
        self._outbox: deque[tuple[Key, Event]] = deque()
        self._reporting = threading.Lock()

    def tick(self, now: float) -> int:
        """Report what is unreported, take what is due, let the channels send. Returns how many notices were taken.

        Raises what `due` and `report` raise.
        """
        self._flush()
        with self._lock:
            if self._closing:
                return 0
            held = len(self._flying)
        found = self._due(now, held + AT_ONCE)
        with self._lock:
            taken = sum(self._take(notice) for notice in found)
            for lane in self._lanes.values():
                if lane.waiting and not lane.busy and not lane.paused(now):
                    self._start(lane)
        return taken

    def idle(self) -> bool:
        """Whether nothing waits or is being sent, and every outcome has been reported."""
        with self._lock:
            return not self._flying

    def wait(self, timeout: float) -> bool:
        """Wait until no channel is sending, at most `timeout` seconds. Returns whether that is so."""
        with self._lock:
            return self._lock.wait_for(lambda: not any(lane.busy for lane in self._lanes.values()), timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Let what is being sent come to its end, for at most `timeout` seconds, then close the channels.

        What was taken and not begun stays planned, for the next start. A sending that has not ended by then
        is left to itself and may be repeated.
        """
        with self._lock:
            self._closing = True
        self.wait(timeout)
        try:
            self._flush()
        except RevopsError as error:
            log.warning("the outcome of %d notices could not be reported: %s", len(self._outbox), error)
        for lane in self._lanes.values():
            if not lane.busy:
                lane.channel.close()

    # -- taking (under the lock) --

    def _take(self, notice: OutNotice) -> bool:
        key = (notice.id, notice.at)
        if key in self._flying or notice.tries < self._told.get(key, 0):
            return False
        self._flying.add(key)
        insort(self._lane(notice.to).waiting, notice, key=lambda one: one.at)
        return True

    def _lane(self, to: str) -> _Lane:
        """The channel of that name; a report goes to the reports; a person, an owner or a stranger to the default."""
        name = REPORTS if to.startswith(REPORTS) else to
        return self._lanes.get(name, self._default)

    def _start(self, lane: _Lane) -> None:
        try:
            threading.Thread(target=self._deliver, args=(lane,), name=f"notify-{lane.name}", daemon=True).start()
            lane.busy = True
        except RuntimeError as error:  # the machine gives no more threads: the next tick tries again
            log.error("channel %s: no thread to send with: %s", lane.name, error)

    # -- sending, in a thread of the lane's own while there is something to send --

    def _deliver(self, lane: _Lane) -> None:
        while (notice := self._next(lane)) is not None:
            problem = self._send(lane, notice)
            self._settle(lane, notice, problem, self._clock())
            try:
                self._flush()
            except Exception as error:  # the next tick reports it, or raises
                log.warning("channel %s: an outcome could not be reported yet: %s", lane.name, error)

    def _next(self, lane: _Lane) -> OutNotice | None:
        with self._lock:
            if lane.waiting and not self._closing and not lane.paused(self._clock()):
                return lane.waiting.pop(0)
            lane.busy = False
            self._lock.notify_all()
            return None

    def _send(self, lane: _Lane, notice: OutNotice) -> ChannelError | None:
        try:
            lane.channel.send(notice)
        except ChannelError as error:
            return error
        except Exception as error:  # a channel's own mistake must not end its lane
            log.debug("channel %s", lane.name, exc_info=True)
            return ChannelError(f"channel {lane.name}: {type(error).__name__}: {error}")
        return None

    def _settle(self, lane: _Lane, notice: OutNotice, problem: ChannelError | None, now: float) -> None:
        """Turn the outcome into an event to report, and into the lane's pause."""
        tries = notice.tries + 1
        retry_at = None
        if problem is not None and not problem.final and (now - notice.at < GIVE_UP or tries < ENOUGH_TRIES):
            retry_at = now + max(own_wait(notice.id, tries), asked_for(problem))
        event = outcome(notice, tries, problem, retry_at, now)
        with self._lock:
            lane.failures = lane.failures + 1 if problem is not None and not problem.final else 0
            lane.paused_until = now + lane_wait(lane.failures, problem)
            if retry_at is not None and tries < STEPS_ASIDE:
                lane.paused_until = max(lane.paused_until, retry_at)
            key = (notice.id, notice.at)
            self._told[key] = tries
            self._told.move_to_end(key)
            while len(self._told) > TOLD_KEPT:
                self._told.popitem(last=False)
            self._outbox.append((key, event))

    def _flush(self) -> None:
        """Report outcomes in their order; one that cannot be reported stays first."""
        with self._reporting:
            while self._outbox:
                key, event = self._outbox[0]
                self._report(event)
                with self._lock:
                    self._outbox.popleft()
                    self._flying.discard(key)


def outcome(notice: OutNotice, tries: int, problem: ChannelError | None, retry_at: float | None, now: float) -> Event:
    """`notice.sent` or `notice.failed`. Its id follows from notice and try: telling it twice is telling it once.

    The time the notice was made is part of the id: after its dedupe window the same notice may go out again.
    """
    what = "sent" if problem is None else "failed"
    return Event(
        id=f"{notice.id}|{notice.at!r}|{tries}|{what}",
        type=f"notice.{what}",
        subject=notice.id,
        source="notifier",
        time=now,
        data={
            "notice": notice.id,
            "tries": tries,
            "error": "" if problem is None else clean(str(problem), limit=500),
            "retry_at": retry_at,
            "final": problem is not None and retry_at is None,
        },
        run=notice.run,
    )


def own_wait(notice_id: str, tries: int) -> float:
    """Seconds until a notice is tried again after `tries` failures: 5 s to 10 min, up to a quarter more by its id."""
    digest = blake2b(f"{notice_id}|{tries}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    jitter = int.from_bytes(digest, "big") / 2**32
    return min(FIRST_WAIT * 2.0 ** min(tries - 1, 16), LONGEST_WAIT / 1.25) * (1 + jitter / 4)


def asked_for(problem: ChannelError) -> float:
    """Seconds the channel wants to be left alone."""
    return min(problem.retry_after or 0.0, LONGEST_PAUSE)


def lane_wait(failures: int, problem: ChannelError | None) -> float:
    """Seconds for which a channel gets nothing after so many failures in a row; what it asked for itself counts."""
    if not failures:
        return 0.0
    if problem is not None and problem.retry_after is not None:
        return max(asked_for(problem), 1.0)
    return min(FIRST_WAIT * 2.0 ** min(failures - 1, 16), LANE_WAIT)
