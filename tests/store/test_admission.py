"""Only so many runs of a workflow are under way at once; the events of others wait in their order, and none is lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from redis import Redis

from revops_lite import controller
from revops_lite.controller import Controller
from revops_lite.errors import BusError, Fenced
from revops_lite.models import Breaker, Event, Run
from revops_lite.policy import AgentPolicy, Governance, Rulebook, StepDef, WorkflowDef
from revops_lite.portions import BATCH
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.work import Ending, EventSink, WorkQueue
from revops_lite.store import codec, keys
from revops_lite.store.backlog import Backlog
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, Entry, encode_event, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from seats import of_no_answer

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

    def __init__(self, redis: Redis, rulebook: Rulebook = RULEBOOK, most: int = MOST) -> None:
        self.rulebook, self.most, self.now = rulebook, most, NOW
        redis.hset(keys.BREAKERS, "score", codec.dump(Breaker("score", proven=True)))
        self.redis = redis
        self.store, self.work = Store(redis), WorkQueue(redis, SINK)
        self.claims = 0
        self.sit()

    def sit(self) -> None:
        """Anew, as after a crash."""
        self.controller = Controller(self.store, Drain(self.redis, SINK), self.rulebook, "host:1:a", self.most)
        self.controller.take_over(NOW, force=True)

    def say(self, type_: str, *subjects: str, **more: object) -> None:
        self.store.append(
            [Event(f"{type_} {s} {more}", type_, s, "cli", NOW, {"name": "Ada", **more}) for s in subjects]
        )

    def crm(self, type_: str, record: str, time: float, **values: object) -> None:
        """The poller's word."""
        data = {"values": values, "actor": "ann", "person": True}
        self.store.append([Event(f"{type_} {record} {time}", type_, record, "crm", time, data)])

    def load(self, record: str, **values: object) -> None:
        """The loader's, for runs that wait for it."""
        for run in self.runs("running"):
            if run.record == record and not run.loaded:
                found = {record: {"values": values, "created_at": NOW - 99, "updated_at": self.now, "edited": {}}}
                data = {"asked_at": self.now, "records": found, "related": {}}
                event = Event(f"{run.id}|loaded", "record.loaded", record, "reader", self.now, data, run=run.id)
                self.store.append([event])

    def decide(self) -> None:
        while self.controller.step(self.now):
            pass

    def busy(self) -> dict[str, int]:
        """Runs at work, as the controller has counted them."""
        return {name: count for name, count in vars(self.controller.admission)["_busy"].items() if count}

    def holds(self) -> list[str]:
        return list(self.controller.state.holds)

    def answer(self, count: int) -> None:
        """The host calls agents for this many jobs."""
        self.claims += 1
        endings = [
            Ending(claim, True, step_finished(decode(claim.data), self.now, outcome="done", proposals=[]))
            for claim in self.work.claim("host", f"claim-{self.claims}", ("agents",), count, self.now)
        ]
        self.work.finish("host", endings, self.now)

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
    assert vars(fresh.admission)["_busy"].total() == 0
    assert seat.busy() == {}
    assert vars(fresh.admission)["_records"] == vars(seat.controller.admission)["_records"] == {}


def finished(seat: Seat, at_a_time: int = MOST) -> list[str]:
    """The records, with everything done."""
    while seat.controller.admission.waiting or seat.records("running"):
        seat.answer(at_a_time)
        seat.decide()
        assert len(seat.runs("running")) <= 2 * MOST
    assert {str(run.state) for run in seat.runs()} == {"finished"}
    return seat.records()


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
    seat.say("lead.created", *leads(*range(8)))
    if when == "taken":
        seat.decide()
        seat.answer(2)
        seat.controller.step(NOW)
    with monkeypatch.context() as patched:
        patched.setattr(seat.store, "begin_commit", of_no_answer(seat.store.begin_commit, arrives=arrives))
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


def test_what_is_due_is_decided_before_what_comes(seat: Seat) -> None:
    """Also where both are decided in one step."""
    seat.say("lead.created", *leads(*range(4)), name="Ada")
    seat.decide()
    seat.answer(1)
    seat.controller.step(NOW)
    seat.say("deal.created", "lead:3", name="Eve")
    seat.decide()
    finished(seat)
    assert seat.store.load([("context", "lead:3")])["context", "lead:3"].fields["name"].value == "Eve"


def test_full_batches_leave_some_turns(seat: Seat) -> None:
    seat.say("lead.created", *leads(*range(5)))
    seat.decide()
    seat.answer(MOST)
    seat.say("noise.heard", *(f"noise:{number}" for number in range(5 * BATCH)))
    seat.controller.step(NOW)
    seat.controller.step(NOW)
    assert seat.records("running") == leads(3, 4)
    seat.decide()
    finished(seat)


