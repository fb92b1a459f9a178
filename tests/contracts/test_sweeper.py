"""Sweeping the CRM for a fan-out: every record once, told by and by, whatever goes wrong on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmUnavailable
from revops_lite.models import Event, Over, Run, RunState, Trigger
from revops_lite.policy import WorkflowDef
from revops_lite.store import events
from revops_lite.store.store import Store
from revops_lite.sweeper import AT_ONCE, PAGE, Sweeper
from revops_lite.values import replace

RELATIONS = {"contact.deal_id": "deal", "deal.owner_id": "owner"}
OPEN = Over("deal", {"is_closed": False})
FLOW = WorkflowDef("review", (), (), over=OPEN, include=("contacts", "owner"))
NOW = 5_000.0


class Away(SqliteCrm):
    """Answers once `down` has been counted to nothing."""

    down = 0
    asked = 0

    def sweep(self, kind: str, where: Any, page: int) -> Iterator[Any]:
        self.asked += 1
        if self.down:
            self.down -= 1
            raise CrmUnavailable("503")
        return super().sweep(kind, where, page)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Away]:
    crm = Away(tmp_path / "crm.sqlite3", RELATIONS, clock=lambda: 1_000.0)
    yield crm
    crm.close()


@pytest.fixture
def store(redis: Redis) -> Store:
    return Store(redis)


@pytest.fixture
def sweeper(store: Store, crm: Away, tmp_path: Path) -> Sweeper:
    return Sweeper(store, crm, {"review": FLOW}, tmp_path / "extracts")


def fill(crm: SqliteCrm, count: int, **values: Any) -> list[str]:
    """Open deals in the order of their ids, each with a contact and one of two owners; and a closed one."""
    ids = [f"d{number:05}" for number in range(count)]
    deals = [(id_, {"is_closed": False, "owner_id": f"o{n % 2}", **values}) for n, id_ in enumerate(ids)]
    put(crm, "deal", [*deals, ("closed", {"is_closed": True})])
    put(crm, "contact", [(f"of-{id_}", {"deal_id": id_}) for id_ in ids])
    put(crm, "owner", [("o0", {"name": "Ben"}), ("o1", {"name": "Ana"})])
    return [f"deal:{id_}" for id_ in ids]


def put(crm: SqliteCrm, kind: str, records: list[tuple[str, dict[str, Any]]]) -> None:
    crm.put(kind, records, "test")


def a_run(id_: str = "r1", **more: Any) -> Run:
    trigger = Trigger("e1", "workflow.started", "cli", 1.0)
    return Run(id_, "review", "workflow:review", trigger, 1.0, {}, include=FLOW.include, over=OPEN, **more)


def counted(run: Run, **states: int) -> Run:
    """The run once the controller has taken in so many records."""
    return replace(run, tally={"records": dict(states)})


def told(store: Store) -> list[Event]:
    return [entry.event for entry in store.read("0-0", 10_000) if entry.event is not None]


def names(store: Store) -> list[str]:
    return [name for event in told(store) if event.type == "records.swept" for name in event.data["records"]]


def test_every_open_record_is_told_once_with_what_is_related_to_it(sweeper: Sweeper, store: Store, crm: Away) -> None:
    deals = fill(crm, PAGE * 2 + 3)
    sweeper.offer([a_run()])
    assert not sweeper.idle()
    assert sweeper.tick(NOW) == 4
    *pages, end = told(store)
    assert [len(page.data["records"]) for page in pages] == [PAGE, PAGE, 3]
    assert names(store) == deals
    assert {(page.run, page.subject, page.data["asked_at"]) for page in pages} == {("r1", "workflow:review", NOW)}
    last = pages[-1].data
    assert last["related"][deals[-1]] == {"contacts": [f"contact:of-{deals[-1][5:]}"], "owner": ["owner:o0"]}
    assert set(last["seen"]) == {"owner:o0", "owner:o1", *(f"contact:of-{name[5:]}" for name in deals[-3:])}
    assert last["seen"]["owner:o1"]["values"] == {"name": "Ana"}
    assert last["records"][deals[-1]]["values"]["owner_id"] == "o0"
    assert (end.type, end.run, end.data["records"]) == ("sweep.ended", "r1", PAGE * 2 + 3)
    assert sweeper.idle()
    assert sweeper.next_due() is None


def test_nothing_to_sweep_is_an_end_at_once(sweeper: Sweeper, store: Store) -> None:
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    assert [(event.type, event.data["records"]) for event in told(store)] == [("sweep.ended", 0)]


def test_records_are_told_as_those_under_way_come_to_their_end(sweeper: Sweeper, store: Store, crm: Away) -> None:
    count = AT_ONCE + PAGE * 3
    fill(crm, count)
    run = a_run()
    sweeper.offer([run])
    assert sweeper.tick(NOW) == AT_ONCE // PAGE
    assert len(names(store)) == AT_ONCE
    for _ in range(3):  # nothing moves: nothing is told, the CRM is not asked, and nobody has to be woken
        assert sweeper.tick(NOW) == 0
        assert sweeper.next_due() is None
    sweeper.offer([counted(run, running=AT_ONCE)])
    assert sweeper.tick(NOW) == 0
    sweeper.offer([counted(run, running=AT_ONCE - 10, finished=5, failed=3, held=2)])
    assert sweeper.tick(NOW) == 1
    assert len(names(store)) == AT_ONCE + PAGE
    sweeper.offer([counted(run, finished=AT_ONCE + PAGE)])
    sweeper.tick(NOW)
    assert len(names(store)) == len(set(names(store))) == count
    assert told(store)[-1].type == "sweep.ended"
    assert crm.asked == 1


def test_the_crm_may_change_while_it_is_told_of(sweeper: Sweeper, store: Store, crm: Away) -> None:
    deals = fill(crm, AT_ONCE + 5)
    run = a_run()
    sweeper.offer([run])
    sweeper.tick(NOW)
    crm.edit(deals[-1], {"is_closed": True}, "ana")
    crm.create("deal", "zz", {"is_closed": False})
    sweeper.offer([counted(run, finished=AT_ONCE)])
    sweeper.tick(NOW + 60)
    assert names(store) == deals
    assert {event.data["asked_at"] for event in told(store)} == {NOW}


def test_a_crm_that_is_away_is_asked_again_later_and_later(sweeper: Sweeper, store: Store, crm: Away) -> None:
    deals = fill(crm, 2)
    crm.down = 3
    sweeper.offer([a_run()])
    now, waits = NOW, []
    while not told(store):
        assert sweeper.tick(now) == 0 or told(store)
        due = sweeper.next_due()
        if due is not None:
            assert sweeper.tick(due - 0.01) == 0  # not before its time
            waits.append(due - now)
            now = due
    assert waits == sorted(waits)
    assert len(waits) == crm.asked - 1 == 3
    assert names(store) == deals


def test_an_outage_in_the_middle_of_a_sweep_tells_nothing(
    sweeper: Sweeper, store: Store, crm: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(crm, PAGE + 1)
    read, calls = crm.read, iter(range(100))

    def breaks(records: Any) -> Any:
        if next(calls) == 1:
            raise CrmUnavailable("the second page never comes")
        return read(records)

    monkeypatch.setattr(crm, "read", breaks)
    sweeper.offer([a_run()])
    assert sweeper.tick(NOW) == 0
    assert told(store) == []
    due = sweeper.next_due()
    assert due is not None
    sweeper.tick(due)
    assert len(names(store)) == PAGE + 1
    assert {event.data["asked_at"] for event in told(store)} == {due}


def test_a_run_that_is_offered_again_is_not_swept_again(sweeper: Sweeper, store: Store, crm: Away) -> None:
    fill(crm, 2)
    sweeper.offer([a_run(), a_run()])
    sweeper.tick(NOW)
    sweeper.offer([counted(a_run(), running=2)])
    assert sweeper.tick(NOW + 1) == 0
    assert (crm.asked, len(told(store))) == (1, 2)
    assert sweeper.idle()


def test_a_run_that_asks_for_its_records_once_more_gets_them(sweeper: Sweeper, store: Store, crm: Away) -> None:
    fill(crm, 2)
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    sweeper.offer([a_run(loads=1)])
    sweeper.tick(NOW + 1)
    assert [event.type for event in told(store)] == ["records.swept", "sweep.ended"] * 2
    assert crm.asked == 2


def test_one_run_after_the_other(sweeper: Sweeper, store: Store, crm: Away) -> None:
    fill(crm, 2)
    sweeper.offer([a_run("r1"), a_run("r2")])
    assert sweeper.tick(NOW) == 2
    assert not sweeper.idle()
    assert sweeper.tick(NOW) == 2
    assert [(event.run, event.type) for event in told(store)] == [
        ("r1", "records.swept"), ("r1", "sweep.ended"), ("r2", "records.swept"), ("r2", "sweep.ended"),
    ]  # fmt: skip


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.FAILED])
def test_what_was_read_for_a_run_that_has_ended_is_dropped_and_keeps_nobody_waiting(
    sweeper: Sweeper, store: Store, crm: Away, state: RunState
) -> None:
    fill(crm, AT_ONCE + 1)
    run = counted(a_run("r1"), running=AT_ONCE)
    sweeper.offer([run])
    sweeper.tick(NOW)
    sweeper.offer([a_run("r2"), replace(run, state=state, finished_at=NOW)])
    assert sweeper.tick(NOW) > 0
    assert [event for event in told(store) if event.run == "r1" and event.type == "sweep.ended"] == []
    assert len([event for event in told(store) if event.run == "r2"]) == AT_ONCE // PAGE


def test_a_run_that_was_cancelled_and_tried_again_is_swept_anew(sweeper: Sweeper, store: Store, crm: Away) -> None:
    """What was told while it was cancelled, nobody has taken in."""
    count = AT_ONCE + 1
    fill(crm, count)
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    sweeper.offer([a_run(loads=1)])
    sweeper.tick(NOW + 1)
    sweeper.offer([counted(a_run(loads=1), finished=AT_ONCE)])
    sweeper.tick(NOW + 2)
    again = [event for event in told(store) if event.data["asked_at"] == NOW + 1]
    assert sum(len(event.data["records"]) for event in again if event.type == "records.swept") == count
    assert [event.data["asked_at"] for event in told(store) if event.type == "sweep.ended"] == [NOW + 1]


def test_a_sweep_that_was_cut_off_starts_anew_where_records_have_come_already(
    store: Store, crm: Away, tmp_path: Path
) -> None:
    deals = fill(crm, AT_ONCE + PAGE)
    first, second = (Sweeper(store, crm, {"review": FLOW}, tmp_path / "extracts") for _ in range(2))
    first.offer([a_run()])
    first.tick(NOW)
    second.offer([counted(a_run(), running=200, finished=AT_ONCE - 200)])
    second.tick(NOW + 1)
    second.offer([counted(a_run(), finished=len(deals))])
    second.tick(NOW + 2)
    again = [name for event in told(store)[AT_ONCE // PAGE : -1] for name in event.data["records"]]
    assert again == deals
    assert told(store)[-1].type == "sweep.ended"


def test_a_page_that_is_too_large_for_one_event_is_halved(
    sweeper: Sweeper, store: Store, crm: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    deals = fill(crm, 11, note="x" * 1_000)
    monkeypatch.setattr(events, "MAX_OF_MANY", 6_000)
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    assert names(store) == deals
    pages = [event.data for event in told(store) if event.type == "records.swept"]
    assert len(pages) > 1
    for page in pages:
        assert set(page["related"]) == set(page["records"])
        assert set(page["seen"]) == {
            o for roles in page["related"].values() for several in roles.values() for o in several
        }


def test_a_record_that_no_event_can_carry_stands_apart_and_the_others_go_on(
    sweeper: Sweeper, store: Store, crm: Away, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    deals = fill(crm, 4, note="x" * 1_000)
    crm.edit(deals[2], {"note": "x" * 10_000}, "ana")
    monkeypatch.setattr(events, "MAX_OF_MANY", 6_000)
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    assert names(store) == [deals[0], deals[1], deals[3]]
    (letter,) = [event for event in told(store) if event.type == "event.unreadable"]
    assert (letter.subject, letter.run) == (deals[2], "r1")
    assert "bytes" in letter.data["error"]
    assert told(store)[-1].type == "sweep.ended"


def test_text_that_is_no_text_stands_apart(sweeper: Sweeper, store: Store, crm: Away) -> None:
    """Half a surrogate pair: another program may write it into the file, escaped."""
    deals = fill(crm, 3)
    with crm._file.writing() as db:
        db.execute("UPDATE records SET fields = ? WHERE id = ?", ('{"is_closed":false,"note":"\\ud800"}', deals[1][5:]))
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    assert names(store) == [deals[0], deals[2]]
    assert [event.subject for event in told(store) if event.type == "event.unreadable"] == [deals[1]]
    assert told(store)[-1].type == "sweep.ended"


def test_a_crm_that_shows_a_record_twice_is_heard_once(
    sweeper: Sweeper, store: Store, crm: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a living CRM may repeat what was on the one before; else it would count as under way for ever."""
    deals = fill(crm, PAGE + 1)
    sweep = crm.sweep

    def twice(kind: str, where: Any, page: int) -> Iterator[Any]:
        for records in sweep(kind, where, page):
            yield records
            yield records[:10]

    monkeypatch.setattr(crm, "sweep", twice)
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    assert names(store) == deals
    assert told(store)[-1].data["records"] == len(deals)


