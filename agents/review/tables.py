"""The page's tables: rows that are bounded and add up, each figure with its exact value for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from agents.review import figures
from agents.review.charts import bar
from agents.review.lines import LEVELS, Line
from agents.review.money import Amounts, Totals, biggest, exact, grouped, named, shown

ROWS = 30  # of a table; the rest stands together in one more
MONTHS = 36
CODES = 30
EXAMPLES = 3
CURRENCIES = 6  # in one cell
BARS = 3  # currencies that have one
ZERO = Decimal(0)
NONE = "no currency"
REST = "…"  # the group of what stands together


@dataclass(frozen=True, slots=True)
class Figure:
    """One amount: `value` for programs, `shown` for people."""

    currency: str
    value: str
    shown: str


@dataclass(frozen=True, slots=True)
class Cell:
    """Amounts of several currencies, and how many more there are."""

    figures: tuple[Figure, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """`group` is the name for programs, `name` the one for people."""

    name: str
    group: str
    count: int
    pipeline: Cell
    bars: list[Markup]
    weighted: Cell = Cell()
    tone: str = ""
    note: str = ""


def cell(amounts: Amounts, order: Sequence[str], unit: bool = True) -> Cell:
    """In the page's order of currencies. One currency alone is named in the table's head, with `unit` in the cell."""
    found = [currency for currency in order if currency in amounts]
    one, unit = len(order) == 1, unit or len(order) > 1
    told = (
        Figure(c, exact(amounts[c]), shown(amounts[c], (c if one else c or NONE) if unit else ""))
        for c in found[:CURRENCIES]
    )
    return Cell(tuple(told), max(0, len(found) - CURRENCIES))


def difference(before: Mapping[str, Decimal], after: Mapping[str, Decimal], order: Sequence[str]) -> list[str]:
    """What sums are more or less than they were, as people read it."""
    moved = [(c, after.get(c, ZERO) - before.get(c, ZERO)) for c in order]
    return [
        f"{'+' if value > 0 else '−'}{shown(abs(value), c or (NONE if order[1:] else ''))}"
        for c, value in moved
        if value
    ][:CURRENCIES]


# ---- sums, group by group ----------------------------------------------------------------------------------------


def sections(lines: Sequence[Line], stages: Sequence[str], order: Sequence[str]) -> list[dict[str, Any]]:
    """Pipeline and weighted forecast by each way to group deals; every table adds up to all deals."""
    parts = {
        "stage": ("By stage", {line.stage: line.stage or "no stage" for line in lines}),
        "owner": ("By owner", {line.owner: line.owner_name or "no owner" for line in lines}),
        "month": ("By close month", {line.month: line.month or "no close date" for line in lines}),
    }
    if any(line.category for line in lines):
        parts["category"] = ("By forecast category", {line.category: line.category or "no category" for line in lines})
    if len(order) > 1:
        parts["currency"] = ("By currency", {line.currency: named(line.currency) or NONE for line in lines})
    return [
        {"what": what, "title": title, "rows": table(shortened(lines, what, names, stages, order), order)}
        for what, (title, names) in parts.items()
    ]


def shortened(
    lines: Sequence[Line], what: str, names: Mapping[str, str], stages: Sequence[str], order: Sequence[str]
) -> list[tuple[str, str, Totals]]:
    """Key, name and totals of each group in the order to show them; the smallest are one group, the last."""
    every = grouped(lines, lambda line: str(getattr(line, what)))
    groups, others, rest = biggest(every, MONTHS if what == "month" else ROWS, order)
    found = [(key, names[key], groups[key]) for key in ordered(what, groups, stages)]
    return [*found, (REST, f"{others:,} more", rest)] if others else found


def ordered(what: str, groups: Mapping[str, Totals], stages: Sequence[str]) -> list[str]:
    """Months by time, stages as the settings have them, else the biggest first; what has no name last."""
    if what == "month":
        return sorted(groups, key=lambda month: (not month, month))
    place = {stage: number for number, stage in enumerate(stages)} if what == "stage" else {}
    return sorted(groups, key=lambda group: (not group, place.get(group, len(place))))


def table(groups: Sequence[tuple[str, str, Totals]], order: Sequence[str]) -> list[Row]:
    most = longest((group for *_, group in groups), order)
    return [
        Row(
            name,
            key,
            group.count,
            cell(group.pipeline, order, unit=False),
            bars(group, most),
            cell(group.weighted, order, unit=False),
            note=left_out(group),
        )
        for key, name, group in groups
    ]


def longest(groups: Iterable[Totals], order: Sequence[str]) -> dict[str, Decimal]:
    """Currency -> the biggest sum, which fills its bar; only where there is one."""
    every = list(groups)
    found = {c: max((group.pipeline.get(c, ZERO) for group in every), default=ZERO) for c in order[:BARS]}
    return {currency: amount for currency, amount in found.items() if amount}


def bars(group: Totals, most: Mapping[str, Decimal]) -> list[Markup]:
    found = []
    for currency, whole in most.items():
        if (amount := group.pipeline.get(currency)) is not None:
            part = group.weighted.get(currency, ZERO)
            label = f"pipeline {shown(amount, currency)}, weighted {shown(part, currency)}"
            found.append(bar(label, float(amount / whole), float(part / whole)))
    return found


def left_out(group: Totals) -> str:
    """What the group's sums do not hold."""
    parts = [(group.no_amount, "without an amount"), (group.no_forecast, "without a forecast")]
    return ", ".join(f"{count:,} {what}" for count, what in parts if count)


# ---- risks and gaps ----------------------------------------------------------------------------------------------


def graded(group: Totals, most: Mapping[str, Decimal], tone: str) -> list[Markup]:
    """Bars in the colour of a level."""
    return [
        bar(shown(amount, currency), float(amount / whole), float(amount / whole), tone or "none")
        for currency, whole in most.items()
        if (amount := group.pipeline.get(currency)) is not None
    ]


def level_rows(lines: Sequence[Line], order: Sequence[str]) -> list[Row]:
    groups = figures.by_level(lines)
    most = longest(groups.values(), order)
    return [
        Row(
            level or "not inspected",
            level or "none",
            group.count,
            cell(group.pipeline, order, unit=False),
            graded(group, most, level),
            tone=level,
        )
        for level, group in groups.items()
        if group.count or level
    ]


def finding_rows(lines: Sequence[Line], order: Sequence[str]) -> tuple[list[Row], int]:
    """The gravest CODES findings, and how many more there are."""
    found = figures.by_finding(lines)
    most = longest((one.totals for one in found), order)
    rows = []
    for one in found[:CODES]:
        grades = [level for level in LEVELS if level in one.severities]
        told = ", ".join(f"{one.severities[level]:,} {level}" for level in grades)
        amounts, shares = cell(one.totals.pipeline, order, unit=False), graded(one.totals, most, grades[0])
        name = one.code.replace("_", " ")
        rows.append(Row(name, one.code, one.totals.count, amounts, shares, tone=grades[0], note=told))
    return rows, max(0, len(found) - CODES)


def gap_rows(lines: Sequence[Line], today: date) -> list[dict[str, Any]]:
    found = []
    for code, those in figures.gaps(lines, today).items():
        what, follows = figures.PROBLEMS[code]
        examples = [line.name for line in those[:EXAMPLES]]
        found.append({"code": code, "what": what, "follows": follows, "count": len(those), "examples": examples})
    return found
