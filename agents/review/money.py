"""Sums of deals: exact, per currency, never converted; what a sum leaves out is counted beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal

from agents.review.lines import UNKNOWN, Line

# Amounts have at most 12 digits before the point, forecasts 17 behind it: no sum of any number of deals is rounded.
EXACT = Context(prec=80)
KEPT = Decimal("0.000001")
Amounts = dict[str, Decimal]  # currency -> sum


@dataclass(slots=True)
class Totals:
    """Of some deals: how many, their amounts, and those times their probability, per currency."""

    count: int = 0
    pipeline: Amounts = field(default_factory=dict)
    weighted: Amounts = field(default_factory=dict)
    no_amount: int = 0  # deals that are in no sum
    no_forecast: int = 0  # deals with an amount that are in `pipeline` only
    unforecast: Amounts = field(default_factory=dict)  # what these amount to

    def add(self, line: Line) -> None:
        self.count += 1
        if line.amount is None:
            self.no_amount += 1
            return
        put(self.pipeline, line.currency, line.amount)
        if line.probability is None:
            self.no_forecast += 1
            put(self.unforecast, line.currency, line.amount)
        else:
            put(self.weighted, line.currency, EXACT.multiply(line.amount, line.probability))

    def take(self, other: Totals) -> None:
        """Add another group's figures."""
        self.count += other.count
        self.no_amount += other.no_amount
        self.no_forecast += other.no_forecast
        for mine, theirs in (
            (self.pipeline, other.pipeline),
            (self.weighted, other.weighted),
            (self.unforecast, other.unforecast),
        ):
            for currency, value in theirs.items():
                put(mine, currency, value)


def put(amounts: Amounts, currency: str, value: Decimal) -> None:
    amounts[currency] = EXACT.add(amounts.get(currency, Decimal(0)), value)


def totals(lines: Iterable[Line]) -> Totals:
    found = Totals()
    for line in lines:
        found.add(line)
    return found


def grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, Totals]:
    """Group -> its totals; every line is in exactly one group, "" is one as well."""
    found: dict[str, Totals] = {}
    for line in lines:
        found.setdefault(key(line), Totals()).add(line)
    return found


def biggest(groups: Mapping[str, Totals], most: int, order: Sequence[str]) -> tuple[dict[str, Totals], int, Totals]:
    """The `most` biggest groups, how many others there are, and the totals of these together.

    Big is what has the most of the pipeline in the first currency of `order`, then in the next two.
    """
    rest, zero = Totals(), Decimal(0)
    ranked = sorted(
        groups.items(),
        key=lambda item: (*(-item[1].pipeline.get(c, zero) for c in order[:3]), -item[1].count, item[0]),
    )
    for _, group in ranked[most:]:
        rest.take(group)
    return dict(ranked[:most]), max(0, len(ranked) - most), rest


def exact(value: Decimal) -> str:
    """For programs: no separators, no exponent, at least two decimals and at most six."""
    kept = value.quantize(KEPT, context=EXACT)
    cents = kept.quantize(Decimal("0.01"), context=EXACT)
    return f"{cents if cents == kept else kept.normalize(EXACT):f}"


def shown(value: Decimal, currency: str = "") -> str:
    """For people: "12,345 USD"; cents only where there are some and the amount is below 10,000."""
    cents = value.quantize(Decimal("0.01"), context=EXACT)
    whole = cents.quantize(Decimal(1), context=EXACT)
    number = f"{whole:,f}" if whole == cents or abs(cents) >= 10_000 else f"{cents:,f}"
    return f"{number} {named(currency)}".strip()


def named(currency: str) -> str:
    return "of unknown currency" if currency == UNKNOWN else currency


def several(count: int, one: str, many: str = "") -> str:
    """ "1 deal", "2 deals"; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def amount_of(line: Line) -> str:
    return "amount not known" if line.amount is None else shown(line.amount, line.currency)


def currencies(lines: Iterable[Line]) -> list[str]:
    """Every currency that amounts are in, that of the most deals first; [""] where there is no amount at all."""
    seen = Counter(line.currency for line in lines if line.amount is not None)
    return sorted(seen, key=lambda currency: (-seen[currency], currency)) or [""]
