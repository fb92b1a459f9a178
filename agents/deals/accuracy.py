"""How good the forecasts were: each closed deal's last probability against what became of it.

An open deal is forecast until it closes and never after, so the probability that a closed deal still carries is the
last one before its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.deals.reading import outcome
from agents.evidence.reading import text

PROBABILITY = "revops_win_probability"
BINS = 5


@dataclass(frozen=True, slots=True)
class Bin:
    """The deals forecast from `low` up to `high` (the last bin includes it); `mean` forecast, share `won`, 0..1."""

    low: float
    high: float
    count: int
    mean: float
    won: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`brier` is the mean square of forecast less outcome (0 is perfect), `base_brier` what the share won would get.

    `bins` are the calibration table from low to high, without empty bins.
    """

    count: int
    brier: float
    base_brier: float
    bins: tuple[Bin, ...]

    @property
    def better(self) -> bool:
        """Whether forecasting each deal was worth more than telling everybody the share won."""
        return self.brier < self.base_brier


def accuracy(rows: Iterable[Mapping[str, Any]], s: Mapping[str, Any]) -> Accuracy | None:
    """The accuracy of the forecasts in closed deals' rows; None where no row has both a forecast and an outcome.

    `s` are the settings over the defaults as `agents.deals.reading.rules` makes them. Rows of open deals, and rows
    whose probability is missing or none, are passed over.
    """
    pairs = []
    for row in rows:
        told, won = chance(row.get(PROBABILITY)), outcome(row, s)
        if told is not None and won is not None:
            pairs.append((told, won))
    return judged(pairs) if pairs else None


def judged(pairs: Sequence[tuple[float, bool]], bins: int = BINS) -> Accuracy:
    """The accuracy of pairs of (probability, won). `pairs` is not empty."""
    share = sum(won for _, won in pairs) / len(pairs)
    return Accuracy(len(pairs), brier(pairs), share * (1 - share), table(pairs, bins))


def brier(pairs: Sequence[tuple[float, bool]]) -> float:
    return math.fsum((told - won) ** 2 for told, won in pairs) / len(pairs)


def table(pairs: Sequence[tuple[float, bool]], bins: int) -> tuple[Bin, ...]:
    """The calibration table of pairs of (probability, won) in `bins` bins of equal width."""
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for told, won in pairs:
        groups[min(int(told * bins), bins - 1)].append((told, won))
    return tuple(
        Bin(
            low=place / bins,
            high=(place + 1) / bins,
            count=len(group),
            mean=math.fsum(told for told, _ in group) / len(group),
            won=sum(won for _, won in group) / len(group),
        )
        for place, group in enumerate(groups)
        if group
    )


def chance(raw: Any) -> float | None:
    """A probability 0..1 as a CRM holds it, number or text; None for what is none."""
    try:
        found = float(text(raw))
    except ValueError:
        return None
    return found if 0 <= found <= 1 else None
