"""What closed deals teach about an open one's chance: stage rates always, a fit where it is worth more than these.

Three ways to a probability:
* "weights": too few closed deals. The stage's rate in log-odds, plus the settings' weights for age and flags.
* "fit": a logistic fit to the looks at closed deals (`agents.deals.looks`), calibrated by Platt's method on forecasts
  for deals it was not fitted to.
* "stage_rates": the fit was not surely better than the stage rates at deals neither had seen, so these are used.

All looks together count as much as there are deals: looks at one deal are not new evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from agents.deals import closed
from agents.deals.accuracy import Accuracy, judged
from agents.deals.kept import Kept
from agents.deals.logit import fit, log_odds, sigmoid
from agents.deals.looks import Look, Rules, Seen, lives, looks
from agents.deals.reading import CODES

COLUMNS = ("stage", "days in stage", "age", "amount", *CODES)  # then the traits
BOUND = 3.0  # standard deviations beyond which a column says no more
Rates = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rate:
    """Shrunk shares won by a text (a stage, a trait), as log-odds; `usual` for one never seen."""

    odds: Rates
    usual: float

    def of(self, word: str) -> float:
        return self.odds.get(word, self.usual)


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights over columns that are brought to mean 0 and deviation 1; `slope` and `shift` calibrate the log-odds."""

    rates: tuple[Rate, ...]  # the stage's first, then the traits'
    means: tuple[float, ...]
    scales: tuple[float, ...]  # 0 where a column never varied: it has no say
    beta: tuple[float, ...]  # the intercept's first
    slope: float = 1.0
    shift: float = 0.0

    def parts(self, look: Look) -> list[float]:
        """What each column adds to the log-odds, before calibration."""
        known = zip(columns(look, self.rates), self.means, self.scales, self.beta[1:], strict=True)
        return [weight * _scaled(raw, mean, scale) for raw, mean, scale, weight in known]

    def odds(self, look: Look) -> float:
        return self.shift + self.slope * (self.beta[0] + sum(self.parts(look)))


@dataclass(frozen=True, slots=True)
class Model:
    """What the closed deals say. `fitted` and `rated` are the accuracy of fit and stage rates at deals unknown to them,
    None where there are too few. `fit` is kept where it is not used, too."""

    way: str  # "weights" | "fit" | "stage_rates"
    deals: int
    stages: Rate
    fit: Fit | None = None
    fitted: Accuracy | None = None
    rated: Accuracy | None = None

    def odds(self, look: Look, s: Rules) -> float:
        """The look's log-odds of being won."""
        if self.way == "fit" and self.fit is not None:
            return self.fit.odds(look)
        base = self.stages.of(look.stage)
        return base + weighed(look, s) if self.way == "weights" else base

    def why(self, look: Look, s: Rules) -> str:
        """Where the look's probability comes from."""
        if self.fitted is None or self.rated is None or self.fit is None:
            return f"stage rate with the settings' weights, {self.deals} closed deals are too few for a fit"
        scores = f"Brier {self.fitted.brier:.3f}, stage rates {self.rated.brier:.3f}, cross-validated"
        if self.way == "fit":
            parts = zip((*COLUMNS, *s["traits"]), self.fit.parts(look), strict=True)
            most = sorted((part for part in parts if abs(part[1]) >= 0.05), key=lambda part: -abs(part[1]))[:2]
            told = " and ".join(f"{name} {part:+.1f}" for name, part in most) or "nothing out of the ordinary"
            return f"{told}, fitted to {self.deals} closed deals ({scores})"
        rate = "stage rate" if any(self.stages.odds) else "share won of closed deals, which tell no stages"
        return f"{rate}: a fit to {self.deals} closed deals is not surely better ({scores})"


