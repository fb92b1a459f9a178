"""Pay: cases computed by hand, equal to the cent; and the verdicts of the comp audit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from agent_snapshots import NOW, snap, values_of
from agents.comp_audit import audit
from agents.deals.pay import Period, Sale, parse, payouts
from revops_lite import Flag
from revops_lite.models import Touch

PLAN: dict[str, Any] = {
    "version": "1",
    "currency": "USD",
    "quota": "1000",
    "rate": "0.10",
    "accelerators": [{"from": "1", "rate": "0.15"}, {"from": "1.5", "rate": "0.20"}],
    "rates": {"EUR": "1.10", "JPY": "0.0067"},
    "clawback": {"days": 30, "share": "1"},
}
PERIOD = Period(date(2026, 4, 1), date(2026, 6, 30))
EVEN, DOWN, TOTAL = {"rounding": "half_even"}, {"rounding": "down"}, {"round_each": "total"}
HALF = {"clawback": {"days": 30, "share": "0.5"}}
CASES: list[tuple[dict[str, Any], list[str], str]] = [  # plan, "amount splits closed cancelled currency", payouts
    ({}, ["1000 a"], "a 100.00"),
    ({}, ["0 a"], "a 0.00"),
    ({}, ["1200 a"], "a 130.00"),  # 100 + 200 x 0.15
    ({}, ["1500 a"], "a 175.00"),  # 100 + 75
    ({}, ["2000 a"], "a 275.00"),  # 100 + 75 + 500 x 0.2
    ({}, ["800 a", "800 a"], "a 195.00"),  # 100 + 75 + 100 x 0.2
    ({"accelerators": []}, ["2000 a"], "a 200.00"),
    ({"quotas": {"a": "2000"}}, ["2000 a"], "a 200.00"),
    ({"quotas": {"a": "500"}}, ["1000 a"], "a 137.50"),  # 50 + 250 x 0.15 + 250 x 0.2
    ({"quotas": {"a": "2000"}}, ["2000 b"], "b 275.00"),
    ({}, ["1000 a:0.6,b:0.4"], "a 60.00 b 40.00"),
    ({}, ["2000 a:0.5,b:0.5"], "a 100.00 b 100.00"),
    ({}, ["1000 a", "1000 a:0.5,b:0.5"], "a 175.00 b 50.00"),
    ({}, ["100.01 a:0.3333,b:0.6667"], "a 3.33 b 6.67"),  # 3.3333..., 6.6676...
    ({}, ["100 a 2026-04-01"], "a 10.00"),
    ({}, ["100 a 2026-06-30"], "a 10.00"),
    ({}, ["100 a 2026-03-31"], "a 0.00"),
    ({}, ["1000 a 2026-05-01 2026-05-20"], "a 0.00"),
    ({}, ["1000 a 2026-05-01 2026-06-20"], "a 100.00"),  # 50 days later
    ({}, ["1000 a 2026-03-20 2026-04-10"], "a -100.00"),
    ({}, ["1000 a 2026-03-01 2026-04-10"], "a 0.00"),  # 40 days later
    (HALF, ["1000 a 2026-03-20 2026-04-10"], "a -50.00"),
    (HALF, ["1000 a 2026-05-01 2026-05-20"], "a 50.00"),
    ({}, ["1000 a 2026-03-20 2026-04-10", "1200 a"], "a 30.00"),  # -100 + 130
    ({}, ["1000 a 2026-05-01 2026-07-01"], "a 100.00"),
    ({}, ["100 a - - EUR"], "a 11.00"),
    ({}, ["1000 a - - EUR"], "a 115.00"),  # 1100: 100 + 15
    ({}, ["10001 a - - JPY"], "a 6.70"),  # 67.0067
    ({}, ["0.05 a"], "a 0.01"),  # 0.005
    (EVEN, ["0.05 a"], "a 0.00"),
    (EVEN, ["0.15 a"], "a 0.02"),  # 0.015
    (DOWN, ["0.19 a"], "a 0.01"),
    ({}, ["0.05 a", "0.05 a"], "a 0.02"),
    (TOTAL, ["0.05 a", "0.05 a"], "a 0.01"),
    ({"round_to": "1"}, ["1234 a"], "a 135"),  # 135.1
]


def sale(number: int, told: str) -> Sale:
    amount, splits, closed, gone, currency = [*told.split(), *["-"] * 4][:5]
    shares = [part.split(":") for part in splits.split(",")]
    pairs = tuple((each[0], Decimal(each[1] if each[1:] else 1)) for each in shares)
    day = date.fromisoformat(closed) if closed != "-" else date(2026, 5, 1)
    cancelled = date.fromisoformat(gone) if gone != "-" else None
    return Sale(f"deal:{number}", Decimal(amount), "USD" if currency == "-" else currency, day, pairs, cancelled)


@pytest.mark.parametrize(("plan", "sales", "paid"), CASES)
def test_a_payout_is_right_to_the_cent(plan: dict[str, Any], sales: list[str], paid: str) -> None:
    found = payouts(parse(PLAN | plan), [sale(n, told) for n, told in enumerate(sales)], PERIOD)
    assert " ".join(f"{rep} {amount}" for rep, amount in sorted(found.items())) == paid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0.1}, 'plan: rate = 0.1 is no amount; write it in quotes, such as rate = "0.10"'),
        ({"qouta": "1"}, "plan: there is no key 'qouta'"),
        ({"rounding": "up"}, "rounding = 'up'; it has to be half_up or half_even or down"),
        ({"quota": "0"}, "more than 0"),
        ({"periods": [{"start": date(2026, 2, 1), "end": date(2026, 1, 1)}]}, "in this order"),
    ],
)
def test_a_mistaken_plan_names_the_key_and_the_mend(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as told:
        parse(PLAN | change)
    assert message in str(told.value)


def verdict(change: dict[str, Any], history: tuple[Touch, ...] = (), **settings: Any) -> dict[str, str]:
    values = {"dealstage": "closedwon", "amount": "1000", "closedate": "2026-05-01", "hubspot_owner_id": "ana"} | change
    deal = snap("deal:1", values, flags=(Flag("amount_changed"),), history=history, settings=settings)
    (found,) = audit([deal, snap("deal:2", values)])
    assert found.target == "deal:1"
    return {name.removeprefix("revops_comp_"): value for name, value in values_of(found).items()}


def test_a_flagged_deal_that_somebody_is_paid_for_warns_with_the_difference() -> None:
    assert verdict({}) == {
        "status": "warn",
        "reason": "with it the payout changes by ana +100.00 USD (plan 2026.1)",
    }


def test_a_difference_within_the_tolerance_and_a_lost_deal_pass() -> None:
    assert verdict({}, tolerance="100.00")["status"] == "pass"
    assert verdict({"dealstage": "closedlost"})["status"] == "pass"


@pytest.mark.parametrize(
    ("agent", "field", "outcome", "at", "status"),
    [
        ("cleaner", "amount", "done", NOW, "block"),
        ("cleaner", "closedate", "done", NOW, "block"),
        ("cleaner", "hubspot_owner_id", "done", NOW, "block"),
        ("cleaner", "revops_risk_level", "done", NOW, "warn"),
        ("cleaner", "amount", "failed", NOW, "warn"),
        ("person", "amount", "done", NOW, "warn"),
        ("cleaner", "amount", "done", NOW.replace(month=7), "warn"),
    ],
)
def test_what_agents_change_inside_an_open_pay_period_blocks(
    agent: str, field: str, outcome: str, at: Any, status: str
) -> None:
    found = verdict({}, (Touch(at.timestamp(), agent, "r", outcome, {field: "1"}),))
    assert found["status"] == status
    assert (f"{agent} changed {field}" in found["reason"]) == (status == "block")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": "lots"}, "the amount cannot be read"),
        ({"currency": "XXX"}, "no rate for XXX; add it under"),
        ({"splits": "ana:60;ben:50"}, "not 100 together"),
    ],
)
def test_a_deal_that_cannot_be_computed_warns_and_says_why(change: dict[str, Any], why: str) -> None:
    found = verdict(change)
    assert found["status"] == "warn"
    assert why in found["reason"]
