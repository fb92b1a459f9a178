"""huey on Redis.

Tasks joined to a pipeline by `then`, which hands a task's result on as the next task's arguments; results that nobody
reads are not stored (`results=False`), our choice, which saves a write a step; the blocking storage. Two worker
processes for agents that compute, as the consumer's own help advises for such work, and threads, its safe choice, for
agents that wait. What a killed worker held is lost: a task has left Redis when it is begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huey import RedisHuey
from lead import Values, worked

from peers import PAUSE
from peers.on_redis import SOCKET, OnRedis, client, ended

app = RedisHuey("w", results=False, connection_pool=client(SOCKET).connection_pool)


@app.task()
def enrich(values: Values) -> tuple[Values]:
    return (worked("enrich", values, PAUSE),)


@app.task()
def score(values: Values) -> tuple[Values]:
    return (worked("score", values, PAUSE),)


@app.task()
def route(values: Values) -> tuple[Values]:
    return (worked("route", values, PAUSE),)


@app.task()
def alert(values: Values) -> None:
    ended(app.storage.conn, worked("alert", values, PAUSE))


class Peer(OnRedis):
    def work(self) -> None:
        workers = ("-k", "thread", "-w", str(self.place.slots)) if self.place.slots else ("-k", "process", "-w", "2")
        self.spawn("huey_consumer", "peers.huey.app", *workers, "--no-periodic", "--quiet")

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        for values in leads:
            app.enqueue(enrich.s(values).then(score).then(route).then(alert))
            self.own_trips += 1
