"""One connection to Redis, one command at a time: what a client does, without what redis-py does around each command.

That takes longer than many a command itself, and a step's way is one command after the other. The connection is
redis-py's own, and so are its errors, time limits, encryption, login and connecting again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol

from hiredis import pack_command


class Pool(Protocol):
    """redis-py's ConnectionPool."""

    def get_connection(self) -> Any: ...

    def release(self, connection: Any) -> None: ...


class Script(Protocol):
    """redis-py's Script."""

    sha: str
    script: Any


class Wire:
    """A connection of its own out of a pool, from the first command on until nobody has the wire any more.

    Whoever closes the pool's connections closes this one. Any thread may call; they wait for each other.

    Answers are as they were sent: bytes, integers, lists and None. Raises what redis-py raises: ResponseError for what
    the server refuses, ConnectionError and TimeoutError for an answer that did not come; nobody knows then what became
    of the command, and the next one connects again.
    """

    def __init__(self, pool: Pool, refusal: type[Exception]) -> None:
        """`refusal` is redis-py's ResponseError: this module is no part of those that import redis."""
        self._pool = pool
        self._refusal = refusal
        self._connection: Any = None
        self._owed = 0  # answers to what has been sent
        self._lock = Lock()

    def __call__(self, *words: Any) -> Any:
        """The answer to one command."""
        with self._lock:
            self._send([pack_command(words)], 1)
            return self._received()[0]

    def begin(self, *words: Any) -> Callable[[], Any]:
        """Send one command; what is returned waits for its answer. Who uses the wire before that takes it away."""
        with self._lock:
            self._send([pack_command(words)], 1)
        return self._end

    def _end(self) -> Any:
        with self._lock:
            return self._received()[0]

    def run(self, script: Script, unknown: type[Exception], keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """A script's answer. `unknown` is redis-py's NoScriptError: what the server does not know is loaded first."""
        words = call_of(script, keys, args)
        try:
            return self(*words)
        except unknown:  # a server that has started anew
            self("SCRIPT", "LOAD", script.script)
            return self(*words)

    def many(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to several commands, in one round trip; nothing makes them one."""
        with self._lock:
            self._send([b"".join(map(pack_command, commands))], len(commands))
            return self._received()

    def _send(self, packed: list[bytes], count: int) -> None:
        if self._connection is None:
            self._connection = self._pool.get_connection()
            weakref.finalize(self, self._pool.release, self._connection).atexit = False
        if self._owed:  # whoever was to take them was struck in the midst: the next would take them for its own
            self._connection.disconnect()
        self._owed = count
        self._connection.send_packed_command(packed)

    def _received(self) -> list[Any]:
        answers: list[Any] = []
        refused: Exception | None = None
        for _ in range(self._owed):
            try:
                answers.append(self._connection.read_response())
            except self._refusal as error:
                refused = refused or error  # an answer as well: those behind it have to be read
        self._owed = 0
        if refused is not None:
            raise refused
        return answers


def call_of(script: Script, keys: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """A script's call as a command."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def mapping(answer: Sequence[Any] | dict[Any, Any]) -> dict[Any, Any]:
    """An answer about a hash or an entry of a stream: names and values take turns in it, or it is a mapping already."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
