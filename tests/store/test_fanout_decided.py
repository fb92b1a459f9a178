"""The controller on events about many records: none stops the others, and commits stay small."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from revops_lite.controller import Controller
from revops_lite.engine.ids import run_id
from revops_lite.engine.jobs import TOGETHER
from revops_lite.models import Event, Job, Review, Run
from revops_lite.policy import AgentPolicy, Over, Rulebook, StepDef, WorkflowDef
from revops_lite.portions import BATCH
from revops_lite.queue.drain import Drain
from revops_lite.queue.work import EventSink
from revops_lite.rules import fanout
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views

NOW = 1_000_000.0
ITSELF = "workflow:review"
RUN = run_id("e0", "review")


class Size(BaseModel):
    size: int


FLOW = WorkflowDef("review", (), (StepDef("inspect", "inspect"),), over=Over("deal"))
RULEBOOK = Rulebook({"inspect": AgentPolicy("inspect", "agents.inspect:run", schema=Size)}, {"review": FLOW})


class Seat:
    """A controller with its store, and the jobs that it has handed out."""

    def __init__(self, redis: Any) -> None:
        self.store = Store(redis)
        self.views = Views(redis)
        drain = Drain(redis, EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event))
        self.controller = Controller(self.store, drain, RULEBOOK, "host:1:a")
        self.jobs: list[Job] = []
        self.controller.after_commit.append(lambda changes: self.jobs.extend(changes.jobs))
        self.controller.take_over(NOW, force=True)
        self.send("workflow.started", {"workflow": "review"})

    def send(self, type_: str, data: dict[str, Any], turn: int = 0, decide: bool = True) -> None:
        run = None if type_ == "workflow.started" else RUN
        id_ = "e0" if run is None else f"{type_}|{turn}"
        self.store.append([Event(id_, type_, ITSELF, "test", NOW, data, run=run)])
        if decide:
            self.decide()

    def decide(self) -> list[int]:
        """How many events each commit took."""
        counts = []
        while count := self.controller.step(NOW):
            counts.append(count)
        return counts

    def sweep(self, records: dict[str, Any], turn: int = 0, **more: Any) -> None:
        related: dict[str, Any] = {name: {} for name in records}
        data = {"asked_at": NOW, "records": records, "related": related, "seen": {}}
        self.send("records.swept", data, turn, **more)

    def answers(self, said: dict[int, Any], job: Job | None = None) -> dict[str, Any]:
        """What a host tells of a job: `said` is by the number of the record, all else is done."""
        results = []
        for number, one in enumerate((job or self.jobs[-1]).snapshot["each"]):
            done = {"outcome": "done", "proposals": [{"values": {"size": number}, "confidence": 0.95}]}
            told = said.get(number, done)
            results.append({**one["about"], **told} if isinstance(told, dict) else told)
        return {"agent": "inspect", "results": results}

    def states(self) -> dict[str, str]:
        parts = {part.record: str(part.steps["inspect"].state) for part in self.views.parts(self.run())}
        return {name: parts[name] for name in sorted(parts)}

    def run(self) -> Run:
        return self.views.run(RUN)

    def pending(self) -> list[Review]:
        return self.views.pending()


@pytest.fixture
def seat(redis: Any) -> Seat:
    return Seat(redis)


def deals(start: int, end: int) -> dict[str, Any]:
    return {f"deal:{n:04}": {"values": {"n": n}, "created_at": 0.0, "updated_at": 0.0} for n in range(start, end)}


BROKEN: list[Any] = [
    {"outcome": "done", "proposals": ["text"]},
    {"outcome": "done", "proposals": 5},
    {"outcome": "done", "proposals": [{"values": "text"}]},
    {"outcome": "done", "proposals": [{"values": {"size": 1}, "confidence": "high"}]},
    {"outcome": "done", "proposals": [{"values": {"size": 1}, "notices": [5]}]},
    {"outcome": "retry", "after": "soon"},
    {"outcome": "unheard of"},
    {"outcome": "invalid", "problems": 5},
    {"outcome": None},
    {"proposals": []},
]


@pytest.mark.parametrize("said", BROKEN, ids=str)
def test_an_answer_that_cannot_be_decided_fails_its_record_alone(seat: Seat, said: Any) -> None:
    seat.sweep(deals(0, 4))
    seat.send("sweep.ended", {"asked_at": NOW, "records": 4})
    seat.send("step.finished", seat.answers({1: said}))
    states = seat.states()
    bad = states.pop("deal:0001")
    assert set(states.values()) == {"done"}
    assert bad == "failed"
    (item,) = [item for item in seat.pending() if item.record == "deal:0001"]
    assert item.reason == "failure"
    assert "deciding step.finished failed" in item.problems[0]
    assert fanout.records(seat.run().tally)["failed"] == 1


@pytest.mark.parametrize("garbage", ["text", 5, None, [], {}, {"run": 5}, {"run": RUN, "record": "deal:0001"}], ids=str)
def test_a_result_that_is_none_stops_no_other(seat: Seat, garbage: Any) -> None:
    seat.sweep(deals(0, 4))
    data = seat.answers({})
    data["results"][1] = garbage
    seat.send("step.finished", data)
    states = seat.states()
    assert states.pop("deal:0001") == "running"  # nobody has said anything about it
    assert set(states.values()) == {"done"}


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("step.finished", {"results": 5}),
        ("step.finished", {"results": {"a": 1}}),
        ("step.finished", {"results": "text"}),
        ("step.finished", {"results": [[]]}),
        ("step.finished", {"proposals": 5}),
        ("step.finished", {"proposals": {"notices": [5]}}),
        ("records.swept", {}),
        ("records.swept", {"records": 5, "related": 5, "seen": 5, "asked_at": None}),
        ("records.swept", {"records": ["deal:1"], "related": {}, "seen": {}, "asked_at": 1.0}),
        ("records.swept", {"records": {"deal:1": 5}, "related": {}, "seen": {}, "asked_at": 1.0}),
        ("sweep.ended", {}),
    ],
    ids=str,
)
def test_an_event_of_a_broken_shape_waits_for_a_person_and_the_next_is_decided(
    seat: Seat, type_: str, data: dict[str, Any]
) -> None:
    seat.send(type_, data, turn=9)
    seat.sweep(deals(0, 2))
    assert len(seat.states()) == 2
    assert seat.controller.caught_up()


def test_a_record_that_cannot_be_taken_in_stops_no_other_of_its_page(seat: Seat) -> None:
    records = deals(0, 5)
    records["deal:0002"] = {"values": "no fields", "created_at": 0.0, "updated_at": 0.0}
    seat.sweep(records)
    seat.send("sweep.ended", {"asked_at": NOW, "records": 5})
    assert list(seat.states()) == ["deal:0000", "deal:0001", "deal:0003", "deal:0004"]
    (item,) = seat.pending()
    assert item.reason == "dead_letter"
    for turn, job in enumerate(seat.jobs):  # what the first of them starts comes behind
        seat.send("step.finished", seat.answers({}, job), turn)
    assert set(seat.states().values()) == {"done"}


def test_a_commit_carries_no_more_than_some_hundred_records(seat: Seat) -> None:
    for page in range(8):
        seat.sweep(deals(page * 100, page * 100 + 100), page, decide=False)
    counts = seat.decide()
    assert sum(counts) == 8
    assert max(counts) * 100 <= BATCH * 2
    assert seat.run().tally["records"] == {"running": TOGETHER, "waiting": 800 - TOGETHER}


def test_one_event_about_more_than_that_is_taken_whole(seat: Seat) -> None:
    seat.sweep(deals(0, BATCH * 3))
    assert len(seat.states()) == BATCH * 3
