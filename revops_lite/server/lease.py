"""Who owns a data folder. One process at a time runs the embedded server; others use its socket or wait.

Two locks, both `flock`, because Redis does not lock its own folder:
* `owner.lock` is held by the owning process alone. Whoever gets it owns the folder. It holds role, pid and socket.
* `lock` is inherited by the server, so it is free only when the server is gone as well: an owner that was killed
  leaves it locked until its server has written the last of its data.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from revops_lite.errors import AnotherController, ServerError
from revops_lite.server.folder import disk_errors, private_folder, socket_path, socket_url
from revops_lite.server.holder import Holder, holder_of, read_holder
from revops_lite.server.process import EmbeddedServer, ask

Role = Literal["up", "cli"]

PATIENCE = 30.0  # seconds to wait for another short-lived owner, or for the server of one that died
POLL = 0.02


class Lease:
    """The use of an embedded server. `owner`: this process runs it, and closing the lease stops it."""

    def __init__(self, socket: Path, server: EmbeddedServer | None = None, locks: tuple[int, ...] = ()) -> None:
        self.socket = socket
        self.url = socket_url(socket)
        self.server = server
        self._locks = locks

    @property
    def owner(self) -> bool:
        return self.server is not None

    def alive(self) -> bool:
        """Whether the server runs (as owner), or answers (as guest)."""
        if self.server is not None:
            return self.server.alive()
        return bool(ask(self.socket, "PING"))

    def watch(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True as soon as the server has died and needs `restart()`. Owner only."""
        return self._owned().wait(timeout)

    def restart(self) -> None:
        """Start a died server again, under the same lock. Raises ServerError when it does not come up. Owner only."""
        server = self._owned()
        if not server.alive():
            with disk_errors(server.folder):
                server.start(self._locks[-1])

    def close(self) -> None:
        """As owner, stop the server and give the folder back. Twice is once."""
        if self.server is not None:
            self.server.stop()
        locks, self._locks = self._locks, ()
        for lock in reversed(locks):
            _release(lock)

    def _owned(self) -> EmbeddedServer:
        if self.server is None:
            raise ServerError("only the process that started the embedded Redis can watch or restart it")
        return self.server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect_or_start(
    folder: Path, durability: str, role: Role, *, program: Path | None = None, patience: float = PATIENCE
) -> Lease:
    """The embedded server in `folder`, started if nobody runs it.

    Role "up" is a controller: it always owns the server, and raises AnotherController when another one does. Role
    "cli" is a command: it is the guest of a controller, or owns the server for its own duration. Both wait up to
    `patience` seconds for a command that owns it now, and for the server of an owner that was killed. Raises
    ServerError, with the mend, when the server does not start.
    """
    folder = private_folder(folder.resolve())
    deadline = time.monotonic() + patience
    while (lock := _try_lock(folder / "owner.lock")) is None:
        holder = holder_of(folder)
        if holder is not None and holder.role == "up":
            if role == "up":
                raise AnotherController(f"another controller, pid {holder.pid}, runs on {folder}; stop that one first")
            if ask(holder.socket, "PING").startswith(b"+PONG"):
                return Lease(holder.socket)
        if time.monotonic() > deadline:
            raise _still_held(folder, holder, patience)
        time.sleep(POLL)
    with contextlib.ExitStack() as undo:
        undo.callback(_release, lock)
        with disk_errors(folder):
            lease = _own(folder, durability, role, program, lock, deadline)
        undo.pop_all()
    return lease


def _own(folder: Path, durability: str, role: Role, program: Path | None, owner: int, deadline: float) -> Lease:
    """Start the server as the process that holds `owner.lock`."""
    before = read_holder(folder)
    _write_holder(owner, Holder(role, os.getpid(), socket_path(folder)))
    lock = _try_lock(folder / "lock")
    if lock is None and before is not None:
        # Only the server of a killed owner can hold it. Where the system does not end it, its own command does.
        ask(before.socket, "SHUTDOWN", timeout=0.5)
    while lock is None:
        if time.monotonic() > deadline:
            raise ServerError(f"the Redis server of a process that was killed still runs in {folder}; end it first")
        time.sleep(POLL)
        lock = _try_lock(folder / "lock")
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, lock)
        server = EmbeddedServer(folder, durability, program)
        undo.callback(server.stop)
        server.start(lock)
        undo.pop_all()
    return Lease(server.socket, server, (owner, lock))


def _try_lock(path: Path) -> int | None:
    """Lock a file; its descriptor, or None when another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise ServerError(f"{path} cannot be locked ({error.strerror}); put var/ on a local disk") from error
    return descriptor


def _release(lock: int) -> None:
    # Unlocked in so many words: a child that somebody forked may hold a copy of the descriptor.
    os.ftruncate(lock, 0)
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _write_holder(lock: int, holder: Holder) -> None:
    os.ftruncate(lock, 0)
    text = json.dumps({"role": holder.role, "pid": holder.pid, "socket": str(holder.socket)})
    os.pwrite(lock, text.encode(), 0)


def _still_held(folder: Path, holder: Holder | None, patience: float) -> ServerError:
    who = f"a `revops` command, pid {holder.pid}," if holder is not None else "another process"
    return ServerError(f"{who} has used the data in {folder} for {patience:.0f} s; stop it, or start `revops up` once")
