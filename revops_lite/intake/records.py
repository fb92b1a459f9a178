"""A deals export, read by a guess: records as the CRM shall hold them, and what there is to tell about the reading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from revops_lite.errors import UsageError
from revops_lite.intake.columns import Guess, Table, is_date
from revops_lite.intake.names import BY_NAME, field_name
from revops_lite.intake.outcome import State, ends_told, judge
from revops_lite.intake.values import (
    Order,
    Reading,
    amount,
    currency,
    decimal_mark,
    header_currency,
    read_order,
    to_iso,
    written,
)

JUDGED = ("status", "closed flag", "won flag", "stage", "probability")
DERIVED = ("is_closed", "close_outcome")
ENDS = {"won": "closedwon", "lost": "closedlost"}
LONGEST_ID = 200


class Intake(Struct):
    """deals: (id, field -> value); owners: (id, their name). `unclear`: line -> why it counts as open."""

    deals: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)  # column -> field, of all columns that are imported
    readings: dict[str, Reading] = field(default_factory=dict)  # role -> how its dates are read
    states: Counter[State] = field(default_factory=Counter)
    currencies: Counter[str] = field(default_factory=Counter)  # that amounts or the column's name tell
    unclear: dict[int, str] = field(default_factory=dict)
    unread: dict[str, list[int]] = field(default_factory=dict)  # role -> lines whose cell stays as it is
    skipped: list[str] = field(default_factory=list)  # "line 3: no id; skipped"
    ids_from: str = ""  # "" for a column of ids, else "names" or "lines"


def intake(table: Table, guess: Guess, dates: Order | None = None) -> Intake:
    """Every row as a record. `dates` beats what the columns say. Raises UsageError where there is no deal."""
    found = Intake()
    if not table.rows:
        why = table.problems[-1] if table.problems else "there are only the names of columns; export it with its rows"
        raise UsageError(f"{table.file}: no deals in it; {why}")
    found.fields = _fields(table, guess)
    found.readings = _readings(table, guess, dates)
    reader = _Reader(table, guess, found)
    for line, id_, cells in _identified(table, guess, found):
        found.deals.append((id_, reader.values(line, cells)))
    if not found.deals:
        raise UsageError(f"{table.file}: none of its {len(table.rows)} rows can be taken; {found.skipped[0]}")
    return found


def _fields(table: Table, guess: Guess) -> dict[str, str]:
    """column -> field; a column that no role claims keeps its own name, cleaned, but never takes another's field."""
    own = {found.column: BY_NAME[role].field for role, found in guess.found.items() if BY_NAME[role].field}
    own |= {column: name for name, column in guess.others.items()}
    taken = {*own.values(), *(role.field for role in BY_NAME.values()), *DERIVED}
    said = {found.column for role, found in guess.found.items() if role == "id" or field_name(found.column) in DERIVED}
    fields = {}
    for column in table.columns:
        if column in own:
            fields[column] = own[column]
        elif column not in said:
            name, number = field_name(column), 1
            while name in taken:
                number += 1
                name = f"{field_name(column)}_{number}"
            taken.add(name)
            fields[column] = name
    return fields


def _readings(table: Table, guess: Guess, dates: Order | None) -> dict[str, Reading]:
    """How each date column is read: by itself, else as the surest other one, else the American way unless the file's
    amounts are written with a decimal comma."""
    columns = {role: found.column for role, found in guess.found.items() if BY_NAME[role].content == "date"}
    cells = {role: table.cells(column) for role, column in columns.items()}
    if dates:
        unread = {role: sum(to_iso(cell, dates) is None for cell in each) for role, each in cells.items()}
        return {role: Reading(dates, True, unread[role]) for role in cells}
    sure = Counter(read.order for each in cells.values() if (read := read_order(each)).sure and read.order != "iso")
    money = guess.found.get("amount")
    european = money is not None and decimal_mark(table.cells(money.column)) == ","
    usual: Order = sure.most_common(1)[0][0] if len(sure) == 1 else "dmy" if european else "mdy"
    return {role: read_order(each, usual) for role, each in cells.items()}


