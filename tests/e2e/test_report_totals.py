"""The managers' page of the sample's deal review, added up again: from the run, and from the CRM's own file.

The installation is made and driven as `scripts/run` does it, line by line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from installation import REPOSITORY, Installation, lines_of

pytestmark = pytest.mark.real

Figures = dict[tuple[str, str, str], Decimal]  # data-figure, data-group, data-currency
Sums = dict[tuple[str, str], Decimal]  # group, currency -> sum
CENTS = Decimal("0.000001")  # what `data-value` is rounded to


class Page(HTMLParser):
    """The figures of a report that are meant for programs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.figures: Figures = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if name := found.get("data-figure"):
            key = (name, found.get("data-group") or "", found.get("data-currency") or "")
            assert key not in self.figures, f"{key} stands twice in a {tag}"
            self.figures[key] = Decimal(str(found["data-value"]))

    def sums(self, name: str) -> Sums:
        return {(group, currency): value for (n, group, currency), value in self.figures.items() if n == name}


@dataclass(frozen=True)
class Deal:
    """An open deal as the CRM's file has it."""

    amount: Decimal | None
    currency: str
    probability: Decimal | None
    groups: dict[str, str]  # stage, owner, month, category, level


@dataclass(frozen=True)
class Reviewed:
    """The sample after its review."""

    site: Installation
    run: dict[str, Any]
    path: Path

    @property
    def page(self) -> Page:
        return Page(self.path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Reviewed]:
    del program
    site = Installation(tmp_path_factory.mktemp("sample") / "site")
    try:
        site.revops("init", ".", "--yes")
        takes = re.findall(
            r"^take (\w+) (\w+) (\w+)$", (REPOSITORY / "scripts" / "run").read_text("utf-8"), re.MULTILINE
        )
        assert len(takes) == 7
        for file, kind, id_ in takes:
            site.revops("crm", "import", f"data/{file}.csv", "--kind", kind, "--id", id_)
        run_id = site.revops("workflow", "start", "deal_review").out.split()[1]
        site.revops("up", "--until-idle")
        (path,) = (site.root / "var" / "reports").glob("*.html")
        yield Reviewed(site, site.run(run_id), path)
    finally:
        site.end()


# ---- the CRM's file, added up ------------------------------------------------------------------------------------


def decimal(raw: Any) -> Decimal | None:
    """An amount that is one: 0 or more."""
    if isinstance(raw, bool) or raw is None or not re.fullmatch(r"\d+(\.\d+)?", str(raw).replace(",", "")):
        return None
    return Decimal(str(raw).replace(",", ""))


def open_deals(path: Path) -> list[Deal]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        told = [row[0] for row in db.execute("SELECT fields FROM records WHERE kind = 'deal' AND NOT archived")]
    every = [json.loads(fields, parse_float=Decimal) for fields in told]
    return [deal_of(fields) for fields in every if fields["is_closed"] is False]


def deal_of(fields: dict[str, Any]) -> Deal:
    close = str(fields.get("closedate") or "")
    return Deal(
        amount=decimal(fields.get("amount")),
        currency=str(fields.get("deal_currency_code") or "").upper(),
        probability=decimal(fields.get("revops_win_probability")),
        groups={
            "stage": str(fields.get("dealstage") or ""),
            "owner": str(fields.get("hubspot_owner_id") or ""),
            "month": close[:7] if re.match(r"\d{4}-\d\d-\d\d", close) else "",
            "category": str(fields.get("revops_forecast_category") or ""),
            "level": str(fields.get("revops_risk_level") or "none"),
        },
    )


def pipeline(deal: Deal) -> Decimal | None:
    return deal.amount


def weighted(deal: Deal) -> Decimal | None:
    return None if deal.amount is None or deal.probability is None else deal.amount * deal.probability


def added(deals: list[Deal], what: Callable[[Deal], Decimal | None], by: str = "") -> Sums:
    found: Sums = {}
    for deal in deals:
        if (value := what(deal)) is not None:
            key = (deal.groups[by] if by else "", deal.currency)
            found[key] = found.get(key, Decimal(0)) + value
    return found


def counted(deals: list[Deal], by: str) -> Sums:
    found: Sums = {}
    for deal in deals:
        key = (deal.groups[by], "")
        found[key] = found.get(key, Decimal(0)) + 1
    return found


def rounded(sums: Sums) -> Sums:
    return {key: value.quantize(CENTS) for key, value in sums.items()}


