"""The roll-up: figures that can be added up again, what changed, and a page that is safe to open."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_snapshots import NOW, snap
from agents.review.memory import BYTES, recall
from agents.roll_up import roll_up
from revops_lite import Flag, Gathered, Proposal, Snapshot
from revops_lite.host.proposals import MAX_BYTES, normalise

SLIPPED = Flag("slipped_close", "high", "the close date 2026-06-01 is past")
STALE = Flag("stale_activity", "medium", "last activity 26 days ago")
HOSTILE = [
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "a\u202eevil\u2066",
    "{{ 7 * 7 }}{% raw %}",
    "W" * 300,
    "שלום 🚀 漢字",
    "</style><img src=x onerror=alert(1)>",
    "]]>&amp;&lt;",
]
VOID = {"meta", "br", "rect", "circle", "line", "img", "link"}
Figures = dict[tuple[str, str, str], Decimal]


def deal(number: Any, *flags: Flag, **values: Any) -> Snapshot:
    given = {
        "dealname": f"Deal {number}",
        "hubspot_owner_id": "rep-ana",
        "dealstage": "proposal",
        "amount": "1000",
        "closedate": "2026-07-01",
        "revops_win_probability": 0.5,
        "revops_risk_level": "low",
    }
    return snap(f"deal:{number}", given | values, flags=flags)


def review(deals: Sequence[Snapshot], memory: Any = None, days: int = 0, **given: Any) -> Proposal:
    now = NOW + timedelta(days=days)
    of = snap("workflow:deal_review", {"review_memory": memory} if memory else {}, now=now, settings=given)
    return roll_up(Gathered(deals, of))


def memory_of(proposal: Proposal) -> str:
    return str(proposal.values.review_memory)


def html(deals: Sequence[Snapshot], memory: Any = None, **given: Any) -> str:
    (report,) = review(deals, memory, **given).reports
    return report.html


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, text, and the figures for programs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: Figures = {}
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if name := found.get("data-figure"):
            key = (name, found.get("data-group") or "", found.get("data-currency") or "")
            assert key not in self.figures, key
            self.figures[key] = Decimal(str(found["data-value"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def groups(self, name: str) -> dict[tuple[str, str], Decimal]:
        return {(group, currency): value for (n, group, currency), value in self.figures.items() if n == name}

    def of(self, name: str, group: str = "", currency: str = "") -> str:
        return str(self.figures[(name, group, currency)])


# ---- figures -----------------------------------------------------------------------------------------------------


def test_the_headline_counts_every_deal_and_says_what_a_sum_leaves_out() -> None:
    page = Page(
        html(
            [
                deal(1, amount="1,200.10", revops_win_probability="0.25", revops_risk_level="high"),
                deal(2, amount=99.9, revops_win_probability=0.333),
                deal(3, amount="", revops_risk_level="high"),
                deal(4, amount="about 5 grand"),
                deal(5, amount="50", revops_win_probability="likely"),
                deal(6, amount="70", is_closed=True),
                deal(7, amount="70", dealstage="closedwon"),
            ],
            currency="usd",
        )
    )
    assert page.of("deals") == "5"
    assert page.of("pipeline", currency="USD") == "1350.00"
    assert page.of("weighted", currency="USD") == "333.2917"
    assert page.of("high_risk") == "2"
    assert page.of("high_risk.pipeline", currency="USD") == "1200.10"
    assert page.of("deals_without_amount") == "2"
    assert page.of("deals_without_forecast") == "1"
    assert page.of("unforecast", currency="USD") == "50.00"
    assert "2 deals have no readable amount and are in no sum." in page.text
    gaps = {name.removeprefix("gap."): int(value) for (name, *_), value in page.figures.items() if "gap." in name}
    assert gaps == {"amount_missing": 1, "amount_unreadable": 1, "probability_unreadable": 1}


amount = st.one_of(
    st.decimals(0, 10**9, places=2).map(str), st.integers(0, 10**11), st.sampled_from(["", "x", None, "1e-999", "-5"])
)
drawn = st.fixed_dictionaries(
    {
        "amount": amount,
        "deal_currency_code": st.sampled_from(["USD", "eur", "", "$$", None]),
        "dealstage": st.sampled_from(["a", "b", "", "<b>"]) | st.text("xyé<& \u202e\n", max_size=3),
        "hubspot_owner_id": st.sampled_from(["ana", "ben", ""]),
        "closedate": st.dates().map(str) | st.sampled_from(["", "soon"]),
        "revops_win_probability": st.floats(0, 1) | st.sampled_from([None, "", "?", 7]),
        "revops_risk_level": st.sampled_from(["high", "medium", "low", "", "dire"]),
        "revops_forecast_category": st.sampled_from(["", "commit"]),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drawn, max_size=50))
def test_every_table_adds_up_to_the_headline_and_the_headline_to_the_deals(rows: list[dict[str, Any]]) -> None:
    page = Page(html([deal(n, **row) for n, row in enumerate(rows)]))
    pipeline: dict[str, Fraction] = {}
    weighted: dict[str, Fraction] = {}
    for row in rows:
        try:
            value = Fraction(str(row["amount"]))
        except ValueError:
            continue
        if value < 0:
            continue
        code = (row["deal_currency_code"] or "").upper().replace("$$", "?")
        pipeline[code] = pipeline.get(code, Fraction(0)) + value
        if isinstance(row["revops_win_probability"], float):
            weighted[code] = weighted.get(code, Fraction(0)) + value * Fraction(str(row["revops_win_probability"]))
    for name, sums in {"pipeline": pipeline, "weighted": weighted}.items():
        for code, value in sums.items():
            assert abs(Fraction(page.of(name, currency=code)) - value) < Fraction(1, 1000)
    for what in ("stage", "owner", "month", "level"):
        deals = page.groups(f"{what}.deals")
        assert sum(deals.values()) == len(rows)
        for code, value in pipeline.items():
            assert abs(sum(map(Fraction, parts(page, f"{what}.pipeline", code))) - value) < Fraction(1, 1000)
        if what != "level":
            for code, value in weighted.items():
                assert abs(sum(map(Fraction, parts(page, f"{what}.weighted", code))) - value) < Fraction(1, 1000)


def parts(page: Page, name: str, currency: str) -> list[Decimal]:
    return [value for (_, code), value in page.groups(name).items() if code == currency]


def test_more_groups_than_a_table_holds_are_added_up_in_its_last_row() -> None:
    deals = [deal(n, dealstage=f"stage {n}", hubspot_owner_id=f"rep {n}", amount=str(n)) for n in range(100)]
    page = Page(html([*deals, deal("x", closedate="")]))
    for what in ("stage", "owner"):
        assert len(page.groups(f"{what}.deals")) == 31
        assert page.of(f"{what}.deals", "…") == "71"
        assert sum(parts(page, f"{what}.pipeline", "")) == sum(range(100)) + 1000
    assert "71 more" in page.text
    months = [group for group, _ in page.groups("month.deals")]
    assert months == ["2026-07", ""]


def test_stages_stand_in_the_order_of_the_settings_and_owners_under_their_names() -> None:
    people = {"owner": [snap("owner:rep-ben", {"firstname": "Ben", "lastname": "Okafor"})]}
    ben = snap("deal:9", deal(9, dealstage="discovery", hubspot_owner_id="rep-ben").values, related=people)
    page = Page(html([deal(1), ben, deal(2)], stages=["discovery", "proposal"], names={"rep-ana": "Ana Ruiz"}))
    assert [group for group, _ in page.groups("stage.deals")] == ["discovery", "proposal"]
    assert "Ben Okafor" in page.text
    assert "Ana Ruiz" in page.text


def test_currencies_are_never_added_to_each_other() -> None:
    page = Page(html([deal(1, currency="USD"), deal(2, currency="EUR"), deal(3, currency=""), deal(4, currency="€")]))
    assert {code: str(value) for (_, code), value in page.groups("pipeline").items()} == {
        "": "1000.00",
        "?": "1000.00",
        "EUR": "1000.00",
        "USD": "1000.00",
    }
    assert page.of("gap.currency_missing") == "1"
    assert page.of("gap.currency_unreadable") == "1"
    assert len(page.groups("currency.deals")) == 4


def test_findings_are_counted_with_their_amounts_and_the_biggest_risks_come_first() -> None:
    deals = [
        deal("small", SLIPPED, amount="10", revops_risk_level="high"),
        deal("big", STALE, amount="900", revops_risk_level="medium"),
        deal("huge", amount="90000"),
        deal("grave", SLIPPED, STALE, amount="800", revops_risk_level="high"),
    ]
    page = Page(html(deals, top=2))
    assert page.of("finding.deals", "slipped_close") == "2"
    assert page.of("finding.pipeline", "stale_activity") == "1700.00"
    risks = [attrs["data-risk"] for tag, attrs in page.tags if tag == "tr" and "data-risk" in attrs]
    assert risks == ["deal:grave", "deal:big"]
    assert "the close date 2026-06-01 is past" in page.text
    assert "and 1 more" in page.text


def test_the_accuracy_of_the_forecasts_is_that_of_the_closed_deals(tmp_path: Path) -> None:
    path = tmp_path / "closed.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["stage", "revops_win_probability"], ["won", 0.9], ["lost", 0.2], ["lost", ""]])
    page = Page(html([deal(1)], closed_deals=str(path)))
    assert float(page.of("brier")) == pytest.approx((0.01 + 0.04) / 2)
    assert page.of("base_brier") == "0.25"
    assert "2 closed deals carried a forecast" in page.text
    assert "No closed deal with a forecast is known yet" in Page(html([deal(1)])).text


# ---- what changed ------------------------------------------------------------------------------------------------


def test_the_next_review_says_what_has_changed() -> None:
    before = review([deal(1, STALE), deal(2), deal(3, SLIPPED), deal(4)])
    now = [
        deal(1, SLIPPED, amount="1500", dealstage="contract", revops_risk_level="high"),
        deal(2, revops_win_probability=0.55),
        deal(3, SLIPPED, closedate="2026-08-01", revops_win_probability=0.3),
        deal(5, STALE, amount="70"),
    ]
    found = review(now, memory_of(before), days=1)
    page = Page(found.reports[0].html)
    said = {name: page.of(name) for name in ("came", "left", "moved", "findings_raised", "findings_cleared")}
    assert said == {"came": "1", "left": "1", "moved": "2", "findings_raised": "2", "findings_cleared": "1"}
    for text in (
        "2026-06-16 , compared with 2026-06-15",
        "Deal 5 , 70 , proposal",
        "Deal 4 , 1,000, was in proposal",
        "Deal 1 : stage proposal → contract ; amount 1,000 → 1,500 ; risk low → high",
        "Deal 3 : close date 2026-07-01 → 2026-08-01 ; win probability 50% → 30%",
        "Deal 1 : stale activity",
    ):
        assert text.replace(" ", "") in page.text.replace(" ", ""), text
    assert found.notices[0].body.splitlines()[-1] == (
        "Since 2026-06-15: 1 in, 1 out, 2 moved, 2 new findings, 1 cleared"
    )


def test_the_same_deals_again_have_not_changed() -> None:
    deals = [deal(n, STALE, amount=f"{n}.{n:02}", deal_currency_code="USD") for n in range(30)]
    page = Page(html(deals, memory_of(review(deals)), days=1))
    assert "No deal has come, gone or moved." in page.text
    assert "unchanged" in page.text


@pytest.mark.parametrize("memory", ["", "x", "{}", "[]", '{"at": 1}', 7, None, {"a": 1}])
def test_a_memory_that_cannot_be_read_makes_a_first_review(memory: Any) -> None:
    assert "This is the first review" in Page(html([deal(1)], memory)).text


def test_of_many_deals_the_biggest_are_remembered_one_by_one_and_all_in_the_totals() -> None:
    deals = [deal(n, amount=str(n), dealname="x" * 300, createdate="2026-01-01") for n in range(5_000)]
    memory = memory_of(review(deals))
    kept = recall(memory)
    assert kept is not None
    assert len(memory.encode()) <= BYTES
    assert kept.summary.count == 5_000
    assert [one.amount for one in kept.deals[:2]] == [4999, 4998]
    assert len(kept.deals) + kept.left_out == 5_000
    new = deal("new", createdate=(NOW + timedelta(hours=1)).isoformat())
    page = Page(html([*deals, new], memory, days=1))
    assert page.of("came") == "1"
    assert f"{kept.left_out:,} deals of 2026-06-15, the smallest, are compared in the totals only" in page.text


# ---- the message -------------------------------------------------------------------------------------------------


def test_the_message_is_five_lines_and_a_link() -> None:
    deals = [
        deal(1, SLIPPED, amount="1000000", revops_risk_level="high"),
        deal(2, amount="99.50"),
        deal(3, amount="", revops_win_probability=""),
    ]
    found = review(deals, channel="boss", currency="EUR", link="https://example.com/reports/{name}.html")
    (notice,), (report,) = found.notices, found.reports
    assert (notice.to, notice.report, report.name) == ("boss", "deal-review-2026-06-15", "deal-review-2026-06-15")
    assert notice.subject == "Deal review 2026-06-15: 3 open deals"
    assert notice.key == "roll-up:workflow:deal_review:2026-06-15"
    assert notice.body.splitlines() == [
        "Open deals: 3 (1 without an amount)",
        "Pipeline: 1,000,100 EUR",
        "Weighted forecast: 500,050 EUR",
        "High risk: 1 deal, 1,000,000 EUR; the biggest is Deal 1 (1,000,000 EUR): the close date 2026-06-01 is past",
        "https://example.com/reports/deal-review-2026-06-15.html",
    ]


def test_the_day_is_that_of_the_settings_time_zone() -> None:
    found = review([deal(1)], timezone="Pacific/Auckland")
    assert found.reports[0].name == "deal-review-2026-06-16"


def test_without_deals_there_is_a_page_that_says_so() -> None:
    found = review([])
    page = Page(found.reports[0].html)
    assert (page.of("deals"), page.of("pipeline"), page.of("weighted")) == ("0", "0.00", "0.00")
    assert "No open deals." in page.text
    assert found.notices[0].body.splitlines() == [
        "Open deals: 0",
        "Pipeline: nothing",
        "Weighted forecast: nothing",
        "High risk: none",
    ]


# ---- the page ----------------------------------------------------------------------------------------------------


def hostile(count: int = 24) -> list[Snapshot]:
    found = []
    for number in range(count):
        text = HOSTILE[number % len(HOSTILE)]
        flag = Flag(text[:40] or "x", ("low", "medium", "high")[number % 3], text)
        values = dict.fromkeys(("dealname", "dealstage", "hubspot_owner_id", "revops_forecast_category"), text)
        found.append(deal(number, flag, **values, deal_currency_code=text, revops_risk_level="high"))
    return found


def test_nothing_in_the_page_runs_or_loads() -> None:
    for page in (html(hostile()), html(hostile(), memory_of(review([deal(1), *hostile(5)])), title=HOSTILE[0])):
        seen = Page(page)
        assert {tag for tag, _ in seen.tags} & {"script", "img", "link", "iframe", "object", "a", "form"} == set()
        names = {name for _, attrs in seen.tags for name in attrs}
        assert not any(name.startswith("on") or name in ("src", "href", "xlink:href", "srcset") for name in names)
        assert "url(" not in page
        assert "@import" not in page
        assert "<script>alert(1)</script>" in seen.text
        assert "{{ 7 * 7 }}" in seen.text
        assert not {"\u202e", "\u2066"} & set(page)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(deal(1).values)), st.text() | st.floats(), max_size=8), max_size=8)
)
def test_any_text_makes_a_page_that_is_taken(rows: list[dict[str, Any]]) -> None:
    deals = [deal(n, Flag("x", "dire", str(row)), **row) for n, row in enumerate(rows)]
    found = review(deals, memory_of(review(deals[1:])), days=1)
    Page(found.reports[0].html)
    assert normalise(found).problems == []


def test_every_bar_has_its_words() -> None:
    images = [attrs for tag, attrs in Page(html([deal(1, SLIPPED)])).tags if tag == "svg"]
    assert images
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in images)


def test_ten_thousand_deals_stay_within_an_answers_bounds() -> None:
    deals = [
        deal(
            f"{n:030}",
            Flag(f"code {n}", "high", "x" * 2000),
            STALE,
            dealname=f"{'漢字' * 100}{n}",
            dealstage=f"stage {n} {'x' * 100}",
            hubspot_owner_id=f"owner {n} {'x' * 200}",
            deal_currency_code="ABCDEFGHIJ"[n % 10] + "ABCDEFGHIJ"[n // 10 % 10] + "ABCDEFGHIJ"[n // 100 % 10],
            revops_risk_level="high",
            closedate=f"{2000 + n % 900}-{n % 12 + 1:02}-01",
        )
        for n in range(10_000)
    ]
    found = review(deals, memory_of(review(deals[5_000:])), days=1)
    assert normalise(found).problems == []
    size = len(json.dumps(normalise(found).proposals).encode())
    assert size < 850_000 < MAX_BYTES
    assert len(memory_of(found).encode()) <= 100_000


def test_the_same_deals_make_the_same_page() -> None:
    deals = hostile()
    assert review(deals) == review(deals)


def test_a_browser_shows_the_page_without_complaint(tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium")
    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(html(hostile(), memory_of(review([deal(1)]))), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    flags += f" --disable-component-update --enable-logging=stderr --v=0 --window-size=380,900 --screenshot={picture}"
    command = [program, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert picture.stat().st_size > 10_000
    assert "CONSOLE" not in done.stderr
