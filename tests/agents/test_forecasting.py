"""Forecasting: what closed deals teach, when that is believed, and what waits for review."""

from __future__ import annotations

import csv
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_snapshots import NOW, confidence_of, snap, values_of
from agents.deals import evaluate, forecast_model, logit
from agents.deals.kept import Kept
from agents.deals.looks import Look, Seen, lives, looks
from agents.deals.reading import DATA as READING_DATA
from agents.deals.reading import rules
from agents.forecasting import FORECAST, category, forecast
from revops_lite import Flag, Skip, Snapshot
from revops_lite.models import Touch

DATA = Path(os.environ.get("REVOPS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "leadforge"
DEAL = {
    "dealname": "Acme",
    "dealstage": "contractsent",
    "amount": "20000",
    "closedate": "2026-07-01",
    "createdate": "2026-05-20",
    "hs_v2_date_entered_current_stage": "2026-06-05",
}
MADE_UP = evaluate.made_up(400)


def ask(change: Mapping[str, Any] | None = None, **more: Any) -> Snapshot:
    return snap("deal:1", {**DEAL, **(change or {})}, **more)


def probability(deal: Snapshot) -> float:
    return float(values_of(forecast(deal))["revops_win_probability"])


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, sorted({column for row in rows for column in row}))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("closed") / "closed.csv", MADE_UP)


# ---- the arithmetic ------------------------------------------------------------------------------------------------


def test_a_fit_finds_the_weights_that_made_the_outcomes() -> None:
    dice, known = Random(3), (-0.5, 1.2, -0.8)
    columns = [[dice.gauss(0, 1) for _ in range(6000)] for _ in range(2)]
    won = [dice.random() < logit.sigmoid(known[0] + known[1] * a + known[2] * b) for a, b in zip(*columns, strict=True)]
    assert logit.fit(columns, won, 1.0, 0.01) == pytest.approx(known, abs=0.12)


def test_at_the_fit_the_forecasts_add_up_to_the_outcomes() -> None:
    found = logit.fit([[0.0, 1.0, 2.0, 3.0, 4.0]], [False, True, False, True, True], 1.0, 0.5)
    told = [logit.sigmoid(found[0] + found[1] * x) for x in range(5)]
    assert sum(told) == pytest.approx(3, abs=0.01)


def test_a_strong_penalty_leaves_the_weights_at_their_centre() -> None:
    assert logit.fit([[0.0, 1.0, 1.0]], [True, False, False], 1.0, 1e9, [0.7])[1] == pytest.approx(0.7)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_any_outcomes_have_a_finite_fit_even_those_that_a_line_parts(rows: list[tuple[float, bool]]) -> None:
    assert all(map(math.isfinite, logit.fit([[x for x, _ in rows]], [won for _, won in rows], 1.0, 1.0)))


@given(st.floats(allow_nan=False))
def test_log_odds_of_any_size_have_a_probability(odds: float) -> None:
    assert 0 <= logit.sigmoid(odds) <= 1


# ---- looks: what may be learnt from --------------------------------------------------------------------------------


def seen_of(row: Mapping[str, Any], **more: Any) -> list[Look]:
    s = rules({"look_days": 10, **more}, FORECAST)
    return [seen.look for seen in looks(lives([row], s), s)]


def test_a_closed_deal_is_seen_in_the_stage_and_at_the_age_it_had_that_day() -> None:
    # Day 19800 since 1970 is 2024-03-18; made four days before it, 20 days in a and 9 in b, closed on day 19825.
    row = {"dealstage": "closedlost", "createdate": "2024-03-14", "closedate": "2024-04-12", "amount": "5"}
    found = seen_of(row | {"days_in_b": "9", "days_in_a": "20", "days_in_closedlost": "400"}, stages=["a", "b"])
    assert [(look.stage, look.stay, look.age) for look in found] == [("a", 4, 4), ("a", 14, 14), ("b", 4, 24)]


