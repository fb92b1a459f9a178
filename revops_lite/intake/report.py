"""What a guess says to the person who has to judge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from revops_lite.intake.columns import Guess, Table, without
from revops_lite.intake.names import BY_NAME
from revops_lite.intake.records import JUDGED, Intake, examples

READ_AS = {"dmy": "day first", "mdy": "month first", "iso": "year first"}
OTHER_WAY = {"dmy": "mdy", "mdy": "dmy"}
EXAMPLE = 40  # characters
LINES = 5  # of the file, named in one sentence


def shown(table: Table, guess: Guess) -> list[tuple[str, str, str, str]]:
    """(column, what it becomes, why, an example) of every column that is taken for something."""
    rows = []
    for role, each in guess.found.items():
        becomes = BY_NAME[role].field or ("the record's id" if role == "id" else "is_closed, close_outcome")
        rows.append((each.column, becomes, each.why, examples(table, each.column)[:EXAMPLE]))
    own = [(column, name, "--map", examples(table, column)[:EXAMPLE]) for name, column in guess.others.items()]
    return rows + own


def told(table: Table, guess: Guess, found: Intake) -> list[str]:
    """The sentences below that table: what else is imported, how it was read, what is missing and what that means."""
    return [
        *_others(guess, found),
        *_ids(found),
        *_dates(guess, found),
        *_states(guess, found),
        *_unread(table, guess, found),
        *_missing(guess, found),
        "no contacts and activities, as a deals export has none: single_threaded and missing_roles are not checked",
        *table.problems,
        *found.skipped[:LINES],
        *([f"and {len(found.skipped) - LINES} more rows skipped"] if len(found.skipped) > LINES else []),
    ]


def _others(guess: Guess, found: Intake) -> Iterator[str]:
    claimed = {each.column for role, each in guess.found.items() if BY_NAME[role].field}
    rest = [name for column, name in found.fields.items() if column not in claimed and name not in guess.others]
    if rest:
        yield f"imported under their own names: {', '.join(rest)}"


def _ids(found: Intake) -> Iterator[str]:
    if found.ids_from == "names":
        yield "no id column: the deals' names are taken, since no two are alike"
    elif found.ids_from == "lines":
        yield "no id column, and names that are not unique: a deal's id is its line in the file, as in deal:line-2"


def _dates(guess: Guess, found: Intake) -> Iterator[str]:
    for role, read in found.readings.items():
        column = guess.found[role].column
        if not read.sure:
            yield (
                f'"{column}" fits day first and month first; it is read {READ_AS[read.order]}'
                f" (--dates {OTHER_WAY[read.order]} for the other)"
            )
        elif read.order != "iso":
            yield f'"{column}" is read {READ_AS[read.order]}'


def _states(guess: Guess, found: Intake) -> Iterator[str]:
    columns = [f'"{guess.found[role].column}"' for role in JUDGED if role in guess.found]
    closed = [f"{count} {state}" for state in ("won", "lost") if (count := found.states[state])]
    if found.states["closed"]:
        closed.append(f"{found.states['closed']} closed, won or lost unknown")
    counts = ", ".join([f"{found.states['open']} open", *closed])
    yield f"{counts}, by {' and '.join(columns)}" if columns else counts
    if not closed:
        yield "no closed deals: there is nothing that open ones could be compared with; export them as well"
    if found.unclear:
        first = [f"line {line}: {why}" for line, why in list(found.unclear.items())[:LINES]]
        more = " …" if len(found.unclear) > LINES else ""
        yield f"{len(found.unclear)} count as open because it is unclear: {'; '.join(first)}{more}"


def _unread(table: Table, guess: Guess, found: Intake) -> Iterator[str]:
    for role, lines in found.unread.items():
        column, content = guess.found[role].column, BY_NAME[role].content
        count = f"{len(lines)} of {len(table.cells(column))} cells"
        yield f'"{column}": {count} cannot be read as {content} and stay as they are ({_lines(lines)})'


def _missing(guess: Guess, found: Intake) -> Iterator[str]:
    for role in without(guess):
        if role.name == "currency" and found.currencies:
            counts = ", ".join(f"{code} ({count})" for code, count in found.currencies.most_common())
            yield f"the currency stands with the amounts: {counts}"
        else:
            yield f"no {role.name}: {role.without}"


def _lines(lines: Sequence[int]) -> str:
    some = ", ".join(map(str, lines[:LINES])) + (" …" if len(lines) > LINES else "")
    return f"line{'s' if len(lines) > 1 else ''} {some}"
