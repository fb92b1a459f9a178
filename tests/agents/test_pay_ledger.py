"""The ledger says the same as computing all payouts twice, and says it quickly."""

from __future__ import annotations

import random
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_snapshots import snap, values_of
from agents.comp_audit import audit
from agents.deals.ledger import Ledger
from agents.deals.pay import Plan, Sale, parse, payouts
from agents.deals.reading import DATA
from revops_lite import Flag

PERIODS = [
    {"start": date(2026, 1, 1), "end": date(2026, 3, 31), "state": "closed"},
    {"start": date(2026, 4, 1), "end": date(2026, 6, 30)},
]


def difference(plan: Plan, sales: list[Sale], sale: Sale) -> dict[str, Decimal]:
    """The plain way: every payout of the period with the sale, and again without it."""
    others = [other for other in sales if other.id != sale.id]
    changes: dict[str, Decimal] = {}
    for period in plan.periods:
        if period.has(sale.closed) or period.has(sale.cancelled):
            least = payouts(plan, others, period)
            for rep, paid in payouts(plan, [*others, sale], period).items():
                changes[rep] = changes.get(rep, Decimal(0)) + paid - least.get(rep, Decimal(0))
    return {rep: change for rep, change in changes.items() if change}


CENTS = st.integers(0, 200_000).map(lambda cents: Decimal(cents).scaleb(-2))
ROUND = st.sampled_from([Decimal(n) for n in (0, 100, 500, 1000)])  # often exactly at the start of a tier
SHARES = st.sampled_from(
    [
        (("ana", "1"),),
        (("ben", "1"),),
        (("ana", "0.5"), ("ben", "0.5")),
        (("ana", "0.3333"), ("ben", "0.3333"), ("eve", "0.3334")),
        (("ana", "0.6"), ("ana", "0.4")),
        (("ana", "0"), ("ben", "1")),
    ]
)
DAYS = st.dates(date(2025, 12, 1), date(2026, 8, 1))


@st.composite
def sales(draw: st.DrawFn) -> list[Sale]:
    found = []
    for number in range(draw(st.integers(1, 25))):
        gone = draw(st.none() | DAYS)
        shares = tuple((rep, Decimal(share)) for rep, share in draw(SHARES))
        amount, currency = draw(CENTS | ROUND), draw(st.sampled_from(["USD", "USD", "EUR"]))
        found.append(Sale(f"deal:{number}", amount, currency, draw(DAYS), shares, gone))
    return found


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    tiers = [
        {"from": draw(st.sampled_from(["0", "0.5", "1", "1", "1.5", "2"])), "rate": draw(st.sampled_from(["0", "0.2"]))}
        for _ in range(draw(st.integers(0, 3)))
    ]
    raw: dict[str, Any] = {
        "version": "1",
        "currency": "USD",
        "quota": draw(st.sampled_from(["1000", "1000.01", "0.05"])),
        "rate": draw(st.sampled_from(["0.10", "0.0333"])),
        "quotas": draw(st.sampled_from([{}, {"ana": "500"}])),
        "rates": {"EUR": "1.1037"},
        "accelerators": tiers,
        "clawback": {"days": draw(st.sampled_from([0, 30, 400])), "share": draw(st.sampled_from(["0", "0.5", "1"]))},
        "rounding": draw(st.sampled_from(["half_up", "half_even", "down"])),
        "round_to": draw(st.sampled_from(["0.01", "0.05", "1"])),
        "round_each": draw(st.sampled_from(["deal", "total"])),
        "periods": PERIODS,
    }
    return parse(raw)


@settings(deadline=None, max_examples=200)
@given(plan=plans(), told=sales(), booked=st.integers(0, 25))
def test_the_ledger_says_what_computing_everything_twice_says(plan: Plan, told: list[Sale], booked: int) -> None:
    """For sales that are paid and for sales that are not yet."""
    paid = told[:booked]
    ledger = Ledger(plan, paid)
    for sale in told:
        assert ledger.changes(sale) == difference(plan, paid, sale)


def test_a_deal_in_the_middle_moves_what_was_paid_behind_it() -> None:
    """1,000 quota at 10 %, then 15 %. Of four deals of 400 the third crosses: 40 + 40 + 20 + 30 + 60 = 190."""
    plan = parse(
        {
            "version": "1",
            "currency": "USD",
            "quota": "1000",
            "rate": "0.10",
            "accelerators": [{"from": "1", "rate": "0.15"}],
            "periods": PERIODS,
        }
    )
    four = [
        Sale(f"deal:{n}", Decimal(400), "USD", date(2026, 5, n + 1), (("ana", Decimal(1)),), None) for n in range(4)
    ]
    ledger = Ledger(plan, four)
    # Without the first one: 40 + 40 + 20 + 0 ... 400, 800, 1,200: 40 + 40 + (20 + 30) = 130, which is 60 less than 190.
    assert ledger.changes(four[0]) == {"ana": Decimal("60.00")}
    # One more of 100 before all: 500, 900, 1,300, 1,700: 10 + 40 + 40 + (10 + 45) + 60 = 205.
    early = Sale("deal:9", Decimal(100), "USD", date(2026, 4, 1), (("ana", Decimal(1)),), None)
    assert ledger.changes(early) == {"ana": Decimal("15.00")}


def portfolio(count: int, paid: int, flagged: int, reps: int, plan: str) -> list[Any]:
    """Deals of two quarters; the first `paid` are won, `flagged` of all carry an open flag."""
    dice = random.Random(5)
    now = datetime(2026, 6, 15, 12, tzinfo=UTC)
    found = []
    for n in range(count):
        owner, other = (f"rep-{dice.randrange(reps)}" for _ in range(2))
        values = {
            "dealstage": "closedwon" if n < paid else "proposal",
            "amount": f"{dice.randrange(100, 9_000_000) / 100:.2f}",
            "closedate": (date(2026, 1, 1) + timedelta(days=dice.randrange(181))).isoformat(),
            "hubspot_owner_id": owner,
            "splits": f"{owner}:60;{other}:40" if n % 5 == 0 else "",
            "deal_currency_code": dice.choice(["USD", "USD", "EUR"]),
        }
        flags = (Flag("amount_changed"),) if n >= count - flagged else ()
        found.append(snap(f"deal:{n}", values, flags=flags, now=now, settings={"plan": plan}))
    return found


@pytest.mark.parametrize("reps", [1, 40])
def test_ten_thousand_deals_are_audited_in_seconds(tmp_path: Path, reps: int) -> None:
    """Processor time, not the clock on the wall: other programs may run beside it. Computing all payouts for each of
    the 6,000 flagged deals took some minutes."""
    plan = tmp_path / "plan.toml"
    example = DATA / "comp_plan.toml"
    plan.write_text(example.read_text() + "[[periods]]\nstart = 2026-01-01\nend = 2026-03-31\n")
    deals = portfolio(10_000, 2_000, 6_000, reps, str(plan))
    before = time.process_time()
    found = audit(deals)
    took = time.process_time() - before
    assert len(found) == 6_000
    assert {values_of(each)["revops_comp_status"] for each in found} == {"warn"}
    assert took < 5.0, f"{took:.1f} s"
