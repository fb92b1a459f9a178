"""Schedules: told once by however many schedulers, never lost, never doubled. Fake and real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis
from rq_scheduler import Scheduler

from revops_lite.errors import ConfigError, QueueError
from revops_lite.policy import WorkflowDef
from revops_lite.queue import names
from revops_lite.queue.scheduler import CronScheduler, outlook, slot_event
from revops_lite.queue.script import LuaScript
from revops_lite.queue.work import EventSink
from revops_lite.rules.slots import LATE_AFTER
from revops_lite.server.lease import Lease
from revops_lite.store.client import Clients
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, decode_event, encode_event, seen_key

SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
HOUR = 3600.0
NOON = datetime(2026, 1, 3, 12, tzinfo=UTC).timestamp()


def flows(cron: str | None = "0 * * * *", missed: str = "latest", name: str = "sweep") -> dict[str, WorkflowDef]:
    return {name: WorkflowDef(name, (), (), cron=cron, missed=missed)}


def scheduler(redis: Redis, zone: str = "UTC") -> CronScheduler:
    return CronScheduler(redis, SINK, zone)


def told(redis: Redis) -> list[float]:
    """The slots in the event stream, in its order."""
    return [datetime.fromisoformat(event.data["slot"]).timestamp() for event in events(redis)]


def events(redis: Redis) -> list[Any]:
    return [decode_event(fields[b"e"]) for _, fields in redis.xrange(EVENTS_KEY)]


def test_a_slot_is_told_when_it_comes_and_once(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    assert (cron.next_due(), cron.slots("sweep")) == (NOON, (None, NOON))
    assert [cron.tick(NOON - 0.01), cron.tick(NOON), cron.tick(NOON + 0.01)] == [0, 1, 0]
    assert (cron.next_due(), cron.slots("sweep")) == (NOON + HOUR, (NOON, NOON + HOUR))
    (event,) = events(redis)
    assert event == slot_event("sweep", NOON, NOON)
    assert event.time == NOON
    assert (event.id, event.type, event.subject, event.source) == (
        "cron|sweep|2026-01-03T12:00:00.000Z",
        "cron.fired",
        "workflow:sweep",
        "cron",
    )
    assert event.data == {"workflow": "sweep", "slot": "2026-01-03T12:00:00.000Z"}


def test_a_told_slot_is_heard_by_whoever_listens(real_redis: Redis) -> None:
    cron = scheduler(real_redis)
    cron.sync(flows(), NOON - 60)
    with real_redis.pubsub() as ears:
        ears.subscribe(CHANNEL)
        assert ears.get_message(timeout=5) is not None
        cron.tick(NOON)
        heard = ears.get_message(timeout=5)
    assert heard is not None
    assert decode_event(heard["data"]) == slot_event("sweep", NOON, NOON)


def test_a_line_is_read_in_the_configured_zone(redis: Redis) -> None:
    cron = scheduler(redis, "America/New_York")
    cron.sync(flows("30 2 * * *"), datetime(2026, 3, 8, 5, tzinfo=UTC).timestamp())
    assert cron.next_due() == datetime(2026, 3, 8, 7, tzinfo=UTC).timestamp()  # the gap: right after it


@pytest.mark.parametrize(
    ("missed", "slots"), [("latest", [NOON + 2 * HOUR]), ("all", [NOON, NOON + HOUR, NOON + 2 * HOUR]), ("skip", [])]
)
def test_down_over_three_slots_follows_the_policy(redis: Redis, missed: str, slots: list[float]) -> None:
    scheduler(redis).sync(flows(missed=missed), NOON - 60)
    back, now = scheduler(redis), NOON + 2.5 * HOUR
    back.sync(flows(missed=missed), now)
    assert back.tick(now) == len(slots)
    assert told(redis) == slots
    assert back.tick(now) == 0
    assert back.tick(NOON + 3 * HOUR) == 1
    assert told(redis) == [*slots, NOON + 3 * HOUR]


def test_a_slot_on_time_counts_from_its_own_time_and_a_missed_one_from_when_it_is_told(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(missed="all"), NOON - 60)
    cron.tick(NOON + LATE_AFTER)
    back = NOON + 2.5 * HOUR
    cron.tick(back)
    assert [event.time for event in events(redis)] == [NOON, back, back]
    assert told(redis) == [NOON, NOON + HOUR, NOON + 2 * HOUR]


def test_the_outlook_is_that_of_the_configuration_whatever_redis_holds(redis: Redis) -> None:
    cron = scheduler(redis)
    known = flows() | flows(name="other")
    cron.sync(known, NOON - 60)
    cron.tick(NOON)
    asked = flows() | flows("15 * * * *", name="other") | flows("0 6 * * *", name="new") | flows(None, name="by_hand")
    later = NOON + 1.5 * HOUR
    assert outlook(redis, "UTC", list(asked.values()), later) == {
        "sweep": (NOON, NOON + HOUR),  # missed, and waited for
        "other": (NOON, NOON + 2.25 * HOUR),  # from the next start on
        "new": (None, NOON + 18 * HOUR),
        "by_hand": (None, None),
    }
    assert outlook(None, "UTC", list(flows().values()), later) == {"sweep": (None, NOON + 2 * HOUR)}


def test_many_missed_slots_come_in_portions_and_none_is_left_out(redis: Redis) -> None:
    scheduler(redis).sync(flows("* * * * *", "all"), NOON - 1)
    back, now = scheduler(redis), NOON + 249 * 60
    back.sync(flows("* * * * *", "all"), now)
    assert [back.tick(now) for _ in range(4)] == [100, 100, 50, 0]
    assert told(redis) == [NOON + 60 * minute for minute in range(250)]


def test_a_restart_keeps_changes_and_removes(redis: Redis) -> None:
    both = flows() | flows("30 * * * *", name="other")
    scheduler(redis).sync(both, NOON - 60)
    again = scheduler(redis)
    again.sync(both, NOON - 50)
    assert (redis.zcard(again.scheduled_jobs_key), again.slots("sweep")) == (2, (None, NOON))
    again.tick(NOON)
    again.sync(flows("15 * * * *"), NOON + 60)
    assert again.slots("sweep") == (NOON, NOON + 900)
    assert again.slots("other") == (None, None)
    assert redis.zrange(again.scheduled_jobs_key, 0, -1) == [b"cron-sweep"]
    again.sync(flows(None), NOON + 70)
    assert (again.next_due(), again.tick(NOON + 10 * HOUR)) == (None, 0)
    assert told(redis) == [NOON]
    assert redis.keys("rq:*") == []


def test_another_zone_moves_the_slot(redis: Redis) -> None:
    scheduler(redis).sync(flows("0 6 * * *"), NOON)
    moved = scheduler(redis, "Asia/Kolkata")
    moved.sync(flows("0 6 * * *"), NOON)
    assert moved.next_due() == NOON + 12.5 * HOUR


def test_jobs_of_others_in_the_same_schedule_stay(redis: Redis) -> None:
    cron = scheduler(redis)
    theirs = {"theirs": NOON - 99, "cron-theirs": NOON - 99}
    redis.zadd(cron.scheduled_jobs_key, theirs)
    redis.hset("rq:job:cron-theirs", "origin", "default")
    cron.sync(flows(), NOON - 60)
    cron.sync({}, NOON - 60)
    assert cron.tick(NOON) == 0
    assert redis.zrange(cron.scheduled_jobs_key, 0, -1) == [b"cron-theirs", b"theirs"]


def test_a_scheduler_of_an_older_configuration_stops_telling(redis: Redis) -> None:
    old, new = scheduler(redis), scheduler(redis)
    old.sync(flows("0 * * * *"), NOON - 60)
    new.sync(flows("0 12 * * *"), NOON - 60)
    assert old.tick(NOON) == 0
    assert old.next_due() is None
    assert new.tick(NOON) == 1


def test_a_clock_that_ran_ahead_and_came_back_leaves_no_hole_and_doubles_nothing(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    for now in (NOON, NOON + 1000 * HOUR, NOON + 1, NOON + HOUR, NOON + 2 * HOUR, NOON, NOON + HOUR, NOON + 2 * HOUR):
        cron.tick(now)
        cron.tick(now)
    assert told(redis) == [NOON, NOON + 1000 * HOUR, NOON + HOUR, NOON + 2 * HOUR]


def test_a_schedule_that_a_stock_scheduler_took_out_comes_back(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    redis.zrem(cron.scheduled_jobs_key, "cron-sweep")
    cron.tick(NOON - 30)
    assert cron.tick(NOON) == 1


def test_the_jobs_are_rq_schedulers_own(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows("0 9 * * Mon-Fri"), NOON)
    (job,) = cron.get_jobs()
    assert (job.id, job.kwargs, job.is_scheduled) == ("cron-sweep", {"workflow": "sweep"}, True)
    assert job.meta == {"cron_string": "0 9 * * Mon-Fri", "timezone": "UTC"}
    assert ("cron-sweep" in cron, cron.count()) == (True, 1)
    (stock,) = Scheduler(connection=redis).get_jobs()
    assert (stock.id, stock.description) == ("cron-sweep", "cron 0 9 * * Mon-Fri (UTC) starts sweep")


def test_the_unsafe_ways_of_rq_scheduler_are_closed(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    with pytest.raises(QueueError, match="come from the configuration"):
        cron.cron("* * * * *", print)
    with pytest.raises(QueueError, match="come from the configuration"):
        cron.enqueue_at(datetime(2026, 1, 3, tzinfo=UTC), print)
    (job,) = cron.get_jobs()
    with pytest.raises(QueueError, match="tells its slots itself"):
        cron.enqueue_job(job)
    with pytest.raises(QueueError, match="told by revops-lite's scheduler"):
        job.func()


def test_what_cannot_be_scheduled_is_refused_before_anything_changes(redis: Redis) -> None:
    with pytest.raises(ConfigError, match="is no cron line"):
        scheduler(redis).sync(flows() | flows("6 o'clock", name="bad"), NOON)
    with pytest.raises(QueueError, match="cannot be scheduled"):
        scheduler(redis).sync(flows(name="no:name"), NOON)
    assert redis.keys() == []


def test_only_the_schedule_itself_has_no_lifetime(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    cron.tick(NOON)
    endless = {key for key in redis.scan_iter() if redis.ttl(key) < 0}
    assert endless == {cron.scheduled_jobs_key.encode(), EVENTS_KEY.encode()}


def fire(redis: Redis, planned: float, rule: bytes) -> int:
    """FIRE as a scheduler sends it that has read `planned` and `rule` a while ago, for a slot not told yet."""
    slot = NOON + 0.5 * HOUR
    event = slot_event("sweep", slot, slot)
    schedule = CronScheduler.scheduled_jobs_key
    keys = [schedule, names.job("cron-sweep"), EVENTS_KEY, seen_key(event.id)]
    args = ["cron-sweep", repr(planned), rule, repr(NOON + 0.75 * HOUR), int(NOON + HOUR), repr(slot)]
    return int(LuaScript(redis, "fire")(keys, [*args, encode_event(event), CHANNEL, SEEN_TTL]))


@pytest.mark.parametrize("stale", ["slot", "rule", "gone"])
def test_a_scheduler_that_read_a_while_ago_changes_nothing(redis: Redis, stale: str) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    rule = redis.hget(names.job("cron-sweep"), "rule")
    assert isinstance(rule, bytes)
    cron.tick(NOON)
    if stale == "gone":
        cron.sync({}, NOON + 1)
    before = cron.slots("sweep")
    assert fire(redis, NOON if stale == "slot" else NOON + HOUR, b"{}" if stale == "rule" else rule) == 0
    assert (cron.slots("sweep"), told(redis)) == (before, [NOON])
    assert redis.exists(seen_key(slot_event("sweep", NOON + 0.5 * HOUR, NOON).id)) == 0


def test_a_scheduler_whose_reading_still_stands_moves_the_schedule(redis: Redis) -> None:
    cron = scheduler(redis)
    cron.sync(flows(), NOON - 60)
    rule = redis.hget(names.job("cron-sweep"), "rule")
    assert isinstance(rule, bytes)
    assert [fire(redis, NOON, rule), fire(redis, NOON, rule)] == [1, 0]
    assert cron.slots("sweep") == (NOON + 0.5 * HOUR, NOON + 0.75 * HOUR)


@pytest.mark.real
def test_ten_schedulers_at_once_tell_each_slot_once(server: Lease, real_redis: Redis) -> None:
    count, slots = 10, 40
    gate = threading.Barrier(count)
    results: list[int] = []

    def run() -> None:
        with Clients(server.url) as clients:
            cron = scheduler(clients.commands)
            gate.wait(30)
            cron.sync(flows("* * * * *"), NOON - 1)
            gate.wait(30)
            for minute in range(slots):
                results.append(cron.tick(NOON + 60 * minute))
                gate.wait(30)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told(real_redis) == [NOON + 60 * minute for minute in range(slots)]
    assert sum(results) == slots


VICTIM = """
import os, signal, sys
from redis import Redis
from redis.connection import AbstractConnection
from test_scheduler import NOON, SINK, flows
from revops_lite.queue.scheduler import CronScheduler

