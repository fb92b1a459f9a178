"""An installation on a Redis of its own (not the embedded one), which can be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from installation import Installation
from revops_lite.server.process import EmbeddedServer

REPOSITORY = Path(__file__).resolve().parents[2]


class Shared(Installation):
    """`server` is started here and has to be stopped by whoever made it. `at`: another socket to reach it by."""

    def __init__(self, root: Path, server: EmbeddedServer, at: Path | None = None) -> None:
        folder = str(Path(__file__).parent)
        super().__init__(root, {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), folder])})
        self.server = server
        self._at = at or server.socket

    @property
    def address(self) -> str:
        return f"unix://{self.server.socket}"

    def shared(self) -> None:
        """The configuration names the server instead of the embedded one."""
        path = self.root / "config.toml"
        _, _, rest = path.read_text("utf-8").partition('durability = "')
        _, _, rest = rest.partition("\n")
        self.file("config.toml", f'timezone = "Europe/Berlin"\n[redis]\nurl = "unix://{self._at}"\n{rest}')

    def kill_server(self) -> None:
        """SIGKILL, and it is started again."""
        assert self.server.pid
        os.kill(self.server.pid, signal.SIGKILL)
        assert self.server.wait(10)
        self.server.start()