def test_the_days_on_which_stages_were_entered_go_before_days_in_them() -> None:
    row = {"dealstage": "won", "createdate": "2024-03-14", "closedate": "2024-04-12", "days_in_a": "29"}
    found = seen_of(row | {"hs_v2_date_entered_a": "2024-03-14", "hs_v2_date_entered_b": "2024-03-20"})
    assert [(look.stage, look.stay) for look in found] == [("a", 4), ("b", 8), ("b", 18)]


def test_without_an_order_the_stage_that_more_deals_came_to_is_the_earlier() -> None:
    row = {"dealstage": "lost", "createdate": "2024-03-14", "closedate": "2024-04-12"}
    rows = [row | {"days_in_a": "20", "days_in_z": "9"}, row | {"days_in_z": "29"}]
    s = rules({"look_days": 10}, FORECAST)
    assert [seen.look.stage for seen in looks(lives(rows, s), s)] == ["z", "a", "a", "z", "z", "z"]


def test_how_a_deal_ended_does_not_show_in_looks_at_it() -> None:
    row = {"createdate": "2024-03-14", "closed_at": "2024-04-12", "days_in_a": "20", "amount": "5"}
    won, lost = (
        {"dealstage": end, "closedate": close, "days_in_closedwon": "3"}
        for end, close in (("won", "2024-01-01"), ("lost", ""))
    )
    assert seen_of(row | won) == seen_of(row | lost)


def test_the_amount_is_the_one_that_stood_then() -> None:
    row = {"dealstage": "lost", "createdate": "2024-03-14", "closedate": "2024-04-12", "amount": "0"}
    history = '[{"value": "10", "timestamp": "2024-03-14"}, {"value": "30", "timestamp": "2024-03-20"}]'
    assert [look.amount for look in seen_of(row | {"amount_history": history})] == [10, 30, 30]


def test_flags_of_the_last_review_are_believed_for_the_last_days_only() -> None:
    row = {"dealstage": "lost", "createdate": "2024-03-14", "closedate": "2024-04-12"}
    found = seen_of(row | {"revops_risk_flags": "stale_activity;mine"})
    assert [look.flags for look in found] == [None, None, {"stale_activity"}]
    assert [look.flags for look in seen_of(row)] == [None, None, None]


@pytest.mark.parametrize("change", [{"createdate": ""}, {"closedate": "soon"}, {"createdate": "2025-01-01"}])
def test_a_deal_whose_times_are_not_known_still_tells_its_outcome(change: dict[str, str]) -> None:
    row = {"dealstage": "lost", "createdate": "2024-03-14", "closedate": "2024-04-12", "amount": "5"}
    assert seen_of(row | change) == [Look(amount=5)]


def test_many_deals_are_looked_at_less_often() -> None:
    s = rules({"max_looks": 500}, FORECAST)
    assert 0 < len(looks(lives(MADE_UP, s), s)) < 600


# ---- what is believed ----------------------------------------------------------------------------------------------


def test_a_fit_is_used_where_it_is_surely_better_and_it_is_calibrated() -> None:
    found = evaluate.judge(evaluate.made_up(1200), rules({"traits": ["lead_source"]}, FORECAST))
    assert found is not None
    assert found.taught.way == "fit"
    assert found.told.brier < 0.85 * found.rates.brier
    assert [bin_.won for bin_ in found.told.bins if bin_.count > 100] == pytest.approx(
        [bin_.mean for bin_ in found.told.bins if bin_.count > 100], abs=0.12
    )


@pytest.mark.parametrize("seed", range(5))
def test_without_anything_to_learn_the_stage_rates_are_used_and_that_is_said(seed: int, tmp_path: Path) -> None:
    rows = evaluate.dealt_anew(MADE_UP, rules({}, FORECAST), seed)
    found = forecast(ask(settings={"closed_deals": written(tmp_path / "closed.csv", rows)}))
    assert "a fit to 400 closed deals is not surely better (Brier 0." in found.because
    assert confidence_of(found, "revops_win_probability") == 0.82
    rate = forecast_model.train(rows, rules({}, FORECAST)).stages.of("contractsent")
    assert values_of(found)["revops_win_probability"] == pytest.approx(logit.sigmoid(rate), abs=1e-4)


