"""The embedded CRM: one SQLite file (`schema.sql`) that also keeps every change, ours and people's."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from revops_lite.crm import relations as links
from revops_lite.crm.sqlite_file import SqliteFile
from revops_lite.crm.values import (
    by_kind,
    check_names,
    check_text,
    fields_of,
    from_json,
    seconds,
    split,
    to_json,
)
from revops_lite.errors import CrmConflict, CrmError, CrmRefused, NotFound
from revops_lite.models import CrmChange, CrmRecord
from revops_lite.ports import CrmAbilities, CrmCall
from revops_lite.times import stamp
from revops_lite.values import same

OURS = "revops"
PERSON = "person"
IMPORT = "import"
ITSELF = ""  # the "field" of a change that made a record without fields

By = tuple[str, str, str | None]  # actor, source, write id

RECORD = "SELECT id, fields, created_at, updated_at, archived FROM records WHERE kind = ? AND id = ?"
RECORDS = """SELECT id, fields, created_at, updated_at FROM records
    WHERE kind = ? AND id IN (SELECT value FROM json_each(?)) AND NOT archived"""
KIND = "SELECT id, fields, created_at, updated_at FROM records WHERE kind = ? AND NOT archived ORDER BY id"
KINDS = "SELECT DISTINCT kind FROM records WHERE NOT archived ORDER BY kind"
# With max() SQLite takes `at` from the row that has it: the last edit. A later write of ours ends a person's say.
EDITED = """SELECT p.id, p.field, p.at, max(p.seq) FROM changes AS p
    WHERE p.source = 'person' AND p.field <> '' AND p.kind = ? AND p.id IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM changes AS ours WHERE ours.kind = p.kind AND ours.id = p.id
        AND ours.field = p.field AND ours.source = 'revops' AND ours.seq > p.seq)
    GROUP BY p.id, p.field"""
CHANGE = "INSERT INTO changes (kind, id, field, before, after, actor, source, write_id, at) VALUES (?,?,?,?,?,?,?,?,?)"
CHANGES = """SELECT seq, kind, id, field, after, actor, source, write_id, at FROM changes WHERE seq > ? ORDER BY seq"""
HISTORY = """SELECT seq, field, before, after, actor, source, write_id, at FROM changes
    WHERE kind = ? AND id = ? ORDER BY seq DESC LIMIT ?"""
FIRST = "SELECT min(seq) FROM changes WHERE kind = ? AND id = ?"
APPLIED = "SELECT 1 FROM changes WHERE write_id = ? AND kind = ? AND id = ? LIMIT 1"


class SqliteCrm:
    """Implements `ports.Crm` and `ports.BatchCrm`. Any number of threads and processes may use one file at once.

    Beyond the port it has the people's side: `create`, `edit`, `put` (imports), `archive` and `history`.
    """

    abilities = CrmAbilities(lock="strong", history="full", keyed=True, batch=500, echo="id")

    def __init__(
        self,
        path: Path,
        relations: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
        patience: float = 10.0,
    ) -> None:
        """`relations` are [crm.relations]; `patience` is how many seconds another process may keep the file locked.

        Raises ConfigError (relations) and CrmUnavailable (the file).
        """
        self._relations = links.parse(relations)
        self._clock = clock
        self._file = SqliteFile(path, links.indexes(self._relations), patience)
        with self._file.reading() as db:
            (self._name,) = db.execute("SELECT value FROM about WHERE name = 'file'").fetchone()

    # ---- reading

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        found = {}
        with self._file.reading() as db:
            for kind, ids in by_kind(list(records)).items():
                rows = db.execute(RECORDS, (kind, json.dumps(ids))).fetchall()
                found.update({record.record: record for record in _records(db, kind, rows)})
        return {record: found[record] for record in records if record in found}

    def related(self, records: Sequence[str], include: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        """As the port says; every asked record has every asked role, with () where nothing is related."""
        found: dict[str, dict[str, tuple[str, ...]]] = {record: dict.fromkeys(include, ()) for record in records}
        with self._file.reading() as db:
            for kind, ids in by_kind(list(records)).items():
                for role in include:
                    for id_, names in links.follow(db, self._relations, kind, ids, role).items():
                        found[f"{kind}:{id_}"][role] = names
        return found

    def applied(self, record: str, write_id: str) -> bool:
        kind, id_ = split(record)
        with self._file.reading() as db:
            return _is_applied(db, kind, id_, write_id)

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        """As the port says: one change per call on a record, so that a page's end never decides what a change is.

        A cursor of another file (it was deleted and made anew) starts from the beginning.
        """
        name, _, position = (cursor or "").partition(":")
        after = int(position) if name == self._name and position.isdigit() else 0
        found: list[CrmChange] = []
        with self._file.reading() as db:
            for rows in _calls(db.execute(CHANGES, (after,))):
                if len(found) == limit:
                    break
                found.append(self._change(db, rows))
                after = rows[-1][0]
        return found, f"{self._name}:{after}"

    def kinds(self) -> list[str]:
        """Those of which it holds a record, by name."""
        with self._file.reading() as db:
            return [kind for (kind,) in db.execute(KINDS)]

    def sweep(self, kind: str, where: Mapping[str, Any], page: int) -> Iterator[list[CrmRecord]]:
        """By id, all from one moment; records whose field is missing equal None. Close it when you stop early."""
        with self._file.reading() as db:
            rows = db.execute(KIND, (kind,))
            taken: list[Any] = []
            for row in rows:
                if _matches(row[1], where, f"{kind}:{row[0]}"):
                    taken.append(row)
                if len(taken) == page:
                    yield _records(db, kind, taken)
                    taken = []
            if taken:
                yield _records(db, kind, taken)

    def history(self, record: str, limit: int = 50) -> list[dict[str, Any]]:
        """The newest changes first: {seq field before after actor source write_id at}."""
        kind, id_ = split(record)
        names = ("seq", "field", "before", "after", "actor", "source", "write_id", "at")
        with self._file.reading() as db:
            rows = [dict(zip(names, row, strict=True)) for row in db.execute(HISTORY, (kind, id_, limit))]
        return [
            {**row, "before": from_json(row["before"], record), "after": from_json(row["after"], record)}
            for row in rows
        ]

    # ---- writing: ours

    def write(
        self, record: str, values: Mapping[str, Any], expected: Mapping[str, Any], write_id: str, actor: str
    ) -> None:
        (outcome,) = self.write_many([CrmCall(record, values, expected, write_id, actor)])
        if outcome is not None:
            raise outcome

    def write_many(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        """All calls in one transaction: one wait for the disk serves them all."""
        try:
            with self._file.writing() as db:
                return [self._attempt(db, call) for call in calls]
        except CrmError as error:
            return [error] * len(calls)

    def _attempt(self, db: sqlite3.Connection, call: CrmCall) -> CrmError | None:
        """One call. What refuses it stands before its first statement that writes, or is that statement."""
        try:
            check_text(call.write_id, call.actor)
            kind, id_ = split(call.record)
            if _is_applied(db, kind, id_, call.write_id):
                return None
            row = db.execute(RECORD, (kind, id_)).fetchone()
            if row is None or row[4]:
                return CrmRefused(f"{call.record}: the CRM does not hold it{' any more' if row else ''}")
            fields = fields_of(row[1], call.record)
            if any(not same(fields.get(name), value) for name, value in call.expected.items()):
                current = {name: fields.get(name) for name in [*call.expected, *call.values]}
                return CrmConflict(f"{call.record}: the CRM holds another value than expected", current)
            if call.values:
                self._store(db, (kind, id_), row, call.values, (call.actor, OURS, call.write_id))
        except CrmError as error:
            return error
        return None

    # ---- writing: people and imports

    def create(self, kind: str, id: str, fields: Mapping[str, Any], actor: str = PERSON, source: str = PERSON) -> None:
        """Raises CrmRefused where the record exists, or existed until it was archived."""
        kind, id_ = split(f"{kind}:{id}")
        with self._file.writing() as db:
            if db.execute(RECORD, (kind, id_)).fetchone():
                raise CrmRefused(f"{kind}:{id_}: the CRM holds such a record already, or has archived it")
            self._insert(db, kind, id_, fields, (actor, source, None))

    def edit(self, record: str, values: Mapping[str, Any], actor: str, source: str = PERSON) -> dict[str, Any]:
        """Set fields, None to clear; returns those that were changed. Raises NotFound."""
        kind, id_ = split(record)
        with self._file.writing() as db:
            row = db.execute(RECORD, (kind, id_)).fetchone()
            if row is None or row[4]:
                raise NotFound(f"{record}: the CRM does not hold it")
            fields = fields_of(row[1], record)
            changed = {name: value for name, value in values.items() if not same(fields.get(name), value)}
            if changed:
                self._store(db, (kind, id_), row, changed, (actor, source, None))
        return changed

    def put(
        self, kind: str, rows: Iterable[tuple[str, Mapping[str, Any]]], actor: str, source: str = IMPORT
    ) -> list[str]:
        """Create or update (id, fields) in one transaction: "created", "updated", "unchanged" or "archived" for each.

        Fields that a row does not name stay. Archived records stay as they are.
        """
        with self._file.writing() as db:
            return [self._put(db, kind, id_, fields, (actor, source, None)) for id_, fields in rows]

    def archive(self, record: str, actor: str = PERSON, source: str = PERSON) -> None:
        """Nothing finds the record any more, its history stays. Raises NotFound."""
        kind, id_ = split(record)
        with self._file.writing() as db:
            row = db.execute(RECORD, (kind, id_)).fetchone()
            if row is None or row[4]:
                raise NotFound(f"{record}: the CRM does not hold it")
            at = self._later(row)
            db.execute("UPDATE records SET archived = 1, updated_at = ? WHERE kind = ? AND id = ?", (at, kind, id_))
            db.execute(CHANGE, (kind, id_, "archived", "false", "true", actor, source, None, at))

    def close(self) -> None:
        self._file.close()

    # ---- inside a transaction

    def _put(self, db: sqlite3.Connection, kind: str, id_: str, fields: Mapping[str, Any], by: By) -> str:
        row = db.execute(RECORD, (kind, id_)).fetchone()
        if row is None:
            self._insert(db, kind, id_, fields, by)
            return "created"
        if row[4]:
            return "archived"
        held = fields_of(row[1], f"{kind}:{id_}")
        changed = {name: value for name, value in fields.items() if not same(held.get(name), value)}
        if changed:
            self._store(db, (kind, id_), row, changed, by)
        return "updated" if changed else "unchanged"

    def _insert(self, db: sqlite3.Connection, kind: str, id_: str, fields: Mapping[str, Any], by: By) -> None:
        record, at = f"{kind}:{id_}", stamp(self._clock())
        check_names(record, *fields)
        kept = {name: value for name, value in fields.items() if value is not None}
        after = {name: to_json(value, f"{record}.{name}") for name, value in kept.items()}
        after = after or {ITSELF: to_json(id_, record)}
        new = (kind, id_, to_json(kept, record), at, at)
        _execute(db, "INSERT INTO records (kind, id, fields, created_at, updated_at) VALUES (?,?,?,?,?)", new, record)
        db.executemany(CHANGE, [(kind, id_, name, "null", value, *by, at) for name, value in after.items()])

    def _store(
        self,
        db: sqlite3.Connection,
        key: tuple[str, str],
        row: Any,
        values: Mapping[str, Any],
        by: By,
    ) -> None:
        """Give an existing record new values: all of them, or an error before the first change."""
        record, at = ":".join(key), self._later(row)
        check_names(*values)
        old = fields_of(row[1], record)
        new = {name: value for name, value in {**old, **values}.items() if value is not None}
        rows = [
            (*key, name, to_json(old.get(name), record), to_json(value, f"{record}.{name}"), *by, at)
            for name, value in values.items()
        ]
        given = (to_json(new, record), at, *key)
        _execute(db, "UPDATE records SET fields = ?, updated_at = ? WHERE kind = ? AND id = ?", given, record)
        db.executemany(CHANGE, rows)

    def _later(self, row: Any) -> str:
        """Now, but after the record's last change: two calls on it never carry the same time."""
        return stamp(max(self._clock(), seconds(row[3], row[0]) + 0.001))

    def _change(self, db: sqlite3.Connection, rows: list[Any]) -> CrmChange:
        seq, kind, id_, _, _, actor, source, write_id, at = rows[0]
        record = f"{kind}:{id_}"
        created = (seq,) == db.execute(FIRST, (kind, id_)).fetchone()
        return CrmChange(
            record=record,
            created=created,
            at=seconds(at, record),
            fields={row[3]: from_json(row[4], record) for row in rows if row[3] != ITSELF},
            actor=IMPORT if source == IMPORT else actor,
            write_ids=(write_id,) if source == OURS and write_id else (),
            key=f"{self._name}-{seq}-{rows[-1][0]}",
            person=source == PERSON,
        )


