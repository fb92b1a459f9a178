"""While Redis commits one batch, the next is decided: the same comes of it, whatever becomes of a commit."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from revops_lite.controller import MANY
from revops_lite.errors import BusError, Fenced
from revops_lite.portions import BATCH
from revops_lite.store.views import Views
from seats import NOW, SEVERAL, Seat, of_no_answer

pytestmark = pytest.mark.real


def left(redis: Redis) -> dict[str, Any]:
    """What stands in Redis, without what a moment decides."""
    views = Views(redis)
    keys = {key for key in redis.scan_iter("*") if not key.startswith(b"revops:metrics")}
    return {
        "keys": keys,
        "runs": views.runs(lambda _: True, None),
        "audit": [(e.what, e.record, e.run) for e in views.audit(lambda e: e.what != "controller.started", None)],
        "jobs": redis.lrange("rq:queue:agents", 0, -1),
    }


def test_the_same_comes_of_it_as_one_after_the_other(real_redis: Redis) -> None:
    seat = Seat(real_redis)
    seat.accept()
    while seat.controller.step(NOW):
        pass
    wanted = left(real_redis)
    real_redis.flushall()
    seat = Seat(real_redis)
    seat.accept()
    seat.to_the_end()
    assert left(real_redis) == wanted
    assert len(seat.jobs()) == SEVERAL


def test_services_hear_of_a_commit_when_it_has_arrived(real_redis: Redis) -> None:
    seat = Seat(real_redis)
    seat.accept()
    assert seat.step() == BATCH
    assert seat.controller.come
    assert seat.jobs() == []
    assert seat.step() == BATCH
    assert len(seat.jobs()) == BATCH
    seat.controller.land()
    assert len(seat.jobs()) == real_redis.llen("rq:queue:agents") == 2 * BATCH


def test_few_events_are_committed_at_once(real_redis: Redis) -> None:
    seat = Seat(real_redis)
    seat.accept(range(MANY - 1))
    assert seat.step() == MANY - 1
    assert len(seat.jobs()) == MANY - 1
    assert seat.controller.come == []


@pytest.mark.parametrize("arrives", [True, False])
def test_whatever_becomes_of_a_commit_each_event_is_decided_once(
    real_redis: Redis, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """Nobody knows whether it has arrived: the next takeover finds out."""
    seat = Seat(real_redis)
    seat.accept()
    with monkeypatch.context() as patch:
        patch.setattr(seat.store, "begin_commit", of_no_answer(seat.store.begin_commit, arrives=arrives))
        assert seat.step() == BATCH
        with pytest.raises(BusError):
            seat.step()
    seat.controller.take_over(NOW, force=True)
    seat.to_the_end()
    runs = Views(real_redis).runs(lambda _: True, None)
    assert sorted(run.record for run in runs) == sorted(f"lead:{n}" for n in range(SEVERAL))
    assert real_redis.llen("rq:queue:agents") == SEVERAL


def test_one_that_was_replaced_meanwhile_hears_so_and_nothing_of_it_stands(real_redis: Redis) -> None:
    seat = Seat(real_redis)
    seat.accept()
    Seat(real_redis, "host:2:b")
    seat.step()
    with pytest.raises(Fenced):
        seat.controller.land()
    assert seat.told == []
    assert real_redis.llen("rq:queue:agents") == 0
