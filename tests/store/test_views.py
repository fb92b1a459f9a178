"""Reading for people: lists newest first, one thing by the beginning of its id."""

from __future__ import annotations

from typing import Any

import pytest

from revops_lite.errors import NotFound, UsageError
from revops_lite.models import AuditEntry, Review, ReviewState, Run, RunState
from revops_lite.store.store import Lead, Store
from revops_lite.store.views import PAGE, Views
from store_nouns import context, notice, put, review, run, write


@pytest.fixture
def views(redis: Any) -> Views:
    return Views(redis)


def everything(_: object) -> bool:
    return True


def test_lists_are_newest_first_and_stop_at_the_limit(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, *(run(f"r{n}", at=float(n)) for n in range(5)))
    assert [one.id for one in views.runs(everything, None)] == ["r4", "r3", "r2", "r1", "r0"]
    assert [one.id for one in views.runs(everything, 2)] == ["r4", "r3"]
    assert views.runs(everything, 0) == []


def test_filters_look_behind_the_first_page(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, run("rold", RunState.FAILED, at=0.0), *(run(f"r{n}", at=float(n + 1)) for n in range(PAGE + 5)))
    assert len(views.runs(everything, None)) == PAGE + 6
    assert [one.id for one in views.runs(lambda one: one.state is RunState.FAILED, 1)] == ["rold"]


def test_every_kind_has_its_list(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, run(), write(), review(), notice(), context())
    assert views.runs(everything, None) == [run()]
    assert views.writes(everything, None) == [write()]
    assert views.reviews(everything, None) == [review()]
    assert views.notices(everything, None) == [notice()]
    assert views.context("lead:1") == context()
    assert views.context("lead:2") is None


def test_what_comes_while_a_list_is_read_shows_nothing_twice(
    views: Views, store: Store, lead: Lead, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, lead, *(run(f"r{n:04}", at=float(n)) for n in range(PAGE + 10)))
    many = views.many

    def slowly(kind: str, ids: list[str]) -> list[object]:
        put(store, lead, run(f"rnew{len(ids)}", at=9_000.0))
        return many(kind, ids)

    monkeypatch.setattr(views, "many", slowly)
    found = [one.id for one in views.runs(everything, None)]
    assert len(found) == len(set(found)) == PAGE + 10
    assert views.run("r0007").id == "r0007"


def test_pending_is_what_waits_for_a_person_oldest_first(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, review("q2", at=2.0), review("q1", at=1.0), review("q3", ReviewState.REJECTED, 3.0))
    assert [one.id for one in views.pending()] == ["q1", "q2"]


def test_an_id_may_be_shortened_while_it_fits_only_one(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, run("rabc1"), run("rabd2"), run("rab"))
    assert views.run("rabc").id == "rabc1"
    assert views.run("rab").id == "rab", "a whole id is never ambiguous"
    with pytest.raises(UsageError, match="'ra' fits 3 of them"):
        views.run("ra")


@pytest.mark.parametrize("prefix", ["zzz", "", "*", "r:1", "../x", "ü", "revops:controller"])
def test_what_is_not_there_is_not_found(views: Views, store: Store, lead: Lead, prefix: str) -> None:
    put(store, lead, run(), write(), review())
    for look in (views.run, views.write, views.review):
        with pytest.raises(NotFound, match="list` shows them"):
            look(prefix)


def test_ids_of_another_kind_are_not_found(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, run("r1"), review("q1"))
    assert isinstance(views.run("r1"), Run)
    assert isinstance(views.review("q"), Review)
    with pytest.raises(NotFound):
        views.review("r1")


def test_the_trail_is_read_newest_first(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, audit=[AuditEntry(float(n), "run.started", "cli", note=str(n)) for n in range(5)])
    assert [entry.note for entry in views.audit(everything, 2)] == ["4", "3"]
    assert [entry.note for entry in views.audit(lambda entry: entry.note == "1", None)] == ["1"]


def test_documents_come_in_the_order_asked_for(views: Views, store: Store, lead: Lead) -> None:
    put(store, lead, write("w1"), write("w2"))
    assert [one and one.id for one in views.many("write", ["w2", "none", "w1"])] == ["w2", None, "w1"]
    assert views.many("write", []) == []
