"""The load that the budgets are about, moved by hand: what it costs depends on nothing but the program.

A lead with 15 fields goes through four agents (enrich, score, route, alert) that answer at once with 2 to 4 values
each; there is no CRM, all else is as ever: checkpoints, governance, context, history, audit. `Works.together(n)` takes
n leads through, with the calls to Redis that the controller and one host make for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel
from redis.connection import AbstractConnection

from revops_lite import Proposal, Snapshot, agent
from revops_lite.controller import Controller
from revops_lite.engine import Changes
from revops_lite.host.call import call
from revops_lite.models import Event
from revops_lite.policy import AgentPolicy, Governance, Rulebook, StepDef, WorkflowDef
from revops_lite.portions import BATCH
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.work import Claim, Ending, EventSink, WorkQueue
from revops_lite.registry import AgentSpec, load
from revops_lite.store.client import Clients
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.keys import PAUSED
from revops_lite.store.store import Store
from revops_lite.store.waiter import Waiter

STEPS = ("enrich", "score", "route", "alert")
LEAD = {f"field_{number}": f"value number {number} of the lead" for number in range(13)}
NOT_OURS = {"info", "config|resetstat", "config", "flushall"}


class Company(BaseModel):
    industry: str
    numberofemployees: int
    annualrevenue: int
    hq: str


class Score(BaseModel):
    score: int
    tier: str
    reason: str


class Route(BaseModel):
    owner_id: str
    team: str


class Alert(BaseModel):
    alerted: bool
    alert_channel: str


@agent(writes=Company)
def enrich(_: Snapshot) -> Proposal:
    company = Company(industry="software", numberofemployees=250, annualrevenue=12_000_000, hq="Boston")
    return Proposal(company, confidence=0.95, because="registry")


@agent(writes=Score)
def score(lead: Snapshot) -> Proposal:
    return Proposal(Score(score=len(lead["email"]), tier="A", reason="size"), confidence=0.9, because="model")


@agent(writes=Route)
def route(_: Snapshot) -> Proposal:
    return Proposal(Route(owner_id="rep-7", team="emea"), confidence=0.99, because="territory")


@agent(writes=Alert)
def alert(_: Snapshot) -> Proposal:
    return Proposal(Alert(alerted=True, alert_channel="sales"), because="hot")


SCHEMAS = {"enrich": Company, "score": Score, "route": Route, "alert": Alert}
RULEBOOK = Rulebook(
    agents={name: AgentPolicy(name, f"counted:{name}", schema=schema) for name, schema in SCHEMAS.items()},
    workflows={
        "new_lead": WorkflowDef(
            "new_lead",
            ("lead.created",),
            tuple(StepDef(name, name, STEPS[:at][-1:]) for at, name in enumerate(STEPS)),
        )
    },
    governance=Governance(),
    has_crm=False,
)
QUEUE = RULEBOOK.agents["enrich"].queue


@dataclass
class Spent:
    """What went to Redis: round trips (whatever was sent at once is one), and commands, those of scripts too."""

    trips: int = 0
    commands: int = 0


class Works:
    """Controller and host of one installation, each moved by hand."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.now = 1_700_000_000.0
        sink = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
        self.store = Store(clients.commands)
        self.queue = WorkQueue(clients.commands, sink, PAUSED)
        self.waiter = Waiter(clients.commands)
        self.controller = Controller(self.store, Drain(clients.commands, sink), RULEBOOK, "budgets")
        self.controller.take_over(self.now, force=True)
        self.controller.step(self.now)
        self.controller.after_commit.append(self._nudged)
        self._jobs = 0
        self._leads = 0
        self._claims = 0
        self.together(BATCH)  # the agents are proven, and every script is loaded

    def accept(self, leads: int) -> None:
        """Events of that many new leads, as one program sends them."""
        numbers = range(self._leads, self._leads + leads)
        self._leads += leads
        self.store.append([self._event(number) for number in numbers])

    def _event(self, number: int) -> Event:
        data = {"email": f"p{number:06}@example.com", "name": f"Person {number:06}", **LEAD}
        return Event(f"e{number:06}", "lead.created", f"lead:{number:06}", "client", self.now, data)

    def together(self, leads: int) -> None:
        """That many leads at once (a batch at most), until all of them have come to their end."""
        self.accept(leads)
        self.decide()
        while self._jobs:
            self._work()
            self.decide()

    def decide(self) -> int:
        come = self.waiter.read(self.controller.lead.cursor, BATCH, 0.0)
        return self.controller.step(self.now, come) if come else 0

    def _nudged(self, changes: Changes) -> None:
        self._jobs += len(changes.jobs)

    def _work(self) -> None:
        self._claims += 1
        claims = self.queue.claim("n.1.0", f"t{self._claims}", [QUEUE], BATCH, self.now)
        self.queue.finish("n.1.0", [self._ended(claim) for claim in claims], self.now)
        self._jobs -= len(claims)

    def _ended(self, claim: Claim) -> Ending:
        job = decode(claim.data)
        outcome = call(job, _spec)
        done = partial(step_finished, job, self.now, outcome=outcome.kind, proposals=outcome.proposals)
        return Ending(claim, ok=True, event=done(elapsed_ms=1.0))

    @contextmanager
    def counting(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spent]:
        """Counts at the client what is sent, and at the server what is done for it."""
        spent, send = Spent(), AbstractConnection.send_packed_command

        def counted(connection: Any, *words: Any, **more: Any) -> Any:
            spent.trips += 1
            return send(connection, *words, **more)

        self.clients.commands.config_resetstat()
        with monkeypatch.context() as patch:
            patch.setattr(AbstractConnection, "send_packed_command", counted)
            yield spent
        done = self.clients.commands.info("commandstats")
        names = {name.removeprefix("cmdstat_"): each["calls"] for name, each in done.items()}
        spent.commands = sum(calls for name, calls in names.items() if name not in NOT_OURS)


def _spec(name: str) -> AgentSpec:
    return load(f"counted:{name}")
