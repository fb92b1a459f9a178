"""Which column of a deals export holds what: by its name, else by what stands in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise

from revops_lite.errors import UsageError
from revops_lite.intake.names import BY_NAME, ROLES, Role, plain, variants
from revops_lite.intake.outcome import ends_told
from revops_lite.intake.values import amount, currency, flag, to_iso

ENOUGH = 0.6  # of a column's filled cells have to be what its name promises
ELSE_DATED = {"modified", "updated", "changed", "synced", "imported", "birthday", "start", "first", "last", "next"}
Row = tuple[int, Sequence[str]]  # line in the file, cells


@dataclass(frozen=True)
class Table:
    """A CSV file as it was read; no two columns are alike, and a row has no more cells than there are columns."""

    file: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    problems: tuple[str, ...] = ()  # what is odd about it
    _cells: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def cells(self, column: str) -> list[str]:
        """The column's filled cells, stripped."""
        if column not in self._cells:
            at = self.columns.index(column)
            found = (cells[at].strip() for _, cells in self.rows if at < len(cells))
            self._cells[column] = [cell for cell in found if cell]
        return self._cells[column]


@dataclass(frozen=True, slots=True)
class Found:
    """A column and why it is taken: "name", "content" or "--map"."""

    column: str
    why: str


@dataclass(frozen=True, slots=True)
class Guess:
    """Role -> its column; `others`: field -> column, as --map says, for fields that are no role's."""

    found: Mapping[str, Found]
    others: Mapping[str, str]


def guess(table: Table, mapping: Mapping[str, str] | None = None) -> Guess:
    """`mapping` is column -> field or role, and beats every guess. Raises UsageError, naming file and mend."""
    found, others = _mapped(table, mapping or {})
    free = [column for column in table.columns if column not in _columns(found) and column not in others.values()]
    for role in ROLES:
        if role.name not in found and (column := _by_name(table, role, free)):
            found[role.name] = Found(column, "name")
            free.remove(column)
    if not found and not others:
        raise UsageError(
            f"{table.file}: line 1: no column is known as one of a deal ({_few(table.columns)}); the first line has to "
            "name the columns, or say --map COLUMN=FIELD, as in --map Summe=amount"
        )
    for name, fits in BY_CONTENT:
        fitting = [column for column in free if name not in found and fits(table, column)]
        if len(fitting) == 1:
            found[name] = Found(fitting[0], "content")
            free.remove(fitting[0])
    return Guess({role.name: found[role.name] for role in ROLES if role.name in found}, others)


def _mapped(table: Table, mapping: Mapping[str, str]) -> tuple[dict[str, Found], dict[str, str]]:
    roles = {word: role for role in ROLES for word in (plain(role.name), plain(role.field)) if word}
    found: dict[str, Found] = {}
    others: dict[str, str] = {}
    for column, wanted in mapping.items():
        if column not in table.columns:
            near = get_close_matches(column, table.columns, n=1, cutoff=0.4)
            hint = f'did you mean "{near[0]}"?' if near else f"it has {_few(table.columns)}"
            raise UsageError(f'{table.file}: --map: no column "{column}"; {hint}')
        role = roles.get(plain(wanted))
        if (role.name in found) if role else (wanted in others):
            raise UsageError(f"{table.file}: --map: two columns for {wanted}; name one of them")
        if role:
            found[role.name] = Found(column, "--map")
        else:
            others[wanted] = column
    return found, others


def _by_name(table: Table, role: Role, free: Sequence[str]) -> str | None:
    named: dict[str, str] = {}
    spelled = {column: found for column in free if (found := variants(column))}
    for other, names in spelled.items():
        for name in names[1:]:
            named.setdefault(name, other)
    named |= {names[0]: other for other, names in reversed(spelled.items())}
    for spelling in role.spellings.split(", "):
        column = named.get(spelling)
        if column is not None and _holds(table, column, role):
            return column
    return None


def _holds(table: Table, column: str, role: Role) -> bool:
    """Whether what stands in the column can be what its name promises; an empty column can."""
    cells = table.cells(column)
    match role.content:
        case "id":
            return len(cells) == len(table.rows) and len(set(cells)) >= 0.95 * len(cells) > 0
        case "date":
            return _share(cells, is_date) >= ENOUGH
        case "amount" | "count" | "percent":
            return _share(cells, lambda cell: amount(cell.removesuffix("%")) is not None) >= ENOUGH
        case "flag":
            return _share(cells, lambda cell: flag(cell) is not None) == 1
        case "currency":
            return _share(cells, lambda cell: currency(cell) is not None) >= ENOUGH
        case "text":
            return True


def is_date(cell: str) -> bool:
    return to_iso(cell, "mdy") is not None or to_iso(cell, "dmy") is not None


def _share(cells: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, cells)) / len(cells) if cells else 1.0


# ---- by content: only where the name said nothing, and only one column fits ------------------------------------------


def _tells_ends(table: Table, column: str) -> bool:
    words = set(table.cells(column))
    return len(words) <= 40 and ends_told(words)


def _is_money(table: Table, column: str) -> bool:
    cells = table.cells(column)
    return bool(cells) and _share(cells, lambda cell: (read := amount(cell)) is not None and read[1] is not None) > 0.5


def _is_currency(table: Table, column: str) -> bool:
    cells = table.cells(column)
    return bool(cells) and _share(cells, lambda cell: cell.isupper() and currency(cell) == cell) == 1


def _is_code(table: Table, column: str) -> bool:
    """Unique in every row, with a digit in it, and no date, amount or sentence."""
    cells = table.cells(column)
    if len(cells) < max(2, len(table.rows)) or len(set(cells)) < len(cells):
        return False
    return all(any(map(str.isdigit, cell)) and not set(cell) & set(" @") and not is_date(cell) for cell in cells) and (
        _share(cells, lambda cell: amount(cell) is None) > 0.5 or _counts_up(cells)
    )


def _counts_up(cells: Sequence[str]) -> bool:
    numbers = [int(cell) for cell in cells if cell.isdecimal() and len(cell) < 19]
    return len(numbers) == len(cells) and all(later - earlier == 1 for earlier, later in pairwise(numbers))


def _may_be_the_end(table: Table, column: str) -> bool:
    """Dates, of which the name does not say that they are of something else."""
    cells = table.cells(column)
    return bool(cells) and not set(plain(column).split()) & ELSE_DATED and _share(cells, is_date) >= 0.9


BY_CONTENT: tuple[tuple[str, Callable[[Table, str], bool]], ...] = (
    ("status", _tells_ends),
    ("amount", _is_money),
    ("currency", _is_currency),
    ("close date", _may_be_the_end),
    ("id", _is_code),
)


def _columns(found: Mapping[str, Found]) -> set[str]:
    return {each.column for each in found.values()}


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def without(guess: Guess) -> list[Role]:
    """The roles that no column has, and that something depends on."""
    return [role for role in BY_NAME.values() if role.without and role.name not in guess.found]
