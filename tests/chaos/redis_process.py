"""A real Redis server of a test's own: on a unix socket, with an append-only file, killable."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from revops_lite.server.program import binary

CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
save ""
appendonly yes
appendfsync {durability}
maxmemory-policy noeviction
loglevel warning
logfile server.log
"""


class RedisProcess:
    """`start()` begins, and goes on after `kill()`, with what stands in `folder`. `folder` has to be a short path."""

    def __init__(self, folder: Path, durability: str = "always", program: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "redis.sock"
        self.program = program or binary()
        self._config = folder / "redis.conf"
        self._config.write_text(CONFIG.format(socket=self.socket, folder=folder, durability=durability))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen([self.program, self._config], stdin=subprocess.DEVNULL)
        self._await_answer()

    def client(self) -> Redis:
        return Redis(unix_socket_path=str(self.socket), socket_timeout=10)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """In good order, with everything on disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 30
        with self.client() as client:
            while True:
                try:
                    if not client.info("persistence")["loading"]:
                        return
                except (RedisError, OSError):
                    if time.monotonic() > deadline:
                        raise
                time.sleep(0.002)  # between two questions; there is nothing else to wait on
