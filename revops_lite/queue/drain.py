"""Taking unclaimed jobs of one agent back out of a queue: its breaker has opened."""

from __future__ import annotations

from redis import Redis

from revops_lite.errors import QueueError
from revops_lite.models import Job
from revops_lite.queue import names
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import endless
from revops_lite.queue.script import LuaScript, bus_errors
from revops_lite.queue.work import EventSink


class Drain:
    """Jobs that nobody has claimed yet go back to the controller as `step.finished` with outcome "returned"."""

    def __init__(self, redis: Redis, sink: EventSink) -> None:
        self.redis = redis
        self.sink = sink
        self._script = LuaScript(redis, "drain")

    def back(self, queue: str, tag: str, now: float) -> int:
        """Take back the jobs whose id carries the agent's tag. Returns how many came back.

        Safe against claims at the same time: only what is still in the list when the script runs comes back.
        """
        with bus_errors():
            waiting = [id_ for id_ in self.redis.lrange(names.queue(queue), 0, -1) if isinstance(id_, bytes)]
        mine = [id_.decode() for id_ in waiting if f"-{tag}-".encode() in id_ and id_.isascii()]
        back = 0
        for start in range(0, len(mine), 500):
            back += self._back(queue, mine[start : start + 500], now)
        return back

    def _back(self, queue: str, ids: list[str], now: float) -> int:
        with bus_errors():
            pipe = self.redis.pipeline(transaction=False)
            for id_ in ids:
                pipe.hget(names.job(id_), "data")
            found = pipe.execute(raise_on_error=False)
        keys, args = [names.queue(queue), self.sink.stream], [self.sink.channel, self.sink.seen_ttl]
        for id_, data in zip(ids, found, strict=True):
            job = _ours(data)
            if job is None:
                continue
            event = endless(job, now, "returned", turn="returned")
            keys += [names.job(id_), self.sink.seen(event.id)]
            args += [id_, self.sink.encode(event)]
        return int(self._script(keys, args)) if len(keys) > 2 else 0


def _ours(data: object) -> Job | None:
    """The job, or None for what no host would call either: it stays where it is, and the next host refuses it."""
    try:
        return decode(data) if isinstance(data, bytes) else None
    except QueueError:
        return None
