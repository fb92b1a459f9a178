"""A sample CRM to try the system on, as CSV files: leads with their companies, contacts, reps and a company registry;
deals, open and closed, with their contacts, activities and owners.

Seeded: the same arguments give the same files, byte for byte. Some leads and deals are dirty on purpose, so that a
first run shows the reviews, holds and flags that real data brings.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from revops_lite.errors import RevopsError, UsageError
from revops_lite.sample.deals import deal_tables
from revops_lite.sample.leads import lead_tables
from revops_lite.sample.words import REPS, Row

__all__ = ["REPS", "generate"]


def generate(folder: Path, *, leads: int = 60, seed: int = 7, today: date | None = None) -> dict[str, int]:
    """Write all tables (.csv) into `folder`; rows written by file name. There are always as many deals.

    Times lie around `today` (default: the current day, UTC), so that intent and activities are fresh. Raises UsageError
    for fewer than one lead and RevopsError where the folder cannot be written.
    """
    if leads < 1:
        raise UsageError(f"a sample needs at least one lead, not {leads}")
    midnight = datetime.combine(today or datetime.now(UTC).date(), datetime.min.time(), UTC)
    tables = lead_tables(random.Random(seed), leads, midnight)
    tables |= deal_tables(random.Random(f"deals {seed}"), tables["companies"], midnight)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            _write(folder / f"{name}.csv", rows)
    except OSError as error:
        raise RevopsError(f"{folder}: the sample data cannot be written there: {error.strerror or error}") from error
    return {name: len(rows) for name, rows in tables.items()}


def _write(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
