"""What the queues on Redis have in common: the server, its durable setting, and how the end of a workflow is seen.

The server appends to its file (`appendonly yes`), with `appendfsync` as asked: `everysec` is what Redis advises for
durability. A step's output is on its way to the next step in the same queue; the last step's goes to the list `done`,
which is also how the benchmark sees that a workflow has ended.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from peers import Base, Place

DONE = "done"
SOCKET = os.environ.get("BENCH_SOCKET", "")
CONFIG = """\
port 0
unixsocket {socket}
dir {folder}
save ""
appendonly yes
appendfsync {durability}
loglevel warning
"""


def client(socket: str = SOCKET) -> Redis:
    return Redis(unix_socket_path=socket)


def ended(redis: Any, values: dict[str, Any]) -> None:
    """The last step's output, kept."""
    redis.rpush(DONE, json.dumps(values))


class OnRedis(Base):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.bus: Any = client(str(place.socket))

    def redis(self) -> Any:
        return self.bus

    def start(self) -> None:
        config = self.place.folder / "redis.conf"
        place = self.place
        config.write_text(CONFIG.format(socket=place.socket, folder=place.folder, durability=place.durability))
        self.spawn(place.server, str(config), log="redis.log")
        while not self._answers():
            time.sleep(0.005)
        self.work()

    def _answers(self) -> bool:
        try:
            return bool(self.bus.ping())
        except (RedisError, OSError):
            return False

    def work(self) -> None:
        """Start the workers."""
        raise NotImplementedError

    def wait(self, count: int) -> None:
        if count == 1:
            self.looked()
            self.bus.blpop([DONE], timeout=60)
            return
        while self.bus.llen(DONE) < count:
            self.looked()
            time.sleep(0.005)
        self.looked()  # the last time
        self.looked()
        self.bus.lpop(DONE, count)