def test_calibration_draws_in_what_was_too_bold_and_never_turns_round() -> None:
    seen = looks(lives(MADE_UP, s := rules({}, FORECAST)), s)
    dice = Random(5)
    honest = [dice.gauss(0, 1) for _ in seen]
    outcomes = [
        Seen(look.deal, dice.random() < logit.sigmoid(z), look.day, look.look)
        for z, look in zip(honest, seen, strict=True)
    ]
    slope, _ = forecast_model.calibrated([3 * z for z in honest], outcomes)
    assert slope == pytest.approx(1 / 3, abs=0.1)
    share = sum(look.won for look in outcomes) / len(outcomes)
    assert forecast_model.calibrated([-5 * z for z in honest], outcomes) == (
        0,
        pytest.approx(logit.log_odds(share), abs=0.01),
    )


def test_better_for_one_deal_seen_often_is_not_surely_better() -> None:
    fits, bases = [(0.9, True)] * 50 + [(0.5, False)] * 3, [(0.5, True)] * 50 + [(0.5, False)] * 3
    assert not forecast_model.surely_better(fits, bases, [0] * 50 + [1, 2, 3], 1.64)
    assert forecast_model.surely_better(fits, bases, [*range(53)], 1.64)


def test_a_fit_forecasts_by_amount_source_and_flags(closed: str) -> None:
    given_ = {"closed_deals": closed, "traits": ["lead_source"]}
    good = ask({"lead_source": "referral"}, settings=given_)
    assert "fitted to 400 closed deals" in forecast(good).because
    assert confidence_of(forecast(good), "revops_win_probability") == 0.9
    assert probability(good) > probability(ask({"lead_source": "outbound"}, settings=given_))
    assert probability(good) > probability(ask({"lead_source": "referral", "amount": "300000"}, settings=given_))
    flagged = ask({"lead_source": "referral"}, settings=given_, flags=(Flag("stale_activity"),))
    assert probability(good) > probability(flagged)


def test_stage_rates_are_drawn_towards_what_is_usual_by_a_beta_prior() -> None:
    # 10 deals in a, 8 won, without times one look each: (8 + 0.4 * 20) / (10 + 20); b as it is told.
    row = {"createdate": "2024-03-14", "closedate": "2024-03-19", "hs_v2_date_entered_a": "2024-03-14"}
    rows = [row | {"dealstage": "won" if n < 8 else "lost"} for n in range(10)]
    s = rules({"look_days": 1, "stage_rates": {"a": 0.4, "b": 0.7}}, FORECAST)
    found = forecast_model.train(rows, s)
    assert found.way == "weights"
    assert [logit.sigmoid(found.stages.of(stage)) for stage in "ab"] == pytest.approx([16 / 30, 0.7])
    assert logit.sigmoid(found.stages.of("c")) == pytest.approx((8 + 0.25 * 20) / 30)


# ---- without enough closed deals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "flags", "odds"),
    [
        ({}, (), logit.log_odds(0.6)),
        ({"dealstage": "elsewhere"}, (), logit.log_odds(0.25)),
        ({}, ("stale_activity", "no_next_step"), logit.log_odds(0.6) - 0.9),
        ({}, ("somebody_elses",), logit.log_odds(0.6)),
        # 120 days are two doublings of the typical 30.
        ({"hs_v2_date_entered_current_stage": "2026-02-15T12:00:00Z"}, (), logit.log_odds(0.6) - 0.6),
    ],
)
def test_stage_age_and_flags_count_by_the_settings_weights(
    change: dict[str, str], flags: tuple[str, ...], odds: float
) -> None:
    found = forecast(ask(change, flags=tuple(map(Flag, flags))))
    assert values_of(found)["revops_win_probability"] == pytest.approx(logit.sigmoid(odds), abs=1e-4)
    assert "0 closed deals are too few for a fit" in found.because
    assert confidence_of(found, "revops_win_probability") == 0.8