die_at, side, words = int(sys.argv[2]), sys.argv[3], 0

def deadly(real, here):
    def call(self, *args, **kwargs):
        global words
        if here == "before": words += 1
        if words == die_at and side == here: os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *args, **kwargs)
    return call

redis = Redis.from_url(sys.argv[1])
redis.ping()
cron = CronScheduler(redis, SINK, "UTC")
AbstractConnection.send_packed_command = deadly(AbstractConnection.send_packed_command, "before")
AbstractConnection.read_response = deadly(AbstractConnection.read_response, "behind")
cron.sync(flows("* * * * *", "all"), NOON + 150)
cron.tick(NOON + 150)
print("survived")
"""


def killed_at(url: str, word: int, side: str) -> bool:
    """Start a scheduler that is killed around its `word`th message: "before" it is sent, or "behind" it."""
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.getcwd()])
    answer = subprocess.run(
        [sys.executable, "-c", VICTIM, url, str(word), side],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode in (0, -signal.SIGKILL), answer.stderr
    return answer.returncode != 0


@pytest.mark.real
@pytest.mark.parametrize("side", ["before", "behind"])
def test_killed_at_every_step_of_firing_nothing_is_lost_and_nothing_doubled(
    server: Lease, real_redis: Redis, side: str
) -> None:
    deaths = 0
    for word in range(1, 30):
        real_redis.flushall()
        scheduler(real_redis).sync(flows("* * * * *", "all"), NOON - 1)
        killed = killed_at(server.url, word, side)
        back = scheduler(real_redis)
        back.sync(flows("* * * * *", "all"), NOON + 200)
        back.tick(NOON + 200)
        assert told(real_redis) == [NOON + 60 * minute for minute in range(4)], word
        if not killed:
            break
        deaths += 1
    else:
        pytest.fail("the scheduler never came to its end")
    assert deaths >= 5  # one for each message of a tick, at least
