"""The event bus: an accepted event is there exactly once, whoever sends it how often and from how many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostConnection

from revops_lite.errors import EventRefused
from revops_lite.store import keys
from revops_lite.store.events import MAX_BYTES
from revops_lite.store.scripts import Script
from revops_lite.store.store import Store
from revops_lite.values import replace
from store_nouns import HOSTILE, event

AT_ONCE = 100


def test_an_event_comes_back_as_it_was_sent(store: Store) -> None:
    sent = event(values={"name": "Ada ☃", "n": 1.5, "none": None, "deep": [{"x": True}]})
    assert store.append([sent]) == ["new"]
    (entry,) = store.read("0-0", 10)
    assert entry.event == sent
    assert entry.id == store.last_event()


def test_a_known_event_is_refused_and_one_with_another_body_is_told_apart(store: Store) -> None:
    assert store.append([event(name="Ada")]) == ["new"]
    assert store.append([event(name="Ada")]) == ["known"]
    assert store.append([event(name="Bob")]) == ["other"]
    assert store.append([event(type_="lead.updated", name="Ada")]) == ["other"]
    assert len(store.read("0-0", 10)) == 1


def test_the_time_of_sending_does_not_make_another_event(store: Store) -> None:
    store.append([event()])
    assert store.append([replace(event(), time=2000.0)]) == ["known"]


def test_one_call_takes_several_events_in_their_order(store: Store) -> None:
    answers = store.append([event("e1"), event("e2"), event("e1"), event("e3")])
    assert answers == ["new", "new", "known", "new"]
    assert [entry.event and entry.event.id for entry in store.read("0-0", 10)] == ["e1", "e2", "e3"]


def test_the_same_event_from_a_hundred_threads_at_once_is_accepted_once(store: Store) -> None:
    start = Barrier(AT_ONCE)

    def send(_: int) -> str:
        start.wait()
        return store.append([event()])[0]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(send, range(AT_ONCE)))
    assert sorted(set(answers)) == ["known", "new"]
    assert answers.count("new") == 1
    assert len(store.read("0-0", 10)) == 1


def test_whoever_listens_hears_the_bytes_of_the_stream(store: Store, redis: Any) -> None:
    listener = redis.pubsub()
    listener.subscribe(keys.CHANNEL)
    assert listener.get_message(timeout=5)
    store.append([event()])
    message = listener.get_message(timeout=5)
    ((_, fields),) = redis.xrange(keys.EVENTS)
    assert message is not None
    assert message["data"] == fields[b"e"]
    listener.close()


def test_sending_again_after_a_lost_reply_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after the server has done it: the script runs twice."""
    run = store._append._wire.run
    answers: list[object] = []

    def lost_once(*words: Any) -> Any:
        answers.append(run(*words))
        if len(answers) == 1:
            raise LostConnection("reset by peer")
        return answers[-1]

    monkeypatch.setattr(store._append._wire, "run", lost_once)
    assert isinstance(store._append, Script)
    assert store.append([event()]) == ["known"]
    assert len(answers) == 2
    assert len(store.read("0-0", 10)) == 1


def test_reading_goes_on_behind_a_position(store: Store) -> None:
    store.append([event(f"e{n}") for n in range(5)])
    first = store.read("0-0", 2)
    rest = store.read(first[-1].id, 10)
    assert [entry.event and entry.event.id for entry in [*first, *rest]] == [f"e{n}" for n in range(5)]
    assert [entry.event and entry.event.id for entry in store.tail(2)] == ["e3", "e4"]
    assert store.read(store.last_event(), 10) == []


def test_an_empty_stream_has_a_beginning(store: Store) -> None:
    assert store.last_event() == "0-0"
    assert store.read("0-0", 10) == []
    assert store.append([]) == []


@pytest.mark.parametrize(
    "fields", [{"e": b"{"}, {"e": b"null"}, {"e": b'{"id": 1}'}, {"e": b"\xff\xfe"}, {"other": b"x"}], ids=repr
)
def test_an_entry_that_is_no_event_is_shown_as_such_and_stops_nobody(
    store: Store, redis: Any, fields: dict[str, bytes]
) -> None:
    store.append([event("before")])
    redis.xadd(keys.EVENTS, fields)
    store.append([event("after")])
    before, broken, after = store.read("0-0", 10)
    assert (before.event and before.event.id, after.event and after.event.id) == ("before", "after")
    assert broken.event is None
    assert broken.error.startswith("unreadable event: ")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(store: Store, redis: Any, text: str) -> None:
    sent = event(id_=f"id {text}", record=f"lead:{text}", **{text or "empty": text})
    store.append([sent])
    (entry,) = store.read("0-0", 10)
    assert entry.event == sent
    assert set(redis.scan_iter()) == {keys.EVENTS.encode(), keys.seen(sent.id).encode()}


def test_an_event_over_the_limit_is_refused_with_its_size(store: Store) -> None:
    with pytest.raises(EventRefused, match=r"'e1': its data is 1,\d{3},\d{3} bytes; at most 1,000,000 are taken"):
        store.append([event(text="x" * MAX_BYTES)])
    assert store.last_event() == "0-0"


def test_half_a_surrogate_pair_is_refused_not_a_traceback(store: Store) -> None:
    with pytest.raises(EventRefused, match="cannot be written as JSON"):
        store.append([event(text="\ud800")])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_never_travels(store: Store, redis: Any, number: float) -> None:
    store.append([event(number=number)])
    (entry,) = store.read("0-0", 10)
    assert entry.event is not None
    assert entry.event.data == {"number": None}
    assert b"NaN" not in redis.xrange(keys.EVENTS)[0][1][b"e"]
