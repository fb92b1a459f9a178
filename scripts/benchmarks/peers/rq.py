"""RQ.

`rq worker-pool` with eight SimpleWorkers (with as many as there are slots, where agents wait). RQ's notes on
performance advise the forking worker for production, and the SimpleWorker where jobs take a few milliseconds, are
trusted, and the fork is what limits: that is W, and it is the faster one. A job enqueues its successor with what it
has found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lead import STEPS, Values, worked
from rq import Queue

from peers import PAUSE
from peers.on_redis import OnRedis, client, ended

queue = Queue("w", connection=client())


def work(step: str, values: Values) -> None:
    values = worked(step, values, PAUSE)
    following = STEPS[STEPS.index(step) + 1 :]
    if following:
        queue.enqueue(work, following[0], values)
    else:
        ended(queue.connection, values)


class Peer(OnRedis):
    def work(self) -> None:
        workers = str(self.place.slots or 8)
        address = f"unix://{self.place.socket}"
        kind = ("--worker-class", "rq.worker.SimpleWorker", "--num-workers", workers)
        self.spawn("rq", "worker-pool", "--url", address, *kind, "--quiet", "w")

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        for values in leads:
            queue.enqueue("peers.rq.work", STEPS[0], values)
            self.own_trips += 1