def _records(db: sqlite3.Connection, kind: str, rows: Sequence[Any]) -> list[CrmRecord]:
    """A field that a person has cleared is None here: it is known to be empty. Other missing fields are left out."""
    edited: dict[str, dict[str, float]] = {}
    for id_, field, at, _ in db.execute(EDITED, (kind, json.dumps([row[0] for row in rows]))):
        edited.setdefault(id_, {})[field] = seconds(at, f"{kind}:{id_}.{field}")
    found = []
    for id_, text, created_at, updated_at in rows:
        record, by_people = f"{kind}:{id_}", edited.get(id_, {})
        values = fields_of(text, record)
        values.update(dict.fromkeys(by_people.keys() - values.keys()))
        times = seconds(created_at, record), seconds(updated_at, record)
        found.append(CrmRecord(kind, id_, values, *times, edited=by_people))
    return found


def _calls(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Rows of `changes`, grouped as they were made: one call on one record each."""
    taken: list[Any] = []
    for row in rows:
        if taken and (row[1:3], row[5:]) != (taken[-1][1:3], taken[-1][5:]):
            yield taken
            taken = []
        taken.append(row)
    if taken:
        yield taken


def _matches(text: str, where: Mapping[str, Any], record: str) -> bool:
    fields = fields_of(text, record) if where else {}
    return all(same(fields.get(name), value) for name, value in where.items())


def _is_applied(db: sqlite3.Connection, kind: str, id_: str, write_id: str) -> bool:
    return db.execute(APPLIED, (write_id, kind, id_)).fetchone() is not None


def _execute(db: sqlite3.Connection, sql: str, given: tuple[str, ...], record: str) -> None:
    """The file checks what it is given: SQLite's own JSON functions must be able to read it."""
    try:
        db.execute(sql, given)
    except sqlite3.IntegrityError as error:
        raise CrmRefused(f"{record}: not values that can be stored (nested too deep?)") from error
