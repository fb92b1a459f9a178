"""Events that wait until fewer runs are at work: lists named after the type of their first event, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis import Redis

from revops_lite.models import Event
from revops_lite.store import codec, keys
from revops_lite.store.client import bus_errors
from revops_lite.store.commit import Command

PAGE = 1_000

Waited = tuple[Event, float]  # and since when (epoch s)


def moves(sizes: Mapping[str, int], taken: Mapping[str, int], put: Mapping[str, Sequence[Waited]]) -> Iterator[Command]:
    """Commands that take so many events from the heads of lists of these sizes, and put others at their ends."""
    for name, number in taken.items():
        yield ("LTRIM", keys.waiting(name), number, -1)
        if number == sizes[name] and name not in put:
            yield ("SREM", keys.WAITING, name)
    for name, events in put.items():
        if not sizes.get(name):
            yield ("SADD", keys.WAITING, name)
        for event, since in events:
            yield ("RPUSH", keys.waiting(name), f"{since!r} ".encode() + codec.dump(event))


class Backlog:
    """What waits, as it stands in Redis. Every method raises BusError when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every answer as all it could be in any protocol

    def sizes(self) -> dict[str, int]:
        """How many events wait in each list that has any."""
        with bus_errors():
            names = sorted(name.decode() for name in self._redis.smembers(keys.WAITING))
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.llen(keys.waiting(name))
            return {name: size for name, size in zip(names, pipe.execute(), strict=True) if size}

    def head(self, name: str, count: int) -> list[Waited]:
        """The first `count` events of a list."""
        return self._page(name, 0, count)

    def all(self, names: Iterable[str]) -> Iterator[tuple[str, Event]]:
        """Every event that waits, with its list's name; read page by page."""
        for name in names:
            start, page = 0, self._page(name, 0, PAGE)
            while page:
                yield from ((name, event) for event, _ in page)
                start += len(page)
                page = self._page(name, start, PAGE)

    def _page(self, name: str, start: int, count: int) -> list[Waited]:
        with bus_errors():
            raws = self._redis.lrange(keys.waiting(name), start, start + count - 1)
        return [(codec.load("event", raw), float(since)) for since, _, raw in (raw.partition(b" ") for raw in raws)]
