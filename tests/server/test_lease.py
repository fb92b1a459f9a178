"""Who owns the folder, who is a guest, and what happens when the owner is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from revops_lite.errors import AnotherController, ServerError
from revops_lite.server.lease import Lease, connect_or_start
from revops_lite.server.process import ask
from revops_lite.store.client import Clients

OWNER = """
import sys
from pathlib import Path
from revops_lite.server.lease import connect_or_start
with connect_or_start(Path(sys.argv[1]), "always", sys.argv[2], program=Path(sys.argv[3])) as lease:
    print(lease.server.pid, flush=True)
    sys.stdin.readline()
"""

Connect = Callable[..., Lease]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "redis"


@pytest.fixture
def connect(program: Path, folder: Path) -> Connect:
    def go(role: str, **options: float) -> Lease:
        return connect_or_start(folder, "always", role, program=program, **options)  # type: ignore[arg-type]

    return go


@contextmanager
def another_process(folder: Path, role: str, program: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns the folder until a line comes; with its server's pid."""
    command = [sys.executable, "-c", OWNER, str(folder), role, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def test_a_second_controller_is_refused_by_the_first_ones_pid(connect: Connect, folder: Path, program: Path) -> None:
    with another_process(folder, "up", program) as (process, _), pytest.raises(AnotherController) as refused:
        connect("up")
    assert f"pid {process.pid}" in str(refused.value)


def test_within_one_process_there_is_one_controller_as_well(connect: Connect) -> None:
    with connect("up"), pytest.raises(AnotherController, match=f"pid {os.getpid()}"):
        connect("up")


def test_a_command_is_the_guest_of_a_controller(connect: Connect) -> None:
    with connect("up") as up:
        with connect("cli") as guest:
            assert (guest.owner, guest.url) == (False, up.url)
            assert guest.alive()
        assert up.alive()
        assert ask(up.socket, "PING") == b"+PONG\r\n"


def test_a_command_alone_runs_the_server_for_its_own_duration(connect: Connect) -> None:
    with connect("cli") as lease:
        assert lease.owner
        with Clients(lease.url) as clients:
            clients.commands.set("sent", "1")
    assert ask(lease.socket, "PING") == b""
    with connect("up") as up, Clients(up.url) as clients:
        assert clients.commands.get("sent") == b"1"


@pytest.mark.parametrize("role", ["cli", "up"])
def test_whoever_finds_a_command_at_work_waits_for_its_end(connect: Connect, role: str) -> None:
    first = connect("cli")
    got: list[Lease] = []
    waiting = threading.Thread(target=lambda: got.append(connect(role)))
    waiting.start()
    with Clients(first.url) as clients:
        clients.commands.set("by", "first")
    assert not got
    first.close()
    waiting.join(20)
    with got[0] as second, Clients(second.url) as clients:
        assert second.owner
        assert clients.commands.get("by") == b"first"


def test_waiting_has_an_end_that_names_the_other(connect: Connect, folder: Path, program: Path) -> None:
    with another_process(folder, "cli", program) as (process, _), pytest.raises(ServerError) as refused:
        connect("cli", patience=0.2)
    assert f"pid {process.pid}," in str(refused.value)


def test_the_server_of_a_killed_owner_ends_and_the_next_start_loses_nothing(
    connect: Connect, folder: Path, program: Path
) -> None:
    with another_process(folder, "up", program) as (process, server_pid):
        with connect("cli") as guest, Clients(guest.url) as clients:
            clients.commands.set("acknowledged", "1")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with connect("up") as lease, Clients(lease.url) as clients:
            assert clients.commands.get("acknowledged") == b"1"
            assert not _exists(server_pid)


def test_where_the_system_does_not_end_it_the_next_owner_does(
    connect: Connect, folder: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revops_lite.server import process as module

    without = module.LAUNCHER.replace('"linux"', '"none"')
    monkeypatch.setattr(f"{__name__}.OWNER", f"import revops_lite.server.process as p; p.LAUNCHER = {without!r}{OWNER}")
    with another_process(folder, "up", program) as (owner, server_pid):
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert _exists(server_pid)
        with connect("up") as lease:
            assert lease.owner


def test_killed_ten_times_it_starts_eleven(connect: Connect, folder: Path, program: Path) -> None:
    for _ in range(10):
        with another_process(folder, "up", program) as (process, _), connect("cli") as guest:
            with Clients(guest.url) as clients:
                clients.commands.incr("starts")
            process.send_signal(signal.SIGKILL)
    with connect("up") as lease, Clients(lease.url) as clients:
        assert clients.commands.get("starts") == b"10"


def test_a_died_server_is_noticed_and_restarted_under_the_same_lock(connect: Connect) -> None:
    with connect("up") as lease, Clients(lease.url) as clients:
        clients.commands.set("kept", "1")
        assert not lease.watch(0.01)
        assert lease.server is not None
        assert lease.server.pid is not None
        os.kill(lease.server.pid, signal.SIGKILL)
        assert lease.watch(10)
        assert not lease.alive()
        with pytest.raises(AnotherController):
            connect("up")
        lease.restart()
        assert clients.commands.get("kept") == b"1"
        lease.restart()  # of one that runs: nothing happens
        with pytest.raises(AnotherController):
            connect("up")


def test_only_the_owner_restarts(connect: Connect) -> None:
    with connect("up"), connect("cli") as guest:
        with pytest.raises(ServerError, match="only the process that started"):
            guest.restart()
        with pytest.raises(ServerError, match="only the process that started"):
            guest.watch(0.1)


def test_closing_twice_is_closing_once(connect: Connect) -> None:
    lease = connect("up")
    lease.close()
    lease.close()
    with connect("up") as again:
        assert again.owner


def test_a_failed_start_gives_the_folder_back(connect: Connect, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=7.0.0' && exit\nexit 1\n")
    broken.chmod(0o700)
    with pytest.raises(ServerError):
        connect_or_start(folder, "always", "up", program=broken)
    with connect("up") as lease:
        assert lease.owner


def test_what_a_crash_left_in_the_lock_file_stops_nobody(connect: Connect, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for left in ("", "not json", '{"role": "up"}', f'{{"role": "up", "pid": {_dead()}, "socket": "/nowhere"}}'):
        (folder / "owner.lock").write_text(left)
        with connect("up") as lease:
            assert lease.owner


def _exists(pid: int) -> bool:
    """Whether a process runs (a zombie, which nobody has asked for yet, does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
