"""Documents: each comes back as it was, only what changed is written, and the lists follow the states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from revops_lite.controller import Controller
from revops_lite.engine.state import Changes, State
from revops_lite.models import Context, Event, IntentState, Key, ReviewState, Run, RunState, WriteState
from revops_lite.policy import Rulebook
from revops_lite.queue.drain import Drain
from revops_lite.store import keys
from revops_lite.store.commit import commands
from revops_lite.store.store import Lead, Store
from revops_lite.values import replace
from seats import NOW, SINK
from store_nouns import HOSTILE, LEAD, context, docs, intent, notice, put, review, run, write

EACH = [run(), write(), intent(), review(), notice(), context()]


@pytest.mark.parametrize("value", EACH, ids=lambda value: type(value).__name__)
def test_a_document_comes_back_as_it_was(store: Store, lead: Lead, value: Any) -> None:
    put(store, lead, value)
    assert store.load(docs(value)) == docs(value)


def test_all_kinds_are_loaded_in_one_go_and_what_is_not_there_is_none(store: Store, lead: Lead) -> None:
    put(store, lead, *EACH)
    wanted = docs(*EACH) | {("run", "none"): None, ("context", "lead:none"): None}
    assert store.load(wanted) == wanted
    assert store.load([]) == {}


def test_a_bare_context_comes_back_as_it_was(store: Store, lead: Lead) -> None:
    put(store, lead, Context(LEAD))
    assert store.load([("context", LEAD)]) == {("context", LEAD): Context(LEAD)}


def words(before: Any, after: Any) -> list[tuple[Any, ...]]:
    return list(commands(State(docs=docs(before)), Changes(docs=docs(after)), 1.0))


def test_a_context_writes_only_the_fields_that_changed() -> None:
    before = context()
    value = before.fields["a"]
    before = replace(before, fields={**before.fields, "same": value, "gone": value})
    after = replace(before, fields={"a": replace(value, value="new"), "same": value, "more": value}, flags={})
    written = words(before, after)
    sets = [word for command in written if command[0] == "HSET" for word in command[2::2]]
    gone = [word for command in written if command[0] == "HDEL" for word in command[2:]]
    assert sorted(sets) == ["m", "r", "v:a", "v:more"]
    assert sorted(gone) == ["f:stale", "v:gone"]


def test_a_changed_context_comes_back_as_it_is_now(store: Store, lead: Lead) -> None:
    before = context()
    after = replace(before, version=8, fields={"b": before.fields["a"]}, proposed={}, flags={}, told={}, runs={})
    put(store, lead, before)
    put(store, lead, after, before=State(docs=docs(before)))
    assert store.load([("context", LEAD)]) == docs(after)


@pytest.mark.parametrize("value", EACH, ids=lambda value: type(value).__name__)
def test_what_did_not_change_is_not_written(value: Any) -> None:
    assert words(value, replace(value)) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_field_names_and_values_may_be_any_text(store: Store, lead: Lead, redis: Any, name: str) -> None:
    value = replace(context().fields["a"], value=name)
    proposed = replace(context().proposed["b"], value=name)
    hostile = context(fields={name: value}, proposed={name: proposed}, flags={name: context().flags["stale"]})
    put(store, lead, hostile, parked={f"r1|{name}": (name, True)}, timers={f"retry|r1|{name}": 9e9})
    assert store.load([("context", LEAD)]) == docs(hostile)
    assert store.working_set().parked == {name: {f"r1|{name}": None}}
    assert store.due_timers(9e9, 1) == [(f"retry|r1|{name}", 9e9)]
    expected = {keys.context(LEAD), keys.PARKED, keys.TIMERS, keys.CONTROLLER, keys.index("contexts")}
    found = {key.decode() for key in redis.scan_iter()}
    assert {key for key in found if not key.startswith(keys.counts(0)[:-1])} == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_record_names_become_part_of_a_key_only_as_a_hash(store: Store, lead: Lead, redis: Any, name: str) -> None:
    one, other = context(f"lead:{name}"), context("lead:other")
    put(store, lead, one, other)
    assert store.load(docs(one, other)) == docs(one, other)
    assert all(key.decode().isascii() for key in redis.keys("revops:context:*"))
    assert len(redis.keys("revops:context:*")) == 2


def test_values_that_are_no_numbers_become_null(store: Store, lead: Lead) -> None:
    put(store, lead, replace(write(), after=float("nan")))
    (found,) = store.load([("write", "w1")]).values()
    assert found == replace(write(), after=None)


# ---- lists


def moves(store: Store, lead: Lead, kind: str, *states: Any) -> list[list[str]]:
    """What the open list holds after each of these, one committed on top of the other."""
    state, seen = State(), []
    for value in states:
        put(store, lead, value, before=state)
        state.docs.update(docs(value))
        seen.append(store.opened(kind))
    return seen


def test_runs_are_open_until_they_end_and_again_when_retried(store: Store, lead: Lead) -> None:
    every = [run(state=state, loaded=True) for state in RunState]
    assert moves(store, lead, "runs", *every) == [["r1"]] * 3 + [[]] * 4
    assert moves(store, lead, "runs", run(), run(state=RunState.FAILED), run()) == [["r1"], [], ["r1"]]


def test_runs_wait_in_the_list_of_loads_until_their_records_are_there(store: Store, lead: Lead) -> None:
    states = [run(), run(loaded=True)]
    assert moves(store, lead, "loads", *states) == [["r1"], []]
    assert moves(store, lead, "loads", run(), run(state=RunState.CANCELLED)) == [["r1"], []]


def test_intents_reviews_and_notices_are_open_until_their_end(store: Store, lead: Lead) -> None:
    ended = {IntentState.APPLIED, IntentState.FAILED, IntentState.CONFLICT, IntentState.CANCELLED}
    for state in IntentState:
        assert moves(store, lead, "intents", intent(), intent(state=state))[1] == ([] if state in ended else ["i1"])
    for verdict in ReviewState:
        open_ = ["q1"] if verdict is ReviewState.PENDING else []
        assert moves(store, lead, "reviews", review(), review(state=verdict))[1] == open_
    for told in ("planned", "sent", "failed"):
        assert moves(store, lead, "notices", notice(), notice(state=told))[1] == (["n1"] if told == "planned" else [])


def test_open_lists_are_counted_and_oldest_first(store: Store, lead: Lead) -> None:
    put(store, lead, review("q2", at=2.0), review("q1", at=1.0), review("q3", at=3.0), intent())
    assert store.opened("reviews") == ["q1", "q2", "q3"]
    assert store.counted("reviews", "intents", "loads") == {"reviews": 3, "intents": 1, "loads": 0}


@pytest.mark.parametrize(
    ("going", "ended"),
    [
        (run(), run(state=RunState.FINISHED, finished_at=3.0)),
        (write(), write(state=WriteState.APPLIED)),
        (intent(), intent(state=IntentState.FAILED)),
        (review(), review(state=ReviewState.REJECTED)),
        (notice(), notice(state="sent")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_unfinished_business_outlives_what_has_ended(
    store: Store, lead: Lead, redis: Any, going: Any, ended: Any
) -> None:
    ((kind, id_),) = docs(going)
    put(store, lead, going)
    assert redis.ttl(keys.doc(kind, id_)) == keys.OPEN_TTL
    put(store, lead, ended, before=State(docs=docs(going)))
    assert redis.ttl(keys.doc(kind, id_)) == keys.DOC_TTL[kind] < keys.OPEN_TTL


def test_lists_forget_what_has_expired(store: Store, lead: Lead, redis: Any) -> None:
    day = float(keys.DAY)
    old, new = 1.0, 200 * day
    put(store, lead, run("r1", at=old), run("r2", at=new), write("w1", at=old), write("w2", at=new))
    put(store, lead, context("lead:1"), now=old)
    put(store, lead, context("lead:2"), now=new)
    store.trim(new + day)
    assert redis.zrange(keys.index("runs"), 0, -1) == [b"r2"]
    assert redis.zrange(keys.index("writes"), 0, -1) == [b"w2"]
    assert redis.zrange(keys.index("contexts"), 0, -1) == [b"lead:2"]


def test_a_context_that_changes_stays_listed(store: Store, lead: Lead, redis: Any) -> None:
    day = float(keys.DAY)
    put(store, lead, context(), now=1.0)
    put(store, lead, context(version=8), before=State(docs=docs(context())), now=170 * day)
    store.trim(190 * day)
    assert redis.zrange(keys.index("contexts"), 0, -1) == [LEAD.encode()]


def test_trimming_keeps_every_event_that_is_young_or_not_decided(store: Store, lead: Lead, redis: Any) -> None:
    ids = [f"{day * keys.DAY * 1000}-0" for day in range(1, 400)]
    pipe = redis.pipeline()
    for id_ in ids:
        pipe.xadd(keys.EVENTS, {"e": b"{}", "filler": b"x" * 100}, id=id_)
        pipe.xadd(keys.AUDIT, {"a": b"{}"}, id=id_)
    pipe.execute()
    now = 400.0 * keys.DAY
    store.commit(lead, [], ids[200], now)
    store.trim(now)
    kept = [id_.decode() for id_, _ in redis.xrange(keys.EVENTS)]
    assert kept[-1] == ids[-1]
    assert set(ids[200:]) <= set(kept)
    assert len(kept) < len(ids)  # in whole blocks: not to the entry
    assert redis.xlen(keys.AUDIT) == len(ids), "what is not sealed stays"
    store.trim(now, ids[300])
    assert redis.xrange(keys.EVENTS, count=1)[0][0].decode() <= ids[200], "what is not decided stays, however many"
    assert isinstance(run(), Run)


def test_what_many_calls_are_about_is_loaded_together(
    store: Store, lead: Lead, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        about = {"record": f"lead:{n}", "run": f"r{n}"}
        call = replace(intent(f"i{n}", IntentState.SENDING), writes={"a": f"w{n}"}, **about)
        mine = replace(write(f"w{n}", WriteState.SENDING), undoes=(), undo=None, **about)
        put(
            store,
            lead,
            context(f"lead:{n}", intents=(f"i{n}",), proposed={}),
            call,
            mine,
            replace(run(f"r{n}"), record=f"lead:{n}", reviews=()),
        )
    controller = Controller(store, Drain(redis, SINK), Rulebook({}, {}), "host:1:a")
    controller.take_over(NOW, force=True)
    store.append([Event(f"e{n}", "write.applied", f"lead:{n}", "writer", NOW, {"intent": f"i{n}"}) for n in range(20)])
    asked: list[list[Key]] = []
    held = store.held

    def noted(wanted: Iterable[Key]) -> dict[Key, Any]:
        asked.append(list(wanted))
        return held(asked[-1])

    monkeypatch.setattr(store, "held", noted)
    assert controller.step(NOW) == 20
    assert [sorted({kind for kind, _ in keys}) for keys in asked] == [["intent"], ["context", "run", "write"]]
    assert {call.state for call in store.load(("intent", f"i{n}") for n in range(20)).values()} == {IntentState.APPLIED}
