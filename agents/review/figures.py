"""The review's figures beside the plain sums: risk by level and finding, the biggest risks, the data's gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from agents.review.lines import LEVELS, WEIGHT, Line, code_of, ranked, reason, severity
from agents.review.money import Totals, grouped, totals

PROBLEMS = {  # code -> what is the matter, and what follows from it
    "amount_missing": ("no amount", "in no sum"),
    "amount_unreadable": ("an amount that cannot be read", "in no sum"),
    "amount_zero": ("an amount of zero", "counted, worth nothing"),
    "currency_missing": ("no currency, where others have one", "summed apart"),
    "currency_unreadable": ("a currency that is none", "summed apart"),
    "probability_missing": ("no win probability", "not in the weighted forecast"),
    "probability_unreadable": ("a win probability that cannot be read", "not in the weighted forecast"),
    "close_missing": ("no close date", "in no month"),
    "close_unreadable": ("a close date that cannot be read", "in no month"),
    "close_past": ("a close date that has passed", "counted in that month"),
    "owner_missing": ("no owner", "nobody is told of them"),
    "stage_missing": ("no stage", "a group of their own"),
    "not_inspected": ("no risk level", "in no count of risks"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One code on open deals. A deal with several findings counts in each of them."""

    code: str
    severities: dict[str, int]
    totals: Totals


def by_finding(lines: Sequence[Line]) -> list[Finding]:
    """The gravest with the most deals first."""
    deals: dict[str, list[Line]] = {}
    grades: dict[str, Counter[str]] = {}
    for line in lines:
        for code, flag in {code_of(flag): flag for flag in reversed(line.flags)}.items():  # the gravest of a code
            deals.setdefault(code, []).append(line)
            grades.setdefault(code, Counter())[severity(flag)] += 1
    found = [Finding(code, dict(grades[code]), totals(those)) for code, those in deals.items()]
    return sorted(
        found, key=lambda one: (*(-one.severities.get(level, 0) for level in LEVELS), -one.totals.count, one.code)
    )


def by_level(lines: Sequence[Line]) -> dict[str, Totals]:
    """high, medium, low, and "" for deals nobody has inspected; together they are all deals."""
    found = grouped(lines, lambda line: line.risk)
    return {level: found.get(level, Totals()) for level in (*LEVELS, "")}


def risk_of(line: Line) -> str:
    """The deal's level, else that of its gravest finding, else ""."""
    return line.risk or (severity(line.flags[0]) if line.flags else "")


def biggest_risks(lines: Sequence[Line]) -> list[Line]:
    """All deals of high or medium risk, by amount x risk."""
    risky = [line for line in lines if risk_of(line) in ("high", "medium")]
    return ranked(risky, {line.record: WEIGHT[risk_of(line)] for line in risky})


def reasons(line: Line) -> list[str]:
    return [reason(flag) for flag in line.flags] or [line.summary or "the inspection gave no reason"]


def gaps(lines: Sequence[Line], today: date) -> dict[str, list[Line]]:
    """Code of PROBLEMS -> the deals that have it, in the order of PROBLEMS, only where there are any."""
    found: dict[str, list[Line]] = {code: [] for code in PROBLEMS}
    named = any(line.currency for line in lines)
    for line in lines:
        for code in line.problems:
            if code != "currency_missing" or named:
                found[code].append(line)
        if line.close and line.close < today:
            found["close_past"].append(line)
        if not line.risk:
            found["not_inspected"].append(line)
    return {code: those for code, those in found.items() if those}
