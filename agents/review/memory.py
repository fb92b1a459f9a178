"""What a review keeps for the next one: the totals of all deals, and the biggest deals one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from agents.review.lines import Line, code_of, ranked
from agents.review.money import Amounts, totals

BYTES = 95_000  # of the memory as JSON
ROOM = 5_000  # of them for the totals
NAME = 60
CURRENCIES = 60  # a currency's totals beyond these are forgotten
Money = Annotated[Decimal, Field(ge=0, lt=10**24)]
Sums = dict[str, Money]


class Kept(NamedTuple):
    """A deal as it was."""

    record: str
    name: str
    currency: str
    stage: str
    amount: Money | None
    close: date | None
    probability: Annotated[Decimal, Field(ge=0, le=1)] | None
    risk: str
    codes: tuple[str, ...]


class Summary(BaseModel):
    """All deals together."""

    count: int
    pipeline: Sums
    weighted: Sums
    high: int
    high_pipeline: Sums
    findings: int


class Memory(BaseModel):
    """`left_out` smaller deals are in the summary only."""

    at: AwareDatetime
    day: date
    summary: Summary
    deals: list[Kept]
    left_out: int = 0


ONE = TypeAdapter(Kept)


def summary(lines: Sequence[Line]) -> Summary:
    whole, high = totals(lines), totals(line for line in lines if line.risk == "high")
    return Summary(
        count=whole.count,
        pipeline=first(whole.pipeline),
        weighted=first(whole.weighted),
        high=high.count,
        high_pipeline=first(high.pipeline),
        findings=sum(len(line.flags) for line in lines),
    )


def first(amounts: Amounts) -> Amounts:
    return dict(sorted(amounts.items())[:CURRENCIES])


def kept(line: Line) -> Kept:
    codes = tuple(code_of(flag) for flag in line.flags)
    return Kept(
        line.record,
        line.name[:NAME],
        line.currency,
        line.stage,
        line.amount,
        line.close,
        line.probability,
        line.risk,
        codes,
    )


def remember(lines: Sequence[Line], at: datetime, day: date) -> str:
    """JSON of at most BYTES bytes: as many deals as it holds, the biggest first."""
    deals: list[Kept] = []
    size = ROOM
    for line in ranked(lines, {line.record: 1 for line in lines}):
        one = kept(line)
        size += len(ONE.dump_json(one)) + 1
        if size > BYTES:
            break
        deals.append(one)
    memory = Memory(at=at, day=day, summary=summary(lines), deals=deals, left_out=len(lines) - len(deals))
    return memory.model_dump_json()


def recall(raw: Any) -> Memory | None:
    """What `remember` made; None where there is nothing, or nothing that can be read."""
    if not isinstance(raw, str) or not raw:
        return None
    try:
        return Memory.model_validate_json(raw)
    except ValidationError:
        return None
