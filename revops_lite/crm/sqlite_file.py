"""The embedded CRM's file: its connections, its transactions, and what SQLite's errors mean to a writer."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from revops_lite.errors import CrmError, CrmUnavailable, CrmUnknown

VERSION = 1  # of the schema; kept in the file as user_version

MENDS = {  # by SQLite's primary result code
    sqlite3.SQLITE_BUSY: "another program has kept it locked for too long; find it and end it",
    sqlite3.SQLITE_LOCKED: "another program has kept it locked for too long; find it and end it",
    sqlite3.SQLITE_READONLY: "it, or its folder, may not be written; grant this user the right to write there",
    sqlite3.SQLITE_CANTOPEN: "it, or its folder, may not be opened; grant this user the right to read and write there",
    sqlite3.SQLITE_PERM: "it may not be opened; grant this user the right to read and write it",
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_CORRUPT: "it is damaged; put a backup in its place",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; set [crm] path to another file, or move this one away",
    sqlite3.SQLITE_IOERR: "the disk fails or is away",
}


class SqliteFile:
    """Connections to one file, for any number of threads; other processes may use the file at the same time.

    A thread borrows a connection for one transaction. Readers never wait (WAL). Writers of this process queue at a
    lock, which is fair and wakes at once; only between processes does SQLite's own polling decide, for at most
    `patience` seconds. A transaction is on disk (synchronous=FULL) when its `with` block has ended.
    """

    def __init__(self, path: Path, indexes: Sequence[tuple[str, str]] = (), patience: float = 10.0) -> None:
        """Opens the file, and makes it (0600, in a 0700 folder) where it is missing. `indexes` are (name, SQL).

        Raises CrmUnavailable where that cannot be done.
        """
        self.path = path
        self._patience = patience
        self._turn = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        try:
            _make(path)
        except OSError as error:
            raise CrmUnavailable(
                f"{path}: cannot be made: {error.strerror}; set [crm] path to a file in a folder that may be written"
            ) from error
        with self._borrowed() as db, self._told():
            self._prepare(db, indexes)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection on which the whole file stands still. Raises CrmUnavailable."""
        with self._borrowed() as db, self._told():
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.rollback()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; an error inside undoes it. Raises CrmUnavailable (nothing is applied) or CrmUnknown."""
        with self._turn, self._borrowed() as db, self._told():
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            self._commit(db)

    def close(self) -> None:
        """Connections in use are closed when they come back; nothing can be borrowed from now on."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _commit(self, db: sqlite3.Connection) -> None:
        try:
            db.commit()
        except sqlite3.Error as error:
            db.close()  # whatever the disk did, this connection's view of it is not to be trusted
            raise CrmUnknown(f"{self.path}: nobody knows whether the write was kept: {error}") from error

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise CrmUnavailable(f"{self.path}: has been closed")
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect()
        try:
            yield db
        except BaseException:
            db.close()
            raise
        self._idle.append(db)
        if self._closed:
            self.close()

    def _connect(self) -> sqlite3.Connection:
        with self._told():
            db = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA synchronous = FULL")
            except BaseException:
                db.close()
                raise
            return db

    @contextmanager
    def _told(self) -> Iterator[None]:
        """No SQLite error leaves this class: none of those caught here has let anything be applied."""
        try:
            yield
        except sqlite3.Error as error:
            raise _unavailable(self.path, error) from error

    def _prepare(self, db: sqlite3.Connection, indexes: Sequence[tuple[str, str]]) -> None:
        busy = Retrying(  # the change to WAL does not wait for a lock by itself
            retry=retry_if_exception(_is_busy),
            wait=wait_fixed(0.02),
            stop=stop_after_delay(self._patience),
            reraise=True,
        )
        busy(db.execute, "PRAGMA journal_mode = WAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise CrmUnavailable(f"{self.path}: made by a newer revops-lite (schema {version}); upgrade this one")
        if version < VERSION:
            busy(db.executescript, resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
        known = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        for name, sql in indexes:
            if name not in known:
                busy(db.execute, sql)


def _make(path: Path) -> None:
    """An existing file is not touched: closing any handle on it would drop this process's SQLite locks."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the primary code; the rest is detail


def _is_busy(error: BaseException) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unavailable(path: Path, error: sqlite3.Error) -> CrmError:
    mend = MENDS.get(_code(error))
    return CrmUnavailable(f"{path}: {mend} ({error})" if mend else f"{path}: {error}")
