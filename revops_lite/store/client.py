"""The factory of Redis clients, and what a server has to be before it is trusted.

Three kinds, because one set of time limits cannot serve all:

| client       | time limit | for                                                    |
|--------------|------------|--------------------------------------------------------|
| `commands`   | 5 s        | everything that answers at once; shared by all threads |
| `blocking()` | none       | BLMOVE, XREAD BLOCK and the like; one per loop         |
| `pubsub()`   | none       | one subscription loop                                  |

What is asked for again and again, the scripts and the stream, goes by a connection of its own out of one of these
(`wire.py`). None sends anything twice: redis-py 8 repeats a command whose answer was lost, so that one INCR may
count two. Whoever may repeat (scripts that are safe to run twice) does it himself. Answers are bytes, never decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.connection import parse_url
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from revops_lite.errors import BusError, ConfigError, CredentialError

COMMAND_TIMEOUT = 5.0
CONNECT_TIMEOUT = 5.0
OLDEST = (6, 2, 0)
TAKEN = ("connection_class", "host", "port", "path", "db", "username", "password")
# Both are untyped in redis-py.
_pubsub: Callable[..., PubSub] = PubSub
_parse_url: Callable[[str], dict[str, Any]] = parse_url
# Replies that say "not now", whatever the command was: by class where redis-py takes the word off the text. Redis 6.2
# wraps them when they come from within a script, and redis-py puts the command of a pipeline before them.
NOT_NOW = (OutOfMemoryError, ReadOnlyError, MasterDownError)
REFUSAL = re.compile(r"(^|-)(OOM|MISCONF|READONLY|BUSY|MASTERDOWN|NOREPLICAS) ")
IN_A_PIPELINE = " of pipeline caused error: "


class Clients:
    """All clients of one process for one server. `url`: unix:///path, redis://host:port/db or rediss://…

    Connects at the first command. Raises ConfigError for an address that cannot be one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._made: list[Redis] = []
        self._lock = Lock()
        self.commands = self._client(COMMAND_TIMEOUT)

    def blocking(self) -> Redis:
        """A client for commands that wait on the server. Give each loop its own."""
        return self._client(None)

    def pubsub(self) -> PubSub:
        """A subscription. Confirmations are not hidden: redis-py subscribes again by itself after a lost
        connection, and the confirmation is the only sign that messages may have been missed."""
        return _pubsub(self._client(None).connection_pool, ignore_subscribe_messages=False)

    def close(self) -> None:
        """Close every connection of every client made here. Twice is once."""
        with self._lock:
            made, self._made = self._made, []
        for client in made:
            client.close()

    def _client(self, timeout: float | None) -> Redis:
        options = _options(self.url)
        if "host" in options:
            options["socket_keepalive"] = True
            options["socket_connect_timeout"] = CONNECT_TIMEOUT
        pool = ConnectionPool(
            **options,
            decode_responses=False,
            protocol=2,  # the same shapes of answers from every server and every redis-py
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
        )
        client = Redis.from_pool(pool)
        with self._lock:
            self._made.append(client)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def bus_errors(url: str = "") -> Iterator[None]:
    """Turn redis-py's errors about the connection or the server's health into BusError (login: CredentialError).

    Errors about a command itself (wrong type, a script's own) pass unchanged: they are faults of ours.
    """
    where = f" at {shown(url)}" if url else ""
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise CredentialError(f"Redis{where} refuses us: {error}. Mend: user and password in [redis] url") from error
    except (ConnectionError, TimeoutError) as error:
        raise BusError(f"Redis{where} does not answer: {error}") from error
    except ResponseError as error:
        said = str(error).rpartition(IN_A_PIPELINE)[2]  # without the command, which may carry any words
        if not (isinstance(error, NOT_NOW) or REFUSAL.search(said)):
            raise
        raise BusError(f"Redis{where} takes no commands now: {error}") from error


def version(client: Redis) -> tuple[int, int, int]:
    """The Redis version a server says it is compatible with (Valkey: 7.2.4). ConfigError below 6.2."""
    said = str(_info(client, "server").get("redis_version", ""))
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    found = tuple(int(part or 0) for part in numbers.groups()) if numbers else (0, 0, 0)
    if found < OLDEST:
        raise ConfigError(
            f"[redis] url: the server is version {said or 'unknown'}. Mend: Redis 6.2 or newer, or Valkey"
        )
    return found[0], found[1], found[2]


def check_durable(client: Redis, allow_weak: bool) -> list[str]:
    """What is weak about a server, in sentences; empty where it keeps all that it acknowledged.

    Raises ConfigError for a weak one unless `allow_weak`, and always for a replica or a cluster.
    """
    _refuse_unusable(client)
    weak = [text for text in (_no_file(client), _evicts(client)) if text]
    if weak and not allow_weak:
        raise ConfigError(
            f"[redis] url: the server may lose what it has accepted: {'; '.join(weak)}. "
            "Mend: CONFIG SET what is named here (and in its redis.conf), or set [redis] allow_weak = true"
        )
    return weak


def shown(url: str) -> str:
    """An address without its password, for people to read."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if login else at}{host}{parts.path}"


def _refuse_unusable(client: Redis) -> None:
    if _info(client, "replication").get("role", "master") != "master":
        raise ConfigError("[redis] url: the server is a read-only replica. Mend: give the address of its primary")
    if _info(client, "cluster").get("cluster_enabled", 0):
        raise ConfigError(
            "[redis] url: the server is a cluster, which cannot commit several keys at once. Mend: use a single server"
        )


def _no_file(client: Redis) -> str | None:
    if not _info(client, "persistence").get("aof_enabled", 0):
        return "it keeps no append-only file (appendonly yes)"
    if _config(client, "appendfsync") == "no":
        return "it never forces its file to disk (appendfsync always or everysec)"
    return None


def _evicts(client: Redis) -> str | None:
    policy = _info(client, "memory").get("maxmemory_policy") or _config(client, "maxmemory-policy")
    if policy in (None, "noeviction"):
        return None
    return f"it throws keys away when memory is short (maxmemory-policy noeviction, not {policy})"


def _info(client: Redis, section: str) -> dict[str, Any]:
    try:
        with bus_errors():
            return dict(client.info(section))
    except RedisError as error:
        raise ConfigError(f"[redis] url: the server does not tell what it is: INFO {section}: {error}") from error


def _config(client: Redis, name: str) -> str | None:
    """One setting; None where the server (a managed one) does not let us ask."""
    try:
        with bus_errors():
            answer = dict(client.config_get(name))
    except RedisError:
        return None
    value = next(iter(answer.values()), None)
    return value.decode() if isinstance(value, bytes) else value


def _options(url: str) -> dict[str, Any]:
    """What an address says, as connection arguments. Raises ConfigError for what cannot be one."""
    try:
        options = _parse_url(url)
        database = urlsplit(url).path.strip("/") if "host" in options else ""
    except ValueError:
        options, database = {}, ""
    if not ("path" in options or "host" in options) or not (database or "0").isdigit():
        raise ConfigError("[redis] url: give unix:///path, redis://host:port/db or rediss://host:port/db")
    # The rest of a query (time limits, retries, decoding) would break what this module promises.
    unknown = [name for name in options if name not in TAKEN and not name.startswith("ssl_")]
    if unknown:
        raise ConfigError(f"[redis] url: the option {unknown[0]!r} cannot be set there. Mend: remove it")
    return options
