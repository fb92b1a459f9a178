"""Waiting for the next event without asking again and again."""

from __future__ import annotations

from redis import Redis

from revops_lite.store import keys
from revops_lite.store.client import bus_errors


class Waiter:
    """Blocks on the stream itself: an event that came between two looks is never waited for.

    The pub/sub message goes to whoever subscribes; here the stream's own wake-up serves, since it cannot be missed.
    """

    def __init__(self, blocking: Redis) -> None:
        self._redis = blocking

    def wait(self, after: str, seconds: float) -> bool:
        """Until an event comes behind `after`, or `seconds` are over. True when one came. Raises BusError."""
        with bus_errors():
            found = self._redis.xread({keys.EVENTS: after}, count=1, block=max(1, int(seconds * 1000)))
        return bool(found)
