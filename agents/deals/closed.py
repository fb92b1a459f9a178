"""The CRM's closed deals as a reference: how long won deals stay in a stage, and what forecasts are learned from."""

from __future__ import annotations

import csv
import math
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from agents.deals.reading import CODES, days, held, money, outcome
from agents.evidence.reading import moment, span, text

Row = Mapping[str, Any]
SPENT = re.compile(r"(days_in|hs_time_in|hs_v2_time_in)_(.+)")  # HubSpot's are in milliseconds
MS_A_DAY = 86_400_000


class Closed(NamedTuple):
    """One closed deal as it was at some moment of its life: that is what a forecast gets to see, too."""

    stage: str
    age: float  # days in the stage, or since it was made
    flags: frozenset[str]
    amount: float  # 0 where unknown
    extra: Mapping[str, str]  # further fields that the settings name as `features`
    won: bool
    at: datetime  # when it closed


@lru_cache(maxsize=8)
def _rows(path: str, table: str, _mtime: int) -> tuple[Row, ...]:
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


def rows(s: Mapping[str, Any]) -> tuple[Row, ...]:
    """The rows of the file in settings.closed_deals, read again when it changes; none without the setting.

    Raises FileNotFoundError where there is no such file, ValueError where it cannot be read.
    """
    path = Path(str(s.get("closed_deals") or ""))
    if not path.name:
        return ()
    if not path.is_file():
        raise FileNotFoundError(
            f"settings.closed_deals: there is no file {path}; correct the path or remove the setting"
        )
    return _rows(str(path.resolve()), str(s["closed_deals_table"]), path.stat().st_mtime_ns)


def spent(row: Row) -> dict[str, float]:
    """Days in each stage that the row tells of."""
    found = {}
    for column, raw in row.items():
        match = SPENT.fullmatch(str(column))
        if match and (value := span(raw)) and 0 < value[0] < 1e15:
            found[match[2]] = value[0] / (1 if match[1] == "days_in" else MS_A_DAY)
    return found


def limits(s: Mapping[str, Any]) -> dict[str, float]:
    """Stage -> days that all but the slowest won deals stayed; "*" is the whole way from made to won."""
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


def examples(s: Mapping[str, Any]) -> list[Closed]:
    """The closed deals of the reference, oldest first."""
    found = [example for row in rows(s) if (example := example_of(row, s))]
    return sorted(found, key=lambda deal: deal.at)


def example_of(row: Row, s: Mapping[str, Any]) -> Closed | None:
    """One row as it looked at a moment of its life drawn from its own values; None for an open or undated deal.

    A column `age_days` says the age itself. Without it the moment is drawn, because a closed deal's full age would
    tell a model something that nobody knows while the deal is open.
    """
    won = outcome(row, s)
    made, closed = moment(held(row, "created", s)), moment(held(row, "closed", s))
    if won is None or closed is None:
        return None
    told = span(row.get("age_days"))
    life = max(0.0, days(closed, made) or 0.0)
    stage = text(held(row, "last_open_stage", s))
    ended = stage.lower() in (*s["won_values"], *s["lost_values"])  # where a deal ended is its outcome, no feature
    return Closed(
        stage="" if ended else stage,
        age=min(told[0], 36500.0) if told else life * _drawn(row),
        flags=frozenset(text(row.get("revops_risk_flags"), 500).split(";")) & frozenset(CODES),
        amount=float(money(held(row, "amount", s)) or 0),
        extra={name: text(row.get(name)) for name in s.get("features", [])},
        won=won,
        at=closed,
    )


def _drawn(row: Row) -> float:
    """A number 0..1 that is the same for the same row, and does not know how the deal ended."""
    key = "\x1f".join(str(value) for name, value in sorted(row.items()) if name and "id" in name)
    return int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=6).digest(), "big") / 2**48
