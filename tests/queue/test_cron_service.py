"""The service `cron`: schedules once, slots for ever, and all of it anew after a lost connection."""

from __future__ import annotations

import pytest
from redis import Redis

from revops_lite.cron import Cron
from revops_lite.errors import BusError
from revops_lite.queue.scheduler import CronScheduler
from test_scheduler import HOUR, NOON, SINK, flows, scheduler, told


class Away(CronScheduler):
    """Redis does not answer while `away`."""

    away = False

    def tick(self, now: float) -> int:
        if self.away:
            raise BusError("gone")
        return super().tick(now)


def test_it_is_drained_once_everything_that_was_due_has_been_told(redis: Redis) -> None:
    scheduler(redis).sync(flows("* * * * *", "all"), NOON - 1)
    cron = Cron(scheduler(redis), flows("* * * * *", "all"))
    seen = []
    while not cron.drained:
        seen.append(cron.tick(NOON + 150 * 60))
    assert seen == [100, 51, 0]
    assert cron.next_due() == NOON + 151 * 60


def test_it_is_not_drained_before_it_has_looked(redis: Redis) -> None:
    cron = Cron(scheduler(redis), flows())
    assert (cron.drained, cron.next_due()) == (False, None)
    cron.tick(NOON - 60)
    assert (cron.drained, cron.next_due()) == (True, NOON)


def test_a_schedule_that_redis_has_lost_comes_back_with_the_connection(redis: Redis) -> None:
    away = Away(redis, SINK, "UTC")
    cron = Cron(away, flows())
    cron.tick(NOON - 60)
    redis.flushall()
    away.away = True
    with pytest.raises(BusError):
        cron.tick(NOON - 50)
    assert (cron.drained, cron.next_due()) == (False, None)
    away.away = False
    cron.tick(NOON - 40)
    assert [cron.tick(NOON), cron.tick(NOON + HOUR)] == [1, 1]
    assert told(redis) == [NOON, NOON + HOUR]


def test_schedules_of_an_earlier_configuration_go_where_no_workflow_has_a_cron(redis: Redis) -> None:
    scheduler(redis).sync(flows(), NOON - 60)
    cron = Cron(scheduler(redis), flows(None))
    assert [cron.tick(NOON + HOUR), cron.drained, cron.next_due()] == [0, True, None]
    assert redis.keys() == []
