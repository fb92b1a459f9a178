"""How long events and audit entries stay in Redis where many come."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from revops_lite.portions import BATCH
from revops_lite.store import keys
from revops_lite.store.audit import AuditStream
from seats import Seat

WAVES = 7  # so many runs are at work at once, at most
NODES = 4 * 100  # entries of those nodes of the streams of which some have to stay
pytestmark = pytest.mark.real


def sealed(redis: Any) -> None:
    """As the sealer notes it."""
    newest = redis.xrevrange(keys.AUDIT, count=1)[0][0].decode()
    AuditStream(redis).set_sealed({"chain": "a", "seq": 1, "id": newest, "mac": "b"})


def waves(redis: Redis, number: int) -> list[int]:
    """So many batches of events are decided and sealed, one after the other; what both streams hold after each."""
    seat, found = Seat(redis), []
    for wave in range(number):
        seat.accept(range(wave * BATCH, (wave + 1) * BATCH))
        seat.to_the_end()
        sealed(redis)
        found.append(redis.xlen(keys.EVENTS) + redis.xlen(keys.AUDIT))
    assert redis.hget(keys.CONTROLLER, "cursor") == redis.xrevrange(keys.EVENTS, count=1)[0][0]
    return found


def test_of_both_streams_between_one_and_two_times_enough_stay(
    real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_it = waves(real_redis, WAVES)
    each = all_of_it[1] - all_of_it[0]
    assert all_of_it[-1] == all_of_it[0] + (WAVES - 1) * each, "few have come: nothing goes before its time"
    real_redis.flushall()
    monkeypatch.setattr("revops_lite.controller.STREAMED", each)
    found = waves(real_redis, WAVES)
    assert max(found) <= 3 * each + NODES
    assert min(found[2:]) >= each