def _identified(table: Table, guess: Guess, found: Intake) -> Iterator[tuple[int, str, list[str]]]:
    """(line, id, cells) of every row that can be taken."""
    column = guess.found.get("id") or _names_as_ids(table, guess)
    found.ids_from = "" if "id" in guess.found else "names" if column else "lines"
    at = table.columns.index(column.column) if column else None
    lines: dict[str, int] = {}
    for line, row in table.rows:
        cells = [cell.strip() for cell in row] + [""] * (len(table.columns) - len(row))
        id_ = identifier(cells[at]) if at is not None else f"line-{line}"
        if not id_:
            found.skipped.append(f"line {line}: no id; skipped")
        elif id_ in lines:
            found.skipped.append(f"line {line}: id {id_} stands in line {lines[id_]} already; skipped")
        else:
            lines[id_] = line
            yield line, id_, cells


def _names_as_ids(table: Table, guess: Guess) -> Any:
    name = guess.found.get("name")
    if name is None:
        return None
    ids = [identifier(cell) for cell in table.cells(name.column)]
    return name if len(ids) == len(table.rows) == len(set(ids)) and all(ids) else None


def identifier(cell: str) -> str:
    """An id that can stand in the name of a record: printable, without spaces, at most 200 characters."""
    words = re.split(r"\s+", "".join(letter if letter.isprintable() else " " for letter in cell.strip()))
    return "-".join(word for word in words if word)[:LONGEST_ID]


class _Reader:
    """Turns the cells of a row into values, and counts in `found` what there is to tell."""

    def __init__(self, table: Table, guess: Guess, found: Intake) -> None:
        self._found = found
        self._at = {role: table.columns.index(each.column) for role, each in guess.found.items()}
        claimed = {each.column: role for role, each in guess.found.items() if BY_NAME[role].field}
        self._plan = [(at, found.fields[c], claimed.get(c)) for at, c in enumerate(table.columns) if c in found.fields]
        money = guess.found.get("amount")
        self._mark = decimal_mark(table.cells(money.column)) if money else None
        self._code = header_currency(money.column) if money else None
        self._flags = {
            column for column in table.columns if {cell.lower() for cell in table.cells(column)} <= {"true", "false"}
        }
        self._flagged = {at for at, column in enumerate(table.columns) if column in self._flags}
        self._by_probability = not set(guess.found) & {"status", "closed flag", "won flag"} and not (
            "stage" in guess.found and ends_told(set(table.cells(guess.found["stage"].column)))
        )

    def values(self, line: int, cells: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for at, name, role in self._plan:
            if cells[at]:
                values[name] = self._value(line, at, cells[at], role)
        if money := cells[self._at["amount"]] if "amount" in self._at else "":
            read = amount(money, self._mark)
            if (code := (read and read[1]) or self._code) and "deal_currency_code" not in values:
                values["deal_currency_code"] = code
                self._found.currencies[code] += 1
        if "stage" not in self._at and "status" in self._at and cells[self._at["status"]]:
            values["dealstage"] = cells[self._at["status"]]
        self._owner(values)
        return values | self._end(line, {role: cells[at] for role, at in self._at.items() if role in JUDGED})

    def _value(self, line: int, at: int, cell: str, role: str | None) -> Any:
        content = BY_NAME[role].content if role else "text"
        read: Any = cell
        if content == "date":
            read = to_iso(cell, self._found.readings[role or ""].order)
        elif content == "amount":
            number = amount(cell, self._mark)
            read = written(number[0]) if number else None
        elif content == "currency":
            read = currency(cell)
        elif role is None and at in self._flagged:
            read = cell.lower() == "true"
        if read is None:
            self._found.unread.setdefault(role or "", []).append(line)
            return cell
        return read

    def _owner(self, values: dict[str, Any]) -> None:
        """The owner's id is what an owner record is found by; the name as it was typed stands there."""
        if (name := values.get("hubspot_owner_id")) and (id_ := identifier(name)):
            values["hubspot_owner_id"] = id_
            self._found.owners.setdefault(id_, name)

    def _end(self, line: int, cells: Mapping[str, str]) -> dict[str, Any]:
        state, why = judge(cells, by_probability=self._by_probability)
        self._found.states[state] += 1
        if why:
            self._found.unclear[line] = why
        return {"is_closed": state != "open", **({"close_outcome": ENDS[state]} if state in ENDS else {})}


def examples(table: Table, column: str) -> str:
    """A typical cell, to recognise the column by."""
    cells = table.cells(column)
    return next((cell for cell in cells if is_date(cell) or amount(cell)), cells[0]) if cells else "(empty)"
