"""`revops crm import|view|set|export`: the embedded CRM by hand. All return data; `shown` prints a record."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from msgspec.structs import asdict

from revops_lite.clean import clean
from revops_lite.crm.imports import export_csv, import_csv
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import NotFound, UsageError
from revops_lite.times import stamp

SCHEMA = 1
HISTORY = 20  # changes shown with a record


def import_(
    crm: SqliteCrm, file: Path, kind: str, id_column: str, maps: Sequence[str] = (), actor: str | None = None
) -> dict[str, Any]:
    """{schema file kind created updated unchanged skipped problems[]}. `maps` are "column=field".

    Raises NotFound, UsageError and CrmUnavailable.
    """
    mapping = pairs(maps, "--map", "column=field")
    result = asdict(import_csv(crm, file, kind, id_column, mapping, actor or user()))
    return {"schema": SCHEMA, "file": str(file), "kind": kind, **result, "problems": list(result["problems"])}


def view(crm: SqliteCrm, record: str) -> dict[str, Any]:
    """{schema record kind id values{} created_at updated_at edited{field: time} changes[]}. Raises NotFound.

    `edited` has the fields that a person changed last; `changes` are the newest 20, newest first.
    """
    _check_name(record)
    found = crm.read([record]).get(record)
    if found is None:
        raise NotFound(f"{record}: the CRM does not hold it")
    return {
        "schema": SCHEMA,
        "record": record,
        "kind": found.kind,
        "id": found.id,
        "values": dict(found.values),
        "created_at": stamp(found.created_at),
        "updated_at": stamp(found.updated_at),
        "edited": {field: stamp(at) for field, at in found.edited.items()},
        "changes": crm.history(record, HISTORY),
    }


def set_(
    crm: SqliteCrm, record: str, assignments: Sequence[str], actor: str | None = None, create: bool = False
) -> dict[str, Any]:
    """A person's edit: {schema record created changed{field: value}}. `assignments` are "field=value".

    A value is JSON where it is valid JSON (`amount=5`, `closed=true`, `owner=null` clears), else text. Raises
    NotFound for a record that is not there, unless `create` says to make it; UsageError; CrmRefused.
    """
    _check_name(record)
    values = {field: parsed(text) for field, text in pairs(assignments, "set", "field=value").items()}
    if not values and not create:
        raise UsageError(f"set {record}: nothing to set; write field=value")
    who = actor or user()
    try:
        changed = crm.edit(record, values, who)
    except NotFound as error:
        if not create:
            raise NotFound(f"{error}; --create makes it") from error
        kind, _, id_ = record.partition(":")
        crm.create(kind, id_, values, who)
        return {"schema": SCHEMA, "record": record, "created": True, "changed": values}
    return {"schema": SCHEMA, "record": record, "created": False, "changed": changed}


def export(crm: SqliteCrm, kind: str | None, out: TextIO) -> dict[str, Any]:
    """All records of a kind, or of all kinds, as CSV into `out` (open with newline=""): {schema kind exported}."""
    kinds = [kind] if kind else crm.kinds()
    return {"schema": SCHEMA, "kind": kind, "exported": export_csv(crm, kinds, out)}


def shown(data: Mapping[str, Any]) -> list[str]:
    """The lines of a `view` for people, clean for a terminal."""
    width = max((len(field) for field in data["values"]), default=0)
    lines = [f"{data['record']}  created {data['created_at']}  updated {data['updated_at']}"]
    for field, value in data["values"].items():
        by = f"   (a person, {data['edited'][field]})" if field in data["edited"] else ""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append(f"  {field:<{width}}  {text}{by}")
    return [clean(line) for line in lines]


def parsed(text: str) -> Any:
    """The JSON value of `text`, or `text` itself where it is none. NaN and Infinity are text."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def user() -> str:
    """The name of whoever runs this command; their number where the system has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _no_number(name: str) -> None:
    raise ValueError(name)


def pairs(words: Sequence[str], option: str, form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} {word!r}: write {form}")
        if name in found:
            raise UsageError(f"{option}: {name} is given twice")
        found[name] = value
    return found


def _check_name(record: str) -> None:
    kind, _, id_ = record.partition(":")
    if not (kind and id_):
        raise UsageError(f"{record!r} names no record; write KIND:ID, as in lead:42")
