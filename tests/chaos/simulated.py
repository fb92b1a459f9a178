"""One installation in one thread: the real controller, store, writer, reader, outbox and work queue, on a fakeredis
and a simulated CRM, with a clock that stands still until it is moved. Nothing sleeps and nothing happens by itself.

The process may be cut off at every boundary between it and the outside (`world.boundaries.cut`); what the outside holds
stays, what the process knew is gone, and `start` makes a new one as `revops up` does.
"""

from __future__ import annotations

import shutil
import sqlite3
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import fakeredis
from pydantic import BaseModel, Field
from redis.exceptions import ConnectionError as RedisConnectionError

from revops_lite.admission import MOST
from revops_lite.archiver import KEPT, Archiver
from revops_lite.controller import Controller
from revops_lite.engine.records import truthy
from revops_lite.errors import BusError, ChannelError, Fenced
from revops_lite.models import Event, Hold
from revops_lite.notifier import outcome as notice_outcome
from revops_lite.orchestrator import Orchestrator, Parts
from revops_lite.outbox import Outbox
from revops_lite.policy import AgentPolicy, BreakerPolicy, FieldPolicy, Governance, Rulebook, StepDef, WorkflowDef
from revops_lite.queue import names
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import Answer, Claim, Ending, EventSink, WorkQueue
from revops_lite.reader import Loader, Poller
from revops_lite.service import Service
from revops_lite.store.archive import Archive, Row
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.keys import PAUSED
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from revops_lite.writer import Terms, Writer
from simulated_crm import AdapterMistake, new_crm
from simulated_redis import Boundaries, Crash, tapped

SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
BUDGET = 4
SETTLE = 5.0
SURE = {"industry": 0.8, "size": 0.9, "score": 0.8}  # the confidence from which on a value is written without a person
HELD_BY = "legal_hold"


class Answered(BaseModel):
    industry: str | None = None
    size: int | None = Field(default=None, ge=1)
    score: str | None = None


def _agent(name: str, priority: int, **more: Any) -> AgentPolicy:
    breaker = BreakerPolicy(failures=3, cooldown=60.0, cap=240.0)
    return AgentPolicy(name, f"agents.{name}:run", priority, schema=Answered, breaker=breaker, **more)


RULEBOOK = Rulebook(
    agents={
        "enrich": _agent("enrich", 40),
        "left": _agent("left", 20),
        "right": _agent("right", 20),
        "last": _agent("last", 10, attempts=2),
    },
    workflows={
        "new_lead": WorkflowDef(
            "new_lead",
            ("lead.created",),
            (
                StepDef("enrich", "enrich"),
                StepDef("left", "left", ("enrich",), optional=True),
                StepDef("right", "right", ("enrich",), wait_for_review=True),
                StepDef("last", "last", ("left", "right")),
            ),
            deadline=500.0,
        ),
        "refresh": WorkflowDef("refresh", ("lead.created", "lead.seen"), (StepDef("last", "last"),)),
        "undo": WorkflowDef(
            "undo",
            ("lead.tried",),
            (StepDef("enrich", "enrich"), StepDef("last", "last", ("enrich",))),
            on_failure="rollback",
        ),
    },
    governance=Governance(
        max_writes_per_record_per_hour=BUDGET,
        hold_field=HELD_BY,
        fields={"lead.size": FieldPolicy(confidence=SURE["size"])},
    ),
)


@dataclass
class Process:
    """What is gone after a crash."""

    controller: Controller
    writer: Writer
    loader: Loader
    poller: Poller
    outbox: Outbox
    orchestrator: Orchestrator
    store: Store
    archiver: Archiver
    outcomes: list[Event] = field(default_factory=list)  # of notices, not yet reported


class BriefArchive(Archive):
    """Keeps no file open: worlds are many, and they go when the garbage collector comes to them."""

    def _ask(self, words: str, values: Sequence[Any]) -> list[Any]:
        with closing(self):
            return super()._ask(words, values)

    def put(self, rows: Iterable[Row], now: float) -> None:
        with closing(self):
            super().put(rows, now)

    def expire(self, now: float) -> None:
        with closing(self):
            super().expire(now)


