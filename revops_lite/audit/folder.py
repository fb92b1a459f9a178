"""The folder of the trail, `var/audit`: a file a month, the key, the anchors. Nobody else may enter it (0700).

    2026-01.jsonl    the lines of chain.py, by the month (UTC) of their stream ids
    key              64 hex digits (0600), made at the first use; without it nothing can be sealed or verified
    anchors.jsonl    the head of the chain as it was once a day and at each stop: {at why seq mac}

Whoever writes, or wants to know where the end is, holds the folder's lock (`flock`) meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from msgspec import Struct

from revops_lite.audit.chain import Head, Line, Raw, check, order, parse, seal, unfinished
from revops_lite.config import secret
from revops_lite.errors import AuditError

log = logging.getLogger("revops.audit")

MONTH = re.compile(r"\d{4}-\d{2}\.jsonl", re.ASCII)
CHUNK = 65_536
KEY_BYTES = 32
SLACK = 86_400.0  # seconds by which the clocks of an entry and of its stream id may differ
LAST_MOMENT = 253_402_300_799_000  # the end of the year 9999, in ms: a forged stream id may be later
ANCHORS = "anchors.jsonl"

LOCK_PATIENCE = 10.0  # seconds until whoever holds the folder counts as stuck; a write takes milliseconds


class Moved(Exception):
    """Somebody else has written meanwhile: `open` it again."""


class End(Struct, frozen=True):
    """Where the trail ends: the last whole line, and in which file what follows it stands (normally nothing)."""

    head: Head
    path: Path | None = None
    size: int = 0  # bytes of `path` that are whole lines
    fragment: bytes = b""


class Trail:
    """The sealer's hand on the files. One thread at a time; other processes may have theirs.

    Raises AuditError where a file is not what a sealer left there, OSError where the disk refuses.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder = folder
        self.key = key
        self._end: End | None = None

    def open(self) -> Head:
        """Find the end, and cut off what a killed write left unfinished there."""
        with locked(self.folder, write=True):
            end = find_end(self.folder)
            if end.fragment and end.path:
                end = self._mended(end, end.path)
            self._end = end
        return end.head

    def _mended(self, end: End, path: Path) -> End:
        whole = end.fragment.rstrip(b"\0") + b"\n"
        line = parse(whole)
        if line.head and next(check([whole], self.key, end.head)).problem is None:
            _write(path, end.size, whole)
            log.warning("%s: the last write was cut off before its line feed, which has been added", path)
            return End(line.head, path, end.size + len(whole))
        if not unfinished(end.fragment, end.head):
            raise AuditError(
                f"{path}: behind sequence {end.head.seq} (byte {end.size:,}) stands what no sealer wrote; "
                "see `revops audit verify`, keep a copy of the file, and cut it there"
            )
        _write(path, end.size, b"")
        log.warning("%s: the last write was cut off in sequence %d; it is written again", path, end.head.seq + 1)
        return End(end.head, path, end.size)

    def append(self, entries: Sequence[Raw], *, rewound: bool = False) -> Head:
        """Seal entries behind the end, on disk when this returns; one write and one fsync a month.

        `rewound`: they are the sealer's own words about a Redis that has lost entries.
        Raises Moved where the end is not where `open` or the last `append` left it; nothing is written then.
        """
        end, self._end = self._end, None
        if end is None:
            raise Moved
        with locked(self.folder, write=True):
            self._check(end)
            for path, lines, head in self._by_month(end, entries, rewound):
                size = end.size if path == end.path else 0
                _write(path, size, b"".join(lines))
                end = End(head, path, size + sum(map(len, lines)))
        self._end = end
        return end.head

    def _check(self, end: End) -> None:
        newest = months(self.folder)[-1:]
        if newest != ([end.path] if end.path else []) or (end.path and end.path.stat().st_size != end.size):
            raise Moved

    def _by_month(self, end: End, entries: Sequence[Raw], rewound: bool) -> Iterator[tuple[Path, list[bytes], Head]]:
        """Lines by file. A file that has been begun is never gone back behind, whatever the clock says."""
        path, lines, head = end.path, list[bytes](), end.head
        begun = path.stem if path is not None else ""
        for line, after in seal(end.head, entries, self.key, rewound=rewound):
            month = _month(after.id)
            if month > begun:
                if path is not None and lines:
                    yield path, lines, head
                path, lines, begun = self.folder / f"{month}.jsonl", [], month
            lines.append(line)
            head = after
        if path is not None and lines:
            yield path, lines, head

    def recent(self) -> set[tuple[str, int]]:
        """(stream id, hash of the entry) in the newest two files: among them is the newest that Redis still has."""
        lines = (line for path in months(self.folder)[-2:] for line in lines_of(path))
        return {(line.head.id, hash(line.entry)) for line in lines if line.head}

    def anchor(self, head: Head, why: str, now: float) -> None:
        """Note the head in a second file: a weaker witness than one elsewhere, but one more to be forged."""
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "why": why, "seq": head.seq, "mac": head.mac.decode()}) + "\n"
        with locked(self.folder, write=True):
            path = self.folder / ANCHORS
            size = path.stat().st_size if path.exists() else 0
            with path.open("rb") if size else open(os.devnull, "rb") as file:
                file.seek(max(0, size - 1))
                torn = file.read(1) not in (b"", b"\n")
            _write(path, size, (b"\n" if torn else b"") + line.encode())


# ---- reading ---------------------------------------------------------------------------------------------------


def months(folder: Path) -> list[Path]:
    """The files of the trail in their order; [] where there is no folder."""
    found = folder.iterdir() if folder.is_dir() else iter(())
    return sorted(path for path in found if MONTH.fullmatch(path.name))


