"""Entries for other programs: one mapping each, the values of sensitive fields masked."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from msgspec import Struct
from msgspec.structs import asdict

from revops_lite.clean import csv_cell, json_line
from revops_lite.models import AuditEntry
from revops_lite.rules.masking import without
from revops_lite.times import stamp
from revops_lite.values import MASK

COLUMNS = ("seq", "id", *AuditEntry.__struct_fields__)


class Sealed(Struct, frozen=True):
    """An entry with its place: `seq` in the trail, None while it is not sealed, and its id in the stream."""

    seq: int | None
    id: str
    entry: AuditEntry


def masked(entry: AuditEntry, sensitive: Callable[[str], bool]) -> dict[str, Any]:
    """The entry as JSON values, `at` as RFC 3339. `sensitive("deal.amount")` says whether a field's values are hidden.

    Also hidden: single fields where `before` or `after` hold several, and hidden values where `rule` or `note` quote
    them word by word. A sensitive field that an agent paraphrases in its own words is beyond this.
    """
    kind = (entry.record or "").partition(":")[0]
    hidden: list[Any] = []

    def shown(value: Any) -> Any:
        if entry.field is not None:
            return cover(value) if sensitive(f"{kind}.{entry.field}") else value
        if isinstance(value, dict):
            return {name: cover(each) if sensitive(f"{kind}.{name}") else each for name, each in value.items()}
        return value

    def cover(value: Any) -> Any:
        if value is None:
            return None
        hidden.append(value)
        return MASK

    before, after = shown(entry.before), shown(entry.after)
    rule, note = without(entry.rule, hidden), without(entry.note, hidden)
    return {**asdict(entry), "at": stamp(entry.at), "before": before, "after": after, "rule": rule, "note": note}


def write_jsonl(out: TextIO, rows: Iterable[dict[str, Any]]) -> int:
    """One object a line; how many there were."""
    number = 0
    for row in rows:
        out.write(json_line({name: row[name] for name in COLUMNS}) + "\n")
        number += 1
    return number


def write_csv(out: TextIO, rows: Iterable[dict[str, Any]]) -> int:
    """A head and a row each; no cell is a formula."""
    table = csv.writer(out)
    table.writerow(COLUMNS)
    number = 0
    for row in rows:
        table.writerow([csv_cell(row[name]) for name in COLUMNS])
        number += 1
    return number
