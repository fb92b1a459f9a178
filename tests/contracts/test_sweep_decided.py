"""The sweeper and the controller together, as `up` connects them: what one tells, the other decides and hands back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from revops_lite.controller import Controller
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.engine.ids import run_id
from revops_lite.models import Event, Run
from revops_lite.orchestrator import Orchestrator, Parts
from revops_lite.outbox import Outbox
from revops_lite.policy import AgentPolicy, Over, Rulebook, StepDef, WorkflowDef
from revops_lite.queue.drain import Drain
from revops_lite.queue.work import EventSink
from revops_lite.rules import fanout
from revops_lite.service import Service
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from revops_lite.store.waiter import Waiter
from revops_lite.sweeper import AT_ONCE, PAGE, Sweeper

NOW = 1_000_000.0
FLOW = WorkflowDef("review", (), (StepDef("inspect", "inspect"),), over=Over("deal", {"is_closed": False}))
COUNT = AT_ONCE + PAGE


class Pair:
    """Nothing moves by itself: `turn` lets each of the two do all it can."""

    def __init__(self, redis: Any, crm: SqliteCrm, folder: Path) -> None:
        self.store, self.views = Store(redis), Views(redis)
        rulebook = Rulebook({"inspect": AgentPolicy("inspect", "agents.inspect:run")}, {"review": FLOW})
        drain = Drain(redis, EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event))
        self.controller = Controller(self.store, drain, rulebook, "host:1:a")
        self.sweeper = Sweeper(self.store, crm, rulebook.workflows, folder)
        services = {"sweeper": Service("sweeper", self.sweeper.tick, self.sweeper.next_due)}
        waiter: Any = Waiter.__new__(Waiter)  # nobody waits here
        parts = Parts(self.controller, waiter, Outbox(), sweeper=self.sweeper, services=services)
        self.orchestrator = Orchestrator(parts, sole=True)
        self.controller.take_over(NOW, force=True)
        self.controller.after_commit.append(self.orchestrator._hand_over)

    def send(self, id_: str, type_: str, run: str | None = None, **data: Any) -> None:
        self.store.append([Event(id_, type_, "workflow:review", "cli", NOW, data, run=run)])
        self.turn()

    def start(self, id_: str) -> str:
        self.send(id_, "workflow.started", workflow="review")
        return run_id(id_, "review")

    def turn(self) -> None:
        while self.controller.step(NOW) or self.sweeper.tick(NOW):
            pass

    def run(self, id_: str) -> Run:
        return self.views.run(id_)

    def total(self, id_: str) -> int:
        return fanout.records(self.run(id_).tally)["total"]


@pytest.fixture
def pair(redis: Any, tmp_path: Path) -> Iterator[Pair]:
    crm = SqliteCrm(tmp_path / "crm.sqlite3", {})
    crm.put("deal", [(f"d{n:04}", {"is_closed": False}) for n in range(COUNT)], "test")
    yield Pair(redis, crm, tmp_path / "extracts")
    crm.close()


def test_no_more_records_are_under_way_than_agents_can_be_expected_to_do(pair: Pair) -> None:
    run = pair.start("e1")
    assert pair.total(run) == fanout.under_way(pair.run(run).tally) == AT_ONCE
    assert not pair.run(run).loaded


def test_a_cancelled_sweep_makes_room_for_the_next_one_and_can_be_taken_up_again(pair: Pair) -> None:
    first = pair.start("e1")
    second = pair.start("e2")
    assert (pair.total(first), pair.total(second)) == (AT_ONCE, 0), "one after the other"
    pair.send("e3", "run.cancelled", first, by="ana")
    assert pair.total(second) == AT_ONCE
    pair.send("e4", "run.cancelled", second, by="ana")
    assert pair.sweeper.idle()
    for run in (first, second):
        assert pair.run(run).tally["records"] == {"cancelled": AT_ONCE}
    pair.send("e5", "run.retried", first, by="ana")
    run = pair.run(first)
    assert (run.state, run.loads) == ("running", 1)
    assert fanout.under_way(run.tally) >= AT_ONCE
    assert "cancelled" not in run.tally["records"]


def test_after_redis_was_gone_the_sweep_goes_on(pair: Pair) -> None:
    run = pair.start("e1")
    pair.controller.forget()
    pair.orchestrator._offer_all()
    pair.turn()
    assert pair.total(run) >= AT_ONCE
    assert len(pair.views.parts(pair.run(run))) == pair.total(run), "nobody came twice"
