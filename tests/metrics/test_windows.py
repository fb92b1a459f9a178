"""Counts in Redis: what a commit adds, what a window sees, which minutes were lived."""

from __future__ import annotations

from typing import Any

from redis import Redis

from revops_lite.controller import Controller
from revops_lite.engine import Changes, State
from revops_lite.models import AuditEntry
from revops_lite.policy import Rulebook
from revops_lite.queue.drain import Drain
from revops_lite.queue.work import EventSink
from revops_lite.rules import health
from revops_lite.store import keys, metrics
from revops_lite.store.commit import commands
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Lead, Store
from revops_lite.store.views import Views

HOUR = 3600.0
START = 500_000 * HOUR  # a whole hour


def lead(redis: Redis, now: float = START) -> tuple[Store, Lead]:
    store = Store(redis)
    return store, store.begin("here:1:a", now, force=True)


def commit(store: Store, mine: Lead, now: float, *entries: AuditEntry) -> None:
    store.commit(mine, list(commands(State(), Changes(audit=list(entries)), now)), None, now)


def entry(what: str, record: str | None = None, workflow: str = "new_lead", **facts: Any) -> AuditEntry:
    return AuditEntry(START, what, "scoring", record=record, workflow=workflow, **facts)


def look(redis: Redis, now: float, window: float = 24 * HOUR, workflow: str | None = None) -> health.Health:
    return health.figures(metrics.read(redis, metrics.since(window, now), now, workflow), workflow)


def silences(redis: Redis) -> list[AuditEntry]:
    return Views(redis).audit(lambda found: found.what == "controller.silent", None)


# ---- windows -----------------------------------------------------------------------------------------------------


def test_a_window_begins_at_a_whole_hour_and_leaves_nothing_of_it_out() -> None:
    assert metrics.since(HOUR, START + 61.0) == START - HOUR
    assert metrics.since(HOUR, START) == START - HOUR
    assert metrics.since(24 * HOUR, START + 10.0) == START - 24 * HOUR


def test_hours_are_added_and_those_before_the_window_are_not(redis: Redis) -> None:
    store, mine = lead(redis)
    for hour in (0, 1, 5):
        commit(store, mine, START + hour * HOUR, entry("step.done", rule="checkpoint"), entry("step.quarantined"))
    assert look(redis, START + 5 * HOUR + 10).checkpoint.whole == 6
    assert look(redis, START + 5 * HOUR + 10, 4 * HOUR).checkpoint.whole == 4
    assert look(redis, START + 5 * HOUR + 10, HOUR).checkpoint.whole == 2


def test_a_record_counts_once_however_often_and_in_whichever_workflow(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START, *(entry("run.started", "lead:1") for _ in range(3)), entry("run.started", "lead:2"))
    commit(
        store, mine, START + 10, entry("run.started", "lead:1", "nightly"), entry("review.asked", "lead:1", "nightly")
    )
    assert (look(redis, START + 20).intervention.part, look(redis, START + 20).intervention.whole) == (1, 2)
    assert look(redis, START + 20, workflow="new_lead").intervention.value == 0.0
    assert look(redis, START + 20, workflow="nightly").intervention.value == 1.0


def test_a_record_belongs_to_every_window_that_reaches_its_last_time(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START, entry("run.started", "lead:1"), entry("run.started", "lead:2"))
    commit(store, mine, START + 3 * HOUR, entry("run.started", "lead:2"))
    assert look(redis, START + 3 * HOUR + 1, HOUR).intervention.whole == 1
    assert look(redis, START + 3 * HOUR + 1, 3 * HOUR).intervention.whole == 2


def test_a_batch_of_thousands_of_records_is_one_commit(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START, *(entry("run.started", f"lead:{n}") for n in range(2500)))
    assert look(redis, START + 1).intervention.whole == 2500


def test_records_behind_the_longest_window_are_forgotten(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START, entry("run.started", "lead:1"))
    commit(store, mine, START + keys.COUNTS_TTL + 1, entry("run.started", "lead:2"))
    assert redis.zcard(keys.records("processed", "")) == 1


def test_all_that_is_counted_has_a_lifetime(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(
        store, mine, START, entry("run.started", "lead:1"), entry("review.asked", "lead:1"), entry("deadline.missed")
    )
    kept = {key.decode(): redis.ttl(key) for key in redis.keys("*")}
    assert {key for key, ttl in kept.items() if ttl < 0} <= set(keys.PERMANENT)
    assert keys.counts(int(START // HOUR)) in kept


def test_names_may_be_anything(redis: Redis) -> None:
    store, mine = lead(redis)
    odd = 'a "quoted" | name, ü'
    commit(store, mine, START, entry("run.finished", workflow=odd, elapsed_ms=5.0))
    assert look(redis, START + 1, workflow=odd).latency[odd].count == 1


def test_a_commit_that_was_already_made_counts_once(redis: Redis) -> None:
    store, mine = lead(redis)
    before = Lead(mine.epoch, mine.seq, mine.cursor)
    commit(store, mine, START, entry("step.quarantined"))
    commit(store, before, START, entry("step.quarantined"))  # its reply was lost, so it is sent again
    assert look(redis, START + 1).checkpoint.whole == 1


# ---- uptime ------------------------------------------------------------------------------------------------------


def test_before_the_first_start_there_is_no_uptime(redis: Redis) -> None:
    assert look(redis, START).uptime.value is None


def test_every_minute_with_a_commit_is_up_and_time_counts_from_the_first(redis: Redis) -> None:
    store, mine = lead(redis)
    for second in range(0, 600, 5):
        commit(store, mine, START + second)
    found = look(redis, START + 595).uptime
    assert (found.part, found.whole) == (10, 10)
    assert silences(redis) == []


def test_the_minute_that_has_just_begun_is_no_failure(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START + 58)
    assert look(redis, START + 61).uptime.value == 1.0
    assert look(redis, START + 121).uptime.value == 0.5


def test_minutes_without_a_heartbeat_are_down_and_stand_in_the_audit(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START + 30)
    commit(store, mine, START + 7 * 60)
    found = look(redis, START + 7 * 60).uptime
    assert (found.part, found.whole) == (2, 8)
    (silent,) = silences(redis)
    assert (silent.before, silent.after) == (START + 30, START + 7 * 60)


def test_a_successor_tells_of_the_silence_before_it(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START)
    store, mine = lead(redis, START + 600)
    commit(store, mine, START + 600)
    assert [silent.before for silent in silences(redis)] == [START]
    assert look(redis, START + 600).uptime.part == 2


def test_a_window_sees_only_its_own_minutes(redis: Redis) -> None:
    store, mine = lead(redis)
    commit(store, mine, START)
    commit(store, mine, START + 5 * HOUR)
    found = look(redis, START + 5 * HOUR, HOUR).uptime
    assert (found.part, found.whole) == (1, 61)


def test_a_controller_says_that_it_has_started_and_its_idle_life_is_uptime(redis: Redis) -> None:
    sink = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
    controller = Controller(Store(redis), Drain(redis, sink), Rulebook({}, {}), "here:1:a")
    controller.take_over(START, force=True)
    for second in range(1, 300):
        controller.step(START + second)
    (started,) = Views(redis).audit(lambda found: found.what == "controller.started", None)
    assert (started.who, started.at) == ("here:1:a", START)
    found = look(redis, START + 299).uptime
    assert (found.part, found.whole) == (5, 5)
