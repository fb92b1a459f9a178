"""A fakeredis whose every command is a boundary at which the process that sends it can be cut off."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import fakeredis
from hiredis import Reader, pack_command
from redis import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

T = TypeVar("T")


class Crash(BaseException):
    """The process is gone, as after kill -9: nothing of it may catch this."""


class Boundaries:
    """Counts what passes between one process and the outside (Redis and the CRM), and cuts where it was told to.

    `cut("crash", 7, "before")`: the process dies right before its seventh boundary from now. "lost" only takes the
    answer away: the process lives on and does not know what happened.
    """

    def __init__(self) -> None:
        self.passed = 0
        self.names: list[str] = []
        self.fired: Counter[str] = Counter()
        self.watchers: list[Callable[[str], None]] = []  # told of each boundary that has been passed
        self._cuts: dict[tuple[int, str], str] = {}

    def cut(self, how: str, distance: int, side: str) -> None:
        self._cuts[self.passed + distance, side] = how

    def clear(self) -> None:
        self._cuts.clear()

    def cross(self, name: str, act: Callable[[], T]) -> T:
        self.passed += 1
        self.names.append(name)
        number = self.passed
        self._meet(number, "before", name)
        answer = act()
        for watcher in self.watchers:
            watcher(name)
        self._meet(number, "after", name)
        return answer

    def _meet(self, number: int, side: str, name: str) -> None:
        how = self._cuts.pop((number, side), None)
        if how == "crash":
            self.fired[f"crash {side} {name.partition(' ')[0]}"] += 1
            raise Crash(f"{side} boundary {number}, {name}")
        if how == "lost" and not name.startswith("crm"):
            self.fired["reply lost" if side == "after" else "request lost"] += 1
            raise RedisConnectionError(f"{side} boundary {number}, {name}")


class TappedConnection:
    """Holds back what it is to send until the answer is asked for: each command is a boundary by itself."""

    def __init__(self, connection: Any, boundaries: Boundaries) -> None:
        self._connection = connection
        self._boundaries = boundaries
        self._unsent: deque[list[Any]] = deque()

    def send_command(self, *words: Any, **_: Any) -> None:
        self.send_packed_command(self._connection.pack_command(*words))

    def send_packed_command(self, packed: Sequence[bytes], **_: Any) -> None:
        commands = Reader()
        for part in packed:
            commands.feed(part)
        while words := commands.gets():
            self._unsent.append(words)

    def read_response(self, **options: Any) -> Any:
        words = self._unsent.popleft()
        try:
            return self._boundaries.cross(f"redis {words[0].decode()}", lambda: self._exchange(words, options))
        except ResponseError:
            raise  # an answer as well
        except BaseException:
            self._unsent.clear()
            raise

    def _exchange(self, words: list[Any], options: dict[str, Any]) -> Any:
        self._connection.send_packed_command([pack_command(tuple(words))])
        return self._connection.read_response(**options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class TappedPool(ConnectionPool):
    """Of one process, for its client and for what goes past that."""

    boundaries: Boundaries

    def make_connection(self) -> Any:
        return TappedConnection(super().make_connection(), self.boundaries)


def tapped(server: fakeredis.FakeServer, boundaries: Boundaries) -> fakeredis.FakeRedis:
    client = fakeredis.FakeRedis(server=server, connection_pool_class=TappedPool)
    pool: Any = client.connection_pool
    pool.boundaries = boundaries
    return client
