"""What a command that only reads needs of an installation: its Redis, as a guest of `revops up`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from revops_lite import checked
from revops_lite.errors import BusError
from revops_lite.server.folder import socket_url
from revops_lite.server.holder import holder_of
from revops_lite.store import version
from revops_lite.store.archive import ARCHIVE, Archive
from revops_lite.store.client import Clients, bus_errors
from revops_lite.store.views import Views


class Look:
    """Redis of an installation. Where `up` runs with this very configuration, nothing else is read or checked; in any
    other case the installation is opened as every command does it, and what that raises is raised here."""

    def __init__(self, config: Path) -> None:
        self._stack = ExitStack()
        self.clients = self._guest(config.expanduser().absolute()) or self._opened(config)
        archive = Archive(config.expanduser().absolute().parent / ARCHIVE)
        self._stack.callback(archive.close)
        self.views = Views(self.clients.commands, archive)

    def _guest(self, config: Path) -> Clients | None:
        holder = holder_of(config.parent / "var" / "redis") if checked.remembered(config) else None
        if holder is None or holder.role != "up":
            return None
        clients = self._stack.enter_context(Clients(socket_url(holder.socket)))
        try:
            with bus_errors(clients.url):
                version.admit(clients.commands, upgrades=False)
        except BusError:  # it is starting, or stopping: whoever opens the installation waits for that
            self._stack.close()
            return None
        return clients

    def _opened(self, config: Path) -> Clients:
        from revops_lite.installation import Installation

        return self._stack.enter_context(Installation(config, "cli")).clients

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