@pytest.mark.parametrize(
    ("told", "name"),
    [(0.75, "commit"), (0.74, "best_case"), (0.5, "best_case"), (0.1, "pipeline"), (0.09, "omitted")],
)
def test_the_category_is_the_first_whose_threshold_is_reached(told: float, name: str) -> None:
    assert category(told, rules({}, FORECAST)) == name


def test_a_mistaken_category_is_told_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="there is no 'upside'; it may have commit, best_case, pipeline"):
        forecast(ask(settings={"categories": {"upside": 0.6}}))


def test_a_closed_deal_is_left_alone() -> None:
    with pytest.raises(Skip, match="closed"):
        forecast(ask({"dealstage": "closedwon"}))


def test_a_missing_file_is_told_with_the_mend() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere.csv; correct the path"):
        forecast(ask(settings={"closed_deals": "nowhere.csv"}))


# ---- more than 0.25 in a day ---------------------------------------------------------------------------------------


def history(deal: Snapshot, told: float, hours: float = 24, outcome: str = "done") -> tuple[Touch, ...]:
    """A forecast of `told` for the deal as it is, some hours ago."""
    at = (NOW - timedelta(hours=hours)).timestamp()
    fields = {"revops_win_probability": told, "revops_forecast_category": "commit"}
    return (Touch(at, "forecasting", "run", outcome, fields, 0.9, forecast(deal).because),)


def moved(before: float, change: Mapping[str, Any] | None = None, hours: float = 24, **more: Any) -> tuple[float, str]:
    """Confidence and reason of a forecast of 0.6 after one of `before` for the deal without `change`."""
    past = history(ask(), before, hours)
    found = forecast(ask({"revops_win_probability": before, **(change or {})}, history=past, **more))
    return confidence_of(found, "revops_win_probability"), found.because


def test_a_jump_within_a_day_without_an_event_waits_for_review_and_says_so() -> None:
    confidence, because = moved(0.2)
    assert confidence == 0.5
    assert because.startswith("20% became 60% within a day and nothing happened to the deal; ")


@pytest.mark.parametrize("before", [0.36, 0.6, 0.84])
def test_a_smaller_move_is_written(before: float) -> None:
    assert moved(before)[0] == 0.8


def test_a_jump_over_more_than_a_day_is_written() -> None:
    assert moved(0.2, hours=31)[0] == 0.8


@pytest.mark.parametrize(
    "change",
    [{"amount": "21000"}, {"closedate": "2026-08-01"}, {"dealstage": "decisionmakerboughtin"}],
)
def test_a_jump_after_an_event_is_written(change: dict[str, str]) -> None:
    assert moved(0.2, change)[0] == 0.8


def test_a_new_finding_is_an_event() -> None:
    assert moved(0.95, flags=(Flag("slipped_close"),))[0] == 0.8


def test_a_jump_that_waits_is_not_written_by_the_next_review_either() -> None:
    past = (*history(ask(), 0.2, 48), *history(ask(), 0.6, 24))
    found = forecast(ask({"revops_win_probability": 0.2}, history=past))
    assert confidence_of(found, "revops_win_probability") == 0.5


def test_without_the_value_in_the_record_the_last_forecast_is_compared() -> None:
    found = forecast(ask(history=history(ask(), 0.2)))
    assert confidence_of(found, "revops_win_probability") == 0.5


def test_what_others_did_to_the_deal_is_no_forecast() -> None:
    touch = Touch(
        (NOW - timedelta(hours=1)).timestamp(), "deal_inspection", "run", "done", {"revops_risk_level": "low"}
    )
    found = forecast(ask({"revops_win_probability": 0.1}, history=(touch,)))
    assert confidence_of(found, "revops_win_probability") == 0.8


def test_every_setting_stands_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
    told = page.partition("\n## forecasting\n")[2].partition("\n## ")[0]
    own = tomllib.loads((READING_DATA / "forecast.toml").read_text(encoding="utf-8"))
    assert [name for name in own if f"`{name}`" not in told] == []


# ---- what is kept --------------------------------------------------------------------------------------------------


