"""A Redis of the user's own beside an installation: any settings, killed, emptied, begun again from other data.

with OwnServer(folder, program, "appendonly yes") as own:
    site.file("config.toml", own.config(TEXT))     # [redis] url = "unix://…"
    own.client.flushall()
    own.kill(); own.start()
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from installation import Installation, until
from revops_lite.server.folder import LONGEST_SOCKET_PATH

DURABLE = ("appendonly yes", "appendfsync always", "maxmemory-policy noeviction")


class OwnServer:
    """`lines` of redis.conf; the folder is made. Nothing of it runs behind the `with` block."""

    def __init__(self, folder: Path, program: Path, *lines: str, port: int = 0) -> None:
        self.folder = folder
        self.program = program
        self.lines: Sequence[str] = lines or DURABLE
        self.port = port
        self.socket = folder / "s"
        assert len(str(self.socket)) <= LONGEST_SOCKET_PATH
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis(unix_socket_path=str(self.socket), socket_timeout=10)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def serve(self, site: Installation, *, allow_weak: bool = False) -> None:
        """Let an installation that is configured for the embedded server use this one."""
        path = site.root / "config.toml"
        head, _, tail = path.read_text("utf-8").partition("[redis]\n")
        rest = tail[tail.index("[", 1) :]
        weak = "allow_weak = true\n" if allow_weak else ""
        path.write_text(f'{head}[redis]\nurl = "{self.url}"\n{weak}{rest}', "utf-8")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        conf = self.folder / "redis.conf"
        always = [f"port {self.port}", f"unixsocket {self.socket}", f"dir {self.folder}", 'save ""']
        conf.write_text("\n".join([*always, *self.lines]) + "\n", "utf-8")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self.program, conf], stdout=log, stderr=log, start_new_session=True)
        until(self._ready, "the user's own server answers")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM: what it holds is on disk, where it keeps anything there."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return bool(self.client.ping()) and not self.client.info("persistence")["loading"]
        except (RedisError, OSError):
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.client.close()
