"""dramatiq on Redis.

Its own worker program with as many processes as cores and 8 threads each (the defaults of `dramatiq`). An actor sends
its successor's message itself; the message is acknowledged after that, so a killed worker's messages come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from lead import Values, worked

from peers import PAUSE
from peers.on_redis import OnRedis, client, ended

broker = RedisBroker(client=client())
dramatiq.set_broker(broker)


@dramatiq.actor
def enrich(values: Values) -> None:
    score.send(worked("enrich", values, PAUSE))


@dramatiq.actor
def score(values: Values) -> None:
    route.send(worked("score", values, PAUSE))


@dramatiq.actor
def route(values: Values) -> None:
    alert.send(worked("route", values, PAUSE))


@dramatiq.actor
def alert(values: Values) -> None:
    ended(broker.client, worked("alert", values, PAUSE))


class Peer(OnRedis):
    def work(self) -> None:
        threads = self.place.slots // 2 or 8
        self.spawn("dramatiq", "peers.dramatiq", "--processes", "2", "--threads", str(threads), "--skip-logging")

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        for values in leads:
            enrich.send(values)
            self.own_trips += 1
