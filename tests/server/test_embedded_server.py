"""One server process: its settings, its data, its end."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from revops_lite.errors import ConfigError, ServerError
from revops_lite.server.aof import last_file
from revops_lite.server.process import EmbeddedServer
from revops_lite.store.client import Clients

Start = Callable[..., EmbeddedServer]


@pytest.fixture
def start(program: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[EmbeddedServer] = []

    def go(folder: Path = tmp_path / "redis", durability: str = "always") -> EmbeddedServer:
        server = EmbeddedServer(folder, durability, program)
        started.append(server)
        server.start()
        return server

    yield go
    for server in started:
        server.stop()


def test_it_is_configured_to_lose_nothing_and_to_be_reached_by_nobody_else(start: Start) -> None:
    server = start()
    with Clients(server.url) as clients:
        said = {name: clients.commands.config_get(name)[name] for name in ("appendonly", "appendfsync", "port", "save")}
        assert clients.commands.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert said == {"appendonly": "yes", "appendfsync": "always", "port": "0", "save": ""}
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600


def test_everysec_is_the_other_durability_and_there_is_no_third(start: Start, tmp_path: Path) -> None:
    with Clients(start(durability="everysec").url) as clients:
        assert clients.commands.config_get("appendfsync") == {"appendfsync": "everysec"}
    with pytest.raises(ConfigError, match="'sometimes' is none of always, everysec"):
        EmbeddedServer(tmp_path / "other", "sometimes")


def test_what_it_acknowledged_survives_a_clean_stop_and_a_kill(start: Start) -> None:
    server = start()
    with Clients(server.url) as clients:
        clients.commands.set("a", "stopped")
    server.stop()
    server = start()
    with Clients(server.url) as clients:
        clients.commands.set("b", "killed")
    _kill(server)
    with Clients(start().url) as clients:
        assert clients.commands.mget("a", "b") == [b"stopped", b"killed"]


def test_stopping_twice_is_stopping_once(start: Start) -> None:
    server = start()
    server.stop()
    server.stop()
    assert not server.alive()
    assert not server.socket.exists()


@pytest.mark.parametrize("name", ["two words", 'quo"te\\back', "100%41?#x", "größe-\u6570", "li\nne"])
def test_any_folder_name_works(start: Start, tmp_path: Path, name: str) -> None:
    server = start(tmp_path / name)
    with Clients(server.url) as clients:
        assert clients.commands.ping()
    assert last_file(tmp_path / name) is not None


def test_a_folder_too_deep_for_a_socket_gets_a_private_one_elsewhere(start: Start, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    server = start(deep)
    assert len(os.fsencode(server.socket)) <= 100
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    with Clients(server.url) as clients:
        assert clients.commands.ping()
    server.stop()
    server.socket.parent.rmdir()


def test_a_socket_folder_that_somebody_planted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr("revops_lite.server.folder.LONGEST_SOCKET_PATH", len(str(tmp_path)) + 70)
    deep = tmp_path / ("d" * 100)
    planned = EmbeddedServer(deep).socket.parent
    assert planned.parent == runtime
    planned.rmdir()
    planned.symlink_to(tmp_path)
    with pytest.raises(ServerError, match="is no folder"):
        EmbeddedServer(deep)


def test_it_outlives_the_thread_that_started_it(start: Start) -> None:
    servers: list[EmbeddedServer] = []
    thread = threading.Thread(target=lambda: servers.append(start()))
    thread.start()
    thread.join()
    with Clients(servers[0].url) as clients:
        assert clients.commands.ping()
        assert not servers[0].wait(0.2)


def test_a_torn_tail_is_cut_off_and_kept(start: Start) -> None:
    server = start()
    path = _filled(server)
    whole = path.read_bytes()
    tail = b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$900\r\n{half of a val"
    path.write_bytes(whole + tail)
    server = start()
    with Clients(server.url) as clients:
        assert clients.commands.dbsize() == 50
    assert server.torn is not None
    assert (server.torn.offset, server.torn.lost) == (len(whole), len(tail))
    assert [kept.read_bytes() for kept in server.folder.glob("torn-*")] == [tail]


def test_a_transaction_without_its_end_is_undone(start: Start) -> None:
    server = start()
    path = _filled(server)
    with path.open("ab") as file:
        file.write(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1\r\n1\r\n")
    with Clients(start().url) as clients:
        assert clients.commands.exists("half") == 0
        assert clients.commands.dbsize() == 50


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        pytest.param(b"$5\r\nvalue", b"$999999\r\nvalue", id="a length that swallows the rest of the file"),
        pytest.param(b"$5\r\nvalue", b"$X\r\nvalue", id="a length that is none"),
        pytest.param(b"*3\r\n$3\r\nSET", b"\x00\x00\x00\x00\x00\x00\x00\x00", id="zeros"),
    ],
)
def test_a_damaged_middle_is_never_repaired(start: Start, good: bytes, bad: bytes) -> None:
    server = start()
    path = _filled(server)
    whole = path.read_bytes()
    middle = whole.index(good, len(whole) // 2)
    damaged = whole[:middle] + bad + whole[middle + len(good) :]
    path.write_bytes(damaged)
    with pytest.raises(ServerError) as refused:
        start()
    assert path.read_bytes() == damaged
    assert "Nothing was repaired or removed. Mend:" in str(refused.value)
    assert "append only file" in str(refused.value)


def test_a_tail_torn_after_a_rewrite_is_still_a_tail(start: Start) -> None:
    server = start()
    with Clients(server.url) as clients:
        clients.commands.set("before", "x" * 1000)
        clients.commands.bgrewriteaof()
        while clients.commands.info("persistence")["aof_rewrite_in_progress"]:
            clients.commands.ping()
        clients.commands.set("after", "1")
    server.stop()
    path = last_file(server.folder)
    assert path is not None
    with path.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    with Clients(start().url) as clients:
        assert sorted(clients.commands.keys()) == [b"after", b"before"]


def test_an_older_server_does_not_start_empty_beside_newer_data(tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n")
    old.chmod(0o700)
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    server = EmbeddedServer(tmp_path / "data", program=old)
    with pytest.raises(ServerError, match="a newer server wrote"):
        server.start()
    server.stop()


def test_a_server_older_than_the_one_that_wrote_the_data_is_not_started(tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=7.0.14 sha=0' && exit\ntouch started\n")
    old.chmod(0o700)
    folder = tmp_path / "data"
    server = EmbeddedServer(folder, program=old)
    gone = {"binary": "/gone/redis-server", "name": "Redis", "version": [7, 0, 15]}
    (folder / "server.json").write_text(json.dumps(gone))
    with pytest.raises(ServerError, match=r"last written by Redis 7\.0\.15 .* Mend: install Redis 7\.0\.15 or newer"):
        server.start()
    assert sorted(path.name for path in folder.iterdir()) == ["server.json"]
    server.stop()


def test_a_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=7.0.0' && exit\necho no memory; exit 3\n"
    )
    broken.chmod(0o700)
    server = EmbeddedServer(tmp_path / "data", program=broken)
    with pytest.raises(ServerError, match=r"(?s)exit code 3.*no memory"):
        server.start()
    server.stop()


def _filled(server: EmbeddedServer) -> Path:
    """50 records, each its own command; the server is stopped. Returns the file they stand in."""
    with Clients(server.url) as clients:
        for number in range(50):
            clients.commands.set(f"key:{number:02}", "value")
    server.stop()
    path = last_file(server.folder)
    assert path is not None
    return path


def _kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10)
