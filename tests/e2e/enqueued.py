"""Jobs put into their queues without a controller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis import Redis

from revops_lite.models import Job
from revops_lite.queue.jobs import enqueue_commands


def enqueue(redis: Redis, job: Job, now: float | None = None) -> None:
    with redis.pipeline() as pipe:
        for command in enqueue_commands([job], time.time() if now is None else now):
            for words in _plain(command):
                pipe.execute_command(*words)
        pipe.execute()


def fields_of(job: Job, now: float) -> dict[str, Any]:
    """The hash of a queued job."""
    (_, _, *words), _ = _plain(next(enqueue_commands([job], now)))
    return dict(zip(words[::2], words[1::2], strict=True))


def _plain(command: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """HSETS is a word of the commit script: here for one key."""
    if command[0] != "HSETS":
        yield command
        return
    lifetime, count, *rest = command[1:]
    names, shared, rest = rest[:count], rest[count], rest[count + 1 :]
    key, *values = rest[2 * shared :]
    own = [word for pair in zip(names, values, strict=True) for word in pair]
    yield ("HSET", key, *rest[: 2 * shared], *own)
    yield ("EXPIRE", key, lifetime)