def test_sixteen_threads_get_the_model_that_one_of_them_trained(tmp_path: Path) -> None:
    path, start = written(tmp_path / "closed.csv", MADE_UP), Barrier(16)

    def call(_: int) -> forecast_model.Model:
        start.wait()
        return forecast_model.model(rules({"closed_deals": path}, FORECAST))

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(call, range(16)))
    assert all(each is found[0] for each in found)


def test_a_file_that_changed_is_learnt_from_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "closed.csv", MADE_UP)
    before = forecast(ask(settings={"closed_deals": path})).because
    written(tmp_path / "closed.csv", MADE_UP[:300])
    after = forecast(ask(settings={"closed_deals": path})).because
    assert ("400 closed deals" in before, "300 closed deals" in after) == (True, True)


def test_what_raises_is_not_kept_and_what_the_caller_changes_is_found_again() -> None:
    kept: Kept[int] = Kept(2, lambda key: list(key))
    with pytest.raises(ZeroDivisionError):
        kept.get([1], lambda: 1 // 0)
    key = [1]
    assert kept.get(key, lambda: 5) == 5
    key.append(2)
    assert (kept.get(key, lambda: 6), kept.get([1], lambda: 7)) == (6, 5)


def test_settings_that_are_changed_in_place_count_at_once() -> None:
    own: dict[str, Any] = {"fields": {"amount": ["worth"]}}
    assert rules(own)["fields"]["amount"] == ["worth"]
    own["fields"]["amount"].append("value")
    assert rules(own)["fields"]["amount"] == ["worth", "value"]


# ---- other people's data -------------------------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=30), st.integers(-(10**400), 10**400), st.just("9" * 5000),
    st.lists(st.none(), max_size=2), st.sampled_from(["9999-12-31", "0001-01-01T00:00:00-23:59", "1e999", "\ud800"]),
)  # fmt: skip
NAMES = sorted({name for names in FORECAST["fields"].values() for name in names} | {"revops_win_probability"})


@given(st.dictionaries(st.sampled_from(NAMES), HOSTILE, max_size=8), st.booleans())
@settings(deadline=None, max_examples=150)
def test_whatever_a_deal_holds_its_probability_is_within_bounds(
    closed: str, values: dict[str, Any], learnt: bool
) -> None:
    given_ = {"closed_deals": closed} if learnt else {}
    past = (Touch(NOW.timestamp(), "forecasting", "run", "done", {"revops_win_probability": values.get("amount")}),)
    try:
        found = forecast(snap("deal:1", values, settings=given_, history=past))
    except Skip:
        return
    assert 0.01 <= values_of(found)["revops_win_probability"] <= 0.99
    found.because.encode()


@given(st.lists(st.dictionaries(st.sampled_from([*NAMES, "days_in_x", "hs_v2_date_entered_y"]), HOSTILE, max_size=8)))
@settings(deadline=None, max_examples=80)
def test_whatever_the_closed_deals_hold_there_is_a_model(rows: list[dict[str, Any]]) -> None:
    s = rules({"min_closed": 1, "folds": 2}, FORECAST)
    found = forecast_model.train([row | {"stage": "won"} for row in rows], s)
    assert math.isfinite(found.odds(Look("x", 1.0, 2.0, 3.0, frozenset()), s))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set at {DATA}")
def test_opportunities_that_tell_nothing_of_their_ends_get_the_share_won() -> None:
    path = str(DATA / "opportunities.csv")
    found = forecast(snap("opportunity:1", {"stage": "negotiation"}, settings={"closed_deals": path}))
    assert "share won of closed deals, which tell no stages: a fit to 212 closed deals is not surely" in found.because
    assert 0.45 < values_of(found)["revops_win_probability"] < 0.65


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set at {DATA}")
def test_the_check_prints_scores_and_a_calibration_table_of_later_deals() -> None:
    told = "\n".join(evaluate.given(DATA))
    assert told.count("not surely better, the stage rates are used") == 6
    assert told.count("forecast       looks  mean   won") == 3
    assert ", the unused fit 0.2" in told
