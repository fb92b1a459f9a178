"""Waiting for the next events without asking again and again."""

from __future__ import annotations

from redis import Redis
from redis.exceptions import ResponseError

from revops_lite.store import keys
from revops_lite.store.client import bus_errors
from revops_lite.store.events import Entry, entries_of
from revops_lite.wire import Wire, mapping


class Waiter:
    """Blocks on the stream itself: an event that came between two looks is never waited for.

    The pub/sub message goes to whoever subscribes; here the stream's own wake-up serves, since it cannot be missed.
    """

    def __init__(self, blocking: Redis) -> None:
        self._wire = Wire(blocking.connection_pool, ResponseError)

    def read(self, after: str, count: int, seconds: float) -> list[Entry]:
        """Up to `count` events behind `after`, as soon as there is one; none after `seconds`. Raises BusError."""
        block = ("BLOCK", max(1, int(seconds * 1000))) if seconds > 0 else ()
        with bus_errors():
            found = self._wire("XREAD", "COUNT", count, *block, "STREAMS", keys.EVENTS, after)
        return entries_of((id_, mapping(fields)) for id_, fields in found[0][1]) if found else []

    def wait(self, after: str, seconds: float) -> bool:
        """Until an event comes behind `after`, or `seconds` are over. True when one came. Raises BusError."""
        return bool(self.read(after, 1, seconds))
