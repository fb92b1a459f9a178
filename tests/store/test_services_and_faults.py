"""Writer, loader and poller on a Redis that does not always answer and a CRM adapter with faults of its own:
nothing is sent twice, and nothing waits for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from revops_lite.controller import Controller
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.engine.decide import HANDLERS
from revops_lite.engine.records import truthy
from revops_lite.engine.state import Draft
from revops_lite.errors import BusError, CrmError, CrmRefused, CrmUnavailable
from revops_lite.models import CrmChange, CrmRecord, Event, Intent, IntentState, Run, RunState, Trigger
from revops_lite.policy import Rulebook
from revops_lite.ports import CrmAbilities, CrmCall
from revops_lite.queue.drain import Drain
from revops_lite.queue.work import EventSink
from revops_lite.reader import Loader, Poller
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Lead, Store
from revops_lite.values import replace
from revops_lite.writer import Terms, Writer
from store_nouns import context, intent, put

NOW = 2000.0
RECORD = "lead:1"


class FaultyCrm(SqliteCrm):
    """The embedded CRM, with an adapter that fails in the ways that are listed, one after the other."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {})
        self.faults: list[str] = []
        self.written = 0

    def _fault(self, where: str) -> bool:
        if self.faults[:1] == [where]:
            self.faults.pop(0)
            return True
        return False

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        if self._fault("read"):
            raise KeyError("the adapter's own mistake")
        return super().read(records)

    def applied(self, record: str, write_id: str) -> bool:
        if self._fault("applied"):
            raise KeyError("the adapter's own mistake")
        return super().applied(record, write_id)

    def write_many(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        if self._fault("before the call"):
            raise KeyError("the adapter's own mistake")
        outcomes = super().write_many(calls)
        self.written += len(calls)
        if self._fault("after the call"):
            raise KeyError("the adapter's own mistake")
        return [] if self._fault("no outcomes") else outcomes


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[FaultyCrm]:
    made = FaultyCrm(tmp_path / "crm.sqlite3")
    made.create("lead", "1", {"a": "before"}, "import", "import")
    yield made
    made.close()


class Desk:
    """A writer and one planned call; `tick` also does what the controller would have made of the reports."""

    def __init__(self, store: Store, lead: Lead, crm: FaultyCrm) -> None:
        self.store, self.lead, self.crm = store, lead, crm
        self.writer = Writer(store, crm, lead.epoch, Terms(budget=20), truthy)
        self.intent = intent(
            values={"a": "after"}, expected={"a": "before"}, tries=0, passes=0, due=0.0, settle_until=None
        )
        put(store, lead, self.intent)
        self.writer.offer([self.intent])
        self.now = NOW
        self.heard = 0

    def tick(self) -> list[str]:
        """One pass, then what the controller makes of it; returns the reports."""
        self.now += 100.0
        self.writer.tick(self.now)
        return self.hear()

    def hear(self) -> list[str]:
        events = [entry.event for entry in self.store.read("0-0", 1000) if entry.event][self.heard :]
        self.heard += len(events)
        for event in events:
            self._fold(event)
        return [event.type for event in events]

    def _fold(self, event: Event) -> None:
        states = {
            "write.sending": IntentState.SENDING,
            "write.applied": IntentState.APPLIED,
            "write.deferred": IntentState.PLANNED,
            "write.doubted": IntentState.IN_DOUBT,
        }
        known = self.intent
        passes = known.passes + (event.type != "write.sending")
        sent_at = event.time if event.type == "write.sending" else known.sent_at
        self.intent = intent(
            state=states[event.type],
            values=known.values,
            expected=known.expected,
            passes=passes,
            due=0.0,
            sent_at=sent_at,
        )
        put(self.store, self.lead, self.intent)
        self.writer.offer([self.intent])

    def until_over(self) -> list[str]:
        told: list[str] = []
        for _ in range(10):
            told += self.tick()
            if self.intent.state is IntentState.APPLIED:
                return told
        raise AssertionError(f"still not applied after {told}")


@pytest.fixture
def desk(store: Store, lead: Lead, crm: FaultyCrm) -> Desk:
    return Desk(store, lead, crm)


class PlainCrm(FaultyCrm):
    """It knows neither write ids nor who has changed what; its feed tells of changes all the same."""

    abilities = CrmAbilities(batch=500)

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        return {name: replace(record, edited={}) for name, record in super().read(records).items()}

    def applied(self, *_: Any) -> Any:
        return None

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        if self._fault("changes"):
            raise KeyError("the adapter's own mistake")
        found, after = super().changes(cursor, limit)
        return [replace(change, write_ids=()) for change in found], after


@pytest.mark.parametrize("polled", [False, True], ids=["not polled since", "polled before the call"])
def test_a_call_in_doubt_of_which_the_feed_tells_is_not_made_again(
    store: Store, lead: Lead, tmp_path: Path, polled: bool
) -> None:
    """A person has put back what stood there before the call, so the record alone looks as if it had never come."""
    crm = PlainCrm(tmp_path / "plain.sqlite3")
    crm.create("lead", "1", {"a": "before"}, "import", "import")
    desk = Desk(store, lead, crm)
    if polled:
        store.set_poll_cursor(crm.changes(None, 100)[1])
    crm.faults = ["after the call", "changes"]
    assert desk.tick() == ["write.sending", "write.doubted"]
    crm.edit(RECORD, {"a": "before"}, "pat")
    assert desk.until_over() == ["write.doubted", "write.applied"]
    assert crm.written == 1
    assert crm.read([RECORD])[RECORD].values["a"] == "before"
    crm.close()


def test_a_call_in_doubt_of_which_the_feed_does_not_tell_is_made_again(
    store: Store, lead: Lead, tmp_path: Path
) -> None:
    crm = PlainCrm(tmp_path / "plain.sqlite3")
    crm.create("lead", "1", {"a": "before"}, "import", "import")
    crm.edit(RECORD, {"a": "between"}, "pat")
    crm.edit(RECORD, {"a": "before"}, "pat")
    desk = Desk(store, lead, crm)
    crm.faults = ["before the call"]
    assert desk.tick() == ["write.sending", "write.doubted"]
    assert desk.until_over() == ["write.deferred", "write.sending", "write.applied"]
    assert crm.written == 1
    crm.close()


def test_a_planned_call_is_made_once(desk: Desk) -> None:
    assert desk.until_over() == ["write.sending", "write.applied"]
    assert desk.crm.read([RECORD])[RECORD].values["a"] == "after"
    desk.tick()
    assert desk.crm.written == 1
    assert desk.writer.idle()


@pytest.mark.parametrize("where", ["raw_intents", "gate"])
def test_a_call_that_met_a_silent_redis_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def silent(*_: Any) -> Any:
        raise BusError("Redis does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(desk.store, where, silent)
        with pytest.raises(BusError):
            desk.tick()
    assert desk.crm.written == 0
    desk.until_over()
    assert desk.crm.written == 1


@pytest.fixture
def unheard(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The gate has let the call go, and nothing of its answers arrived."""
    gate = desk.store.gate

    def lost(*arguments: Any) -> Any:
        gate(*arguments)
        raise BusError("Redis does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(desk.store, "gate", lost)
        with pytest.raises(BusError):
            desk.tick()
    return desk


def test_a_call_that_the_gate_let_go_without_our_hearing_it_is_read_back_first(unheard: Desk) -> None:
    assert unheard.hear() == ["write.sending"]
    assert unheard.until_over()[0] == "write.deferred", "read back: it had not been applied"
    assert unheard.crm.written == 1


def test_so_it_is_where_the_writer_goes_on_before_it_is_told_of_its_own_call(
    unheard: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[Intent] = []
    with monkeypatch.context() as slow:
        slow.setattr(unheard.writer, "offer", offered.extend)
        assert unheard.hear() == ["write.sending"]
    assert unheard.tick() == []
    assert unheard.writer.tick(unheard.now) == 0, "until then the CRM is not asked again and again"
    unheard.writer.offer(offered)
    assert unheard.until_over() == ["write.deferred", "write.sending", "write.applied"]
    assert unheard.crm.written == 1


def test_a_report_that_redis_did_not_take_is_told_before_anything_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: object) -> Any:
        raise BusError("Redis does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(desk.store, "append", lambda events: silent(events) if events else [])
        with pytest.raises(BusError):
            desk.tick()
    assert desk.crm.written == 1
    desk.until_over()
    assert desk.crm.written == 1


@pytest.mark.parametrize("where", ["read", "before the call", "after the call", "no outcomes"])
def test_an_adapters_own_mistake_stops_nothing_and_repeats_nothing(desk: Desk, where: str) -> None:
    desk.crm.faults = [where]
    told = desk.until_over()
    assert not desk.crm.faults
    assert desk.crm.written == 1
    assert ("write.doubted" in told) == (where != "read")


def test_who_sets_the_old_value_again_after_a_call_in_doubt_is_asked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the values alone the call would not have arrived."""
    monkeypatch.setattr(desk.crm, "applied", lambda *_: None)  # of a CRM that keeps no ids
    desk.crm.faults = ["after the call"]
    assert desk.tick() == ["write.sending", "write.doubted"]
    desk.crm.edit(RECORD, {"a": "before"}, "pat")
    desk.writer.tick(desk.now + 100.0)
    last = told(desk.store)[-1]
    assert (last.type, last.data["current"], last.data["in_doubt"]) == ("write.conflicted", {"a": "before"}, True)
    assert desk.crm.written == 1


def test_a_read_back_that_fails_keeps_the_doubt(desk: Desk) -> None:
    desk.crm.faults = ["after the call", "applied", "read"]
    assert desk.until_over().count("write.doubted") == 3
    assert desk.crm.written == 1


def test_a_controller_that_was_taken_over_sends_nothing(desk: Desk) -> None:
    desk.store.begin("other", NOW, True)
    with pytest.raises(BusError, match="another controller"):
        desk.tick()
    assert desk.crm.written == 0


def test_a_crm_that_wants_to_be_left_alone_for_years_is_asked_again_within_the_hour(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.crm, "write_many", lambda _: [CrmUnavailable("too many calls", retry_after=1e9)])
    assert desk.tick() == ["write.sending", "write.deferred"]
    assert told(desk.store)[-1].data["retry_at"] == desk.now + 3600.0


# ---- reading


def waiting(id_: str = "r1", record: str = RECORD) -> Run:
    return Run(id_, "flow", record, Trigger("e1", "lead.created", "cli", 1.0), 1.0, {}, RunState.RUNNING)


def told(store: Store) -> list[Event]:
    return [entry.event for entry in store.read("0-0", 1000) if entry.event]


def test_a_record_too_large_for_an_event_ends_its_run_and_keeps_nobody_waiting(store: Store, crm: FaultyCrm) -> None:
    crm.create("lead", "2", {"a": "x" * 1_100_000}, "import", "import")
    loader = Loader(store, crm)
    loader.offer([waiting("r2", "lead:2"), waiting("r1")])
    assert loader.tick(NOW) == 2
    assert loader.idle()
    large, small = told(store)
    assert (large.type, large.run) == ("record.missing", "r2")
    assert "too much" in large.data["error"]
    assert (small.type, small.run) == ("record.loaded", "r1")


def test_a_refusal_to_tell_what_is_related_ends_one_run_and_keeps_no_other_waiting(
    store: Store, crm: FaultyCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    related = crm.related

    def choosy(records: Sequence[str], include: Sequence[str]) -> Any:
        if "lead:2" in records:
            raise CrmRefused("lead:2 is none of your business")
        return related(records, include)

    monkeypatch.setattr(crm, "related", choosy)
    crm.create("lead", "2", {}, "import", "import")
    loader = Loader(store, crm)
    loader.offer(replace(run, include=("company",)) for run in (waiting("r2", "lead:2"), waiting("r1")))
    assert loader.tick(NOW) == 2
    assert loader.idle()
    refused, loaded = told(store)
    assert (refused.type, refused.run) == ("record.missing", "r2")
    assert refused.data["error"] == "lead:2 is none of your business"
    assert (loaded.type, loaded.run) == ("record.loaded", "r1")


def test_a_run_that_was_cancelled_waits_no_longer_for_a_crm_that_is_away(
    store: Store, lead: Lead, crm: FaultyCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own record may be what the CRM cannot show."""
    read = crm.read

    def damaged(records: Sequence[str]) -> dict[str, CrmRecord]:
        if "lead:2" in records:
            raise CrmUnavailable("lead:2 cannot be shown")
        return read(records)

    monkeypatch.setattr(crm, "read", damaged)
    loader, run = Loader(store, crm), waiting("r2", "lead:2")
    put(store, lead, run)
    loader.offer([run, waiting("r1")])
    assert loader.tick(NOW) == 0
    assert loader.tick(NOW + 60.0) == 0
    put(store, lead, replace(run, state=RunState.CANCELLED, finished_at=NOW))
    assert loader.tick(NOW + 120.0) == 1
    assert loader.idle()
    assert [(event.type, event.run) for event in told(store)] == [("record.loaded", "r1")]


def test_a_run_that_is_loaded_again_gets_another_event(store: Store, crm: FaultyCrm) -> None:
    loader = Loader(store, crm)
    for run in (waiting(), waiting(), replace(waiting(), loads=1)):
        loader.offer([run])
        loader.tick(NOW)
    assert [event.id for event in told(store)] == ["r1|loaded", "r1|loaded|1"]


def test_a_change_too_large_for_an_event_still_starts_what_listens(store: Store, crm: FaultyCrm) -> None:
    crm.create("lead", "2", {"a": "x" * 1_100_000}, "import", "import")
    poller = Poller(store, crm, every=1.0)
    assert poller.tick(NOW) == 2
    assert [(event.type, event.subject) for event in told(store)] == [
        ("lead.created", "lead:1"),
        ("lead.created", "lead:2"),
    ]
    assert poller.tick(NOW + 2.0) == 0
    assert poller.drained


@pytest.fixture(params=["x" * 1_100_000, "\ud83d"], ids=["too much", "half a surrogate pair"])
def untold(request: pytest.FixtureRequest, store: Store, lead: Lead, crm: FaultyCrm) -> Poller:
    """The CRM's next changes are people's: of `RECORD` to what no event can carry, then of another record."""
    put(store, lead, context(RECORD))
    crm.create("lead", "2", {}, "import", "import")
    poller = Poller(store, crm, every=1.0)
    poller.tick(NOW)
    crm.edit(RECORD, {"a": "theirs"}, "pat")
    with crm._file.writing() as db:  # as another program may have written it
        db.execute("UPDATE changes SET after = ? WHERE after = ?", (json.dumps(request.param), '"theirs"'))
        db.execute("UPDATE records SET fields = ? WHERE id = '1'", (json.dumps({"a": request.param}),))
    crm.edit("lead:2", {"b": "small"}, "pat")
    return poller


def test_a_persons_edit_that_no_event_can_carry_is_told_without_its_values(
    untold: Poller, store: Store, crm: FaultyCrm
) -> None:
    assert untold.tick(NOW + 2.0) == 2
    bare, whole = told(store)[2:]
    assert (bare.type, bare.subject) == ("lead.updated", RECORD)
    assert bare.data == {"values": {}, "actor": "pat", "person": True}
    assert (whole.subject, whole.data["values"], whole.data["standing"]) == ("lead:2", {"b": "small"}, {"b": "small"})
    assert crm.changes(store.poll_cursor(), 10)[0] == []
    assert untold.tick(NOW + 4.0) == 0
    assert untold.drained


def test_an_edit_told_without_its_values_is_decided_like_any_other(untold: Poller, store: Store) -> None:
    untold.tick(NOW + 2.0)
    controller = controlling(store)
    controller.take_over(NOW, force=True)
    while controller.step(NOW + 3.0):
        pass
    assert store.opened("reviews") == []
    assert store.load([("context", RECORD)])["context", RECORD].fields == context(RECORD).fields


def test_a_change_that_cannot_be_told_at_all_is_logged_and_stops_no_other(
    untold: Poller, store: Store, crm: FaultyCrm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changes = crm.changes

    def by_half_a_name(cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        found, after = changes(cursor, limit)
        return [replace(one, actor="\ud83d") if one.record == RECORD else one for one in found], after

    monkeypatch.setattr(crm, "changes", by_half_a_name)
    assert untold.tick(NOW + 2.0) == 1
    assert told(store)[-1].subject == "lead:2"
    assert crm.changes(store.poll_cursor(), 10)[0] == []
    assert f"a change of {RECORD!r} is told to nobody" in caplog.text
    assert "Mend: " in caplog.text


def test_a_persons_way_back_to_our_value_is_no_echo_of_our_call(store: Store, lead: Lead, crm: FaultyCrm) -> None:
    ours = intent("i1", values={"a": "ours"})
    put(store, lead, ours)
    crm.write(RECORD, ours.values, {"a": "before"}, ours.id, "agent")
    crm.edit(RECORD, {"a": "theirs"}, "pat")
    crm.edit(RECORD, {"a": "ours"}, "pat")
    Poller(store, crm, every=1.0).tick(NOW)
    assert [event.data["values"] for event in told(store)[1:]] == [{"a": "theirs"}, {"a": "ours"}]


def controlling(store: Store) -> Controller:
    drain = Drain(store.redis, EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event))
    return Controller(store, drain, Rulebook({}, {}), "host:1:a")


def test_an_alarm_that_cannot_be_decided_asks_a_person_and_stops_no_other(
    store: Store, lead: Lead, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = HANDLERS["timer.due"]

    def moody(draft: Draft) -> None:
        if draft.event.data["timer"] == "bad":
            raise ZeroDivisionError("a mistake of ours")
        ring(draft)

    monkeypatch.setitem(HANDLERS, "timer.due", moody)
    put(store, lead, timers={"bad": 1.0, "good": 2.0, "later": NOW + 5.0})
    controller = controlling(store)
    controller.take_over(NOW, force=True)
    for moment in (NOW, NOW + 5.0):
        while controller.step(moment):
            pass
    assert store.next_timer() is None
    (item,) = store.load(("review", id_) for id_ in store.opened("reviews")).values()
    assert "ZeroDivisionError: a mistake of ours" in item.problems[0]


def test_open_calls_of_one_moment_are_handed_over_in_their_order(store: Store, lead: Lead) -> None:
    calls: list[Intent] = [intent(name) for name in ("i9", "i1", "i5")]
    put(store, lead, context(intents=("i9", "i1", "i5")), *calls)
    assert [one.id for one in controlling(store).unfinished()[1]] == ["i9", "i1", "i5"]


def test_a_writer_that_has_slept_behind_the_gate_calls_nobody_and_asks_again(desk: Desk, crm: FaultyCrm) -> None:
    clock = iter([0.0, 6.0, 10.0, 14.0])  # before the gate and before the call, twice
    desk.writer = Writer(desk.store, crm, desk.lead.epoch, Terms(budget=20), truthy, lambda: next(clock))
    desk.writer.offer([desk.intent])
    assert desk.tick() == ["write.sending", "write.deferred"]
    assert crm.written == 0
    assert desk.tick() == ["write.sending", "write.applied"]
    assert crm.written == 1
