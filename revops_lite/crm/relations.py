"""`[crm.relations]` over the embedded CRM's file: which field points at which kind, followed both ways."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from revops_lite.errors import ConfigError

Links = list[tuple[str, str]]  # id -> id, in the order in which agents shall see them


class Relation(Struct, frozen=True):
    """A field of `source` holds the id of a `target`: "lead.company_id" = "company"."""

    source: str
    field: str
    target: str


def parse(relations: Mapping[str, str]) -> tuple[Relation, ...]:
    """Raises ConfigError for a key that is no "kind.field"."""
    found = []
    for key, target in relations.items():
        source, _, field = key.partition(".")
        if not (source and field and target) or '"' in key or not (key + target).isprintable():
            raise ConfigError(f'[crm.relations] "{key}" = "{target}": write "kind.field" = "kind" of plain names')
        found.append(Relation(source, field, target))
    return tuple(found)


def plural(kind: str) -> str:
    """ "activities" of "activity", "contacts" of "contact"."""
    return kind[:-1] + "ies" if kind.endswith("y") else kind + "s"


def indexes(relations: Iterable[Relation]) -> list[tuple[str, str]]:
    """(name, SQL) of an index per relation: with it the file finds who points at a record without reading all."""
    made = []
    for relation in relations:
        name = f"related {relation.source}.{relation.field}"
        only = f"WHERE kind = {_text(relation.source)}"
        made.append((name, f'CREATE INDEX IF NOT EXISTS "{name}" ON records (kind, {_pointer(relation)}) {only}'))
    return made


def follow(
    db: sqlite3.Connection, relations: Sequence[Relation], kind: str, ids: Sequence[str], role: str
) -> dict[str, tuple[str, ...]]:
    """id of a record of `kind` -> names of its related records in `role`, each once.

    The word for the pointing kind or its plural finds who points here; the word for the target kind or its plural
    follows the field. Between records of one kind the singular follows and the plural finds.
    """
    found: dict[str, dict[str, None]] = {id_: {} for id_ in ids}
    for relation in relations:
        own = relation.source == relation.target
        if relation.source == kind and role in ({relation.target} if own else words(relation.target)):
            for here, there in _targets(db, relation, ids):
                found[here][f"{relation.target}:{there}"] = None
        if relation.target == kind and role in (words(relation.source) - ({relation.source} if own else set())):
            for here, there in _sources(db, relation, ids):
                found[here][f"{relation.source}:{there}"] = None
    return {id_: tuple(names) for id_, names in found.items()}


def words(kind: str) -> set[str]:
    """What a workflow may call records of a kind."""
    return {kind, plural(kind)}


def _targets(db: sqlite3.Connection, relation: Relation, ids: Sequence[str]) -> Links:
    pointer = _pointer(relation, "here.")
    sql = (
        f"SELECT here.id, there.id FROM records AS here CROSS JOIN records AS there"
        f" ON there.kind = ? AND there.id = {pointer} AND NOT there.archived"
        " WHERE here.kind = ? AND here.id IN (SELECT value FROM json_each(?)) AND NOT here.archived"
    )
    return db.execute(sql, (relation.target, relation.source, json.dumps(ids))).fetchall()


def _sources(db: sqlite3.Connection, relation: Relation, ids: Sequence[str]) -> Links:
    """Oldest first. The kind stands in the SQL itself, or SQLite could not tell that the index holds the answer."""
    sql = (
        f"SELECT {_pointer(relation)}, id FROM records"
        f" WHERE kind = {_text(relation.source)} AND {_pointer(relation)} IN (SELECT value FROM json_each(?))"
        " AND NOT archived ORDER BY rowid"
    )
    return db.execute(sql, (json.dumps(ids),)).fetchall()


def _pointer(relation: Relation, table: str = "") -> str:
    """The id in the field, as text: a CSV's column of numbers points at ids, too."""
    path = _text(f'$."{relation.field}"')
    return f"CAST(json_extract({table}fields, {path}) AS TEXT)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
