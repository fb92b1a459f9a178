"""Logistic regression in plain Python: Newton's method, with a penalty that holds each weight near its centre.

A few thousand rows of a dozen columns take a fraction of a second, so no library is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

Column = Sequence[float]
STEPS, CLOSE_ENOUGH = 50, 1e-6


def sigmoid(odds: float) -> float:
    """The probability behind log-odds; never overflows."""
    if odds < 0:
        power = math.exp(max(odds, -700.0))
        return power / (1 + power)
    return 1 / (1 + math.exp(-min(odds, 700.0)))


def log_odds(chance: float) -> float:
    """The log-odds of a probability strictly between 0 and 1."""
    return math.log(chance / (1 - chance))


def fit(columns: Sequence[Column], won: Sequence[bool], weight: float, l2: float, centre: Column = ()) -> list[float]:
    """Intercept and one weight per column that make the outcomes likeliest.

    Every row counts `weight`. The penalty is l2/2 times the squared distance of the weights from `centre` (zero unless
    given); the intercept goes free. There is at least one row.
    """
    whole = [[1.0] * len(won), *columns]
    goal = [0.0, *(centre or [0.0] * len(columns))]
    share = min(max(sum(won) / len(won), 0.001), 0.999)
    beta = [log_odds(share), *goal[1:]]
    pull = [1e-3, *[l2] * len(columns)]  # a breath on the intercept, for outcomes that are all alike
    cost = _cost(whole, won, weight, pull, goal, beta)
    for _ in range(STEPS):
        step = _step(whole, won, weight, pull, goal, beta)
        size = 1.0
        while size > 1e-6:
            tried = [b + size * d for b, d in zip(beta, step, strict=True)]
            new = _cost(whole, won, weight, pull, goal, tried)
            if new <= cost:
                break
            size /= 2
        else:
            break
        beta, cost = tried, new
        if max(map(abs, step)) * size < CLOSE_ENOUGH:
            break
    return beta


def odds(columns: Sequence[Column], beta: Column) -> list[float]:
    """Each row's log-odds; `columns` include the intercept's."""
    found = [beta[0] * x for x in columns[0]]
    for column, b in zip(columns[1:], beta[1:], strict=True):
        found = [sum_ + b * x for sum_, x in zip(found, column, strict=True)]
    return found


def _cost(
    whole: Sequence[Column], won: Sequence[bool], weight: float, pull: Column, goal: Column, beta: Column
) -> float:
    likely = math.fsum(
        max(z, 0.0) - z * y + math.log1p(math.exp(-abs(z))) for z, y in zip(odds(whole, beta), won, strict=True)
    )
    return weight * likely + sum(p * (b - g) ** 2 for p, b, g in zip(pull, beta, goal, strict=True)) / 2


def _step(
    whole: Sequence[Column], won: Sequence[bool], weight: float, pull: Column, goal: Column, beta: Column
) -> list[float]:
    """Newton's step: the Hessian's solution for the slope."""
    told = [sigmoid(z) for z in odds(whole, beta)]
    missed = [weight * (y - p) for y, p in zip(won, told, strict=True)]
    bend = [weight * p * (1 - p) for p in told]
    slope = [
        sum(map(mul, column, missed)) - p * (b - g) for column, p, b, g in zip(whole, pull, beta, goal, strict=True)
    ]
    bent = [list(map(mul, column, bend)) for column in whole]
    hessian = [[sum(map(mul, bent[i], whole[j])) for j in range(i + 1)] for i in range(len(whole))]
    for i, p in enumerate(pull):
        hessian[i][i] += p
    return solve(hessian, slope)


def solve(lower: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """x of A x = right by Cholesky, for a positive definite A given by its lower triangle."""
    root: list[list[float]] = []
    for i, row in enumerate(lower):
        root.append([])
        for j in range(i):
            root[i].append((row[j] - sum(map(mul, root[i], root[j][:j]))) / root[j][j])
        root[i].append(math.sqrt(max(row[i] - sum(x * x for x in root[i]), 1e-12)))
    half: list[float] = []
    for i, row in enumerate(root):
        half.append((right[i] - sum(map(mul, row, half))) / row[i])
    found = [0.0] * len(half)
    for i in reversed(range(len(half))):
        found[i] = (half[i] - sum(root[k][i] * found[k] for k in range(i + 1, len(half)))) / root[i][i]
    return found
