"""What a workflow leaves behind: in Redis's memory, and in its append-only file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from counted import Works
from installation import until

pytestmark = pytest.mark.real

# Each bound is a tenth above what was measured: how full a table or a stream's last node is takes its share.
LEADS = 200


@pytest.fixture
def appending(real_redis: Redis) -> Iterator[Redis]:
    """A server that writes its append-only file, and has not begun to write it anew."""

    def calm() -> bool:
        about = real_redis.info("persistence")
        return bool(about["aof_enabled"]) and not (about["aof_rewrite_in_progress"] or about["aof_rewrite_scheduled"])

    before = real_redis.config_get("appendonly", "auto-aof-rewrite-percentage")
    real_redis.config_set("appendonly", "yes", "auto-aof-rewrite-percentage", "0")
    until(calm, "the file is written from its beginning")
    yield real_redis
    real_redis.config_set(*(word for pair in before.items() for word in pair))


def used(redis: Redis) -> int:
    """Of all keys together; how full the server's own tables are depends on what was there before."""
    with redis.pipeline(transaction=False) as pipe:
        for key in redis.scan_iter("*", count=1000):
            pipe.memory_usage(key, samples=0)
        return sum(pipe.execute())


def test_a_queued_event_takes_no_more_memory_than(works: Works, real_redis: Redis) -> None:
    before = used(real_redis)
    works.accept(1000)
    each = (used(real_redis) - before) / 1000
    print(f"{each:.0f} bytes a queued event")
    assert each <= 1_000


def test_a_finished_run_takes_no_more_memory_than(works: Works, real_redis: Redis) -> None:
    before = used(real_redis)
    works.together(LEADS)
    each = (used(real_redis) - before) / LEADS
    print(f"{each:.0f} bytes a finished run, with its events, history and audit")
    assert each <= 26_000


def test_a_workflow_appends_no_more_to_the_file_than(works: Works, appending: Redis) -> None:
    before = int(appending.info("persistence")["aof_current_size"])
    works.together(LEADS)
    each = (int(appending.info("persistence")["aof_current_size"]) - before) / LEADS
    print(f"{each:.0f} bytes of file a workflow")
    assert each <= 45_000
