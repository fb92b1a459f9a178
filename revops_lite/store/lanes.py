"""Events that wait until more runs may be under way: a list for each type of event, in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis import Redis

from revops_lite.models import Event
from revops_lite.store import codec, keys
from revops_lite.store.client import bus_errors
from revops_lite.store.commit import Command

PAGE = 1_000


def moves(sizes: Mapping[str, int], taken: Mapping[str, int], put: Mapping[str, Sequence[Event]]) -> Iterator[Command]:
    """Commands that take so many events from the heads of lanes of these sizes, and put others at their ends."""
    for lane, number in taken.items():
        yield ("LTRIM", keys.waiting(lane), number, -1)
        if number == sizes[lane] and lane not in put:
            yield ("SREM", keys.WAITING, lane)
    for lane, events in put.items():
        if not sizes.get(lane):
            yield ("SADD", keys.WAITING, lane)
        for event in events:
            yield ("RPUSH", keys.waiting(lane), codec.dump(event))


class Lanes:
    """What waits, as it stands in Redis. Every method raises BusError when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every answer as all it could be in any protocol

    def sizes(self) -> dict[str, int]:
        """How many events wait in each lane that has any."""
        with bus_errors():
            names = sorted(name.decode() for name in self._redis.smembers(keys.WAITING))
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.llen(keys.waiting(name))
            return {name: size for name, size in zip(names, pipe.execute(), strict=True) if size}

    def head(self, lane: str, count: int) -> list[Event]:
        """The first `count` events of a lane."""
        with bus_errors():
            return [codec.load("event", raw) for raw in self._redis.lrange(keys.waiting(lane), 0, count - 1)]

    def all(self, lanes: Iterable[str]) -> Iterator[tuple[str, Event]]:
        """Every event that waits, with its lane; read page by page."""
        for lane in lanes:
            start = 0
            while True:
                with bus_errors():
                    raws = self._redis.lrange(keys.waiting(lane), start, start + PAGE - 1)
                yield from ((lane, codec.load("event", raw)) for raw in raws)
                start += len(raws)
                if len(raws) < PAGE:
                    break
