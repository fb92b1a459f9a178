"""Lua files as callables: run by digest, loaded again after a server restart, re-run after a lost reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from revops_lite.errors import BusError
from revops_lite.wire import Wire


@contextmanager
def bus_errors() -> Iterator[None]:
    """Whatever Redis or its connection raises becomes a BusError."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise BusError(f"Redis does not answer as it should: {type(error).__name__}: {error}") from error


class LuaScript:
    """One file of `scripts/`. Each is safe to run twice, so a lost reply is answered by running it again."""

    def __init__(self, client: Redis, name: str) -> None:
        self._script = client.register_script((files(__package__) / "scripts" / f"{name}.lua").read_text("utf-8"))
        self._wire = Wire(client.connection_pool, ResponseError)

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The script's reply. Raises BusError."""
        with bus_errors():
            try:
                return self._wire.run(self._script, NoScriptError, keys, args)
            except (RedisConnectionError, RedisTimeoutError):
                return self._wire.run(self._script, NoScriptError, keys, args)
