"""The CRM's closed deals as a reference: how long won deals stay in a stage."""

from __future__ import annotations

import csv
import math
import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from stat import S_ISREG
from typing import Any
from urllib.parse import quote

from agents.deals.kept import Kept
from agents.deals.reading import held, outcome
from agents.evidence.reading import moment, span

Row = Mapping[str, Any]
SPENT = re.compile(r"(days_in|hs_time_in|hs_v2_time_in)_(.+)")  # HubSpot's are in milliseconds
MS_A_DAY = 86_400_000


Stamp = tuple[str, str, int, int]


def stamp(s: Mapping[str, Any]) -> Stamp | None:
    """Path, table, time and size of the file in settings.closed_deals: what a result made of it is kept by.

    None without the setting. Raises FileNotFoundError where there is no such file.
    """
    name = str(s.get("closed_deals") or "")
    if not name:
        return None
    path = os.path.abspath(name)
    try:
        found = os.stat(path)
    except OSError:
        found = None
    if found is None or not S_ISREG(found.st_mode):
        raise FileNotFoundError(
            f"settings.closed_deals: there is no file {name}; correct the path or remove the setting"
        )
    return path, str(s["closed_deals_table"]), found.st_mtime_ns, found.st_size


def _read(path: str, table: str) -> tuple[Row, ...]:
    try:
        if path.endswith(".csv"):
            with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
                return tuple(csv.DictReader(file))
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return tuple(dict(row) for row in db.execute('SELECT * FROM "{}"'.format(table.replace('"', '""'))))
    except (sqlite3.Error, csv.Error) as error:
        raise ValueError(
            f"settings.closed_deals: {path} cannot be read ({error}); give a CSV or SQLite file"
        ) from error


ROWS: Kept[tuple[Row, ...]] = Kept()
LIMITS: Kept[dict[str, float]] = Kept()


def rows(s: Mapping[str, Any]) -> tuple[Row, ...]:
    """The rows of the file in settings.closed_deals, read again when it changes; none without the setting.

    Raises FileNotFoundError where there is no such file, ValueError where it cannot be read.
    """
    known = stamp(s)
    return ROWS.get(known, lambda: _read(known[0], known[1])) if known else ()


def spent(row: Row) -> dict[str, float]:
    """Days in each stage that the row tells of."""
    found = {}
    for column, raw in row.items():
        match = SPENT.fullmatch(str(column))
        if match and (value := span(raw)) and 0 < value[0] < 1e15:
            found[match[2]] = value[0] / (1 if match[1] == "days_in" else MS_A_DAY)
    return found


def limits(s: Mapping[str, Any]) -> Mapping[str, float]:
    """Stage -> days that all but the slowest won deals stayed; "*" is the whole way from made to won.

    Worked out once per state of the file and settings.
    """
    return LIMITS.get((stamp(s), s), lambda: _limits(s))


def _limits(s: Mapping[str, Any]) -> dict[str, float]:
    stays: dict[str, list[float]] = {}
    for row in rows(s):
        if outcome(row, s):
            way = {**spent(row)}
            made, closed = moment(held(row, "created", s)), moment(held(row, "closed", s))
            if made and closed and closed >= made:
                way["*"] = (closed - made).total_seconds() / 86400
            for stage, stay in way.items():
                stays.setdefault(stage, []).append(stay)
    found = {
        stage: percentile(each, s["stage_age_percentile"]) for stage, each in stays.items() if len(each) >= s["min_won"]
    }
    return {**found, **s["stage_age_days"]}


def percentile(values: list[float], share: float) -> float:
    """The `share`th percentile (0..100), linear between neighbours. `values` is not empty."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
