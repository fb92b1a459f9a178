"""A CRM in memory, as strict as the port says and nothing more. For tests of what uses a CRM."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from revops_lite.errors import CrmConflict, CrmError, CrmRefused
from revops_lite.models import CrmChange, CrmRecord
from revops_lite.ports import CrmAbilities, CrmCall


class MemoryCrm:
    """Records in a dict, changes in a list, one lock around everything. Values go in and out as JSON."""

    abilities = CrmAbilities(lock="strong", history="full", keyed=True, batch=100, echo="id")

    def __init__(self, relations: Mapping[str, str], clock: Callable[[], float]) -> None:
        self.relations = [(*key.split(".", 1), target) for key, target in relations.items()]
        self.clock = clock
        self.lock = threading.RLock()
        self.records: dict[str, CrmRecord] = {}
        self.gone: set[str] = set()
        self.log: list[tuple[CrmChange, str]] = []  # (change, source)

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        with self.lock:
            return {name: self._out(self.records[name]) for name in records if self._holds(name)}

    def related(self, records: Sequence[str], include: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        with self.lock:
            return {
                name: {role: tuple(dict.fromkeys(self._related(name, role))) for role in include} for name in records
            }

    def write(
        self, record: str, values: Mapping[str, Any], expected: Mapping[str, Any], write_id: str, actor: str
    ) -> None:
        with self.lock:
            if self.applied(record, write_id):
                return
            if not self._holds(record):
                raise CrmRefused(f"{record}: not held")
            held = self.records[record].values
            if any(json.dumps(held.get(name)) != json.dumps(value) for name, value in expected.items()):
                raise CrmConflict(current={name: held.get(name) for name in [*expected, *values]})
            self._set(record, values, actor, "revops", write_id)

    def write_many(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        outcomes: list[CrmError | None] = []
        for call in calls:
            try:
                self.write(call.record, call.values, call.expected, call.write_id, call.actor)
                outcomes.append(None)
            except CrmError as error:
                outcomes.append(error)
        return outcomes

    def applied(self, record: str, write_id: str) -> bool:
        return any(change.record == record and write_id in change.write_ids for change, _ in self.log)

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        with self.lock:
            start = int(cursor or 0)
            found = [change for change, _ in self.log[start : start + limit]]
            return found, str(start + len(found))

    def sweep(self, kind: str, where: Mapping[str, Any], page: int) -> Iterator[list[CrmRecord]]:
        with self.lock:
            names = sorted(name for name in self.records if self._holds(name) and name.startswith(kind + ":"))
            found = [self._out(self.records[name]) for name in names]
        wanted = json.dumps(dict(where), sort_keys=True)
        found = [one for one in found if json.dumps({f: one.values.get(f) for f in where}, sort_keys=True) == wanted]
        for start in range(0, len(found), page):
            yield found[start : start + page]

    def close(self) -> None:
        self.records.clear()

    # ---- the people's side

    def create(
        self, kind: str, id: str, fields: Mapping[str, Any], actor: str = "person", source: str = "person"
    ) -> None:
        name, now = f"{kind}:{id}", self.clock()
        with self.lock:
            if name in self.records:
                raise CrmRefused(f"{name}: exists")
            self.records[name] = CrmRecord(kind, id, {}, now, now)
            self._set(name, fields, actor, source, None, created=True)

    def edit(self, record: str, values: Mapping[str, Any], actor: str, source: str = "person") -> None:
        with self.lock:
            self._set(record, values, actor, source, None)

    def archive(self, record: str) -> None:
        with self.lock:
            self.gone.add(record)
            self._log(record, {"archived": True}, "person", "person", None, False)

    # ---- inside

    def _holds(self, name: str) -> bool:
        return name in self.records and name not in self.gone

    def _set(
        self, name: str, values: Mapping[str, Any], actor: str, source: str, write_id: str | None, created: bool = False
    ) -> None:
        try:
            given = json.loads(json.dumps(dict(values), allow_nan=False))
        except ValueError as error:
            raise CrmRefused(f"{name}: {error}") from error
        old, now = self.records[name], self.clock()
        new = {field: value for field, value in {**old.values, **given}.items() if value is not None}
        self.records[name] = CrmRecord(old.kind, old.id, new, old.created_at, now)
        self._log(name, given, actor, source, write_id, created)

    def _log(
        self, name: str, given: dict[str, Any], actor: str, source: str, write_id: str | None, created: bool
    ) -> None:
        ours = (write_id,) if write_id else ()
        shown = "import" if source == "import" else actor
        change = CrmChange(name, created, self.clock(), given, shown, ours, key=f"change-{len(self.log)}")
        self.log.append((change, source))

    def _out(self, record: CrmRecord) -> CrmRecord:
        edited: dict[str, float] = {}
        for change, source in self.log:
            for field in change.fields if change.record == record.record else ():
                if source == "person":
                    edited[field] = change.at
                elif source == "revops":
                    edited.pop(field, None)
        values = {**dict.fromkeys(edited), **json.loads(json.dumps(record.values))}
        return CrmRecord(record.kind, record.id, values, record.created_at, record.updated_at, edited)

    def _related(self, name: str, role: str) -> Iterator[str]:
        kind, _, id_ = name.partition(":")
        for source, field, target in self.relations:
            singular, plural = {source, target}, {_plural(source), _plural(target)}
            own = source == target
            if source == kind and role in {target, *(() if own else (_plural(target),))} and self._holds(name):
                there = f"{target}:{self.records[name].values.get(field)}"
                if self._holds(there):
                    yield there
            if target == kind and role in {_plural(source), *(() if own else (source,))} and role in singular | plural:
                for record in self.records.values():
                    if record.kind == source and str(record.values.get(field)) == id_ and self._holds(record.record):
                        yield record.record


def _plural(kind: str) -> str:
    return kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
