"""Pay: cases computed by hand, equal to the cent; and the verdicts of the comp audit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
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
FLAT: dict[str, Any] = {"accelerators": []}
# plan, "amount splits closed cancelled currency", payouts. The plan above: a quota of 1,000, 10 % below it, 15 % from
# 1,000 on, 20 % from 1,500 on; claw-backs of all within 30 days; each deal's commission rounded half up to the cent.
CASES: list[tuple[dict[str, Any], list[str], str]] = [
    # quota
    ({}, ["1000 a"], "a 100.00"),  # 1,000 x 0.10
    ({}, ["0 a"], "a 0.00"),
    ({}, ["999.99 a"], "a 100.00"),  # 99.999
    ({"quotas": {"a": "2000"}}, ["2000 a"], "a 200.00"),  # 2,000 x 0.10: just reached
    ({"quotas": {"a": "500"}}, ["1000 a"], "a 137.50"),  # 500 x 0.10 + 250 x 0.15 + 250 x 0.20
    ({"quotas": {"a": "2000"}}, ["2000 b"], "b 275.00"),  # a's quota is not b's
    # accelerators
    ({}, ["1200 a"], "a 130.00"),  # 100 + 200 x 0.15
    ({}, ["1500 a"], "a 175.00"),  # 100 + 500 x 0.15
    ({}, ["2000 a"], "a 275.00"),  # 100 + 75 + 500 x 0.20
    ({}, ["1000.10 a"], "a 100.02"),  # 100 + 0.10 x 0.15 = 100.015
    ({}, ["1500.10 a"], "a 175.02"),  # 175 + 0.10 x 0.20
    ({}, ["1000 a", "0.10 a"], "a 100.02"),  # exactly at quota: what follows is 0.10 x 0.15 = 0.015
    ({}, ["1500 a", "0.10 a"], "a 175.02"),  # exactly at the second tier: 0.10 x 0.20
    ({}, ["800 a", "800 a"], "a 195.00"),  # 80, then 200 x 0.10 + 500 x 0.15 + 100 x 0.20 = 115
    ({}, ["800 a 2026-05-02", "900 b", "400 a 2026-05-01"], "a 130.00 b 90.00"),  # 40, then 600 x 0.10 + 200 x 0.15
    (FLAT, ["2000 a"], "a 200.00"),
    ({"accelerators": [{"from": "0", "rate": "0.30"}]}, ["100 a"], "a 30.00"),  # from the first cent on
    ({"accelerators": [{"from": "1", "rate": "0"}]}, ["1500 a"], "a 100.00"),  # a cap: nothing beyond the quota
    ({"accelerators": [{"from": "1.5", "rate": "0.20"}, {"from": "1", "rate": "0.15"}]}, ["2000 a"], "a 275.00"),
    # splits
    ({}, ["1000 a:0.6,b:0.4"], "a 60.00 b 40.00"),
    ({}, ["2000 a:0.5,b:0.5"], "a 100.00 b 100.00"),  # 1,000 each: nobody is beyond the quota
    ({}, ["1000 a", "1000 a:0.5,b:0.5"], "a 175.00 b 50.00"),  # a: 100 + 500 x 0.15
    ({}, ["700 a", "600 a:0.5,b:0.5", "200 a:0.5,b:0.5"], "a 115.00 b 40.00"),  # a: 70 + 30 + 100 x 0.15; b: 30 + 10
    ({}, ["100.01 a:0.3333,b:0.6667"], "a 3.33 b 6.67"),  # 33.333333 and 66.676667 x 0.10
    ({}, ["0.10 a:0.5,b:0.5"], "a 0.01 b 0.01"),  # 0.005 each: rounded for each of them
    ({}, ["1500 a:0.6,a:0.4"], "a 175.00"),  # twice the same rep: 900 x 0.10, then 100 x 0.10 + 500 x 0.15
    # periods: both days belong to it
    ({}, ["100 a 2026-04-01"], "a 10.00"),
    ({}, ["100 a 2026-06-30"], "a 10.00"),
    ({}, ["100 a 2026-03-31"], "a 0.00"),
    ({}, ["100 a 2026-07-01"], "a 0.00"),
    ({}, ["1000 a 2026-03-31", "1000 a 2026-04-01"], "a 100.00"),  # the quota of a period begins anew
    # claw-backs
    ({}, ["1000 a 2026-05-01 2026-05-20"], "a 0.00"),  # in the same period: no credit is left
    ({}, ["1000 a 2026-05-01 2026-05-31"], "a 0.00"),  # 30 days later
    ({}, ["1000 a 2026-05-01 2026-06-01"], "a 100.00"),  # 31 days later
    ({}, ["1000 a 2026-05-01 2026-06-20"], "a 100.00"),  # 50 days later
    ({}, ["1000 a 2026-03-20 2026-04-10"], "a -100.00"),  # paid in the last period: all taken back
    ({}, ["1000 a 2026-03-01 2026-04-10"], "a 0.00"),  # 40 days later
    (HALF, ["1000 a 2026-03-20 2026-04-10"], "a -50.00"),  # 1,000 x 0.5 x 0.10
    (HALF, ["1000 a 2026-05-01 2026-05-20"], "a 50.00"),  # 500 x 0.10
    (HALF, ["1000 a 2026-05-01 2026-05-20", "1000 a 2026-05-02"], "a 175.00"),  # 50, then 500 x 0.10 + 500 x 0.15
    ({}, ["1000 a 2026-03-20 2026-04-10", "1200 a"], "a 30.00"),  # -100 + 130: what is taken back is no credit
    ({}, ["1000 a 2026-03-20 2026-04-10", "900 a 2026-03-25 2026-04-10", "300 a"], "a -160.00"),  # -100 - 90 + 30
    ({}, ["2000 a 2026-03-20 2026-04-10"], "a -200.00"),  # at the base rate, whatever tier it was paid in
    ({}, ["1000 a:0.6,b:0.4 2026-03-20 2026-04-10", "100 b"], "a -60.00 b -30.00"),  # b: -40 + 10
    ({}, ["1000 a 2026-06-20 2026-07-01"], "a 100.00"),  # in the next period's payout, not in this one's
    ({}, ["1000 a 2026-05-10 2026-05-09"], "a 100.00"),  # cancelled before it closed: closed again since
    # currencies
    ({}, ["100 a - - EUR"], "a 11.00"),  # 110 x 0.10
    ({}, ["1000 a - - EUR"], "a 115.00"),  # 1,100: 100 + 100 x 0.15
    ({}, ["10001 a - - JPY"], "a 6.70"),  # 67.0067 x 0.10 = 6.70067
    ({}, ["0.95 a - - EUR"], "a 0.10"),  # 1.045 x 0.10 = 0.1045; with 1.05 it would be 0.105, a cent more
    ({}, ["900 a", "100 a - - EUR"], "a 101.50"),  # 90, then 100 x 0.10 + 10 x 0.15
    ({}, ["100 a:0.5,b:0.5 2026-03-20 2026-04-10 EUR"], "a -5.50 b -5.50"),  # 55 x 0.10 each
    # rounding
    ({}, ["0.05 a"], "a 0.01"),  # 0.005
    ({}, ["0.04 a"], "a 0.00"),  # 0.004
    (EVEN, ["0.05 a"], "a 0.00"),  # 0.005, to the even cent
    (EVEN, ["0.15 a"], "a 0.02"),  # 0.015
    (EVEN, ["0.25 a"], "a 0.02"),  # 0.025
    (DOWN, ["0.19 a"], "a 0.01"),  # 0.019
    ({}, ["0.05 a 2026-03-20 2026-04-10"], "a -0.01"),  # -0.005: exactly what was paid goes back
    (DOWN, ["0.19 a 2026-03-20 2026-04-10"], "a -0.01"),  # -0.019
    ({}, ["0.05 a", "0.05 a"], "a 0.02"),  # 0.005 rounded, twice
    (TOTAL, ["0.05 a", "0.05 a"], "a 0.01"),  # 0.005 + 0.005
    (TOTAL | EVEN, ["0.05 a", "0.05 a", "0.05 a"], "a 0.02"),  # 0.015
    ({"round_to": "1"}, ["1234 a"], "a 135"),  # 100 + 234 x 0.15 = 135.1
    ({"round_to": "0.05"}, ["101.20 a"], "a 10.10"),  # 10.12, in steps of five cents
    ({"round_to": "0.05"}, ["101.25 a"], "a 10.15"),  # 10.125, half of such a step
    ({"round_to": "10"}, ["1234 a"], "a 140"),  # 135.1
    (TOTAL, ["0.04 a 2026-03-20 2026-04-10"], "a 0.00"),  # -0.004, and not -0.00
    ({}, ["999999999999.99 a"], "a 199999999875.00"),  # 175 + 999,999,998,499.99 x 0.20 = 175 + 199,999,999,699.998
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
        ({"quotas": {"a": "0"}}, "more than 0"),
        ({"round_to": "0"}, "more than 0"),
        ({"quota": "-5"}, "is no amount"),
        ({"clawback": {"days": 30, "share": "1.5"}}, "takes back more than was paid; 1 is all of it"),
        ({"periods": [{"start": date(2026, 2, 1), "end": date(2026, 1, 1)}]}, "in this order"),
    ],
)
def test_a_mistaken_plan_names_the_key_and_the_mend(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as told:
        parse(PLAN | change)
    assert message in str(told.value)


WRITTEN = "write.applied"


def verdict(
    change: dict[str, Any], history: tuple[Touch, ...] = (), written: dict[str, Any] | None = None, **settings: Any
) -> dict[str, str]:
    values = {"dealstage": "closedwon", "amount": "1000", "closedate": "2026-05-01", "hubspot_owner_id": "ana"} | change
    deal = snap(
        "deal:1", values, flags=(Flag("amount_changed"),), history=history, written=written or {}, settings=settings
    )
    (found,) = audit([deal, snap("deal:2", values)])
    assert found.target == "deal:1"
    return {name.removeprefix("revops_comp_"): value for name, value in values_of(found).items()}


def test_a_flagged_deal_that_somebody_is_paid_for_warns_with_the_difference() -> None:
    assert verdict({}) == {
        "status": "warn",
        "reason": "with it the payout changes by ana +100.00 USD (plan 2026.1)",
    }


def test_a_verdict_that_the_deal_holds_already_is_not_proposed_again() -> None:
    values = {"dealstage": "closedwon", "amount": "1000", "closedate": "2026-05-01", "hubspot_owner_id": "ana"}
    flagged = (Flag("amount_changed"),)
    (said,) = audit([snap("deal:1", values, flags=flagged)])
    told = values_of(said)
    assert audit([snap("deal:1", values | told, flags=flagged)]) == []
    for change in ({"revops_comp_status": "pass"}, {"revops_comp_reason": "older"}, {"amount": "1001"}):
        assert len(audit([snap("deal:1", values | told | change, flags=flagged)])) == 1


def test_a_difference_within_the_tolerance_and_a_lost_deal_pass() -> None:
    assert verdict({}, tolerance="100.00")["status"] == "pass"
    assert verdict({"dealstage": "closedlost"})["status"] == "pass"


@pytest.mark.parametrize(
    ("agent", "field", "outcome", "at", "status"),
    [
        ("cleaner", "amount", WRITTEN, NOW, "block"),
        ("cleaner", "closedate", WRITTEN, NOW, "block"),
        ("cleaner", "hubspot_owner_id", WRITTEN, NOW, "block"),
        ("cleaner", "revops_risk_level", WRITTEN, NOW, "warn"),
        ("cleaner", "amount", "done", NOW, "warn"),  # only proposed: it was withheld
        ("cleaner", "amount", "failed", NOW, "warn"),
        ("person", "amount", WRITTEN, NOW, "warn"),
        ("review:ana", "amount", WRITTEN, NOW, "warn"),
        ("rollback:ana", "amount", WRITTEN, NOW, "warn"),
        ("cleaner", "amount", WRITTEN, NOW.replace(month=7), "warn"),
    ],
)
def test_what_agents_change_inside_an_open_pay_period_blocks(
    agent: str, field: str, outcome: str, at: Any, status: str
) -> None:
    found = verdict({}, (Touch(at.timestamp(), agent, "r", outcome, {field: "1"}),))
    assert found["status"] == status
    assert (f"{agent} changed {field}" in found["reason"]) == (status == "block")


@pytest.mark.parametrize(
    ("writer", "field", "at", "status"),
    [
        ("cleaner", "amount", NOW, "block"),
        ("cleaner", "hubspot_owner_id", NOW, "block"),
        ("cleaner", "revops_risk_level", NOW, "warn"),
        ("review:ana", "amount", NOW, "warn"),
        ("rollback:ana", "amount", NOW, "warn"),
        ("cleaner", "amount", NOW.replace(month=7), "warn"),
    ],
)
def test_an_agents_value_that_stands_there_blocks_however_long_ago_the_history_forgot_it(
    writer: str, field: str, at: Any, status: str
) -> None:
    found = verdict({}, written={field: (writer, at)})
    assert found["status"] == status
    assert (f"{writer} changed {field}" in found["reason"]) == (status == "block")


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


def test_what_has_been_won_already_counts_towards_quota_and_tiers(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'version = "1"\ncurrency = "USD"\nquota = "1000"\nrate = "0.10"\n'
        'accelerators = [{ from = "1", rate = "0.15" }]\n'
        "periods = [{ start = 2026-04-01, end = 2026-06-30 }]\n"
    )
    closed = tmp_path / "closed.csv"
    closed.write_text(
        "id,dealstage,amount,closedate,hubspot_owner_id\n"
        "7,closedwon,900,2026-04-02,ana\n"
        "3,closedlost,5000,2026-04-02,ana\n"
        "1,closedwon,700,2026-04-02,ana\n"  # the deal itself: what is under review goes before the file
        "4,closedwon,much,2026-04-03,ben\n"
    )
    alone = verdict({"dealstage": "proposal", "amount": "200"}, plan=str(plan))
    assert alone["reason"] == "with it the payout changes by ana +20.00 USD (plan 1)"
    beside = verdict({"dealstage": "proposal", "amount": "200"}, plan=str(plan), closed_deals=str(closed))
    assert beside["reason"] == (  # 100 x 0.10 + 100 x 0.15
        "with it the payout changes by ana +25.00 USD; closed deals that are not counted: 1, "
        "such as deal:4: the amount cannot be read (plan 1)"
    )
