"""Whoever waits for jobs hears of them at once, again after each lost connection, and no more once stopped."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from redis import Redis

from enqueued import enqueue
from revops_lite.models import Job
from revops_lite.queue import names
from revops_lite.queue.bell import Bell
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import EventSink, WorkQueue
from revops_lite.store.client import Clients
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key

pytestmark = pytest.mark.real
QUEUES = ("agents", "agents-isolated")
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)


@pytest.fixture
def rung(real_redis: Redis, real_clients: Clients) -> Iterator[SimpleQueue[str]]:
    """What was rung for, after the two subscriptions."""
    heard: SimpleQueue[str] = SimpleQueue()
    bell = Bell(real_clients.pubsub(), QUEUES, heard.put)
    bell.start()
    assert {heard.get(timeout=30), heard.get(timeout=30)} == set(QUEUES)
    yield heard
    bell.stop()
    assert subscribers(real_redis) == 0


def subscribers(redis: Redis) -> int:
    return int(redis.pubsub_numsub(names.queue("agents"))[0][1])


def put(redis: Redis) -> None:
    enqueue(redis, Job("job-1", "agents", "run1", "scoring", 1, "scoring", "lead:1", 30.0, 1, {"id": "1"}))


def test_a_job_rings_for_its_queue(rung: SimpleQueue[str], real_redis: Redis) -> None:
    put(real_redis)
    assert rung.get(timeout=30) == "agents"


def test_a_job_that_comes_back_rings_where_it_goes(rung: SimpleQueue[str], real_redis: Redis) -> None:
    put(real_redis)
    assert rung.get(timeout=30) == "agents"
    work = WorkQueue(real_redis, SINK)
    work.claim("n.1.1", "t1", ["agents"], 1, 1000.0)
    Recovery(real_redis, work).of_workers(["n.1.1"], 1001.0, blame=True)
    assert rung.get(timeout=30) == "agents-isolated"


def test_after_a_lost_connection_it_rings_since_something_may_have_been_missed(
    rung: SimpleQueue[str], real_redis: Redis
) -> None:
    killed: Any = real_redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert killed == 1
    assert {rung.get(timeout=30), rung.get(timeout=30)} == set(QUEUES)
    put(real_redis)
    assert rung.get(timeout=30) == "agents"


def test_an_error_that_nobody_foresaw_does_not_end_it(
    real_redis: Redis, real_clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    heard: SimpleQueue[str] = SimpleQueue()
    broken = iter([True])

    def ring(queue: str) -> None:
        heard.put(queue)
        if next(broken, False):
            raise ValueError("of no use today")

    bell = Bell(real_clients.pubsub(), QUEUES, ring)
    bell.start()
    first = heard.get(timeout=30)
    assert {heard.get(timeout=30), heard.get(timeout=30)} == set(QUEUES)
    bell.stop()
    assert first in QUEUES
    assert "of no use today" in caplog.text
    assert subscribers(real_redis) == 0


def test_it_ends_when_it_is_stopped_and_gives_its_connection_back(real_redis: Redis, real_clients: Clients) -> None:
    heard: SimpleQueue[str] = SimpleQueue()
    bell = Bell(real_clients.pubsub(), QUEUES, heard.put)
    bell.start()
    heard.get(timeout=30)
    assert subscribers(real_redis) == 1
    bell.stop()
    assert not bell._thread.is_alive()
    assert subscribers(real_redis) == 0
