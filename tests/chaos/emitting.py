"""A program that sends events as fast as they are accepted, and notes on disk each one that was: for killing Redis.

    python emitting.py CONFIG NAME client|store

It ends once the file NAME.stop is there. NAME.accepted gets a line for each event once it was accepted, forced to
disk: id, time. Where Redis does not answer the same event is sent again, as whoever needs to know would do.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from revops_lite import Client
from revops_lite.config import load
from revops_lite.errors import BusError
from revops_lite.models import Event
from revops_lite.server.folder import socket_path
from revops_lite.store.client import Clients
from revops_lite.store.store import Store

Send = Callable[[str, int], object]


def by_client(config: Path) -> Send:
    client = Client.from_config(config)
    return lambda id_, number: client.emit("lead.created", f"lead:{id_}", {"number": number}, id=id_)


def by_store(config: Path) -> Send:
    settings = load(config, agents=False)
    embedded = settings.redis.url == "embedded"
    url = f"unix://{socket_path(settings.root / 'var' / 'redis')}" if embedded else settings.redis_url()
    store = Store(Clients(url).commands)

    def send(id_: str, number: int) -> object:
        return store.append([Event(id_, "lead.created", f"lead:{id_}", "client", time.time(), {"number": number})])

    return send


def until_accepted(send: Send, id_: str, number: int) -> None:
    while True:
        try:
            send(id_, number)
            return
        except BusError:
            time.sleep(0.005)


def main(config: str, name: str, how: str) -> None:
    send = {"client": by_client, "store": by_store}[how](Path(config))
    number = 0
    with open(f"{name}.accepted", "ab", buffering=0) as accepted:
        while not os.path.exists(f"{name}.stop"):
            id_ = f"{name}-{number}"
            until_accepted(send, id_, number)
            accepted.write(f"{id_} {time.time()!r}\n".encode())
            os.fsync(accepted.fileno())
            number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
