"""Celery on Redis.

A chain. The prefork pool, which its page on concurrency recommends, with one child per core for agents that compute;
threads for agents that wait. `task_acks_late`, so that a killed worker's task comes again. Results are not stored,
and there is no gossip and mingling, of which a single worker has nothing: our choices, which leave work out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery, chain
from lead import Values, worked

from peers import PAUSE
from peers.on_redis import SOCKET, OnRedis, client, ended

app = Celery("w", broker=f"redis+socket://{SOCKET}")
app.conf.update(task_ignore_result=True, task_acks_late=True, broker_connection_retry_on_startup=True)
bus = client()


@app.task
def enrich(values: Values) -> Values:
    return worked("enrich", values, PAUSE)


@app.task
def score(values: Values) -> Values:
    return worked("score", values, PAUSE)


@app.task
def route(values: Values) -> Values:
    return worked("route", values, PAUSE)


@app.task
def alert(values: Values) -> None:
    ended(bus, worked("alert", values, PAUSE))


class Peer(OnRedis):
    def work(self) -> None:
        slots = self.place.slots
        pool = ("--pool", "threads", "--concurrency", str(slots)) if slots else ("--pool", "prefork", "-c", "2")
        lean = ("--without-gossip", "--without-mingle", "--loglevel", "ERROR")
        self.spawn("celery", "--app", "peers.celery", "worker", *pool, *lean)

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        for values in leads:
            chain(enrich.s(values), score.s(), route.s(), alert.s()).apply_async()
            self.own_trips += 1
