"""Lua files as callables: loaded once, run by digest, run again after a lost reply (each is safe to run twice)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from revops_lite.store.client import bus_errors
from revops_lite.wire import Wire, call_of


class Script:
    """`scripts/<name>.lua` of a package. Raises BusError, or redis-py's ResponseError for what the script says."""

    def __init__(self, redis: Redis, package: str | None, name: str) -> None:
        source = (files(package or __package__) / "scripts" / f"{name}.lua").read_text("utf-8")
        self._redis = redis
        self._script = redis.register_script(source)
        self._wire = Wire(redis.connection_pool, ResponseError)

    def many(self, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Several calls in one round trip, each by itself atomic."""
        if not calls:
            return []
        with bus_errors():
            try:
                return self._pipelined(calls)
            except (RedisConnectionError, RedisTimeoutError):
                return self._pipelined(calls)

    def _pipelined(self, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            self._script(keys=keys, args=args, client=pipe)
        return list(pipe.execute())

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        with bus_errors():
            try:
                return self._wire.run(self._script, NoScriptError, keys, args)
            except (RedisConnectionError, RedisTimeoutError):
                return self._wire.run(self._script, NoScriptError, keys, args)

    def begin(self, keys: Sequence[str], args: Sequence[Any]) -> Callable[[], Any]:
        """Send a call; what is returned waits for the answer, and raises. Before that nobody else may call."""
        try:
            answer = self._wire.begin(*call_of(self._script, keys, args))
        except (RedisConnectionError, RedisTimeoutError):
            return partial(self, keys, args)
        return partial(self._end, answer, keys, args)

    def _end(self, answer: Callable[[], Any], keys: Sequence[str], args: Sequence[Any]) -> Any:
        with bus_errors():
            try:
                return answer()
            except (NoScriptError, RedisConnectionError, RedisTimeoutError):
                return self._wire.run(self._script, NoScriptError, keys, args)
