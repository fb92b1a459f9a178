"""Printing: data on stdout, all else on stderr, everything from outside made harmless first."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from revops_lite.clean import clean

GAP = 2
LISTED = 50  # rows of a list that nobody has asked for more of


def say(text: str = "") -> None:
    """One line of data for a person."""
    sys.stdout.write(clean(text, newlines=True) + "\n")


def remark(text: str) -> None:
    """One line beside the data."""
    sys.stderr.write(clean(text, newlines=True) + "\n")


def complain(text: str) -> None:
    remark(f"revops: {text}")


def put_json(data: dict[str, Any]) -> None:
    """`{"schema": 1, …}`, in ASCII: nothing in it can move a terminal."""
    sys.stdout.write(json.dumps({"schema": 1, **data}, allow_nan=False) + "\n")


def put_items(items: list[dict[str, Any]]) -> None:
    put_json({"items": items})


def width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def limit(given: int | None, as_json: bool) -> int | None:
    """What --limit means: without it a list has 50 rows, and all with --json."""
    if given is not None:
        return given
    return None if as_json else LISTED


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "nothing") -> None:
    """Columns as wide as they need, the last one cut to the terminal's edge."""
    if not rows:
        remark(empty)
        return
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    edge = width() if sys.stdout.isatty() else 10_000
    for row in [list(heads), *cells]:
        line = (" " * GAP).join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        sys.stdout.write((line if len(line) <= edge else line[: edge - 1] + "…") + "\n")


def listed(heads: Sequence[str], rows: Sequence[Sequence[object]], given: int | None, empty: str = "nothing") -> None:
    """A table of what `limit` let through, and beside it whether there may be more."""
    table(heads, rows, empty)
    if given is None and len(rows) >= LISTED:
        remark(f"the first {LISTED}; --limit N shows more, --json all")


def pairs(rows: Sequence[tuple[str, object]]) -> None:
    """Names and values, one pair a line."""
    wide = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        say(f"{name.ljust(wide)}  {value}")