def columns(look: Look, rates: Sequence[Rate]) -> list[float | None]:
    """The numbers a fit goes by, as COLUMNS names them."""
    flags = look.flags
    found = [
        rates[0].of(look.stage) if look.stage else None,
        None if look.stay is None else math.log1p(max(look.stay, 0.0)),
        None if look.age is None else math.log1p(max(look.age, 0.0)),
        None if look.amount is None else math.log1p(look.amount),
    ]
    found += [None if flags is None else float(code in flags) for code in CODES]
    return found + [rate.of(trait) for rate, trait in zip(rates[1:], look.traits, strict=True)]


def weighed(look: Look, s: Rules) -> float:
    """What age and flags add to the stage's log-odds by the settings' weights."""
    days = look.stay if look.stay is not None else look.age
    doublings = math.log2(days / s["typical_days"]) if days is not None and days > s["typical_days"] else 0.0
    return float(s["age_weight"] * doublings + sum(s["flag_weights"].get(code, 0.0) for code in look.flags or ()))


MODELS: Kept[Model] = Kept(4)


def model(s: Rules) -> Model:
    """The model of the file in settings.closed_deals, made once per state of the file and settings."""
    return MODELS.get((closed.stamp(s), s), lambda: train(closed.rows(s), s))


def train(rows: Iterable[Mapping[str, Any]], s: Rules) -> Model:
    """The model of these closed deals; rows of open ones are passed over."""
    ended = lives(rows, s)
    seen = looks(ended, s)
    if len(ended) < max(s["min_closed"], 2 * folds_of(s)) or not seen:
        return Model("weights", len(ended), stage_rates(seen, s, s["stage_rates"]))
    odds, rated = crossed(seen, s)
    slope, shift = calibrated(odds, seen)
    fits = [(sigmoid(z), look.won) for z, look in zip(crossed_calibration(odds, seen, s), seen, strict=True)]
    bases = [(sigmoid(z), look.won) for z, look in zip(rated, seen, strict=True)]
    # Without a slope the fit tells deals apart by nothing, whatever its score.
    better = slope > 0 and surely_better(fits, bases, [look.deal for look in seen], s["sure_better"])
    return Model(
        way="fit" if better else "stage_rates",
        deals=len(ended),
        stages=stage_rates(seen, s),
        fit=fitted(seen, s, slope, shift),
        fitted=judged(fits),
        rated=judged(bases),
    )


def folds_of(s: Rules) -> int:
    return max(2, int(s["folds"]))


def crossed(seen: Sequence[Seen], s: Rules) -> tuple[list[float], list[float]]:
    """Log-odds of each look by a fit and by stage rates, both made of the deals of the other folds."""
    folds = folds_of(s)
    fits, rates = [0.0] * len(seen), [0.0] * len(seen)
    for fold in range(folds):
        others = [look for look in seen if look.deal % folds != fold]
        taught, stages = fitted(others, s), stage_rates(others, s)
        for place, look in enumerate(seen):
            if look.deal % folds == fold:
                fits[place], rates[place] = taught.odds(look.look), stages.of(look.look.stage)
    return fits, rates


def crossed_calibration(odds: Sequence[float], seen: Sequence[Seen], s: Rules) -> list[float]:
    """The log-odds calibrated, each fold's by the others'."""
    folds = folds_of(s)
    found = [0.0] * len(seen)
    for fold in range(folds):
        others = [place for place, look in enumerate(seen) if look.deal % folds != fold]
        slope, shift = calibrated([odds[place] for place in others], [seen[place] for place in others])
        for place, look in enumerate(seen):
            if look.deal % folds == fold:
                found[place] = shift + slope * odds[place]
    return found


def calibrated(odds: Sequence[float], seen: Sequence[Seen]) -> tuple[float, float]:
    """Slope and shift that make log-odds fit the outcomes (Platt), held near slope 1 and never turned round."""
    won = [look.won for look in seen]
    shift, slope = fit([odds], won, weight_of(seen), 1.0, [1.0])
    return (slope, shift) if slope > 0 else (0.0, fit([], won, weight_of(seen), 0.0)[0])


