"""One connection to Redis, one command at a time: what a client does, without what redis-py does around each command.

That takes longer than many a command itself, and a step's way is one command after the other. The connection is
redis-py's own, and so are its errors, time limits, encryption, login and connecting again.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
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
        self._lock = Lock()

    def __call__(self, *words: Any) -> Any:
        """The answer to one command."""
        with self._lock:
            return self._exchange([pack_command(words)], 1)[0]

    def run(self, script: Script, unknown: type[Exception], keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """A script's answer. `unknown` is redis-py's NoScriptError: what the server does not know is loaded first."""
        words = ("EVALSHA", script.sha, len(keys), *keys, *args)
        try:
            return self(*words)
        except unknown:  # a server that has started anew
            self("SCRIPT", "LOAD", script.script)
            return self(*words)

    def many(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to several commands, in one round trip; nothing makes them one."""
        with self._lock:
            return self._exchange([pack_command(words) for words in commands], len(commands))

    def _exchange(self, packed: list[bytes], count: int) -> list[Any]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._pool.get_connection()
            weakref.finalize(self, self._pool.release, connection).atexit = False
        answers: list[Any] = []
        refused: Exception | None = None
        try:
            connection.send_packed_command([b"".join(packed)] if count > 1 else packed)
            for _ in range(count):
                try:
                    answers.append(connection.read_response())
                except self._refusal as error:
                    refused = refused or error  # an answer as well: those behind it have to be read
        except Exception:
            raise  # the connection has seen to itself
        except BaseException:  # struck anywhere: the next command would take what is left of an answer for its own
            connection.disconnect()
            raise
        if refused is not None:
            raise refused
        return answers


def mapping(answer: Sequence[Any] | dict[Any, Any]) -> dict[Any, Any]:
    """An answer about a hash or an entry of a stream: names and values take turns in it, or it is a mapping already."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
