"""A queue on both servers, and what every test of it says."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from enqueued import enqueue
from revops_lite.models import Job
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import EventSink, WorkQueue
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key

SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)


@pytest.fixture
def work(redis: Redis) -> WorkQueue:
    return WorkQueue(redis, SINK)


@pytest.fixture
def recovery(redis: Redis, work: WorkQueue) -> Recovery:
    return Recovery(redis, work)


@pytest.fixture
def put(redis: Redis) -> Any:
    """Enqueue a job as the controller's commit does."""

    def put(number: int = 1, queue: str = "agents", now: float = 1000.0, id: str = "") -> Job:
        job = Job(
            id=id or f"job-{number}",
            queue=queue,
            run=f"run{number}",
            step="scoring",
            attempt=1,
            agent="scoring",
            record=f"lead:{number}",
            timeout=30.0,
            attempts=3,
            snapshot={"kind": "lead", "id": str(number), "values": {"name": "Ada"}, "version": 1, "now": now},
        )
        enqueue(redis, job, now)
        return job

    return put
