"""What has come to its end leaves Redis for a file, and is there for everybody as if it had not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from revops_lite.archiver import KEPT, PAGE, REST, Archiver, at_rest, departures, returns
from revops_lite.controller import MANY, Controller
from revops_lite.engine import Changes, State
from revops_lite.errors import BusError
from revops_lite.models import Breaker, Event, ReviewState, RunState, WriteState
from revops_lite.portions import BATCH
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.work import Ending as Answered
from revops_lite.queue.work import WorkQueue
from revops_lite.store import archive as archives
from revops_lite.store import codec, keys
from revops_lite.store.archive import LIFETIMES, Archive, Row
from revops_lite.store.commit import commands
from revops_lite.store.events import Entry, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from seats import NOW, RULEBOOK, SINK
from store_nouns import HOSTILE, intent, notice, review, run, write

NONE = dict.fromkeys(KEPT, 0)


class Seat:
    """A controller, a host that scores, and an archiver that leaves nothing in Redis; without `file`, none."""

    def __init__(self, redis: Any, file: Path | None, kept: dict[str, int] = NONE) -> None:
        redis.hset(keys.BREAKERS, "score", codec.dump(Breaker("score", proven=True)))
        self.redis, self.kept, self.now, self.claims = redis, kept, NOW, 0
        self.archive = Archive(file) if file else None
        self.store, self.work = Store(redis, self.archive), WorkQueue(redis, SINK)
        self.views = Views(redis, self.archive)
        self.sit()

    def sit(self) -> None:
        """Anew, as after a crash."""
        self.archiver = Archiver(self.store, self.archive, self.kept, some=1) if self.archive else None
        drain = Drain(self.redis, SINK)
        self.controller = Controller(self.store, drain, RULEBOOK, "host:1:a", archiver=self.archiver)
        self.controller.take_over(NOW, force=True)

    def emit(self, number: int, record: str, **data: object) -> None:
        self.store.append([Event(f"e{number}", "lead.created", record, "cli", NOW, data)])

    def decide(self) -> None:
        while self.controller.step(self.now):
            pass

    def answer(self, score: int) -> None:
        """The host does all that waits for it."""
        self.claims += 1
        claims = self.work.claim("host", f"claim-{self.claims}", ("agents",), 100, self.now)
        proposal = {"values": {"score": score}, "confidence": 0.9, "because": "so"}
        told = [step_finished(decode(c.data), self.now, outcome="done", proposals=[proposal]) for c in claims]
        self.work.finish("host", [Answered(c, True, event) for c, event in zip(claims, told, strict=True)], self.now)

    def put_away(self) -> None:
        if self.archiver:
            self.archiver.tick(self.now)

    def lead(self, number: int, record: str = "lead:1", score: int = 5) -> None:
        """From the event to the end of its run."""
        self.emit(number, record, name=f"Ada {number}")
        self.decide()
        self.answer(score)
        self.decide()

    def let_go(self) -> None:
        """Everything that may go: to disk, then out of Redis."""
        self.put_away()
        self.decide()

    def seen(self) -> dict[str, Any]:
        """All that anybody sees of documents."""
        records = {found.record for found in self.views.runs(lambda _: True, None)}
        return {
            "runs": sorted(self.views.runs(lambda _: True, None), key=lambda found: found.id),
            "writes": sorted(self.views.writes(lambda _: True, None), key=lambda found: found.id),
            "contexts": {record: self.views.context(record) for record in records},
            "open": self.store.opened("runs"),
        }

    def held(self) -> list[str]:
        """Documents in Redis."""
        kinds = ("run", "write", "context", "intent", "notice", "review")
        return sorted(key.decode() for kind in kinds for key in self.redis.scan_iter(f"revops:{kind}:*"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive.sqlite3"


@pytest.fixture
def seat(redis: Redis, file: Path) -> Iterator[Seat]:
    made = Seat(redis, file)
    yield made
    assert made.archive
    made.archive.close()


# ---- the file ----------------------------------------------------------------------------------------------------


def raw(value: Any) -> bytes:
    return codec.dump(value)


def fields(name: str) -> dict[bytes, bytes]:
    about = raw({"runs": {}, "intents": [], "version": 3})
    return {b"r": name.encode(), b"m": about, f"v:{name}".encode(): raw({"value": name, "at": 1.0})}


@pytest.mark.parametrize("name", HOSTILE)
def test_documents_are_found_as_they_lay_in_redis(file: Path, name: str) -> None:
    archive = Archive(file)
    rows = [Row("run", "r1", 1.0, raw(run())), Row("context", name, 2.0, fields(name))]
    archive.put(rows, NOW)
    found = Archive(file).find([("run", "r1"), ("run", "r2"), ("context", name)])
    assert found == {row.key: row for row in rows}
    assert found["run", "r1"].document() == run()


def test_a_document_that_is_put_away_again_replaces_the_old_one(file: Path) -> None:
    archive = Archive(file)
    for note in ("old", "new"):
        archive.put([Row("run", "r1", 1.0, raw(run(note=note)))], NOW)
    assert archive.find([("run", "r1")])["run", "r1"].document().note == "new"
    assert list(archive.newest("run")) == [(1.0, "r1")]


def test_lists_are_newest_first_over_many_pages(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "AT_ONCE", 3)
    archive = Archive(file)
    archive.put([Row(kind, f"x{n}", float(n // 4), b"{}") for n in range(20) for kind in ("run", "write")], NOW)
    wanted = sorted(((float(n // 4), f"x{n}") for n in range(20)), reverse=True)
    assert list(archive.newest("run")) == wanted
    assert len(archive.find([("run", f"x{n}") for n in range(20)])) == 20


def test_ids_are_found_by_their_beginning(file: Path) -> None:
    archive = Archive(file)
    archive.put(
        [Row("run", id_, 1.0, b"{}") for id_ in ("r10", "r11", "r2", "s1")] + [Row("write", "r1", 1.0, b"{}")], NOW
    )
    assert archive.beginning("run", "r1") == ["r10", "r11"]
    assert archive.beginning("run", "%") == []


def test_what_has_served_its_time_goes(file: Path) -> None:
    archive = Archive(file)
    archive.put([Row("run", "r1", NOW, b"{}"), Row("context", "lead:1", NOW, fields("a"))], NOW)
    archive.expire(NOW + LIFETIMES["run"] - 1)
    assert len(archive.find([("run", "r1"), ("context", "lead:1")])) == 2
    archive.expire(NOW + LIFETIMES["run"] + 1)
    assert list(archive.find([("run", "r1"), ("context", "lead:1")])) == [("context", "lead:1")]


def test_nobody_who_only_looks_makes_a_file(file: Path) -> None:
    archive = Archive(file)
    assert (archive.find([("run", "r1")]), list(archive.newest("run")), archive.beginning("run", "r")) == ({}, [], [])
    archive.expire(NOW)
    assert not file.exists()


def test_a_damaged_file_is_told_of_with_its_mend(file: Path) -> None:
    file.write_bytes(b"no database at all, whatever its name says" * 100)
    for act in (lambda a: a.find([("run", "r1")]), lambda a: a.put([Row("run", "r1", 1.0, b"{}")], NOW)):
        with pytest.raises(BusError, match=r"archive\.sqlite3.*Mend: "):
            act(Archive(file))


@pytest.mark.parametrize(
    ("row", "rests"),
    [
        (Row("run", "r1", 1.0, raw(run())), False),
        (Row("run", "r1", 1.0, raw(run(state=RunState.FAILED, finished_at=2.0))), True),
        (Row("write", "w1", 1.0, raw(write())), False),
        (Row("write", "w1", 1.0, raw(write(state=WriteState.APPLIED))), True),
        (Row("intent", "i1", 1.0, raw(intent())), False),
        (Row("review", "q1", 1.0, raw(review())), False),
        (Row("review", "q1", 1.0, raw(review(state=ReviewState.APPROVED))), True),
        (Row("notice", "n1", 1.0, raw(notice())), False),
        (Row("notice", "n1", 1.0, raw(notice(state="sent"))), True),
        (Row("context", "lead:1", 1.0, {b"r": b"lead:1", b"m": raw({"runs": {"r1": {}}, "intents": []})}), False),
        (Row("context", "lead:1", 1.0, {b"r": b"lead:1", b"m": raw({"runs": {}, "intents": ["i1"]})}), False),
        (Row("context", "lead:1", 1.0, {b"r": b"lead:1", b"m": raw({"runs": {}, "intents": []})}), True),
    ],
)
def test_only_what_has_come_to_its_end_may_go(row: Row, rests: bool) -> None:
    assert at_rest(row) is rests


# ---- out of Redis, and back --------------------------------------------------------------------------------------


def test_ended_runs_leave_redis_with_all_that_is_theirs_and_are_seen_as_before(seat: Seat) -> None:
    for number in range(3):
        seat.lead(number, f"lead:{number}")
    before = seat.seen()
    assert len(seat.held()) == 9
    seat.let_go()
    assert seat.held() == []
    assert [seat.redis.zcard(keys.index(kind)) for kind in ("runs", "writes", "contexts")] == [0, 0, 0]
    assert seat.seen() == before
    (first, *_) = before["runs"]
    assert seat.views.run(first.id[:8]) == first
    assert seat.store.load([("run", first.id), ("run", "rno")]) == {("run", first.id): first, ("run", "rno"): None}


def test_the_newest_stay(redis: Redis, file: Path) -> None:
    seat = Seat(redis, file, {**NONE, "run": 2, "write": 1})
    for number in range(5):
        seat.now += 1
        seat.lead(number, f"lead:{number}")
    seat.let_go()
    newest = [found.id for found in seat.views.runs(lambda _: True, None)]
    assert seat.held() == sorted(
        [*(keys.doc("run", id_) for id_ in newest[:2]), keys.doc("write", seat.views.writes(lambda _: True, 1)[0].id)]
    )


def test_what_is_under_way_stays(seat: Seat) -> None:
    seat.emit(1, "lead:1", name="Ada")
    seat.decide()
    before = seat.held()
    seat.let_go()
    assert seat.held() == before
    assert len(before) == 2, "a run, and the context it works on"


def test_a_record_that_comes_again_has_all_it_had(seat: Seat) -> None:
    seat.lead(1, score=5)
    was = seat.views.context("lead:1")
    assert was
    seat.let_go()
    seat.emit(2, "lead:1", email="ada@example.com")
    seat.decide()
    found = seat.views.context("lead:1")
    assert found
    assert seat.redis.exists(keys.context("lead:1"))
    assert found.fields["score"] == was.fields["score"]
    assert found.history == was.history
    assert len(found.runs) == 1


def test_what_comes_back_is_in_the_lists_of_redis_again(seat: Seat) -> None:
    seat.lead(1)
    before = seat.held(), seat.redis.zrange(keys.index("runs"), 0, -1, withscores=True)
    seat.let_go()
    assert seat.archiver
    (one,), (its,) = seat.seen()["runs"], seat.seen()["writes"]
    rows = seat.archiver.find([("run", one.id), ("write", its.id), ("context", "lead:1")])
    assert len(rows) == 3
    seat.store.commit(seat.controller.lead, list(returns(rows)), None, NOW)
    assert (seat.held(), seat.redis.zrange(keys.index("runs"), 0, -1, withscores=True)) == before
    assert all(0 < seat.redis.ttl(key) <= 181 * keys.DAY for key in seat.held())


def test_a_known_event_starts_nothing_although_its_run_has_left(seat: Seat) -> None:
    seat.lead(1)
    seat.let_go()
    before = seat.seen()
    seat.redis.delete(seen_key("e1"))  # as after a week
    seat.lead(1)
    assert [found.id for found in seat.seen()["runs"]] == [found.id for found in before["runs"]]
    assert seat.work.waiting(["agents"]) == 0


def test_what_has_changed_since_it_was_read_stays_as_it_is_now(seat: Seat) -> None:
    seat.lead(1)
    seat.put_away()
    seat.emit(2, "lead:1", email="ada@example.com")
    seat.decide()
    seat.answer(7)
    seat.decide()
    found = seat.views.context("lead:1")
    assert found
    assert (found.fields["score"].value, found.fields["email"].value) == (7, "ada@example.com")
    assert keys.context("lead:1") in seat.held()
    seat.let_go()
    assert seat.held() == []
    assert seat.views.context("lead:1") == found


def test_what_changes_while_it_is_brought_to_disk_stays(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    seat.lead(1, score=5)
    put = Archive.put

    def slowly(*words: Any) -> None:
        seat.lead(2, score=7)
        put(*words)

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "put", slowly)
        seat.put_away()
    seat.decide()
    assert keys.context("lead:1") in seat.held()
    seat.let_go()
    assert seat.held() == []
    found = seat.views.context("lead:1")
    assert found
    assert found.fields["score"].value == 7


def test_what_the_controller_has_in_memory_stays(seat: Seat) -> None:
    seat.lead(1)
    seat.put_away()
    key = ("context", "lead:1")
    seat.controller.state.docs[key] = seat.store.load([key])[key]
    seat.decide()
    assert seat.held() == [keys.context("lead:1")]


def test_killed_between_disk_and_redis_a_document_is_in_both_and_redis_has_the_say(seat: Seat) -> None:
    seat.lead(1, score=5)
    seat.put_away()
    seat.sit()
    seat.lead(2, score=8)
    found = seat.views.context("lead:1")
    assert found
    assert found.fields["score"].value == 8
    assert len(seat.views.runs(lambda _: True, None)) == 2
    before = seat.seen()
    seat.let_go()
    assert seat.held() == []
    assert seat.seen() == before


def test_after_a_commit_of_which_nobody_knows_nothing_leaves(seat: Seat) -> None:
    seat.lead(1)
    seat.put_away()
    seat.controller.forget()
    before = seat.held()
    seat.decide()
    assert seat.held() == before


def test_a_disk_that_refuses_takes_nothing_out_of_redis(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    seat.lead(1)
    before = seat.held()

    def full(*_: object) -> None:
        raise BusError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "put", full)
        with pytest.raises(BusError):
            seat.put_away()
    seat.let_go()
    assert seat.held() == before, "it rests before the next try"
    seat.now += REST
    seat.let_go()
    assert seat.held() == []


@pytest.mark.parametrize("what", ["run", "context"])
def test_what_cannot_be_read_stays_and_holds_up_nothing(seat: Seat, what: str) -> None:
    """Somebody else has written there."""
    for number in range(3):
        seat.lead(number, f"lead:{number}")
    if what == "run":
        spoiled = keys.doc("run", seat.views.runs(lambda _: True, 1)[0].id)
        seat.redis.set(spoiled, b"no JSON", keepttl=True)
    else:
        spoiled = keys.context("lead:1")
        seat.redis.hset(spoiled, "v:score", b"no JSON")
    seat.let_go()
    assert seat.held() == [spoiled]


def test_runs_that_are_held_for_long_do_not_keep_those_behind_them(redis: Redis, file: Path) -> None:
    seat = Seat(redis, file)
    store, lead = seat.store, seat.controller.lead
    held = {("run", f"rheld{n:04}"): run(f"rheld{n:04}", RunState.HELD, at=float(n)) for n in range(PAGE["run"] + 5)}
    ended = run("rended", RunState.FAILED, at=NOW, finished_at=NOW)
    store.commit(lead, list(commands(State(), Changes(docs={**held, ("run", "rended"): ended}), NOW)), None, NOW)
    assert seat.archiver
    for _ in range(2):
        seat.archiver.tick(NOW)
    assert seat.archiver.leave((), ()) == [("run", "rended")]


def test_a_pass_moves_a_third_of_what_is_there_within_limits(redis: Redis) -> None:
    """Many ended runs are not felt all at once; few are not moved one by one."""
    store = Store(redis)
    redis.zadd(keys.index("runs"), {f"r{n:04}": float(n) for n in range(1000)})

    def piece(kept: int, start: int = 0) -> list[str]:
        return list(store.oldest("run", start, 200, kept, 10))

    assert piece(991) == piece(1000) == []
    assert piece(990) == [f"r{n:04}" for n in range(10)], "fewer than the least piece"
    assert len(piece(940)) == 25
    assert len(piece(700)) == 100
    assert len(piece(0)) == 200
    assert piece(700, 150) == [f"r{n:04}" for n in range(150, 200)]
    assert piece(700, 300) == []


@pytest.mark.real
def test_what_a_commit_under_way_takes_out_of_redis_is_waited_for(real_redis: Redis, file: Path) -> None:
    """An event about a record whose context is just leaving finds it on disk, not half of it in Redis."""
    seat = Seat(real_redis, file)
    seat.lead(0, "lead:0")
    seat.put_away()
    for number in range(1, BATCH + MANY + 1):
        seat.emit(number, f"lead:{number % 7 + 1}" if number <= BATCH else "lead:0", name="Bob")

    def read(after: str) -> list[Entry]:
        return seat.store.read(after, BATCH)

    assert seat.controller.step(NOW, read(seat.controller.lead.cursor), read) == BATCH
    assert seat.controller.come, "the commit is under way, and with it the context leaves"
    while seat.controller.step(NOW, seat.controller.come or read(seat.controller.lead.cursor), read):
        pass
    found = seat.views.context("lead:0")
    assert found
    assert found.fields["score"].value == 5
    assert [touch.agent for touch in found.history] == ["score"]


# ---- whatever the order ------------------------------------------------------------------------------------------

MOVES = st.one_of(
    st.tuples(st.just("emit"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["decide", "step", "put away", "answer", "crash", "forget"]), st.just(0)),
)


@given(st.lists(MOVES, max_size=40))
def test_with_and_without_an_archive_the_same_is_seen(moves: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as place:
        seats = [Seat(fakeredis.FakeRedis(), path) for path in (Path(place) / "archive.sqlite3", None)]
        for seat in seats:
            for number, (move, record) in enumerate([*moves, ("decide", 0), ("put away", 0), ("decide", 0)]):
                match move:
                    case "emit":
                        seat.emit(number, f"lead:{record}", name=f"Ada {number}")
                    case "decide":
                        seat.decide()
                    case "step":
                        seat.controller.step(seat.now)
                    case "put away":
                        seat.put_away()
                    case "answer":
                        seat.answer(number)
                    case "crash":
                        seat.sit()
                    case "forget":
                        seat.controller.forget()
        assert seats[0].seen() == seats[1].seen()
        assert seats[0].archive
        seats[0].archive.close()


def test_departures_are_told_in_commands_that_a_script_can_take() -> None:
    going = [("write", f"w{n}") for n in range(2_500)] + [("intent", "i1"), ("context", "lead:1")]
    found = list(departures(going))
    assert max(map(len, found)) <= 1_002
    gone = [word for command in found if command[0] == "DEL" for word in command[1:]]
    assert len(gone) == len(set(gone)) == 2_502
    listed = [word for command in found if command[0] == "ZREM" for word in command[2:]]
    assert len(listed) == 2_501, "calls to the CRM stand in no list"