def test_the_pages_totals_are_those_of_the_crm(reviewed: Reviewed) -> None:
    page, deals = reviewed.page, open_deals(reviewed.site.crm_path)
    assert page.sums("deals") == {("", ""): len(deals)}
    assert len({deal.currency for deal in deals}) > 1, "the sample has several currencies"
    for name, what in {"pipeline": pipeline, "weighted": weighted}.items():
        assert page.sums(name) == rounded(added(deals, what)), name
    risky = [deal for deal in deals if deal.groups["level"] == "high"]
    assert risky
    assert page.sums("high_risk") == {("", ""): len(risky)}
    assert page.sums("high_risk.pipeline") == rounded(added(risky, pipeline))
    silent = sum(deal.amount is None for deal in deals)
    assert page.sums("deals_without_amount") == ({("", ""): silent} if silent else {})
    unforecast = [deal for deal in deals if deal.amount is not None and deal.probability is None]
    assert page.sums("deals_without_forecast") == ({("", ""): len(unforecast)} if unforecast else {})
    assert page.sums("unforecast") == rounded(added(unforecast, pipeline))


@pytest.mark.parametrize("by", ["stage", "owner", "month", "category", "level"])
def test_each_table_of_the_page_holds_the_sums_of_the_crm(reviewed: Reviewed, by: str) -> None:
    page, deals = reviewed.page, open_deals(reviewed.site.crm_path)
    counts = {key: value for key, value in page.sums(f"{by}.deals").items() if value}
    assert counts == counted(deals, by)
    assert page.sums(f"{by}.pipeline") == rounded(added(deals, pipeline, by))
    if by != "level":
        assert page.sums(f"{by}.weighted") == rounded(added(deals, weighted, by))


def test_the_pages_totals_are_those_of_the_run(reviewed: Reviewed) -> None:
    page, run = reviewed.page, reviewed.run
    assert page.sums("deals") == {("", ""): run["records"]["total"]}
    (step,) = [step for step in run["steps"] if step["name"] == "roll_up"]
    memory = json.loads(step["values"]["review_memory"])
    told = memory["summary"]
    assert {("", ""): told["count"]} == page.sums("deals")
    assert {("", ""): told["high"]} == page.sums("high_risk")
    for name, key in {"pipeline": "pipeline", "weighted": "weighted", "high_risk.pipeline": "high_pipeline"}.items():
        sums = {("", currency): Decimal(value) for currency, value in told[key].items()}
        assert page.sums(name) == rounded(sums), name
    assert len(memory["deals"]) == told["count"]
    assert memory["left_out"] == 0


def test_the_forecasts_in_the_page_are_the_ones_that_the_run_has_written(reviewed: Reviewed) -> None:
    page, site = reviewed.page, reviewed.site
    applied, levels = (
        {w["record"]: w["after"] for w in reviewed.run["writes"] if (w["field"], w["state"]) == (field, "applied")}
        for field in ("revops_win_probability", "revops_risk_level")
    )
    deals = {f"deal:{id_}": fields for id_, fields in site.crm_records("deal").items()}
    sums: Sums = {}
    for name, chance in applied.items():
        if (amount := decimal(deals[name].get("amount"))) is not None:
            key = ("", str(deals[name].get("deal_currency_code") or "").upper())
            sums[key] = sums.get(key, Decimal(0)) + amount * Decimal(str(chance))
    assert page.sums("weighted") == rounded(sums)
    assert page.sums("high_risk") == {("", ""): sum(level == "high" for level in levels.values())}
    ours = {(f"deal:{row['id']}", row["after"]) for row in site.changes() if row["field"] == "revops_win_probability"}
    assert ours == set(applied.items()), "the CRM testifies to the same writes"


def test_what_the_managers_are_told_is_what_the_page_says(reviewed: Reviewed) -> None:
    (notice,) = lines_of(reviewed.site.root / "var" / "outbox" / "managers.jsonl")
    assert notice["report"] == f"var/reports/{reviewed.path.name}"
    body = notice["body"].splitlines()
    page = reviewed.page
    assert body[0].startswith(f"Open deals: {page.figures['deals', '', '']}")
    for (_, currency), value in page.sums("pipeline").items():
        assert f"{value.quantize(Decimal(1)):,} {currency}" in body[1]


def test_a_browser_opens_the_page_without_an_error(reviewed: Reviewed, tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        assert not os.environ.get("CI"), "CI has to have chromium"
        pytest.skip("no chromium")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    flags += " --disable-component-update --enable-logging=stderr --v=0 --dump-dom"
    command = [program, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", reviewed.path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert Page(done.stdout).figures == reviewed.page.figures, "what the browser made of it has every figure"
