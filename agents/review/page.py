"""The roll-up as one HTML page: what the template is given, in bounded lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agents.deals.accuracy import Accuracy
from agents.review import figures, tables
from agents.review.changes import Changes, percent
from agents.review.charts import calibration
from agents.review.lines import Line
from agents.review.money import amount_of, currencies, named, several, totals

MOST = 20  # deals of a list
REASONS = 6  # of a deal


@dataclass(frozen=True, slots=True)
class Review:
    """Everything the page is made of. `top` bounds the list of risks."""

    day: date
    at: datetime
    lines: Sequence[Line]
    changes: Changes | None
    accuracy: Accuracy | None
    stages: Sequence[str] = ()
    top: int = 15
    title: str = "Deal review"
    timezone: str = "UTC"


@lru_cache(maxsize=1)
def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(percent=percent, named=named, amount=amount_of, several=several)
    found.filters.update(reasons=figures.reasons, risk=figures.risk_of)
    return found


def render(review: Review) -> str:
    """The page, a whole HTML document. Text of records is escaped."""
    lines = review.lines
    whole, high = totals(lines), figures.by_level(lines)["high"]
    order = currencies(lines)
    nothing = {order[0]: Decimal(0)}  # a headline is a number also where there is nothing to add up
    headline = {
        "pipeline": whole.pipeline or nothing,
        "weighted": whole.weighted or nothing,
        "high": high.pipeline or nothing,
        "unforecast": whole.unforecast,
    }
    return (
        environment()
        .get_template("page.html")
        .render(
            review=review,
            whole=whole,
            high=high,
            single=order[0] if len(order) == 1 else None,
            headline={name: tables.cell(sums, order) for name, sums in headline.items()},
            risks=figures.biggest_risks(lines),
            sections=tables.sections(lines, review.stages, order),
            levels=tables.level_rows(lines, order),
            findings=tables.finding_rows(lines, order),
            gaps=tables.gap_rows(lines, review.day),
            changed=changed(review.changes, lines, order),
            calibration=calibration(review.accuracy.bins) if review.accuracy else "",
            REASONS=REASONS,
        )
    )


def changed(changes: Changes | None, lines: Sequence[Line], order: Sequence[str]) -> dict[str, Any] | None:
    """Totals then and now, and lists of at most MOST deals, each with how many more there are."""
    if changes is None:
        return None
    lists = {name: getattr(changes, name) for name in ("came", "left", "raised", "cleared", "moves")}
    return {
        "since": changes.since.day,
        **then_and_now(changes, lines, order),
        **{name: (found[:MOST], max(0, len(found) - MOST)) for name, found in lists.items()},
        "findings": (changes.findings_raised, changes.findings_cleared),
        "missing": changes.missing,
        "nothing": not any(lists.values()),
    }


def then_and_now(changes: Changes, lines: Sequence[Line], order: Sequence[str]) -> dict[str, Any]:
    whole, before = totals(lines), changes.since.summary
    high = totals(line for line in lines if line.risk == "high")
    known = [*order, *(c for c in before.pipeline if c not in order)]
    pairs = [
        ("Pipeline", before.pipeline, whole.pipeline),
        ("Weighted forecast", before.weighted, whole.weighted),
        ("High risk", before.high_pipeline, high.pipeline),
    ]
    return {
        "counts": [("Open deals", before.count, whole.count), ("Deals at high risk", before.high, high.count)],
        "sums": [
            (name, tables.cell(was, known), tables.cell(now, known), tables.difference(was, now, known))
            for name, was, now in pairs
        ],
    }