def raw_lines(path: Path, size: int | None = None) -> Iterator[bytes]:
    """The lines of a file, up to `size` bytes of it; the last one may lack its line feed."""
    left = path.stat().st_size if size is None else size
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            if left <= 0:
                return
            yield line if len(line) <= left else line[:left]
            left -= len(line)


def reversed_lines(path: Path, piece: int = CHUNK) -> Iterator[bytes]:
    """The lines of a file, the last one first; `piece` bytes of it, and a line, are in memory at once."""
    rest, start = b"", path.stat().st_size
    with path.open("rb") as file:
        while start:
            size = min(piece, start)
            start -= size
            file.seek(start)
            first, *lines = BytesIO(file.read(size) + rest).readlines()
            rest = first if start else b""
            yield from reversed(lines if start else [first, *lines])


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file, unchecked."""
    return map(parse, raw_lines(path))


def entries(folder: Path) -> Iterator[tuple[int, str, bytes]]:
    """(seq, stream id, entry) of every readable line, oldest first."""
    for path in months(folder):
        for line in lines_of(path):
            if line.head:
                yield line.head.seq, line.head.id, line.entry


def newest_before(folder: Path, id_: str | None, since: float) -> Iterator[tuple[str, bytes]]:
    """(stream id, entry) of what was sealed before that stream id (None: all), newest first.

    Files that begin and end before `since` (epoch seconds) are not opened.
    """
    last = order(id_) if id_ else None
    first = datetime.fromtimestamp(max(0.0, since - SLACK), UTC).strftime("%Y-%m")
    for path in reversed(months(folder)):
        if path.stem < first:
            return
        for line in map(parse, reversed_lines(path)):
            if line.head and (not last or order(line.head.id) < last):
                yield line.head.id, line.entry


def find_end(folder: Path) -> End:
    """The end of the newest file that has a whole line; more than a line's beginning behind it is no end of ours."""
    fragment, behind = b"", None
    for path in reversed(months(folder)):
        size = path.stat().st_size
        line, rest = _last_line(path, size)
        if rest and behind:
            raise AuditError(
                f"{path}: its last line is not whole, but {behind.name} goes on; see `revops audit verify`"
            )
        if line:
            head = parse(line).head
            if head is None:
                raise AuditError(f"{path}: its last line is none of the trail; see `revops audit verify`")
            here = path if behind is None else behind
            return End(head, here, size - len(rest) if behind is None else 0, rest or fragment)
        behind, fragment = behind or path, fragment or rest
    return End(Head(), behind, 0, fragment)


def _last_line(path: Path, size: int) -> tuple[bytes, bytes]:
    """The last whole line of a file with its line feed, and what follows it."""
    data, start = b"", size
    with path.open("rb") as file:
        while start and data.count(b"\n") < 2:
            start = max(0, start - CHUNK)
            file.seek(start)
            data = file.read(size - start)
    whole, feed, rest = data.rpartition(b"\n")
    return whole.rpartition(b"\n")[2] + feed, rest


def anchors(folder: Path) -> list[dict[str, Any]]:
    """What `anchors.jsonl` says: {at why seq mac}; {"line": n} for a line that says nothing. A torn end is none."""
    path = folder / ANCHORS
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.exists() else [], 1):
        try:
            data = json.loads(line)
        except ValueError:
            data = None
        fits = isinstance(data, dict) and isinstance(data.get("seq"), int) and isinstance(data.get("mac"), str)
        found.append({**data, "line": number} if fits else {"line": number})
    return found


# ---- the key and the lock ----------------------------------------------------------------------------------------


def read_key(folder: Path, reference: str, root: Path, *, make: bool) -> bytes:
    """The key that `[audit] key` names, or the one in the folder; with `make`, a new one for a new trail.

    Raises CredentialError for one that cannot be used, AuditError where a trail is there and its key is not.
    """
    if reference:
        return secret(reference, root).encode()
    path = folder / "key"
    if not path.exists():
        if months(folder):
            raise AuditError(
                f"{path}: the key that the trail was sealed with is gone; put it back from a backup, or move {folder} "
                "away and start a new trail"
            )
        if not make:
            raise AuditError(f"{path}: nothing has been sealed here yet; `revops up` does")
        _make_key(path)
    return secret(f"file:{path}", root).encode()


def make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


@contextmanager
def locked(folder: Path, *, write: bool) -> Iterator[None]:
    """Alone with the folder (`write`), or together with others who only look."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(file, fcntl.LOCK_EX if write else fcntl.LOCK_SH, folder)
        yield
    finally:
        os.close(file)


def _lock(file: int, kind: int, folder: Path) -> None:
    """Raises AuditError where another process does not let go: it may have been stopped in the midst of a write."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                why = f"{folder} is held by another process that does not go on (a stopped `revops up`?); end that one"
                raise AuditError(why) from None
            time.sleep(0.01)


def _make_key(path: Path) -> None:
    """Whole or not at all, and never in the place of another."""
    make_folder(path.parent)
    draft = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
    _write(draft, 0, secrets.token_hex(KEY_BYTES).encode() + b"\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # somebody else was first
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _month(id_: str) -> str:
    return _month_of(min(order(id_)[0], LAST_MOMENT) // 3_600_000)


@lru_cache(maxsize=8)  # asked for every line
def _month_of(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m")


def _write(path: Path, size: int, data: bytes) -> None:
    """Make `data` what follows the first `size` bytes, on disk when this returns. Undone as far as can be on error."""
    new = not path.exists()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.ftruncate(file, size)
            os.lseek(file, size, os.SEEK_SET)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
