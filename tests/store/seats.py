"""A controller with one workflow of one agent, and what a test does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel
from redis import Redis

from revops_lite.controller import MANY, Controller
from revops_lite.engine import Changes
from revops_lite.errors import BusError
from revops_lite.models import Breaker, Event
from revops_lite.policy import AgentPolicy, Rulebook, StepDef, WorkflowDef
from revops_lite.portions import BATCH
from revops_lite.queue.drain import Drain
from revops_lite.queue.work import EventSink
from revops_lite.store import codec, keys
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, Entry, encode_event, seen_key
from revops_lite.store.store import Store

NOW = 1_700_000_000.0
SEVERAL = 2 * BATCH + MANY
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)


class Scored(BaseModel):
    score: int


AGENT = AgentPolicy("score", "agents.score:score", schema=Scored)
FLOW = WorkflowDef("new_lead", ("lead.created",), (StepDef("score", "score"),))
RULEBOOK = Rulebook({"score": AGENT}, {"new_lead": FLOW}, has_crm=False)


class Seat:
    """A controller that reads on."""

    def __init__(self, redis: Redis, owner: str = "host:1:a") -> None:
        redis.hset(keys.BREAKERS, "score", codec.dump(Breaker("score", proven=True)))
        self.store = Store(redis)
        drain = Drain(redis, SINK)
        self.controller = Controller(self.store, drain, RULEBOOK, owner)
        self.told: list[Changes] = []
        self.controller.after_commit.append(self.told.append)
        self.controller.take_over(NOW, force=True)

    def accept(self, numbers: Iterable[int] = range(SEVERAL)) -> None:
        lead = {"name": "Ada"}
        self.store.append([Event(f"e{n}", "lead.created", f"lead:{n}", "cli", NOW, lead) for n in numbers])

    def step(self) -> int:
        controller = self.controller
        return controller.step(NOW, controller.come or self.read(controller.lead.cursor), self.read)

    def read(self, after: str) -> list[Entry]:
        return self.store.read(after, BATCH)

    def to_the_end(self) -> None:
        while self.step():
            pass

    def jobs(self) -> list[str]:
        return [job.id for changes in self.told for job in changes.jobs]


def of_no_answer(begin: Callable[..., Callable[[], None]], *, arrives: bool) -> Callable[..., Callable[[], None]]:
    """A `begin_commit` of whose commits nobody knows what became."""

    def begun(*words: Any) -> Callable[[], None]:
        if arrives:
            begin(*words)()
        return lost

    def lost() -> None:
        raise BusError("no answer")

    return begun
