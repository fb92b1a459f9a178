"""The factory of clients: nothing is sent twice, limits are what they are said to be, errors name the mend."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from revops_lite.errors import BusError, ConfigError, CredentialError
from revops_lite.server.process import EmbeddedServer
from revops_lite.store.client import Clients, bus_errors, check_durable, shown, version
from revops_lite.store.store import Store


class ForgetfulServer(threading.Thread):
    """Takes commands over TCP, obeys INCRBY, and closes the connection instead of giving the first answer to it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}/0"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self._serve(connection, lines)

    def _serve(self, connection: socket.socket, lines: Iterator[bytes]) -> None:
        for line in lines:
            words = [(next(lines), next(lines))[1].strip().upper() for _ in range(int(line[1:]))]
            if words[0] == b"INCRBY":
                self.count += 1
                if self.count == 1:
                    return
            connection.sendall(b":%d\r\n" % self.count if words[0] == b"INCRBY" else b"+OK\r\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.join()


@pytest.fixture
def forgetful() -> Iterator[ForgetfulServer]:
    server = ForgetfulServer()
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize("kind", ["commands", "blocking"])
def test_a_command_whose_answer_is_lost_is_sent_exactly_once(forgetful: ForgetfulServer, kind: str) -> None:
    with Clients(forgetful.url) as clients:
        client = clients.commands if kind == "commands" else clients.blocking()
        with pytest.raises(BusError, match="does not answer"), bus_errors():
            client.incr("counter")
        assert forgetful.count == 1


def test_a_pipeline_whose_answer_is_lost_is_sent_exactly_once(forgetful: ForgetfulServer) -> None:
    with Clients(forgetful.url) as clients:
        pipeline = clients.commands.pipeline(transaction=False)
        pipeline.incr("counter")
        with pytest.raises(BusError), bus_errors():
            pipeline.execute()
        assert forgetful.count == 1


def test_a_client_that_repeats_would_have_been_caught(forgetful: ForgetfulServer) -> None:
    with Redis.from_url(forgetful.url, protocol=2, retry=Retry(NoBackoff(), 1)) as client:
        client.incr("counter")
    assert forgetful.count == 2


def test_blocking_reads_may_wait_longer_than_commands(own: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revops_lite.store.client.COMMAND_TIMEOUT", 0.1)
    with Clients(own.url) as clients:
        assert clients.blocking().blpop(["nothing"], timeout=0.5) is None
        with pytest.raises(BusError, match="does not answer"), bus_errors():
            clients.commands.blpop(["nothing"], timeout=30)


def test_a_subscription_shows_its_confirmation_and_bytes(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients, clients.pubsub() as subscription:
        subscription.subscribe("channel")
        first = subscription.get_message(timeout=5)
        clients.commands.publish("channel", b"\xff\x00")
        second = subscription.get_message(timeout=5)
    assert first is not None
    assert second is not None
    assert (first["type"], second["type"], second["data"]) == ("subscribe", "message", b"\xff\x00")


def test_answers_are_bytes(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.set("key", b"\xff\x00")
        assert clients.commands.get("key") == clients.blocking().get("key") == b"\xff\x00"


def test_a_server_that_is_not_there_is_a_bus_error_without_its_password(tmp_path: Path) -> None:
    with Clients(f"unix://user:secret@{tmp_path}/none.sock") as clients:
        with pytest.raises(BusError) as error, bus_errors(clients.url):
            clients.commands.ping()
        assert "none.sock" in str(error.value)
        assert "secret" not in str(error.value)


def test_a_refused_login_is_a_credential_error(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.config_set("requirepass", "right")
        with Clients(f"unix://:wrong@{own.socket}") as others, pytest.raises(CredentialError), bus_errors():
            others.commands.ping()
        with Clients(f"unix://:right@{own.socket}") as others:
            assert others.commands.ping()


def test_full_memory_is_a_bus_error_from_a_script_too(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.config_set("maxmemory", "1")
        for attempt in (
            lambda: clients.commands.set("key", "value"),
            lambda: clients.commands.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key"),
        ):
            with pytest.raises(BusError, match="takes no commands now"), bus_errors():
                attempt()


def load_often(store: Store) -> None:
    for _ in range(1000):
        store.load([("run", "r1"), ("context", "lead:1")])


def test_a_server_busy_with_a_script_is_a_bus_error_in_a_pipeline_too(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.config_set("lua-time-limit", "50")
        endless = clients.blocking().connection_pool.get_connection()
        endless.send_command("EVAL", "while true do end", 0)
        with pytest.raises(BusError, match=r"takes no commands now.* BUSY "):
            load_often(Store(clients.commands))  # the script may not have begun yet
        clients.commands.script_kill()
        with pytest.raises(ResponseError, match=r"(?i)killed by user"):
            endless.read_response()


@pytest.mark.parametrize("transaction", [False, True])
def test_a_server_that_takes_no_writes_is_a_bus_error_in_a_pipeline_too(own: EmbeddedServer, transaction: bool) -> None:
    with Clients(own.url) as clients:
        clients.commands.config_set("min-replicas-to-write", "1")
        pipeline = clients.commands.pipeline(transaction=transaction).get("key").set("key", "value")
        with pytest.raises(BusError, match="NOREPLICAS"), bus_errors():
            pipeline.execute()


def test_a_replica_cut_off_from_its_primary_is_a_bus_error(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.config_set("replica-serve-stale-data", "no")
        clients.commands.replicaof("127.0.0.1", 1)
        for attempt in (lambda: clients.commands.get("key"), clients.commands.pipeline().get("key").execute):
            with pytest.raises(BusError, match="takes no commands now"), bus_errors():
                attempt()


def test_a_wrong_command_stays_the_fault_it_is(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.set("key", "text")
        with pytest.raises(ResponseError, match="WRONGTYPE"), bus_errors():
            clients.commands.rpush("key", "x")


def test_what_a_command_carries_does_not_say_what_its_error_is(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.set("key", "text")
        carried = "x-BUSY y of pipeline caused error: BUSY z"
        pipeline = clients.commands.pipeline(transaction=False).rpush("key", carried)
        with pytest.raises(ResponseError, match="WRONGTYPE"), bus_errors():
            pipeline.execute()


def test_the_embedded_server_is_durable_and_new_enough(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        assert check_durable(clients.commands, allow_weak=False) == []
        assert version(clients.commands) >= (6, 2, 0)


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("appendonly", "no", "it keeps no append-only file (appendonly yes)"),
        ("appendfsync", "no", "it never forces its file to disk (appendfsync always or everysec)"),
        (
            "maxmemory-policy",
            "allkeys-lru",
            "it throws keys away when memory is short (maxmemory-policy noeviction, not allkeys-lru)",
        ),
    ],
)
def test_a_weak_server_is_refused_unless_allowed(own: EmbeddedServer, setting: str, value: str, sentence: str) -> None:
    with Clients(own.url) as clients:
        clients.commands.config_set(setting, value)
        with pytest.raises(ConfigError) as refused:
            check_durable(clients.commands, allow_weak=False)
        assert sentence in str(refused.value)
        assert "allow_weak = true" in str(refused.value)
        assert check_durable(clients.commands, allow_weak=True) == [sentence]


def test_a_replica_is_refused_even_where_weak_is_allowed(own: EmbeddedServer) -> None:
    with Clients(own.url) as clients:
        clients.commands.replicaof("127.0.0.1", 1)
        with pytest.raises(ConfigError, match="read-only replica"):
            check_durable(clients.commands, allow_weak=True)


def test_a_server_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, own: EmbeddedServer) -> None:
    monkeypatch.setattr("revops_lite.store.client.OLDEST", (99, 0, 0))
    with Clients(own.url) as clients, pytest.raises(ConfigError, match=r"the server is version \d+\.\d+\.\d+\. Mend"):
        version(clients.commands)


@pytest.mark.parametrize(
    "url",
    ["", "embedded", "http://host", "redis://", "unix://", "redis://host:notaport", "redis://host/db", "redis://[::1"],
)
def test_what_is_no_address_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"\[redis\] url: give unix:///path, redis://host:port/db"):
        Clients(url)


@pytest.mark.parametrize("option", ["decode_responses=true", "socket_timeout=9", "retry_on_timeout=true", "x=1"])
def test_an_address_cannot_change_what_clients_promise(option: str) -> None:
    with pytest.raises(ConfigError, match=f"the option '{option.partition('=')[0]}' cannot be set there"):
        Clients(f"redis://localhost/0?{option}")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://me:secret@host:1/2", "redis://***@host:1/2"),
        ("unix://:secret@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        ("redis://host/0?password=secret", "redis://host/0"),
    ],
)
def test_addresses_are_shown_without_passwords(url: str, text: str) -> None:
    assert shown(url) == text


def test_closing_closes_every_client_made(own: EmbeddedServer) -> None:
    clients = Clients(own.url)
    each: list[Callable[[], object]] = [clients.commands.ping, clients.blocking().ping]
    for ping in each:
        ping()
    with Clients(own.url) as witness:
        assert len(witness.commands.client_list()) == 3
        clients.close()
        clients.close()
        while len(witness.commands.client_list()) > 1:
            pass