@dataclass
class World:
    """`crm_kind` is one of simulated_crm.KINDS. Moves that need the process start it where it is down."""

    crm_kind: str
    at_once: int = MOST  # runs of a workflow; other events wait
    now: float = 1_000_000.0
    skew: float = 0.0  # of the process's clock
    fired: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)  # keys of the notices that the channel took, each time it did
    channel_faults: list[str] = field(default_factory=list)
    process: Process | None = None

    def __post_init__(self) -> None:
        self.server = fakeredis.FakeServer(version=(6, 2))
        self.boundaries = Boundaries()
        self.redis = fakeredis.FakeRedis(server=self.server)  # of everybody but the process: never cut off
        folder = Path(mkdtemp())
        self.archive = BriefArchive(folder / "archive.sqlite3")
        weakref.finalize(self, shutil.rmtree, folder)
        self.store = Store(self.redis, self.archive)
        self.views = Views(self.redis, self.archive)
        self.queue = WorkQueue(self.redis, SINK, PAUSED)
        self.recovery = Recovery(self.redis, self.queue)
        self.crm = new_crm(self.crm_kind, self.pass_a_moment, self.boundaries)
        self.claims: dict[str, list[Claim]] = {}  # host -> what it has in flight
        self.dead: list[tuple[str, list[Claim]]] = []  # hosts that were given up, and what they had
        self._turn = 0

    def archived(self) -> bytes:
        """The archive's file as it is now; empty where there is none."""
        if not self.archive.path.exists():
            return b""
        with closing(sqlite3.connect(self.archive.path)) as file:
            return file.serialize()

    def clock(self) -> float:
        return self.now + self.skew

    def pass_a_moment(self) -> float:
        """The CRM's clock: no two things in it happen at the very same time."""
        self.now += 0.001
        return self.now

    def number(self) -> int:
        self._turn += 1
        return self._turn

    # ---- the process

    def build(self) -> Process:
        redis = tapped(self.server, self.boundaries)
        store = Store(redis, self.archive)
        archiver = Archiver(store, self.archive, dict.fromkeys(KEPT, 0), some=1)  # nothing stays that may go
        drain, name = Drain(redis, SINK), f"process {self.number()}"
        controller = Controller(store, drain, RULEBOOK, name, self.at_once, archiver)
        writer = Writer(store, self.crm, 0, Terms(BUDGET, HELD_BY, SETTLE), truthy)
        parts = Parts(controller, None, Outbox(), writer, Loader(store, self.crm), poller=Poller(store, self.crm, 10.0))
        parts.services = {
            "writer": Service("writer", writer.tick),
            "loader": Service("loader", parts.loader.tick),
            "notifier": Service("notifier", self.notify),
            "archiver": Service("archiver", archiver.tick),
        }
        orchestrator = Orchestrator(parts, sole=True)
        return Process(controller, writer, parts.loader, parts.poller, parts.outbox, orchestrator, store, archiver)

    @contextmanager
    def survive(self, service: bool = False) -> Iterator[None]:
        """A crash ends the process; Redis not answering makes the controller take over anew, as the orchestrator does.
        A service only tries again at its next tick."""
        try:
            yield
        except Crash:
            self.process = None
        except BusError:
            if not service:
                self._reconnect()
        except AdapterMistake:
            assert service, "only services speak to adapters"
        except Fenced:
            self.fired["fenced"] += 1
            self.process = None

    def _reconnect(self) -> None:
        for _ in range(20):
            if self.process is None:
                return
            try:
                self._take_over(self.process)
                self.process.orchestrator._offer_all()
                return
            except BusError:
                continue
            except Crash:
                self.process = None
        raise AssertionError("the process does not come back")

    def _take_over(self, process: Process) -> None:
        process.controller.take_over(self.clock(), force=True)
        process.writer.epoch = process.controller.lead.epoch

    def start(self) -> Process:
        """As `revops up`: take over, decide what was reported, and only then act on what is open."""
        for _ in range(50):
            if self.process is not None:
                return self.process
            process = self.build()
            try:
                self._take_over(process)
            except (Crash, BusError):  # `up` ends where Redis does not answer its start; the next one tries again
                continue
            self.process = process
            process.controller.after_commit.append(process.orchestrator._hand_over)
            with self.survive():
                while process.controller.step(self.clock()) or not process.controller.caught_up():
                    pass
                process.orchestrator._offer_all()
        raise AssertionError("the process does not start")

    def move(self, act: Callable[[Process], object], service: bool = True) -> None:
        process = self.start()
        with self.survive(service):
            act(process)

    def decide(self) -> None:
        def all_of_it(process: Process) -> None:
            while process.controller.step(self.clock()):
                pass

        self.move(all_of_it, service=False)

        self.put_away()

    def put_away(self) -> None:
        """What has come to its end is brought to disk; it leaves Redis when the controller moves next."""
        self.move(lambda process: process.archiver.tick(self.clock()))

    def write(self) -> None:
        self.move(lambda process: process.writer.tick(self.clock()))

    def load(self) -> None:
        self.move(lambda process: process.loader.tick(self.clock()))

    def poll(self) -> None:
        def now(process: Process) -> None:
            process.poller._due = 0.0
            process.poller.tick(self.clock())

        self.move(now)

    def tell(self) -> None:
        self.move(lambda _: self.notify(self.clock()))

    def notify(self, now: float) -> int:
        """The notifier without its threads: a channel that takes notices, or fails as it was told to."""
        assert self.process is not None
        outcomes, due = self.process.outcomes, self.process.outbox.due(now, 10)
        for notice in due:
            error = self._send(notice.key)
            tries, again = notice.tries + 1, now + 5.0 if error and not error.final else None
            outcomes.append(notice_outcome(notice, tries, error, again, now))
        while outcomes:
            self.process.store.append(outcomes[:1])
            del outcomes[0]
        return len(due)

    def _send(self, key: str) -> ChannelError | None:
        fault = self.channel_faults.pop(0) if self.channel_faults else None
        if fault:
            self.fired[f"channel {fault}"] += 1
            return ChannelError("the channel is away", final=fault == "final")
        try:
            self.boundaries.cross("channel send", lambda: self.told.append(key))
        except RedisConnectionError:  # request or reply lost: nobody knows whether it was sent
            return ChannelError("no answer", final=False)
        return None

    def everything(self) -> None:
        for move in (self.decide, self.load, self.decide, self.write, self.decide, self.tell, self.decide, self.poll):
            move()
        self.decide()

    def die(self) -> None:
        self.process = None

    # ---- the hosts

    def claim(self, host: str, count: int) -> list[Claim]:
        queues = ["agents", names.isolated("agents")]
        got = self.queue.claim(host, f"token-{self.number()}", queues, count, self.clock())
        self.claims.setdefault(host, []).extend(got)
        return got

    def finish(self, host: str, claim: Claim, **ended: Any) -> Answer:
        """The agent's word about a claim; `ended` is what queue.outcomes.result takes."""
        job = decode(claim.data)
        told = step_finished(job, self.clock(), **ended)
        (answer,) = self.queue.finish(host, [Ending(claim, ended["outcome"] == "done", told)], self.clock())
        return answer

    def lose_host(self, host: str) -> None:
        """The host dies; what it had in flight goes back to the queue. Its answers may still come, too late."""
        lost = self.claims.pop(host, [])
        self.recovery.of_workers([host], self.clock(), blame=False)
        self.dead.append((host, lost))

    # ---- what others send

    def send(self, type_: str, subject: str, data: dict[str, Any], id_: str = "", run: str | None = None) -> str:
        event = Event(id_ or f"sent-{self.number()}", type_, subject, "cli", self.clock(), data, run=run)
        return self.store.append([event])[0]

    def hold(self, record: str, name: str, placed: bool) -> bool:
        """Place or release. Returns whether it is in force at once: no call of that record is under way."""
        kind = "hold.placed" if placed else "hold.released"
        data = {"by": "legal", "reason": "case 7", "field": name, "until": None}
        event = Event(f"hold-{self.number()}", kind, record, "cli", self.clock(), data)
        self.store.hold(event, Hold(record, name, "legal", "case 7", self.clock()) if placed else None, name)
        return not self.store.call_under_way(record)
