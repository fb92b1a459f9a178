"""How good the forecasts were, by figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from agents.deals.accuracy import Bin, accuracy, chance
from agents.deals.reading import rules


def row(told: Any, stage: str) -> dict[str, Any]:
    return {"dealstage": stage, "revops_win_probability": told}


def test_brier_base_rate_and_calibration_are_those_worked_out_by_hand() -> None:
    # Squares: 0.04 + 0.16 + 0.01 + 0.01 = 0.22, over 4 deals 0.055. Won 2 of 4: 0.5 x 0.5 = 0.25.
    rows = [row("0.8", "closedwon"), row(0.6, "won"), row(0.1, "closedlost"), row("0.1", "lost")]
    found = accuracy(rows, rules({}))
    assert found is not None
    assert (found.count, found.better) == (4, True)
    assert found.brier == pytest.approx(0.055)
    assert found.base_brier == pytest.approx(0.25)
    assert [(b.count, b.mean, b.won) for b in found.bins] == [(2, 0.1, 0), (1, 0.6, 1), (1, 0.8, 1)]


def test_forecasts_that_were_wrong_are_not_better_than_the_share_won() -> None:
    found = accuracy([row(0.9, "lost"), row(0.1, "won")], rules({}))
    assert found is not None
    assert (found.brier, found.base_brier, found.better) == (pytest.approx(0.81), 0.25, False)


def test_a_forecast_on_the_edge_belongs_to_the_bin_above_and_certainty_to_the_last() -> None:
    found = accuracy([row(0.2, "lost"), row(1, "won"), row(0, "lost")], rules({}))
    assert found is not None
    assert found.bins == (Bin(0, 0.2, 1, 0, 0), Bin(0.2, 0.4, 1, 0.2, 0), Bin(0.8, 1, 1, 1, 1))


@pytest.mark.parametrize("told", [None, "", "high", "nan", "inf", -0.1, 1.1, True, [0.5], "5%"])
def test_what_is_no_probability_is_passed_over(told: Any) -> None:
    assert chance(told) is None
    assert accuracy([row(told, "closedwon")], rules({})) is None


def test_open_deals_have_no_accuracy_yet() -> None:
    assert accuracy([row(0.5, "proposal")], rules({})) is None


def test_the_fields_of_another_crm_are_mapped_by_the_settings() -> None:
    s = rules({"fields": {"outcome": "result"}})
    found = accuracy([{"result": "won", "revops_win_probability": 1}], s)
    assert found is not None
    assert found.brier == 0
