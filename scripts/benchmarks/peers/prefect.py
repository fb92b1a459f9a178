"""Prefect with a server of its own on SQLite, as `prefect server start` starts it.

A flow of four tasks whose results are persisted, so that a flow that is run again finds what was done. Up to 8 flows at
once, in the process that submits.
"""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from peers import PAUSE, Base, Place

AT_ONCE = 8


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Peer(Base):
    warm_up = 4
    in_process = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.address = f"http://127.0.0.1:{free_port()}/api"
        os.environ |= {
            "PREFECT_HOME": str(place.folder),
            "PREFECT_API_URL": self.address,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
            "DO_NOT_TRACK": "1",
        }
        self.pool = ThreadPoolExecutor(place.slots or AT_ONCE)
        self.under_way: list[Future[Any]] = []

    def start(self) -> None:
        port = self.address.split(":")[2].partition("/")[0]
        self.spawn("prefect", "server", "start", "--port", port, "--no-ui", log="server.log")
        while not self._healthy():
            time.sleep(0.05)
        self.flow = flow_of_w()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        self.under_way += [self.pool.submit(self.flow, values) for values in leads]

    def wait(self, count: int) -> None:
        ending, self.under_way = self.under_way[:count], self.under_way[count:]
        for one in ending:
            one.result()


def flow_of_w() -> Any:
    """Made once the server's address stands in the environment, which is read at import."""
    from lead import STEPS, call
    from prefect import flow, task

    steps = {step: task(name=step)(lambda values, step=step: call(step, values, PAUSE)) for step in STEPS}

    @flow(name="new_lead")
    def new_lead(values: dict[str, Any]) -> dict[str, Any]:
        for step in STEPS:
            values = values | steps[step](values)
        return values

    return new_lead
