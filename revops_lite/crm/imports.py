"""CSV into the embedded CRM and out of it: any CRM's export is taken as it is."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from msgspec import Struct

from revops_lite.clean import csv_cell
from revops_lite.crm.csv_file import CsvFile, open_csv
from revops_lite.crm.sqlite import IMPORT, SqliteCrm
from revops_lite.errors import UsageError
from revops_lite.models import CrmRecord
from revops_lite.ports import Crm

BATCH = 1000  # records per transaction
PAGE = 500  # records per page of an export
GUARD = "'"  # what `csv_cell` puts before text that a spreadsheet would run

# A column is of the first type that fits all of its cells, else text. Numbers end where a double is no longer exact,
# and a leading zero makes a code, not a number.
WHOLE = r"-?(?:0|[1-9][0-9]{0,14})"
TYPES: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"true|false", re.IGNORECASE), lambda cell: cell.lower() == "true"),
    (re.compile(WHOLE), int),
    (re.compile(WHOLE + r"(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?"), float),
)
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of "owner_id", "AccountId", "Record ID"
CODES = {"id", "ids", "guid", "uuid", "code", "codes", "fax", "mobile", "tel", "plz", "iban", "vat"}
CODED = re.compile(r"phone|zip|postal|postcode", re.IGNORECASE)


class ImportResult(Struct, frozen=True):
    """How many records were created, updated or left as they were; a skipped row has its problem, with its line."""

    created: int
    updated: int
    unchanged: int
    skipped: int
    problems: tuple[str, ...]


class _Column(Struct, frozen=True):
    at: int
    field: str
    convert: Callable[[str], Any]


def import_csv(
    crm: SqliteCrm, path: Path, kind: str, id_column: str, mapping: Mapping[str, str] | None = None, actor: str = IMPORT
) -> ImportResult:
    """Create or update a record of `kind` per row; `mapping` names the field of a column, else it is the column's name.

    The whole file is looked at before the first record is written, then 1,000 records go into one transaction.
    Columns that are true/false, whole numbers or decimals throughout become such values; all else stays text, as do
    columns whose name says id, code, phone, zip. Dates stay as they are written. An empty cell leaves the field
    alone. The id column itself becomes a field only where `mapping` names it.

    Raises NotFound and UsageError (the file, its columns), and CrmUnavailable.
    """
    if not kind or not kind.isprintable() or set(kind) & set(":. "):
        raise UsageError(f"--kind {kind!r}: a kind is one word, as in lead")
    file = open_csv(path, id_column)
    fields = _fields(file, id_column, dict(mapping or {}))
    columns = _typed(file, fields)
    problems = list(file.problems)
    rows = _records(file, file.columns.index(id_column), columns, problems)
    counts: Counter[str] = Counter()
    while batch := list(islice(rows, BATCH)):
        outcomes = crm.put(kind, [(id_, values) for _, id_, values in batch], actor)
        counts.update(outcomes)
        for (line, id_, _), outcome in zip(batch, outcomes, strict=True):
            if outcome == "archived":
                problems.append(f"line {line}: {kind}:{id_} is archived; skipped")
    return ImportResult(
        created=counts["created"],
        updated=counts["updated"],
        unchanged=counts["unchanged"],
        skipped=len(problems) - len(file.problems),
        problems=tuple(problems),
    )


def export_csv(crm: Crm, kinds: Sequence[str], out: TextIO) -> int:
    """Write all records of a kind, `id` first and then every field that any of them has; returns how many. Of several
    kinds, `kind` stands before the id.

    Text that a spreadsheet would run gets a `'` in front, which `import_csv` takes off again. Lists and objects are
    JSON. `out` has to be open with newline="".
    """
    fields: dict[str, None] = {}
    for record in _all(crm, kinds):
        fields.update(dict.fromkeys(record.values))
    table = csv.writer(out, lineterminator="\n")
    several = len(kinds) > 1
    table.writerow([*(["kind"] if several else []), "id", *map(_shown, fields)])
    count = 0
    for record in _all(crm, kinds):
        name = [_shown(record.kind)] if several else []
        table.writerow([*name, _shown(record.id), *(_shown(record.values.get(field)) for field in fields)])
        count += 1
    return count


def _all(crm: Crm, kinds: Sequence[str]) -> Iterator[CrmRecord]:
    for kind in kinds:
        for page in crm.sweep(kind, {}, PAGE):
            yield from page


def _fields(file: CsvFile, id_column: str, mapping: dict[str, str]) -> dict[str, str]:
    """column -> field."""
    for column in (id_column, *mapping):
        if column not in file.columns:
            known = {name.lower(): name for name in file.columns}
            near = get_close_matches(column.lower(), known, n=1, cutoff=0.4)
            hint = f'did you mean "{known[near[0]]}"?' if near else f"it has {', '.join(file.columns)}"
            raise UsageError(f'{file.path}: no column "{column}"; {hint}')
    fields = {
        column: mapping.get(column, column) for column in file.columns if column != id_column or column in mapping
    }
    twice = [field for field, count in Counter(fields.values()).items() if count > 1]
    if twice or "" in fields.values():
        raise UsageError(f"{file.path}: --map: one column for one field, please; several become {twice or 'no field'}")
    return fields


def _typed(file: CsvFile, fields: Mapping[str, str]) -> list[_Column]:
    """Read the whole file once for the types of its columns, and for what makes it unreadable."""
    fitting = {
        at: [] if _is_code(column) or _is_code(fields[column]) else list(TYPES)
        for at, column in enumerate(file.columns)
        if column in fields
    }
    for _, cells in file.rows():
        for at, types in fitting.items():
            if types and at < len(cells) and (cell := cells[at].strip()):
                types[:] = [type_ for type_ in types if type_[0].fullmatch(cell)]
    return [_Column(at, fields[file.columns[at]], types[0][1] if types else _text) for at, types in fitting.items()]


def _records(
    file: CsvFile, id_at: int, columns: list[_Column], problems: list[str]
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(line, id, values) of every row that can be taken; the others leave a problem."""
    lines: dict[str, int] = {}
    for line, cells in file.rows():
        id_ = _text(cells[id_at].strip()) if id_at < len(cells) else ""
        if any(map(str.strip, cells[len(file.columns) :])):
            problems.append(f"line {line}: {len(cells)} cells for {len(file.columns)} columns; skipped")
        elif not id_ or not id_.isprintable():
            problems.append(f"line {line}: {f'{id_!r} is no id' if id_ else 'no id'}; skipped")
        elif id_ in lines:
            problems.append(f"line {line}: id {id_} stands in line {lines[id_]} already; skipped")
        else:
            lines[id_] = line
            given = ((column, cells[column.at].strip()) for column in columns if column.at < len(cells))
            yield line, id_, {column.field: column.convert(cell) for column, cell in given if cell}


def _is_code(name: str) -> bool:
    """Whether a column's name says that its digits are no number."""
    return bool(CODED.search(name)) or any(word.lower() in CODES for word in WORDS.findall(name))


def _text(cell: str) -> str:
    return cell[1:] if _is_guarded(cell) else cell


def _is_guarded(cell: str) -> bool:
    return cell.startswith(GUARD) and csv_cell(cell.lstrip(GUARD)).startswith(GUARD)


def _shown(value: Any) -> str:
    """The value's cell; text that looks guarded gets one guard more, so that `_text` finds the way back."""
    return (GUARD if isinstance(value, str) and _is_guarded(value) else "") + csv_cell(value)
