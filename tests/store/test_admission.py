"""Only so many runs of a workflow are under way at once; the events of others wait in their order, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from redis import Redis

from revops_lite.controller import BATCH, Controller
from revops_lite.errors import BusError, Fenced
from revops_lite.models import Breaker, Event, Run
from revops_lite.policy import AgentPolicy, Rulebook, StepDef, WorkflowDef
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.work import Ending, EventSink, WorkQueue
from revops_lite.store import codec, keys
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views

NOW = 1_700_000_000.0
MOST = 3


class Grade(BaseModel):
    grade: str


def flow(name: str, on: str) -> WorkflowDef:
    return WorkflowDef(name, (on,), (StepDef("score", "score"),))


AGENT = AgentPolicy("score", "agents.score:score", schema=Grade)
LEADS, DEALS = flow("new_lead", "lead.created"), flow("new_deal", "deal.created")
RULEBOOK = Rulebook({"score": AGENT}, {"new_lead": LEADS, "new_deal": DEALS}, has_crm=False)
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)


class Seat:
    """A controller with room for MOST runs of each workflow, and a host."""

    def __init__(self, redis: Redis) -> None:
        redis.hset(keys.BREAKERS, "score", codec.dump(Breaker("score", proven=True)))
        self.redis = redis
        self.store, self.work = Store(redis), WorkQueue(redis, SINK)
        self.claims = 0
        self.sit()

    def sit(self) -> None:
        """Anew, as after a crash."""
        self.controller = Controller(self.store, Drain(self.redis, SINK), RULEBOOK, "host:1:a", MOST)
        self.controller.take_over(NOW, force=True)

    def say(self, type_: str, *subjects: str, **more: object) -> None:
        self.store.append(
            [Event(f"{type_} {s} {more}", type_, s, "cli", NOW, {"name": "Ada", **more}) for s in subjects]
        )

    def decide(self) -> None:
        while self.controller.step(NOW):
            pass

    def answer(self, count: int) -> None:
        """The host calls agents for this many jobs."""
        self.claims += 1
        endings = [
            Ending(claim, True, step_finished(decode(claim.data), NOW, outcome="nothing"))
            for claim in self.work.claim("host", f"claim-{self.claims}", ("agents",), count, NOW)
        ]
        self.work.finish("host", endings, NOW)

    def runs(self, state: str | None = None) -> list[Run]:
        return Views(self.redis).runs(lambda run: state in (None, str(run.state)), None)

    def records(self, state: str | None = None) -> list[str]:
        return sorted(run.record for run in self.runs(state))


@pytest.fixture
def seat(redis: Redis) -> Iterator[Seat]:
    seat = Seat(redis)
    yield seat
    assert not seat.controller.admission.waiting, "each of these tests ends with nothing left"
    assert not redis.exists(keys.WAITING), "and so it stands in Redis"
    assert seat.store.all_decided()
    fresh = Controller(seat.store, Drain(redis, SINK), RULEBOOK, "host:2:a", MOST)
    fresh.take_over(NOW, force=True)
    assert vars(fresh.admission)["_busy"].total() == 0 == vars(seat.controller.admission)["_busy"].total()
    assert vars(fresh.admission)["_records"] == vars(seat.controller.admission)["_records"] == {}


def finished(seat: Seat, at_a_time: int = MOST) -> list[str]:
    """Records in the order in which their runs ended, with everything done."""
    while seat.controller.admission.waiting or seat.records("running"):
        seat.answer(at_a_time)
        seat.decide()
        assert len(seat.runs("running")) <= 2 * MOST
    return [run.record for run in sorted(seat.runs(), key=lambda run: run.started_at)]


def leads(*numbers: int) -> list[str]:
    return [f"lead:{n}" for n in numbers]


def test_as_many_as_there_is_room_for_are_started_and_the_others_wait(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(8)))
    seat.decide()
    assert seat.records() == leads(0, 1, 2)
    assert seat.controller.admission.waiting
    assert not seat.controller.admission.ready
    assert seat.controller.caught_up(), "the log has been read"
    assert not seat.store.all_decided()
    seat.answer(2)
    seat.decide()
    assert seat.records("running") == leads(2, 3, 4)
    assert set(finished(seat)) == set(leads(*range(8)))


def test_room_that_a_decision_makes_is_taken_at_once(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    seat.decide()
    seat.answer(1)
    seat.controller.step(NOW)
    assert seat.controller.admission.ready, "who waits for events has to look at once"
    seat.decide()
    assert seat.records("running") == leads(1, 2, 3)
    finished(seat)


def test_one_workflow_does_not_keep_another_waiting(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(6)))
    seat.decide()
    seat.say("deal.created", "deal:1")
    seat.decide()
    assert "deal:1" in seat.records("running")
    finished(seat)


def test_what_comes_later_of_the_same_type_waits_behind_what_came_before(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    seat.decide()
    seat.answer(MOST)
    seat.say("lead.created", "lead:9")
    seat.decide()
    assert seat.records("running") == leads(3, 4, 9)
    finished(seat)


def test_events_about_one_record_keep_their_order(seat: Seat) -> None:
    """The later one has room, and waits for the earlier all the same: else the older value would stand at the end."""
    seat.say("lead.created", *leads(*range(5)), name="Ada")
    seat.decide()
    seat.say("deal.created", "lead:4", name="Eve")
    seat.decide()
    assert seat.records("running") == leads(0, 1, 2)
    finished(seat)
    context = seat.store.load([("context", "lead:4")])["context", "lead:4"]
    assert context.fields["name"].value == "Eve"


def test_what_a_person_or_the_program_asks_for_does_not_wait(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    seat.say("workflow.started", "lead:7", workflow="new_lead")
    seat.decide()
    assert seat.records("running") == leads(0, 1, 2, 7)
    finished(seat)


def test_an_event_told_twice_starts_one_run(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    again = seat.store.read("0-0", BATCH)[4]
    assert again.event is not None
    seat.redis.xadd(keys.EVENTS, {"e": codec.dump(again.event)})
    seat.decide()
    assert sorted(finished(seat)) == leads(*range(5))


def test_more_than_is_read_at_once(seat: Seat) -> None:
    many = leads(*range(3 * BATCH))
    seat.say("lead.created", *many)
    seat.decide()
    assert set(finished(seat)) == set(many)


def test_a_new_controller_goes_on_with_what_waits(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(8)))
    seat.decide()
    seat.answer(1)
    seat.decide()
    seat.sit()
    seat.decide()
    assert seat.records("running") == leads(1, 2, 3)
    seat.say("deal.created", "lead:7", name="Eve")
    seat.decide()
    assert len(seat.runs()) == 4, "it knows which records wait"
    finished(seat)


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("when", ["put aside", "taken"])
def test_nothing_is_lost_or_doubled_by_a_commit_of_which_nobody_knows(
    seat: Seat, monkeypatch: pytest.MonkeyPatch, arrives: bool, when: str
) -> None:
    def broken(*arguments: object) -> None:
        if arrives:
            commit(*arguments)
        raise BusError("the connection was lost")

    seat.say("lead.created", *leads(*range(8)))
    if when == "taken":
        seat.decide()
        seat.answer(2)
        seat.controller.step(NOW)
    commit = seat.store.commit
    with monkeypatch.context() as patched:
        patched.setattr(seat.store, "commit", broken)
        with pytest.raises(BusError):
            seat.controller.step(NOW)
    seat.controller.take_over(NOW, force=True)
    seat.decide()
    assert seat.records("running") == (leads(2, 3, 4) if when == "taken" else leads(0, 1, 2))
    assert sorted(finished(seat)) == leads(*range(8))


def test_a_redis_that_has_been_emptied_is_found_out_by_the_next_commit(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    seat.decide()
    seat.sit()
    seat.redis.flushall()
    with pytest.raises(Fenced, match="emptied"):
        seat.decide()
    seat.sit()


def test_a_type_that_no_workflow_listens_to_any_more_is_told_of_and_goes(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    seat.decide()
    bare = Rulebook({"score": AGENT}, {"new_deal": DEALS}, has_crm=False)
    other = Controller(seat.store, Drain(seat.redis, SINK), bare, "host:1:a", MOST)
    other.take_over(NOW, force=True)
    while other.step(NOW):
        pass
    assert not other.admission.waiting
    ignored = Views(seat.redis).audit(lambda entry: entry.what == "event.ignored", None)
    assert {entry.record for entry in ignored} == set(leads(3, 4))
    seat.sit()
    finished(seat)
