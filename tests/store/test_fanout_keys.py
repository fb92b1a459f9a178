"""A fan-out in Redis: its parts are found by it, and what they need lives as long as it does."""

from __future__ import annotations

from typing import Any

import pytest

from revops_lite.engine.state import Changes, State
from revops_lite.errors import NotFound, UsageError
from revops_lite.models import Over, Page, Run, RunState, Seen
from revops_lite.store import codec, keys
from revops_lite.store.commit import commands
from revops_lite.store.store import Lead, Store
from revops_lite.store.views import PAGE, Views
from revops_lite.values import replace
from store_nouns import docs, put, run

DAY = 86_400


@pytest.fixture
def views(redis: Any) -> Views:
    return Views(redis)


def whole(id_: str = "r1", state: RunState = RunState.RUNNING, **more: Any) -> Run:
    ended = 9.0 if state in ("finished", "failed", "cancelled") else None
    given = {"over": Over("deal"), "pages": 2, "tally": {"score": {"done": 2}}, "finished_at": ended, "as_of": 1.5}
    return run(id_, state, **{**given, **more})


def part(id_: str, at: float = 2.0, **more: Any) -> Run:
    return run(id_, at=at, part_of=id_.partition(".")[0], page="r1.p0", **more)


def page(id_: str = "r1.p0") -> Page:
    shown = {"kind": "contact", "id": "7", "version": 0, "values": {"a": [1, None]}}
    seen = {"contact:7": Seen(shown, known=False, created_at=1.0, updated_at=2.0, edited={"a": 3.0})}
    return Page(id_, "r1", 5.0, {"deal:1": {"contacts": ("contact:7",), "owner": ()}}, seen)


def put_pages(store: Store, lead: Lead, *ids: str) -> None:
    changes = Changes(docs={("page", id_): page(id_) for id_ in ids})
    store.commit(lead, list(commands(State(), changes, 1001.0)), None, 1001.0)


def test_parts_and_pages_come_back_as_they_were(store: Store, lead: Lead, views: Views) -> None:
    parts = [part("r1.b", 2.0), part("r1.a", 3.0, members=("deal:1", "deal:2"))]
    put(store, lead, whole(), *parts, part("r2.c"))
    put_pages(store, lead, "r1.p0")
    assert views.parts(whole()) == parts, "in the order in which they came"
    assert views.run("r1") == whole()
    assert store.load([("page", "r1.p0")]) == {("page", "r1.p0"): page()}
    assert views.parts(run("r3")) == []
    assert codec.load("page", codec.dump(page())) == page()


def test_lists_and_services_know_the_whole_alone(store: Store, lead: Lead, views: Views) -> None:
    put(store, lead, whole(), part("r1.a"), part("r1.b", state=RunState.HELD))
    assert [one.id for one in views.runs(lambda _: True, None)] == ["r1"]
    assert store.opened("runs") == ["r1"]
    assert store.opened("loads") == ["r1"]
    put(store, lead, replace(whole(), loaded=True), before=State(docs=dict(docs(whole()))))
    assert store.opened("loads") == []


def test_a_part_is_found_by_the_beginning_of_its_id(store: Store, lead: Lead, views: Views) -> None:
    put(store, lead, whole("rab1"), whole("rcd2"), part("rab1.aa1"), part("rab1.ab2"), part("rcd2.aa1"))
    assert views.run("rab1.aa1").id == "rab1.aa1"
    assert views.run("rab1.ab").id == "rab1.ab2"
    assert views.run("rab").id == "rab1", "parts do not make their whole's id ambiguous"
    with pytest.raises(UsageError, match="fits 2 of them"):
        views.run("rab1.a")
    for nothing in ("rab1.zz", "rzz.aa1", ".aa1", "rab1..", "."):
        with pytest.raises(NotFound):
            views.run(nothing)


def test_more_parts_than_one_look_takes(store: Store, lead: Lead, views: Views) -> None:
    parts = [part(f"r1.{n:04x}", float(n)) for n in range(PAGE + 5)]
    put(store, lead, whole(), *parts)
    assert views.parts(whole()) == parts


def test_pages_and_parts_live_as_long_as_their_run_may_need_them(store: Store, lead: Lead, redis: Any) -> None:
    def days(key: str) -> int:
        return round(redis.ttl(key) / DAY)

    names = [keys.doc("page", "r1.p0"), keys.doc("page", "r1.p1"), keys.parts("r1")]
    put(store, lead, whole(), part("r1.a"))
    put_pages(store, lead, "r1.p0", "r1.p1")
    assert {days(key) for key in names} == {keys.OPEN_TTL // DAY}, "a person may take longer than a week"
    ended = whole(state=RunState.FINISHED)
    put(store, lead, ended, before=State(docs=dict(docs(whole()))))
    assert [days(key) for key in names] == [7, 7, 90]
    put(store, lead, whole(), before=State(docs=dict(docs(ended))))
    assert {days(key) for key in names} == {keys.OPEN_TTL // DAY}, "tried again"


def test_a_page_that_comes_with_the_end_of_its_run_lives_no_longer_than_others(
    store: Store, lead: Lead, redis: Any
) -> None:
    ended = whole(state=RunState.FAILED)
    changes = Changes(docs={**docs(ended), ("page", "r1.p0"): page()})
    store.commit(lead, list(commands(State(), changes, 1001.0)), None, 1001.0)
    assert redis.ttl(keys.doc("page", "r1.p0")) <= 7 * DAY
