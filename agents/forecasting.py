"""Forecasting: the probability that an open deal is won, learnt from the CRM's closed deals where there are enough.

Where it comes from stands in `because`: a fit to closed deals, the stage rates where a fit is not surely better, or
stage rates with the settings' weights where the closed deals are too few (`agents/deals/forecast_model.py`). A
probability that moved by more than `jump` within a day though the deal did not change waits for review.

Settings: any key of data/forecast.toml and data/deals.toml, which have the defaults and say what each means.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from agents.deals.accuracy import PROBABILITY, chance
from agents.deals.forecast_model import model
from agents.deals.logit import sigmoid
from agents.deals.looks import present
from agents.deals.reading import DATA, DAY, DEFAULTS, held, is_open, open_codes, rules
from agents.evidence.reading import text
from revops_lite import Proposal, Skip, Snapshot, agent

Rules = Mapping[str, Any]
FORECAST: dict[str, Any] = DEFAULTS | tomllib.loads((DATA / "forecast.toml").read_text(encoding="utf-8"))
CATEGORIES = ("commit", "best_case", "pipeline")  # from the likeliest; "omitted" below them
NAMES = {"stage": "stage", "amount": "amount", "close": "close date"}  # a change of one is an event, as is one of flags


class Forecast(BaseModel):
    """The probability that the deal is won, and the category that it is counted under."""

    revops_win_probability: float = Field(ge=0.01, le=0.99)
    revops_forecast_category: str = Field(pattern="^(commit|best_case|pipeline|omitted)$")


def category(told: float, s: Rules) -> str:
    """The first category whose threshold the probability reaches."""
    if unknown := set(s["categories"]) - set(CATEGORIES):
        raise ValueError(
            f"settings.categories: there is no {sorted(unknown)[0]!r}; it may have {', '.join(CATEGORIES)}"
        )
    return next((name for name in CATEGORIES if told >= s["categories"].get(name, 2)), "omitted")


def state_of(deal: Snapshot, s: Rules) -> str:
    """What the deal is forecast on. It ends `because`, so that the next forecast finds it in the deal's history."""
    said = [f"{name} {text(held(deal.values, key, s), 60) or 'unknown'}" for key, name in NAMES.items()]
    return f"on {', '.join(said)}, flags {' '.join(open_codes(deal)) or 'none'}"


def jumped(deal: Snapshot, told: float, state: str, s: Rules) -> str:
    """The previous forecast and the new one, if they are far apart without an event in between; "" if not."""
    since = deal.now.timestamp() - s["jump_days"] * DAY
    recent = [touch for touch in deal.history if touch.at >= since and PROBABILITY in touch.fields]
    if not recent:
        return ""
    before = chance(deal.get(PROBABILITY))
    if before is None:
        before = chance(recent[-1].fields[PROBABILITY])
    happened = any(touch.note and not touch.note.endswith(state) for touch in recent)
    if before is None or happened or abs(told - before) <= s["jump"]:
        return ""
    return f"{before:.0%} became {told:.0%} within a day and nothing happened to the deal; "


def bounded(odds: float, s: Rules) -> float:
    """The probability behind log-odds, within what the schema and the settings allow."""
    lowest, highest = max(0.01, float(s["lowest"])), min(0.99, float(s["highest"]))
    return round(min(max(sigmoid(odds), lowest), highest), 4)


@agent(writes=Forecast)
def forecast(deal: Snapshot) -> Proposal:
    """Win probability and forecast category of an open deal."""
    s = rules(deal.settings, FORECAST)
    if not is_open(deal, s):
        raise Skip("the deal is closed")
    taught, look, state = model(s), present(deal, s), state_of(deal, s)
    told = bounded(taught.odds(look, s), s)
    jump = jumped(deal, told, state, s)
    values = Forecast(revops_win_probability=told, revops_forecast_category=category(told, s))
    return Proposal(values, s["sureness"]["jump" if jump else taught.way], f"{jump}{taught.why(look, s)}; {state}")
