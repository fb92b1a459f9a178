"""The agent host: threads that claim steps, call their agents and report, in a process of its own or in `up`'s.

Threads: one dispatcher claims for the free slots; each slot calls one agent at a time; a watchdog ends calls that take
too long; a reporter ends jobs in batches; a pulse says that they live. While there is nothing to do the dispatcher
waits for whoever calls `ring`. What is claimed stays in `_held` until its ending has been reported.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from queue import SimpleQueue
from typing import Any

from revops_lite.errors import AgentError, BusError, QueueError, RevopsError
from revops_lite.host.call import Outcome, call
from revops_lite.host.forks import forks_end_with_us
from revops_lite.host.many import OK, Many
from revops_lite.host.prints import agent_speaks
from revops_lite.host.reporter import Reporter
from revops_lite.host.slots import Call, timed_out
from revops_lite.host.watchdog import Watchdog
from revops_lite.models import Job
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import calls_of, job_refused, step_finished, steps_finished
from revops_lite.queue.work import Claim, Ending, WorkerCard, WorkQueue
from revops_lite.registry import AgentSpec, load

log = logging.getLogger(__name__)

PULSE = 5.0  # seconds between heartbeats
REPORT = 30.0  # seconds at most for the last reports
PAUSE = 0.5  # seconds before Redis is asked again after it did not answer
IDLE = 1.0  # seconds after which queues are asked although nobody has rung
ASK = 0.25  # seconds between two looks for suspects while others run


class Host:
    """`start`, and later `stop`. `agents` maps an agent's name to its entry ("agents.scoring:score").

    `isolated` queues are for suspects: one of their jobs at a time, and only while nothing else runs here. With
    `recycle`, a host in which too many agents hang stops claiming and says so by `exhausted`. With `ahead`, up to so
    many more jobs than slots are claimed while calls end, so that a slot goes on at once: where no other host could
    take them meanwhile.
    """

    def __init__(
        self,
        work: WorkQueue,
        *,
        name: str,
        queues: Sequence[str],
        agents: Mapping[str, str],
        threads: int,
        isolated: Sequence[str] = (),
        recycle: bool = True,
        ahead: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._work = work
        self._queues = tuple(queues)
        self._isolated = tuple(isolated)
        self._agents = dict(agents)
        self._threads = threads
        self._recycle = recycle
        self._ahead = ahead
        self._clock = clock
        self._card = _card(name, self._queues + self._isolated, clock())
        self._token = f"{time.time_ns():x}-{os.getpid()}"
        self._claims_made = 0
        self._lock = threading.Lock()
        self._held: dict[str, Claim] = {}  # claimed, ending not yet reported; by execution
        self._running: dict[str, Claim] = {}  # claimed, no outcome yet
        self._alone: str | None = None  # execution of the suspect that runs now
        self._broken = False
        self._worn = False
        self._ended = 0  # jobs
        self._ended_before = 0  # of these, when the dispatcher last looked
        self._suspected = False
        self._ask_at = 0.0
        self._specs: dict[str, AgentSpec] = {}
        self._inbox: SimpleQueue[Claim | None] = SimpleQueue()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._silent = threading.Event()  # no heartbeat any more
        self._pulser: threading.Thread | None = None
        self._idle = threading.Event()
        self._dry = False  # the last claim left nothing that may be claimed, and nobody has rung since
        self._reporter = Reporter(work, name, clock, self._reported)
        self._watchdog = Watchdog(self._abandon, max(4, threads // 4))

    # ---- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all threads; returns at once."""
        forks_end_with_us()
        self._reporter.start()
        self._watchdog.start()
        for _ in range(self._threads):
            self._thread(self._serve, "slot")
        self._pulser = self._thread(self._pulse, "pulse")
        self._thread(self._dispatch, "dispatch")

    def stop(self, grace: float | None = 5.0) -> bool:
        """Claim no more, wait up to `grace` seconds (None: as long as it takes) for what runs, report it.

        Until then it says that it lives. True if nothing was left unfinished.
        """
        self._stopping.set()
        self._wake.set()
        end = math.inf if grace is None else time.monotonic() + grace
        while self._running and time.monotonic() < end:
            self._idle.clear()
            self._idle.wait(0.05)
        for _ in range(self._threads):
            self._inbox.put(None)
        self._watchdog.stop()
        clean = self._reporter.stop(max(1.0, min(REPORT, end - time.monotonic()))) and not self._held
        self._fall_silent()
        if clean:
            try:
                self._work.sign_off({self.name: self._card.queues})
            except BusError:
                log.warning("host %s could not sign off", self.name)
        return clean

    def _fall_silent(self) -> None:
        """A heartbeat that is under way would sign us on again behind our signing off."""
        self._silent.set()
        if self._pulser is not None:
            self._pulser.join(1.0)

    @property
    def exhausted(self) -> bool:
        """Too many hanging agents, too much memory, or a thread of its own broke: it wants to be replaced."""
        return self._recycle and (self._watchdog.exhausted or self._broken or self._worn)

    def wear_out(self, why: str) -> None:
        """Claim no more and be replaced; not before something has been done, or a large agent would never be called."""
        if self._ended and not self._worn:
            log.warning("host %s is to be replaced: %s", self.name, why)
            self._worn = True

    @property
    def in_flight(self) -> int:
        return len(self._held)

    @property
    def abandoned(self) -> int:
        """Threads that were given up because their agent does not react."""
        return self._watchdog.abandoned

    @property
    def late(self) -> int:
        """Results that came after their job had been given to another host."""
        return self._reporter.late

    def _thread(self, body: Callable[[], None], role: str) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(body,), name=f"{self.name}-{role}", daemon=True)
        thread.start()
        return thread

    def _run(self, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception:
            log.exception("a thread of host %s broke", self.name)
            self._broken = True

    # ---- claiming -----------------------------------------------------------------------------------------------

    def ring(self, queue: str) -> None:
        """Jobs may have come to this queue: look at once. Callable from any thread, and once too often."""
        if queue in self._isolated:
            self._ask_at = 0.0
        self._dry = False
        self._wake.set()

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                claimed = None if self.exhausted else self._claim()
            except BusError as error:
                log.warning("%s", error)
                self._stopping.wait(PAUSE)
                continue
            if claimed is None or self._dry:
                self._wake.wait(IDLE)

    def _claim(self) -> list[Claim] | None:
        """As many as there are free slots, or soon will be; a suspect only into an empty host, and nothing beside it.

        Where calls are made alone, the next one waits until the last one's ending has been reported: should it be the
        one that kills its host, nothing else is in flight there. None while nothing more may be claimed.
        """
        self._dry = False
        lately, self._ended_before = self._ended - self._ended_before, self._ended
        free = self._threads + min(lately, self._ahead) - len(self._running)
        if free <= 0 or self._alone is not None or (self._threads == 1 and self._held):
            return None
        if self._suspects():
            return None if self._held else self._take(self._isolated, 1)
        return self._take(self._queues, free)

    def _suspects(self) -> bool:
        """Whether isolated jobs wait; asked at most every `ASK` seconds, or when one has come."""
        if self._isolated and time.monotonic() >= self._ask_at:
            self._suspected = self._work.waiting(self._isolated) > 0
            self._ask_at = 0.0 if self._suspected else time.monotonic() + ASK
        return self._suspected

    def _take(self, queues: tuple[str, ...], count: int) -> list[Claim]:
        if not queues:
            self._dry = True
            return []
        turn = self._claims_made % len(queues)  # so that a busy queue does not starve the others
        token = f"{self._token}-{self._claims_made}"
        claimed = self._work.claim(self.name, token, queues[turn:] + queues[:turn], count, self._clock())
        self._dry = len(claimed) < count
        self._claims_made += 1  # after a BusError the same token asks again, and gets the same jobs
        with self._lock:
            for claim in claimed:
                self._held[claim.execution] = self._running[claim.execution] = claim
                if claim.queue in self._isolated:
                    self._alone = claim.execution
        for claim in claimed:
            self._inbox.put(claim)
        return claimed

    # ---- calling ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while (claim := self._inbox.get()) is not None:
            try:
                ours = self._settle(claim, self._worked_off(claim))
            except Exception:
                ours = self._lose(claim)
            if not ours:
                return  # given up meanwhile: another thread has this place

    def _worked_off(self, claim: Claim) -> Ending:
        try:
            job = decode(claim.data)
        except QueueError as refusal:
            log.error("job %s: %s", claim.job_id, refusal)
            told = job_refused(claim.job_id, claim.execution, self._clock(), str(refusal))
            return Ending(claim, ok=False, event=told, error=str(refusal))
        calls = calls_of(job)
        return self._one(claim, job) if calls is None else self._many(claim, Many(job, calls))

    def _one(self, claim: Claim, job: Job) -> Ending:
        one = Call(claim, job)
        outcome = one.run(partial(self._call, one))
        self._watchdog.forget(one)
        return self._ending(one, outcome)

    def _many(self, claim: Claim, many: Many) -> Ending:
        """One call after the other; what is left when the host stops, or is not worth it, goes back."""
        for job in many.jobs():
            if self._stopping.is_set() or claim.execution not in self._running:
                break
            one = Call(claim, job, many)
            outcome = one.run(partial(self._call, one))
            self._watchdog.forget(one)
            many.add(outcome, one.elapsed)
        return self._ending_of(claim, many, many.all())

    def _call(self, one: Call) -> Outcome:
        self._watchdog.watch(one)  # from here on Overtime may strike, so this has to be inside `run`
        with agent_speaks(one.job.agent):
            return call(one.job, self._spec)

    def _spec(self, agent: str) -> AgentSpec:
        spec = self._specs.get(agent)
        if spec is None:
            entry = self._agents.get(agent)
            if entry is None:
                raise AgentError(f"agent {agent!r} is not in this host's configuration; restart `revops up`")
            spec = self._specs[agent] = load(entry)
        return spec

    def _abandon(self, one: Call) -> None:
        """By the watchdog: the thread does not react. Its place is taken by a new one, its result will be dropped.

        Nothing may come of it: without its watchdog this host would never end a call again.
        """
        late, many = timed_out(one.job), one.many
        try:
            ending = self._ending(one, late) if many is None else self._ending_of(one.claim, many, many.all(late))
            self._refill()
            if self._settle(one.claim, ending):
                log.error("%s does not react to its timeout; its thread is given up", one.job.agent)
        except Exception:
            self._lose(one.claim)

    def _refill(self) -> None:
        """Before the call is settled: nothing is claimed for a place that stays empty."""
        try:
            self._thread(self._serve, "slot")
        except RuntimeError:  # the machine gives no more threads
            log.exception("host %s has lost a slot", self.name)
            self._threads -= 1
            self._broken = True

    def _ending(self, one: Call, outcome: Outcome) -> Ending:
        event = step_finished(
            one.job,
            self._clock(),
            outcome=outcome.kind,
            error=outcome.error,
            proposals=outcome.proposals,
            problems=outcome.problems,
            after=outcome.after,
            elapsed_ms=one.elapsed * 1000,
            tries=outcome.tries,
        )
        ok = outcome.kind in OK
        return Ending(one.claim, ok, event, "" if ok else outcome.error or "; ".join(outcome.problems), one.elapsed)

    def _ending_of(self, claim: Claim, many: Many, results: list[dict[str, Any]]) -> Ending:
        event = steps_finished(many.job, self._clock(), results)
        failures = sum(one["outcome"] not in (*OK, "returned") for one in results)
        told = f"{failures} of {len(results)} records failed" if failures else ""
        return Ending(claim, not failures, event, told, many.worked)

    def _settle(self, claim: Claim, ending: Ending | None) -> bool:
        """Whoever comes first decides how a claim ended. False for the one who comes second."""
        with self._lock:
            if claim.execution not in self._running:
                return False
            if ending is None:
                self._held.pop(claim.execution, None)
            else:
                self._reporter.put(ending)  # before nothing seems to run any more, or a stop would not wait for it
            del self._running[claim.execution]
            if self._alone == claim.execution:
                self._alone = None
            self._ended += 1
        if not self._dry:
            self._wake.set()
        self._idle.set()
        return True

    def _lose(self, claim: Claim) -> bool:
        """A fault of ours: no ending. Nobody waits for it here, and without life it is recovered as a suspect."""
        log.exception("host %s broke at job %s", self.name, claim.job_id)
        self._broken = True
        return self._settle(claim, None)

    # ---- reporting ----------------------------------------------------------------------------------------------

    def _reported(self, claims: Sequence[Claim]) -> None:
        with self._lock:
            for claim in claims:
                self._held.pop(claim.execution, None)
        if not self._dry and not self._held:
            self._wake.set()  # whoever is called alone could not be claimed before

    def _pulse(self) -> None:
        while True:
            with self._lock:
                held = list(self._held.values())
            try:
                lost = self._work.heartbeat(self._card, held, self._clock())
            except RevopsError as error:
                log.warning("no heartbeat: %s", error)
                lost = []
            for claim in held:
                if claim.execution in lost and claim.execution in self._running:
                    log.warning("job %s was given to another host", claim.job_id)
            if self._silent.wait(PULSE):
                return


def _card(name: str, queues: tuple[str, ...], born: float) -> WorkerCard:
    versions = {"version": version("rq"), "python_version": platform.python_version()}
    return WorkerCard(name, queues, os.getpid(), socket.gethostname(), born, versions)
