"""Tells a torn tail of an append-only file (a crash in mid-write: expected) from a damaged middle (never repaired).

The server itself cannot: a flipped bit in a length makes it read to the end of the file, and with
`aof-load-truncated yes` it then drops everything behind the flaw without a word to anybody. So it is first started
with `no`; when it stops at an unexpected end, this module looks at what would be cut off.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from msgspec import Struct

COMMAND = re.compile(rb"\r\n\*[0-9]+\r\n\$[0-9]+\r\n")
SELECT = b"*2\r\n$6\r\nSELECT\r\n"  # what follows the binary preamble that Redis 6.2 leaves after a rewrite
RDB_MAGIC = (b"REDIS", b"VALKEY")
END = re.compile(r"Unexpected end of file reading the append only file(?: (\S+\.aof))?")


class Tear(Struct, frozen=True):
    """Where the last whole command ends, and how many bytes stand behind it.

    `clean`: those bytes are at most one unfinished command, so nothing that was ever acknowledged is lost by
    dropping them (with durability "always").
    """

    path: Path
    offset: int
    lost: int
    clean: bool


class _Unfinished(Exception):
    """The file ends, or goes wrong, inside a command."""


def find_tear(folder: Path, log: str) -> Tear | None:
    """The tear that made the server stop with this log; None when it stopped for something else, or elsewhere."""
    said = END.search(log)
    path = last_file(folder)
    if said is None or path is None or said[1] not in (None, path.name):
        return None
    return examine(path)


def last_file(folder: Path) -> Path | None:
    """The file the server appended to last: the newest increment (Redis 7, Valkey), or the single file of 6.2."""
    increments = list((folder / "appendonlydir").glob("*.incr.aof"))
    if increments:
        return max(increments, key=_sequence)
    single = folder / "appendonly.aof"
    return single if single.is_file() else None


def examine(path: Path) -> Tear:
    """Look at the end of one append-only file, which is not changed."""
    size = path.stat().st_size
    if size == 0:
        return Tear(path, 0, 0, clean=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        offset = _last_good(data)
        # One unfinished command is a tear. A whole command behind the flaw means that the flaw is in the middle.
        return Tear(path, offset, size - offset, COMMAND.search(data, offset) is None)


def keep_tail(tear: Tear, into: Path) -> None:
    """Copy the bytes that the server is about to cut off."""
    with tear.path.open("rb") as file:
        file.seek(tear.offset)
        into.write_bytes(file.read())


def _last_good(data: mmap.mmap) -> int:
    """The offset behind the last command that can be read whole."""
    good = max(data.find(SELECT), 0) if data[:6].startswith(RDB_MAGIC) else 0
    data.seek(good)
    try:
        while _skip_command(data):
            good = data.tell()
    except _Unfinished:
        pass
    return good


def _skip_command(data: mmap.mmap) -> bool:
    line = data.readline()
    if not line:
        return False
    if line.startswith(b"#") and line.endswith(b"\n"):  # a time stamp, where somebody has turned them on
        return True
    for _ in range(_number(line, b"*")):
        length = _number(data.readline(), b"$")
        if len(data.read(length)) < length or data.read(2) != b"\r\n":
            raise _Unfinished
    return True


def _number(line: bytes, mark: bytes) -> int:
    if not (line.startswith(mark) and line.endswith(b"\r\n") and line[1:-2].isdigit()):
        raise _Unfinished
    return int(line[1:-2])


def _sequence(path: Path) -> int:
    found = re.search(r"\.(\d+)\.incr\.aof$", path.name)
    return int(found[1]) if found else -1