def test_it_is_counted_right_while_documents_are_forgotten_and_commits_are_under_way(
    real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "DOCS_KEPT", 60)
    seat, dice = Seat(real_redis, most=70), random.Random(3)
    subjects = iter(range(10_000))

    def read_on(after: str) -> list[Entry]:
        return seat.store.read(after, BATCH)

    for _ in range(12):
        for type_ in ("lead.created", "deal.created", "noise.heard"):
            seat.say(type_, *(f"lead:{next(subjects)}" for _ in range(dice.randrange(120))))
        seat.answer(dice.randrange(150))
        for _ in range(dice.randrange(6)):
            come = seat.controller.come
            seat.controller.step(NOW, come or read_on(seat.controller.lead.cursor), read_on)
        seat.controller.land()
        assert seat.busy() == Counter(run.workflow for run in seat.runs("running"))
    seat.decide()
    while seat.controller.admission.waiting or seat.records("running"):
        seat.answer(70)
        seat.decide()
    assert seat.busy() == {}


# ---- records of a CRM ------------------------------------------------------------------------------------------------

UPDATED = flow("refresh", "lead.updated")
WITH_CRM = Rulebook(
    {"score": AGENT}, {"new_lead": LEADS, "refresh": UPDATED}, governance=Governance(hold_field="legal_hold")
)


@pytest.fixture
def full(redis: Redis) -> Seat:
    """As many runs of `refresh` at work as may be, and one of `new_lead` on lead:9."""
    seat = Seat(redis, WITH_CRM)
    seat.say("lead.updated", *leads(0, 1, 2))
    seat.say("workflow.started", "lead:9", workflow="new_lead")
    seat.decide()
    seat.load("lead:9", phone="1", legal_hold=False)
    seat.decide()
    return seat


@pytest.mark.parametrize("anew", [False, True])
def test_what_the_crm_tells_of_a_record_that_is_worked_on_is_heard_at_once(full: Seat, anew: bool) -> None:
    if anew:  # with nothing in memory
        full.sit()
    full.crm("lead.updated", "lead:9", NOW + 1, phone="2")
    full.crm("lead.updated", "lead:5", NOW + 1, phone="2")
    full.decide()
    assert "lead:9" in [run.record for run in full.runs() if run.workflow == "refresh"]
    assert Backlog(full.redis).sizes() == {"lead.updated": 1}, "of the other record nobody knows anything"


def test_a_hold_in_the_crm_does_not_wait(full: Seat) -> None:
    full.crm("lead.updated", "lead:5", NOW + 1, legal_hold=True)
    full.decide()
    assert not full.controller.admission.waiting


def test_an_older_word_does_not_release_a_hold(full: Seat) -> None:
    """It waited for its turn; meanwhile the record was read, and is to be held."""
    full.crm("lead.updated", "lead:5", NOW - 60, legal_hold=False)
    full.decide()
    assert full.controller.admission.waiting
    full.say("workflow.started", "lead:5", workflow="new_lead")
    full.decide()
    full.load("lead:5", phone="1", legal_hold=True)
    full.decide()
    assert full.holds() == ["lead:5"]
    for record in leads(0, 1, 2):
        full.load(record, phone="1")
    full.decide()
    full.answer(9)
    full.decide()
    assert not full.controller.admission.waiting
    assert full.holds() == ["lead:5"]
    full.crm("lead.updated", "lead:5", NOW + 600, legal_hold=False)
    full.decide()
    assert full.holds() == [], "a newer word does"


# ---- deadlines -------------------------------------------------------------------------------------------------------


def test_a_deadline_that_is_missed_while_the_event_waits_is_told_to_somebody(redis: Redis) -> None:
    timed = WorkflowDef("new_lead", ("lead.created",), (StepDef("score", "score"),), deadline=90.0)
    seat = Seat(redis, Rulebook({"score": AGENT}, {"new_lead": timed}, has_crm=False))
    seat.say("lead.created", *leads(*range(5)))
    seat.decide()
    seat.now = NOW + 200
    seat.say("lead.created", "lead:9")  # `time` is NOW: it came too late in the first place
    finished(seat)
    missed = Views(redis).audit(lambda entry: entry.what == "deadline.missed", None)
    assert sorted(entry.record for entry in missed if entry.record) == leads(0, 1, 2, 3, 4, 9)
    told = [
        notice.subject for notice in seat.store.load(("notice", id_) for id_ in seat.store.opened("notices")).values()
    ]
    assert sorted(told) == [f"Deadline missed: new_lead on {record}" for record in leads(0, 1, 2, 3, 4)]


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
