"""`revops up`: the controller's loop, and the services around it, from start to clean stop."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

from msgspec import Struct, field

from revops_lite.controller import Controller
from revops_lite.cron import Cron
from revops_lite.engine import Changes
from revops_lite.errors import BusError, Fenced
from revops_lite.models import BreakerState, Intent, OutNotice, Run, RunState, StepState
from revops_lite.outbox import Outbox
from revops_lite.portions import BATCH
from revops_lite.reader import Loader, Poller
from revops_lite.rules import fanout
from revops_lite.service import Service
from revops_lite.store.waiter import Waiter
from revops_lite.sweeper import Sweeper
from revops_lite.writer import Writer

log = logging.getLogger("revops")

IDLE_CHECK_EVERY = 0.2
FIRST_IDLE_CHECK = 0.01
LOOK_AT_ONCE = 200
STOP_WITHIN = 8.0


class Parts(Struct):
    """What bootstrap has put together. Services are named by what they wait for."""

    controller: Controller
    waiter: Waiter
    outbox: Outbox
    writer: Writer | None = None
    loader: Loader | None = None
    sweeper: Sweeper | None = None
    poller: Poller | None = None
    cron: Cron | None = None
    services: dict[str, Service] = field(default_factory=dict)
    before_start: list[Callable[[float], object]] = field(default_factory=list)  # recovery, before anything moves
    on_start: list[Callable[[], None]] = field(default_factory=list)  # once everything has been caught up with
    on_stop: list[Callable[[], object]] = field(default_factory=list)
    check_data: Callable[[], None] = lambda: None  # before each new takeover: raises where Redis has been emptied
    restart_server: Callable[[], bool] = lambda: False  # True where the embedded server had died and runs again


class Orchestrator:
    """`run()` returns when stopped, or when `until_idle` and nothing is left that it can do by itself."""

    def __init__(self, parts: Parts, *, sole: bool, until_idle: bool = False) -> None:
        self.parts = parts
        self.sole = sole  # a lock proves that no other controller can be alive
        self.until_idle = until_idle
        self.stopping = threading.Event()
        self._idle_checked = 0.0
        self._moved_at = 0.0  # when something was decided last

    def stop(self) -> None:
        """Callable from a signal handler."""
        self.stopping.set()

    def run(self) -> None:
        """Raises AnotherController or Fenced where this process is not, or no longer, the only one."""
        try:
            self._take_over()
        except BusError as error:
            if not self.parts.restart_server():
                raise
            log.warning("%s; trying again", error)
            self._reconnect()
        self.parts.controller.after_commit.append(self._hand_over)
        gc.freeze()  # what the start has made stays
        try:
            if self._catch_up():
                self._start_services()
            while not self.stopping.is_set():
                self._pass()
        finally:
            self._shut_down()

    # -- start --

    def _take_over(self) -> None:
        controller = self.parts.controller
        controller.take_over(time.time(), self.sole)
        if self.parts.writer:
            self.parts.writer.epoch = controller.lead.epoch

    def _catch_up(self) -> bool:
        """Decide everything that was reported before a crash, before anybody acts on what is in Redis.

        False where it was told to stop before that: then nobody may act.
        """
        controller = self.parts.controller
        while not self.stopping.is_set():
            try:
                for recover in self.parts.before_start:
                    recover(time.time())
                while controller.step(time.time()) or not controller.caught_up():
                    if self.stopping.is_set():
                        return False
                self._offer_all()
                return True
            except BusError as error:
                log.warning("%s; trying again", error)
                self._reconnect()
        return False

    def _start_services(self) -> None:
        for service in self.parts.services.values():
            service.start()
        for action in self.parts.on_start:
            action()

    # -- the loop --

    def _pass(self) -> None:
        controller, waiter = self.parts.controller, self.parts.waiter
        try:
            come = controller.come or waiter.read(controller.lead.cursor, BATCH, self._nap(time.time()))
            now = time.time()
            if controller.step(now, come, lambda after: waiter.read(after, BATCH, 0.0)):
                self._moved_at = now
            elif self.until_idle and self._idle(now):
                self.stopping.set()
        except Fenced:
            raise
        except BusError as error:
            log.warning("%s; trying again", error)
            self._reconnect()

    def _nap(self, now: float) -> float:
        timer = self.parts.controller.next_timer
        nap = 1.0
        if self.until_idle:
            nap = IDLE_CHECK_EVERY if self._idle_checked else FIRST_IDLE_CHECK
        if self.parts.controller.admission.ready:
            nap = 0.0
        return nap if timer is None else max(0.0, min(nap, timer - now))

    def _reconnect(self) -> None:
        """Nobody knows what the last commit did: take over anew, with what Redis holds."""
        while not self.stopping.wait(0.2):
            try:
                self.parts.restart_server()
                self.parts.check_data()
                self._take_over()
                self._offer_all()
                return
            except BusError as error:
                log.debug("still no Redis: %s", error)

    def _hand_over(self, changes: Changes) -> None:
        """What was committed and somebody else has to carry out."""
        by_kind: dict[str, list[object]] = {"run": [], "intent": [], "notice": []}
        for (kind, _), value in changes.docs.items():
            if kind in by_kind and value is not None:
                by_kind[kind].append(value)
        self._offer(
            [run for run in by_kind["run"] if isinstance(run, Run)],
            [intent for intent in by_kind["intent"] if isinstance(intent, Intent)],
            [notice for notice in by_kind["notice"] if isinstance(notice, OutNotice)],
        )

    def _offer_all(self) -> None:
        """Everything that is open in Redis: at the start, and after a connection was lost with whatever it carried."""
        runs, intents, notices = self.parts.controller.unfinished()
        if self.parts.writer:
            self.parts.writer.resync(intents)
            self.parts.services["writer"].wake()
        if self.parts.sweeper:
            self.parts.sweeper.forget()
        self._offer(runs, [], notices)

    def _offer(self, runs: list[Run], intents: list[Intent], notices: list[OutNotice]) -> None:
        parts = self.parts
        loads = [run for run in runs if not run.loaded and run.state is RunState.RUNNING]
        single = [run for run in loads if run.over is None]
        sweeps = [run for run in runs if run.over is not None and not run.loaded]  # also those cancelled: no more of it
        if parts.loader and single:
            parts.loader.offer(single)
            parts.services["loader"].wake()
        if parts.sweeper and sweeps:
            parts.sweeper.offer(sweeps)
            parts.services["sweeper"].wake()
        if parts.writer and intents:
            parts.writer.offer(intents)
            parts.services["writer"].wake()
        if notices:
            parts.outbox.offer(notices)
            parts.services["notifier"].wake()

    # -- the end --

    def _idle(self, now: float) -> bool:
        """Nothing is left that we can do by ourselves; what waits for a person does not count."""
        if 0 <= now - self._idle_checked < IDLE_CHECK_EVERY:
            return False
        self._idle_checked = now
        parts = self.parts
        if parts.controller.admission.waiting:
            return False
        if parts.poller and not self._polled(parts.poller):
            return False
        if parts.cron and not parts.cron.drained:  # slots that are due; nobody waits for those to come
            return False
        if any(parts.controller.store.counted("loads", "intents", "notices").values()):
            return False
        return parts.controller.caught_up() and self._only_people_are_waited_for()

    def _only_people_are_waited_for(self) -> bool:
        """The first run that is otherwise ends the search: with a backlog nearly all are, and this is asked often."""
        store, breakers = self.parts.controller.store, self.parts.controller.state.breakers.values()
        shut = {each.name for each in breakers if each.state is BreakerState.OPEN and each.forced}
        open_ = store.opened("runs")
        for start in range(0, len(open_), LOOK_AT_ONCE):
            runs = store.load(("run", id_) for id_ in open_[start : start + LOOK_AT_ONCE])
            if not all(run is None or _waits_for_people_only(run, shut) for run in runs.values()):
                return False
        return True

    def _polled(self, poller: Poller) -> bool:
        """Whether the CRM had nothing new when it was asked after our last decision: what we write comes back, too."""
        if poller.asked_at > self._moved_at:
            return poller.drained
        poller.hurry()
        self.parts.services["poller"].wake()
        return False

    def _shut_down(self) -> None:
        deadline = time.monotonic() + STOP_WITHIN
        for service in self.parts.services.values():
            service.ask_to_stop()  # all, before any of them is waited for: they stop at the same time
        for service in self.parts.services.values():
            service.stop(max(0.1, deadline - time.monotonic()))
        for action in self.parts.on_stop:
            try:
                action()
            except Exception:
                log.exception("stopping: one part did not stop cleanly")
        try:
            self.parts.controller.resign(time.time())
        except (BusError, Fenced) as error:
            log.debug("we could not sign off: %s", error)


def _waits_for_people_only(run: Run, shut: set[str]) -> bool:
    """`shut` are agents whose breaker a person has opened: only a person closes it again."""
    parked = [step.agent for step in run.steps.values() if step.state is StepState.PARKED]
    by_itself = not shut.issuperset(parked) or any(step.due is not None for step in run.steps.values())
    waits = run.state is RunState.HELD or (run.state is RunState.WAITING and parked)
    return bool(waits) and not by_itself and not fanout.open_(run.tally)
