"""Keeps agent hosts running: starts them with a scrubbed environment, replaces those that died, and sees that their
jobs go on.

Who dies alone is asked why: all jobs that were in flight in it are suspects and go to the queue's isolated twin, where
a host with one slot runs them one after the other. So a job that kills its host is known exactly, and the others pass.

Nothing here runs by itself: `tick(now)` is called a few times a second, and `stop` at the end, by one and the same
thread. The kernel kills a host as soon as the thread that started it has ended, with all that it has in hand.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from revops_lite.errors import BusError, RevopsError
from revops_lite.fleet import Fleet, Reserve, hand, log_of, start
from revops_lite.queue import names
from revops_lite.queue.recovery import STALE_AFTER, Recovered, Recovery
from revops_lite.queue.work import WorkQueue

log = logging.getLogger(__name__)

RECYCLE = 75  # exit code of a host that wants to be replaced
JUMP = 15.0  # seconds between two ticks that are no longer our own pace
TRUST = STALE_AFTER + 5.0  # seconds after an interruption until silence means something again
LOOK = 5.0  # seconds between two looks at heartbeats and silent jobs, or at logs
ASK = 0.5  # seconds between two looks at the isolated queues
IDLE_AFTER = 30.0  # seconds without a suspect until the isolated host goes home
YOUNG = 10.0  # seconds; who dies younger is started again more slowly each time
MAX_BACKOFF = 30.0
LOG_BYTES = 10_000_000  # of a log that has grown longer, so much is kept beside it
GRACE = 6.0  # seconds in which all hosts end: a little more than each of them gives its calls


class Seat(Struct):
    """One place for a host: who sits there, and how often it fell at once."""

    queue: str
    env: tuple[str, ...]
    threads: int
    wanted: bool = True
    asked: bool = False  # to stop
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    falls: int = 0
    not_before: float = 0.0
    busy_at: float = 0.0  # isolated only: when a suspect was last seen


class Supervisor:
    """`recover_all_local` first, then `tick` until `stop`. No method blocks for longer than Redis takes to answer."""

    def __init__(
        self,
        fleet: Fleet,
        work: WorkQueue,
        recovery: Recovery,
        environ: Mapping[str, str] = os.environ,
        reserve: Reserve | None = None,
    ) -> None:
        self._fleet = fleet
        self._reserve = reserve
        self._work = work
        self._recovery = recovery
        self._environ = environ
        self._born = 0  # hosts started so far
        self._fallen: dict[str, tuple[str, bool]] = {}  # dead host -> its queue, and whether its jobs are suspects
        self._trim_at = 0.0
        self._look_at = 0.0
        self._ask_at = 0.0
        self._trust_after = 0.0  # before it, silence may be Redis's, ours, or the clock's
        self._last_tick = 0.0
        self._seats = [
            Seat(queue, tuple(env), fleet.threads)
            for queue, env in fleet.groups.items()
            for _ in range(fleet.processes)
        ]
        if fleet.processes:
            self._seats += [
                Seat(names.isolated(queue), tuple(env), 1, wanted=False) for queue, env in fleet.groups.items()
            ]

    def recover_all_local(self, now: float) -> Recovered:
        """At the start, when no host of this node can live: what they had in flight goes back to the front.

        With agents in the orchestrator's own process the jobs are suspects: one of them may have ended it.
        """
        done = self._recovery.of_node(self._fleet.node, now, blame=self._fleet.processes == 0)
        queues = [*self._fleet.groups, *map(names.isolated, self._fleet.groups)]
        self._work.sign_off(dict.fromkeys(self._work.registered(f"{self._fleet.node}."), queues))
        return done

    def tick(self, now: float) -> None:
        """Everything that is due. Redis not answering is noted, and made up for by a later tick."""
        self._check_clock(now)
        self._reap(now)
        if now >= self._trim_at:
            self._trim_at = now + LOOK
            self._trim_logs()
        try:
            self._recover_fallen(now)
            if now >= self._ask_at:
                self._ask_at = now + ASK
                self._ask_for_suspects(now)
            if now >= self._look_at:
                self._look_at = now + LOOK
                self._look(now)
        except BusError as error:
            self._trust_after = now + TRUST
            log.warning("%s", error)
        self._fill(now)

    def _check_clock(self, now: float) -> None:
        """After a jump of the clock or a pause of this process nobody is called silent until all could be heard."""
        if not -JUMP < now - self._last_tick < JUMP:
            self._trust_after = now + TRUST
            self._look_at = self._ask_at = self._trim_at = now
            for seat in self._seats:
                seat.started_at, seat.busy_at, seat.not_before = now, now, now
        self._last_tick = now

    def stop(self, grace: float = GRACE) -> None:
        """Ask all hosts to stop, wait up to `grace` seconds, then kill the rest; their jobs wait for the next start.

        What they report meanwhile counts, even where nobody decides any more: it is in the stream.
        """
        end = time.monotonic() + grace
        living = [seat.process for seat in self._seats if seat.process is not None]
        for process in living:
            process.terminate()
        for process in living:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _end_group(process.pid)
        for seat in self._seats:
            seat.process = None

    def pids(self) -> dict[str, int]:
        """Name -> process id of each living host."""
        return {seat.name: seat.process.pid for seat in self._seats if seat.process is not None}

    # ---- the dead -----------------------------------------------------------------------------------------------

    def _reap(self, now: float) -> None:
        for seat in self._seats:
            if seat.process is None or (code := seat.process.poll()) is None:
                continue
            _end_group(seat.process.pid)
            seat.process = None
            # An agent may leave with any code, 0 included; only we know whether we have asked for it.
            self._fallen[seat.name] = (seat.queue, not seat.asked)
            died = not seat.asked and code != RECYCLE
            if died:
                log.error("agent host %s died (%s)", seat.name, _cause(code))
            seat.falls = seat.falls + 1 if died and now - seat.started_at < YOUNG else 0
            seat.not_before = now + (_backoff(seat.falls) if seat.falls > 1 else 0.0)

    def _recover_fallen(self, now: float) -> None:
        for name, (queue, blame) in list(self._fallen.items()):
            done = self._recovery.of_workers([name], now, blame=blame)
            self._work.sign_off({name: [queue]})
            del self._fallen[name]
            if done.moved or done.poison:
                log.warning("of %s: %d jobs go on, %d ended as crashed", name, len(done.moved), len(done.poison))
            if done.moved:
                self._ask_at = now
            if done.moved or done.poison:  # it died of its work, not of itself: the next one may start at once
                for seat in self._seats:
                    if seat.name == name:
                        seat.falls, seat.not_before = 0, now

    # ---- the living ---------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Who has not said for 30 s that he lives is killed; what shows no life anywhere goes on elsewhere."""
        seen = self._work.last_seen([seat.name for seat in self._seats if seat.process is not None])
        if now < self._trust_after:
            return
        for seat in self._seats:
            last = max(seen.get(seat.name, 0.0), seat.started_at)
            if seat.process is not None and now - last > STALE_AFTER:
                log.error("agent host %s has not reported for %d s and is killed", seat.name, now - last)
                seat.process.kill()
                seat.process.wait()
        self._reap(now)
        self._recover_fallen(now)
        self._recovery.of_silent(now, blame=True)

    def _ask_for_suspects(self, now: float) -> None:
        for seat in self._seats:
            if seat.queue not in self._fleet.groups:
                if self._work.waiting([seat.queue]) or self._work.in_flight([seat.queue]):
                    seat.busy_at = now
                    seat.wanted = True
                elif seat.wanted and now - seat.busy_at > IDLE_AFTER:
                    seat.wanted, seat.asked = False, True
                    if seat.process is not None:
                        seat.process.terminate()

    def _fill(self, now: float) -> None:
        for seat in self._seats:
            if seat.wanted and seat.process is None and now >= seat.not_before and seat.name not in self._fallen:
                try:
                    self._start(seat, now)
                except RevopsError as error:
                    log.warning("%s", error)
                    seat.falls += 1
                    seat.not_before = now + _backoff(seat.falls)

    def _start(self, seat: Seat, now: float) -> None:
        self._born += 1
        fleet = self._fleet
        seat.name = f"{fleet.node}.{os.getpid()}.{self._born}"
        seat.started_at = now
        seat.asked = False
        task = {
            "config": str(fleet.config),
            "url": fleet.url,
            "queues": [seat.queue],
            "threads": seat.threads,
            "name": seat.name,
            "agents": dict(fleet.agents),
            "memory_mb": fleet.memory_mb,
            "parent": os.getpid(),
        }
        seat.process = (self._reserve and self._reserve.take(seat.queue)) or start(
            fleet, seat.queue, seat.env, self._environ
        )
        hand(seat.process, task)

    def _trim_logs(self) -> None:
        for path in {log_of(self._fleet, seat.queue) for seat in self._seats}:
            try:
                if path.exists() and path.stat().st_size > LOG_BYTES:
                    _trim(path)
            except OSError as error:
                log.warning("%s cannot be shortened: %s", path, error)


def _backoff(falls: int) -> float:
    """Seconds; the power is bounded as well, or no float could hold it after a night of falls."""
    return min(MAX_BACKOFF, 0.1 * 2.0 ** min(falls, 30))


def _trim(path: Path) -> None:
    """Hosts, and what their agents start, keep the file that they were given: so it stays, and what it holds goes.

    They append, so each goes on where the file ends now. What comes between the last two commands is lost.
    """
    with path.open("rb") as whole, path.with_suffix(".log.1").open("wb") as last:
        whole.seek(-LOG_BYTES, os.SEEK_END)
        shutil.copyfileobj(whole, last)
    os.truncate(path, 0)


def _end_group(host: int) -> None:
    """A host has ended: so does whatever its agents have started and left behind."""
    try:
        os.killpg(host, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nothing was left; macOS says so by another error


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
