"""The risk alert: one summary per owner, of what its reader has not been told of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_snapshots import NOW, snap
from agents.risk_alert import summarize
from revops_lite import Flag, Gathered, Notice, Skip, Snapshot

STALE = Flag("stale_activity", "medium", "last activity 2026-05-20, 26 days ago")
SLIPPED = Flag("slipped_close", "high", "the close date 2026-06-01 is past")
ROLES = Flag("missing_roles", "low", "no champion")
ANA = {"name": "Ana Ruiz", "email": "ana@example.com"}


def deal(number: Any, *flags: Flag, told: dict[str, tuple[str, ...]] | None = None, **values: Any) -> Snapshot:
    given = {"dealname": f"Deal {number}", "hubspot_owner_id": "rep-ana", "dealstage": "proposal", "amount": "1000"}
    return snap(f"deal:{number}", given | values, flags=flags, told=told or {})


def owned(*deals: Snapshot, owner: dict[str, Any] = ANA, **settings: Any) -> Gathered:
    return Gathered(deals, snap("owner:rep-ana", owner, settings=settings))


def notice(*deals: Snapshot, **settings: Any) -> Notice:
    (found,) = summarize(owned(*deals, **settings)).notices
    return found


def test_the_summary_says_which_deals_what_was_found_and_where() -> None:
    found = notice(
        deal(1, STALE, amount="500", closedate="2026-07-01"),
        deal(2, SLIPPED, STALE, amount="1200.50", deal_currency_code="usd"),
        channel="sales",
        currency="USD",
        link="https://crm.example.com/{kind}/{id}",
    )
    assert found == Notice(
        to="sales",
        subject="3 new findings on 2 deals: Deal 2",
        body="For: Ana Ruiz\n"
        "3 new findings on 2 deals (1 high, 2 medium), 1,700.50 USD together\n"
        "\n"
        "- Deal 2: 1,200.50 USD, proposal\n"
        "  the close date 2026-06-01 is past (high); last activity 2026-05-20, 26 days ago (medium)\n"
        "  https://crm.example.com/deal/2\n"
        "- Deal 1: 500 USD, proposal, closes 2026-07-01\n"
        "  last activity 2026-05-20, 26 days ago (medium)\n"
        "  https://crm.example.com/deal/1",
        key="risk-alert:owner:rep-ana:2026-06-15",
        about=("deal:2|slipped_close", "deal:2|stale_activity", "deal:1|stale_activity"),
    )


def test_what_the_reader_has_been_told_is_left_out() -> None:
    found = notice(
        deal(1, STALE, SLIPPED, told={"stale_activity": ("sales",)}),
        deal(2, STALE, told={"stale_activity": ("sales", "managers")}),
        channel="sales",
    )
    assert found.about == ("deal:1|slipped_close",)
    assert "Deal 2" not in found.body
    assert "26 days ago" not in found.body


def test_who_else_has_been_told_does_not_matter() -> None:
    told = {"stale_activity": ("managers", "sal")}
    assert notice(deal(1, STALE, told=told), channel="sales").about == ("deal:1|stale_activity",)


@pytest.mark.parametrize(
    "deals",
    [
        [],
        [deal(1)],
        [deal(1, STALE, told={"stale_activity": ("owner",)})],
        [deal(1, STALE, is_closed=True)],
        [deal(1, STALE, dealstage="closedwon")],
    ],
)
def test_nothing_new_is_no_message(deals: list[Snapshot]) -> None:
    with pytest.raises(Skip, match="nothing that owner has not been told of"):
        summarize(owned(*deals))


def test_the_gravest_and_biggest_come_first() -> None:
    found = notice(
        deal("low", ROLES, amount="2100"),
        deal("high", SLIPPED, amount="900"),
        deal("medium", STALE, amount="1000"),
        deal("nothing", SLIPPED, amount="0"),
    )
    places = [found.body.index(f"- Deal {name}:") for name in ("high", "low", "medium", "nothing")]
    assert places == sorted(places)


def test_a_deal_without_an_amount_is_not_taken_for_a_small_one() -> None:
    found = notice(deal(1, STALE, amount="90"), deal(2, STALE, amount="100"), deal(3, SLIPPED, amount=""))
    assert found.body.index("- Deal 3: amount not known") < found.body.index("- Deal 2")


def test_an_owner_may_have_a_channel_and_a_name_of_its_own() -> None:
    found = notice(deal(1, STALE), channel="sales", channels={"rep-ana": "ana-dm"}, names={"rep-ana": "Ana R."})
    assert (found.to, found.body.splitlines()[0]) == ("ana-dm", "For: Ana R.")
    assert notice(deal(1, STALE)).to == "owner"


def test_without_a_record_of_the_owner_the_id_stands_for_the_name() -> None:
    (found,) = summarize(owned(deal(1, STALE), owner={})).notices
    assert found.body.startswith("For: rep-ana\n")


def test_deals_that_nobody_owns_are_told_too() -> None:
    group = Gathered([deal(1, STALE, hubspot_owner_id="")], snap("owner:none", {}, settings={"channel": "sales"}))
    (found,) = summarize(group).notices
    assert (found.to, found.body.splitlines()[0]) == ("sales", "For: deals without an owner")


def test_many_deals_make_a_short_summary_that_says_how_many_more() -> None:
    deals = [deal(n, SLIPPED, STALE, dealname=f"Account {n:04}", amount=str(100_000 - n)) for n in range(400)]
    found = notice(*deals)
    listed = found.body.count("\n- ")
    assert 5 < listed < 400
    assert f"And {400 - listed} more deals ({400 - listed} slipped close, {400 - listed} stale activity): Account" in (
        found.body
    )
    assert found.subject.startswith("800 new findings on 400 deals: Account 0000")
    assert len(found.about) == 800


def test_what_cannot_be_named_stays_new() -> None:
    deals = [deal(n, SLIPPED, STALE, ROLES) for n in range(10_000)]
    found = notice(*deals)
    assert 5_000 < len(found.about) < 30_000
    assert sum(map(len, found.about)) <= 300_000
    assert f"{len(found.about):,} new findings" in found.body
    assert f"the next summary has {10_000 - len(found.about) // 3:,} deals more" in found.body


@given(
    st.lists(
        st.tuples(st.text(max_size=400), st.text(max_size=400), st.sampled_from(["low", "high", "dire"]), st.text()),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_stands_in_the_records_the_summary_is_short_and_plain(
    found: list[tuple[str, str, str, str]],
) -> None:
    deals = [
        deal(n, Flag(f"{n}{name}", level, detail), dealname=name, amount=amount)
        for n, (name, detail, level, amount) in enumerate(found)
    ]
    told = notice(*deals, link="https://crm.example.com/{id}")
    assert len(told.body) < 2000
    assert len(told.subject) <= 150
    assert all(character.isprintable() or character == "\n" for character in told.body)
    assert set(told.about) == {f"{one.record}|{one.flags[0].code}" for one in deals}


def test_the_key_is_of_the_owners_day() -> None:
    late = NOW.replace(hour=23)
    group = Gathered([deal(1, STALE)], snap("owner:rep-ana", ANA, now=late, settings={"timezone": "Europe/Berlin"}))
    (found,) = summarize(group).notices
    assert found.key == "risk-alert:owner:rep-ana:2026-06-16"
