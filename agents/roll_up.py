"""The roll-up: the managers' page about all open deals, and a short message that it is there. `gather = "all"`.

Settings: `channel` (managers; default "managers"), `link` ("https://.../{name}.html"), `top` (deals in the list of the
biggest risks; 15), `stages` (their order), `names` {owner: name}, `currency` (of deals that name none), `timezone`
("UTC"), `title`, `closed_deals`, `closed_deals_table`, and the `fields` of data/deals.toml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from agents.deals import closed
from agents.deals.accuracy import accuracy
from agents.deals.reading import is_open, rules
from agents.evidence.reading import text
from agents.review.changes import Changes, compare
from agents.review.figures import biggest_risks, reasons
from agents.review.lines import Line, local, read
from agents.review.memory import recall, remember
from agents.review.money import Amounts, amount_of, several, shown, totals
from agents.review.page import Review, render
from revops_lite import Gathered, Notice, Proposal, Report, agent

TOP = 50  # at most, whatever the settings say
CURRENCIES = 3  # in a message


class Notes(BaseModel):
    """What the next review compares with: JSON of agents/review/memory.py."""

    review_memory: str = Field(max_length=100_000)


def review_of(deals: Gathered, s: Mapping[str, Any]) -> Review:
    lines = [read(deal, s) for deal in deals if is_open(deal, s)]
    memory = recall(deals.of.get("review_memory"))
    return Review(
        day=local(deals.now, s),
        at=deals.now,
        lines=lines,
        changes=compare(memory, lines) if memory else None,
        accuracy=accuracy(closed.rows(s), s),
        stages=[str(stage) for stage in s.get("stages", [])],
        top=max(1, min(int(s.get("top", 15)), TOP)),
        title=text(s.get("title"), 80) or "Deal review",
        timezone=str(s.get("timezone", "UTC")),
    )


def amounts(sums: Amounts) -> str:
    """Sums in one line; of many currencies the first, and how many more."""
    told = [shown(value, currency) for currency, value in sorted(sums.items())]
    more = f" and {several(len(told) - CURRENCIES, 'more currency', 'more currencies')}" if told[CURRENCIES:] else ""
    return ", ".join(told[:CURRENCIES]) + more or "nothing"


def brief(review: Review) -> list[str]:
    """Five lines at most: open deals, pipeline, weighted forecast, high risk, what changed."""
    whole, risky = totals(review.lines), [line for line in review.lines if line.risk == "high"]
    missing = f" ({whole.no_amount:,} without an amount)" if whole.no_amount else ""
    partial = f" ({whole.no_forecast:,} without a forecast left out)" if whole.no_forecast else ""
    lines = [
        f"Open deals: {whole.count:,}{missing}",
        f"Pipeline: {amounts(whole.pipeline)}",
        f"Weighted forecast: {amounts(whole.weighted)}{partial}",
        f"High risk: {high_risk(risky)}",
    ]
    return [*lines, since(review.changes)] if review.changes else lines


def high_risk(risky: Sequence[Line]) -> str:
    if not risky:
        return "none"
    worst = biggest_risks(risky)[0]
    count = f"{several(len(risky), 'deal')}, {amounts(totals(risky).pipeline)}"
    return f"{count}; the biggest is {worst.name} ({amount_of(worst)}): {reasons(worst)[0][:200]}"


def since(changes: Changes) -> str:
    deals = f"{len(changes.came):,} in, {len(changes.left):,} out, {len(changes.moves):,} moved"
    findings = f"{several(changes.findings_raised, 'new finding')}, {changes.findings_cleared:,} cleared"
    return f"Since {changes.since.day}: {deals}, {findings}"


@agent(writes=Notes)
def roll_up(deals: Gathered) -> Proposal:
    """The managers' page about all open deals, and a message that it is there."""
    s = rules(deals.settings)
    review = review_of(deals, s)
    name = f"deal-review-{review.day}"
    lines = brief(review)
    if link := str(s.get("link", "")):
        lines.append(link.replace("{name}", quote(name, safe=""))[:300])
    to, subject = (
        str(s.get("channel", "managers")),
        f"{review.title} {review.day}: {several(len(review.lines), 'open deal')}",
    )
    return Proposal(
        Notes(review_memory=remember(review.lines, review.at, review.day)),
        because=f"{several(len(review.lines), 'open deal')} on {review.day}",
        notices=[Notice(to, subject, "\n".join(lines), f"roll-up:{deals.of.record}:{review.day}", report=name)],
        reports=[Report(name, render(review))],
    )