def test_files_for_agents_are_made_before_the_records_are_told(store: Store, crm: Away, tmp_path: Path) -> None:
    fill(crm, 2)
    flow = replace(FLOW, extract={"closed": Over("deal", {"is_closed": True})})
    sweeper = Sweeper(store, crm, {"review": flow}, tmp_path / "extracts")
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    assert (tmp_path / "extracts" / "closed.csv").read_text().split() == ["id,is_closed", "closed,true"]


def test_a_folder_that_cannot_be_written_is_tried_again(
    store: Store, crm: Away, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(crm, 2)
    (tmp_path / "extracts").write_text("a file is in the way")
    sweeper = Sweeper(store, crm, {"review": replace(FLOW, extract={"all": Over("deal")})}, tmp_path / "extracts")
    sweeper.offer([a_run()])
    assert sweeper.tick(NOW) == 0
    assert "review cannot be swept" in caplog.text
    (tmp_path / "extracts").unlink()
    due = sweeper.next_due()
    assert due is not None
    assert sweeper.tick(due) == 2


def test_records_that_cannot_be_decided_keep_nobody_waiting(sweeper: Sweeper, store: Store, crm: Away) -> None:
    """They wait for a person and never count as taken in; once all is decided, the others are told."""
    fill(crm, AT_ONCE + 1)
    run = a_run()
    sweeper.offer([run])
    sweeper.tick(NOW)
    sweeper.offer([counted(run, finished=AT_ONCE - PAGE * 5)])
    assert sweeper.tick(NOW) == 0
    lead = store.begin("host:1:a", NOW, False)
    store.commit(lead, [], store.last_event(), NOW)
    assert sweeper.tick(NOW) == 2
    assert told(store)[-1].type == "sweep.ended"


def test_what_redis_may_have_lost_is_swept_anew(sweeper: Sweeper, store: Store, crm: Away) -> None:
    deals = fill(crm, 3)
    sweeper.offer([a_run()])
    sweeper.tick(NOW)
    store.redis.flushall()
    sweeper.forget()
    sweeper.offer([a_run()])
    sweeper.tick(NOW + 1)
    assert names(store) == deals
    assert sweeper.idle()