def weight_of(seen: Sequence[Seen]) -> float:
    """What a look counts, so that all together count as much as there are deals."""
    return len({look.deal for look in seen}) / len(seen) if seen else 0.0


def fitted(seen: Sequence[Seen], s: Rules, slope: float = 1.0, shift: float = 0.0) -> Fit:
    weight = weight_of(seen)
    rates = (stage_rates(seen, s), *(_trait_rate(seen, n, weight, s) for n in range(len(s["traits"]))))
    raw = list(zip(*(columns(look.look, rates) for look in seen), strict=True))
    means, scales = zip(*map(_spread, raw), strict=True)
    live = [place for place, scale in enumerate(scales) if scale]
    shown = [[_scaled(x, means[place], scales[place]) for x in raw[place]] for place in live]
    beta = fit(shown, [look.won for look in seen], weight, s["l2"])
    weights = dict(zip(live, beta[1:], strict=True))
    return Fit(rates, means, scales, (beta[0], *(weights.get(n, 0.0) for n in range(len(raw)))), slope, shift)


def _scaled(raw: float | None, mean: float, scale: float) -> float:
    """A column's number as the fit sees it; what is unknown is as the average, what never varied has no say."""
    return 0.0 if raw is None or not scale else min(BOUND, max(-BOUND, (raw - mean) / scale))


def _spread(column: Sequence[float | None]) -> tuple[float, float]:
    """Mean and deviation of what is known."""
    known = [x for x in column if x is not None]
    mean = math.fsum(known) / len(known) if known else 0.0
    scale = math.sqrt(math.fsum((x - mean) ** 2 for x in known) / len(known)) if known else 0.0
    return mean, scale if scale > 1e-9 else 0.0


def stage_rates(seen: Sequence[Seen], s: Rules, told: Rates | None = None) -> Rate:
    """Each stage's share won of the looks in it, shrunk towards what is `told` of it, else towards that of all."""
    return _rate(seen, lambda look: look.stage, weight_of(seen), s, told)


def _trait_rate(seen: Sequence[Seen], place: int, weight: float, s: Rules) -> Rate:
    return _rate(seen, lambda look: str(look.traits[place]), weight, s)


def _rate(
    seen: Sequence[Seen], word_of: Callable[[Look], str], weight: float, s: Rules, told: Rates | None = None
) -> Rate:
    count: dict[str, tuple[float, float]] = {}
    for look in seen:
        won, all_ = count.get(word_of(look.look), (0.0, 0.0))
        count[word_of(look.look)] = (won + weight * look.won, all_ + weight)
    trust = s["prior_deals"]
    sums = [sum(map(itemgetter(n), count.values())) for n in (0, 1)]
    usual = _share(sums[0], sums[1], s["base_rate"], trust)
    expected = dict.fromkeys(count, usual) | dict(told or {})
    rates = {word: _share(*count.get(word, (0.0, 0.0)), prior, trust) for word, prior in expected.items()}
    return Rate({word: log_odds(rate) for word, rate in rates.items()}, log_odds(usual))


def _share(won: float, all_: float, prior: float, trust: float) -> float:
    """A share won by a beta prior worth `trust` deals; never quite 0 or 1."""
    return min(max((won + prior * trust) / (all_ + trust), 0.001), 0.999) if all_ + trust else prior


def surely_better(
    fits: Sequence[tuple[float, bool]], bases: Sequence[tuple[float, bool]], deals: Sequence[int], sure: float
) -> bool:
    """Whether the fit's squares are smaller by more than `sure` standard errors, taken over deals, not looks."""
    gains: dict[int, float] = {}
    for (told, won), (base, _), deal in zip(fits, bases, deals, strict=True):
        gains[deal] = gains.get(deal, 0.0) + (base - won) ** 2 - (told - won) ** 2
    mean = math.fsum(gains.values()) / len(gains)
    spread = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains.values()) / len(gains))
    return mean > sure * spread / math.sqrt(len(gains))
