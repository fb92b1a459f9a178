"""What `revops up` begins before it has read its own libraries: the embedded server, and the first agent hosts."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from revops_lite.config import Settings
from revops_lite.errors import RevopsError
from revops_lite.fleet import Reserve, fleet_of
from revops_lite.server.lease import Lease, connect_or_start


class Ahead:
    """A context manager: what nobody has taken by its end is ended with it. So is all of it where a start fails."""

    def __init__(self, settings: Settings) -> None:
        self._thread = ThreadPoolExecutor(1, "server")
        self._lease: Future[Lease] | None = None
        if settings.redis.url == "embedded":
            self._lease = self._thread.submit(open_server, settings, "up")
        try:
            self.reserve = Reserve(fleet_of(settings, ""))
        except BaseException:
            self._end_server()
            raise

    def lease(self) -> Lease | None:
        """The server, once it answers: the caller's from now on. None where there is none of ours, or no more.

        Raises what `open_server` does.
        """
        lease, self._lease = self._lease, None
        return lease.result() if lease else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reserve.close()
        self._end_server()

    def _end_server(self) -> None:
        self._thread.shutdown()
        if self._lease and not self._lease.exception():
            self._lease.result().close()


def open_server(settings: Settings, role: Literal["up", "cli"]) -> Lease:
    """The installation's embedded server, started where nobody runs it. Raises ServerError and AnotherController."""
    if role == "up":
        _keep_private(settings.root / "var")
    return connect_or_start(settings.root / "var" / "redis", settings.redis.durability, role)


def _keep_private(folder: Path) -> None:
    """What lies in `var` is for nobody else's eyes, also where somebody made the folder before us."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise RevopsError(
            f"{folder} cannot be used: {error.strerror}. Mend: let it be a folder of this user"
        ) from error
