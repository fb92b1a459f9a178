"""A connection for one command after the other: its answers, its errors, and that no answer is ever another's."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from revops_lite.server.process import EmbeddedServer
from revops_lite.store.client import Clients
from revops_lite.wire import Wire, mapping


@pytest.fixture
def wire(redis: Redis) -> Wire:
    return Wire(redis.connection_pool, ResponseError)


def test_answers_are_as_they_were_sent(wire: Wire) -> None:
    assert wire("HSET", "h", "a", 1, "b", 2.5, b"c", b"\xff\r\n") == 3
    wire("EXPIRE", "h", 60)
    assert mapping(wire("HGETALL", "h")) == {b"a": b"1", b"b": b"2.5", b"c": b"\xff\r\n"}
    assert wire("GET", "nothing") is None


def test_several_commands_have_their_answers_in_order(wire: Wire) -> None:
    wire("SET", "a", "1", "EX", 60)
    assert wire.many([("GET", "a"), ("GET", "b"), ("INCR", "a")]) == [b"1", None, 2]
    assert wire.many([]) == []


def test_what_the_server_refuses_is_told_and_the_next_command_has_its_own_answer(wire: Wire) -> None:
    wire("SET", "a", "text", "EX", 60)
    with pytest.raises(ResponseError):
        wire("INCR", "a")
    assert wire("GET", "a") == b"text"
    with pytest.raises(ResponseError):
        wire.many([("SET", "b", "1", "EX", 60), ("INCR", "a"), ("INCR", "b")])
    assert wire.many([("GET", "a"), ("GET", "b")]) == [b"text", b"2"]


def test_what_cannot_be_sent_is_not_and_does_no_harm(wire: Wire) -> None:
    with pytest.raises(TypeError):
        wire("SET", "a", object())
    assert wire("GET", "a") is None


def test_an_answer_can_be_taken_later(wire: Wire) -> None:
    end = wire.begin("SET", "a", "1", "EX", 60, "GET")
    assert end() is None
    assert wire("GET", "a") == b"1"


def test_an_answer_that_nobody_took_is_not_the_next_ones(wire: Wire) -> None:
    wire.begin("SET", "a", "1", "EX", 60)
    assert wire("PING") == b"PONG"
    with pytest.raises(ResponseError):
        wire.begin("INCR", "PONG", "and", "more")()
    assert wire("PING") == b"PONG"


def test_a_script_that_the_server_does_not_know_is_loaded_first(wire: Wire, redis: Redis) -> None:
    script = redis.register_script("return {KEYS[1], ARGV[1], 'é'}")
    for _ in range(2):
        redis.script_flush()
        for _ in range(2):
            assert wire.run(script, NoScriptError, ["k"], [7]) == [b"k", b"7", "é".encode()]


def test_a_wire_that_nobody_has_any_more_gives_its_connection_back(redis: Redis) -> None:
    for _ in range(200):  # a pool has a hundred
        Wire(redis.connection_pool, ResponseError)("PING")
        gc.collect(0)


# ---- a real server ----------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(own: EmbeddedServer) -> Iterator[Wire]:
    """Its connection waits a fifth of a second for an answer."""
    pool = ConnectionPool(
        connection_class=UnixDomainSocketConnection,
        path=str(own.socket),
        socket_timeout=0.2,
        retry=Retry(NoBackoff(), 0),
    )
    yield Wire(pool, ResponseError)
    pool.disconnect()


def test_after_the_server_has_gone_and_come_again_the_next_command_but_one_is_answered(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        wire = Wire(clients.commands.connection_pool, ResponseError)
        wire("SET", "a", "1")
        assert own.pid is not None
        os.kill(own.pid, signal.SIGKILL)
        own.wait(10)
        with pytest.raises(LostConnection):
            wire("GET", "a")
        with pytest.raises((LostConnection, OSError)):
            wire("GET", "a")
        own.start()
        assert wire("GET", "a") == b"1"


def test_an_answer_that_came_too_late_is_nobodys(own: EmbeddedServer, impatient: Wire) -> None:
    with Clients(own.url) as clients:
        with pytest.raises(NoAnswer):
            impatient("BLPOP", "queue", 0)
        clients.commands.rpush("queue", "late")
        assert impatient("PING") == b"PONG"


@pytest.mark.parametrize("when", ["send_packed_command", "read_response"])
def test_who_is_struck_in_the_midst_leaves_no_answer_behind(own: EmbeddedServer, when: str) -> None:
    with Clients(own.url) as clients:
        wire = Wire(clients.commands.connection_pool, ResponseError)
        wire("SET", "a", "1")
        connection = wire._connection
        done = getattr(connection, when)

        def struck(*words: Any) -> Any:
            setattr(connection, when, done)
            if when == "send_packed_command":
                done(*words)
            raise KeyboardInterrupt

        setattr(connection, when, struck)
        with pytest.raises(KeyboardInterrupt):
            wire("GET", "a")
        assert wire("PING") == b"PONG"


def test_threads_have_each_their_own_answers(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        wire = Wire(clients.commands.connection_pool, ResponseError)
        found: list[int] = []

        def count() -> None:
            found.extend(wire("INCR", "n") for _ in range(300))

        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(1, 2401))
