"""Documents that have come to their end, in a file: Redis need not hold them in memory, and nobody has to miss them.

A document is on disk here before it leaves Redis, and is back in Redis before it changes again. So what Redis holds is
what counts, and a copy here of what stands there is an old one. Only the controller's process writes; any may read.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from revops_lite.errors import BusError
from revops_lite.models import Key
from revops_lite.store import codec, keys

SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    key TEXT PRIMARY KEY,    -- kind:id
    kind TEXT NOT NULL,
    at REAL NOT NULL,        -- by which lists are sorted, as in the index in Redis
    expires REAL NOT NULL,   -- epoch seconds
    value BLOB NOT NULL      -- JSON: the bytes in Redis; of a hash, its fields
);
CREATE INDEX IF NOT EXISTS document_by_time ON document (kind, at);
"""
LIFETIMES = {**keys.DOC_TTL, "context": keys.CONTEXT_TTL}  # seconds
ARCHIVE = "var/archive.sqlite3"  # in the folder of config.toml
AT_ONCE = 500  # variables of one statement
PATIENCE = 5.0  # seconds for another process's write
NAME = b"r"  # of a context's fields, the one that is no JSON
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
LAST = "\U0010ffff"  # behind every other character


class Row(Struct, frozen=True):
    """One document as it lay in Redis: a string, or the fields of a hash."""

    kind: str
    id: str
    at: float
    value: bytes | dict[bytes, bytes]

    @property
    def key(self) -> Key:
        return self.kind, self.id

    def document(self) -> Any:
        return codec.load(self.kind, self.value) if isinstance(self.value, bytes) else codec.read_context(self.value)


class Archive:
    """One file, made at the first write. Every method raises BusError where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _Connection(path)  # two of them: whoever reads does not wait for the disk
        self._writer = _Connection(path)

    def find(self, wanted: Sequence[Key]) -> dict[Key, Row]:
        """Those of the documents that are here."""
        found: dict[Key, Row] = {}
        for start in range(0, len(wanted), AT_ONCE):
            some = [f"{kind}:{id_}" for kind, id_ in wanted[start : start + AT_ONCE]]
            for row in self._rows(f"key IN ({','.join('?' * len(some))})", some):
                found[row.key] = row
        return found

    def newest(self, kind: str) -> Iterator[tuple[float, str]]:
        """Time and id of all of a kind, newest first, in pages."""
        at, key = float("inf"), ""
        while True:
            page = self._ask(
                "SELECT at, key FROM document WHERE kind = ? AND (at, key) < (?, ?) ORDER BY at DESC, key DESC LIMIT ?",
                (kind, at, key, AT_ONCE),
            )
            yield from ((at, key.partition(":")[2]) for at, key in page)
            if len(page) < AT_ONCE:
                return
            at, key = page[-1]

    def beginning(self, kind: str, prefix: str) -> list[str]:
        """The ids of a kind that begin so."""
        first = f"{kind}:{prefix}"
        rows = self._ask("SELECT key FROM document WHERE key >= ? AND key < ?", (first, first + LAST))
        return [key.partition(":")[2] for (key,) in rows]

    def put(self, rows: Iterable[Row], now: float) -> None:
        """Keep documents for as long as Redis would have from now on; they are on disk when this returns."""
        lines = ((f"{r.kind}:{r.id}", r.kind, r.at, now + LIFETIMES[r.kind], _packed(r.value)) for r in rows)
        words = "INSERT OR REPLACE INTO document (key, kind, at, expires, value) VALUES (?, ?, ?, ?, ?)"
        self._writer.do(lambda file: file.executemany(words, lines))

    def expire(self, now: float) -> None:
        """Forget what has served its time."""
        ends = [(kind, now - lifetime, now) for kind, lifetime in LIFETIMES.items()]
        words = "DELETE FROM document WHERE kind = ? AND at < ? AND expires < ?"  # by time first: that has an index
        if self.path.exists():
            self._writer.do(lambda file: file.executemany(words, ends))

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _rows(self, where: str, values: Sequence[Any]) -> list[Row]:
        found = self._ask(f"SELECT kind, key, at, value FROM document WHERE {where}", values)
        return [Row(kind, key.partition(":")[2], at, _unpacked(kind, value)) for kind, key, at, value in found]

    def _ask(self, words: str, values: Sequence[Any]) -> list[Any]:
        """Nothing, where nothing has ever been put here."""
        return self._reader.do(lambda file: file.execute(words, values).fetchall()) if self.path.exists() else []


class _Connection:
    """One for all threads, which wait for each other; opened by the first who needs it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self._lock = threading.Lock()

    def do(self, act: Callable[[Any], Any]) -> Any:
        """In a transaction."""
        # By its name: a command that finds all it wants in Redis starts sooner without.
        sqlite3 = import_module("sqlite3")
        with self._lock:
            try:
                if self._file is None:
                    self._file = self._opened(sqlite3)
                with self._file:
                    return act(self._file)
            except sqlite3.Error as error:
                mend = "make room if the disk is full; else stop `up` and put a backup of var/ in its place"
                raise BusError(
                    f"{self._path}: documents of ended runs are out of reach: {error}. Mend: {mend}"
                ) from error

    def _opened(self, sqlite3: Any) -> Any:
        file = sqlite3.connect(self._path, timeout=PATIENCE, check_same_thread=False)
        weakref.finalize(self, file.close).atexit = False
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.executescript(SCHEMA)
        return file

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def _packed(value: bytes | dict[bytes, bytes]) -> bytes:
    """A hash as one JSON object: all its fields but the record's name are JSON already."""
    if isinstance(value, bytes):
        return value
    return codec.dump(
        {name.decode(): Raw(codec.dump(raw.decode()) if name == NAME else raw) for name, raw in value.items()}
    )


def _unpacked(kind: str, value: bytes) -> bytes | dict[bytes, bytes]:
    if kind != "context":
        return value
    fields = {name.encode(): bytes(raw) for name, raw in _FIELDS.decode(value).items()}
    return {**fields, NAME: str(codec.plain(fields[NAME])).encode()}
