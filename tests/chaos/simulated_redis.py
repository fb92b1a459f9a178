"""A fakeredis whose every round trip is a boundary at which the process that makes it can be cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import fakeredis
from redis.exceptions import ConnectionError as RedisConnectionError

from revops_lite.wire import Wire

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


class TappedRedis(fakeredis.FakeRedis):
    """The client of one process. A pipeline without transaction can be cut off between its commands."""

    boundaries: Boundaries

    def execute_command(self, *args: Any, **options: Any) -> Any:
        run = super().execute_command
        return self.boundaries.cross(f"redis {_word(args[0])}", lambda: run(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        pipe = super().pipeline(transaction, shard_hint)
        execute = pipe.execute

        def cut_off(raise_on_error: bool = True) -> Any:
            if not pipe.command_stack:
                return execute(raise_on_error)  # nothing goes out
            if transaction or len(pipe.command_stack) < 2:
                words = [_word(command[0][0]) for command in pipe.command_stack]
                return self.boundaries.cross(f"redis {'+'.join(words)}", lambda: execute(raise_on_error))
            commands, found = list(pipe.command_stack), []
            scripts = set(pipe.scripts)
            for command in commands:
                pipe.command_stack = [command]
                pipe.scripts = set(scripts)
                found += self.boundaries.cross(f"redis {_word(command[0][0])}", lambda: execute(raise_on_error))
            return found

        pipe.execute = cut_off
        return pipe


def tapped(server: fakeredis.FakeServer, boundaries: Boundaries) -> TappedRedis:
    client = TappedRedis(server=server)
    client.boundaries = boundaries
    pool: Any = client.connection_pool
    pool.boundaries = boundaries  # for wires, which go past the client
    return client


def _tap_wires() -> None:
    """A wire out of a tapped client's pool crosses its boundaries, with each command by itself."""
    call = Wire.__call__

    def one(self: Any, *words: Any) -> Any:
        boundaries: Boundaries | None = getattr(self._pool, "boundaries", None)
        if boundaries is None:
            return call(self, *words)
        return boundaries.cross(f"redis {_word(words[0])}", lambda: call(self, *words))

    def many(self: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not hasattr(self._pool, "boundaries"):
            return several(self, commands)
        return [one(self, *words) for words in commands]

    several = Wire.many
    wire: Any = Wire
    wire.__call__, wire.many = one, many


_tap_wires()


def _word(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
