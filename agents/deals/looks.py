"""Closed deals as they stood while they were open: what a forecast may learn from.

How a deal ended is known from its row; what it looked like before is not. Its last stage, close date and age at the end
came with the end, and a forecast that learnt from them would learn nothing. So each closed deal is looked at on fixed
days of the calendar, like an open one in a review: the stage it stood in that day, how long, its age that day. The days
are the same for all deals and know nothing of their ends, so a look at an age of 30 days has in it every deal that was
still open at 30 days. Long deals are looked at more often, just as they are among a day's open deals.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agents.deals.closed import spent
from agents.deals.reading import CODES, DAY, changes, days, held, in_stage, money, open_codes, outcome, when
from agents.evidence.reading import moment, text
from revops_lite import Snapshot

Rules = Mapping[str, Any]
Row = Mapping[str, Any]
ENTERED = re.compile(r"(?:hs_v2_date_entered|hs_date_entered|date_entered)_(.+)")
FLAGS, LEVEL = "revops_risk_flags", "revops_risk_level"


class Look(NamedTuple):
    """An open deal at one moment. None is what nobody knows; days are days, the amount is in the deal's currency."""

    stage: str = ""
    stay: float | None = None  # in the stage
    age: float | None = None
    amount: float | None = None
    flags: frozenset[str] | None = None
    traits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at a deal that has closed since. `deal` is its place in the order of closing, `day` the look's, counted
    from 1970; both let a judge keep later deals from earlier ones."""

    deal: int
    won: bool
    day: float
    look: Look


@dataclass(frozen=True, slots=True)
class Life:
    """A closed deal: open from day `start` to day `end`, in `stages` from the days in `starts` on."""

    row: Row
    won: bool
    start: float | None
    end: float | None
    starts: tuple[float, ...] = ()
    stages: tuple[str, ...] = ()


def present(deal: Snapshot, s: Rules) -> Look:
    """The look at an open deal now."""
    stay, own = in_stage(deal, s)
    age = days(deal.now, when(deal, "created", s))
    return Look(
        stage=text(held(deal.values, "stage", s)),
        stay=stay if own else None,
        age=age,
        amount=_amount(held(deal.values, "amount", s)),
        flags=frozenset(open_codes(deal)),
        traits=traits_of(deal.values, s),
    )


def traits_of(values: Row, s: Rules) -> tuple[str, ...]:
    return tuple(text(values.get(name)) for name in s["traits"])


def lives(rows: Iterable[Row], s: Rules) -> list[Life]:
    """The closed deals among the rows, in the order of closing; only the last `max_closed`."""
    ended = [(row, won) for row in rows if (won := outcome(row, s)) is not None]
    order = _order([spent(row) for row, _ in ended], s)
    found = [_life(row, won, order, s) for row, won in ended]
    found.sort(key=lambda life: -math.inf if life.end is None else life.end)
    return found[-int(s["max_closed"]) :]


def looks(closed: list[Life], s: Rules) -> list[Seen]:
    """Every look at the closed deals; one without age or stage where a deal's times are not known."""
    whole = sum(life.end - life.start for life in closed if life.start is not None and life.end is not None)
    step = max(float(s["look_days"]), math.ceil(whole / max(1, s["max_looks"])), 1.0)
    return [Seen(n, life.won, day, look) for n, life in enumerate(closed) for day, look in _looks(life, step, s)]


def _order(stays: Iterable[Iterable[str]], s: Rules) -> dict[str, int]:
    """Stage -> its place: as in `stages`, then those that more deals came to before those that fewer came to."""
    came = Counter(stage for each in stays for stage in each)
    known = {stage: place for place, stage in enumerate(s["stages"])}
    ranked = sorted(came, key=lambda stage: (known.get(stage, len(known)), -came[stage], stage))
    return {stage: place for place, stage in enumerate(ranked)}


def _life(row: Row, won: bool, order: Mapping[str, int], s: Rules) -> Life:
    start, end = _day(held(row, "created", s)), _day(held(row, "closed", s))
    entered = sorted(_entered(row, s)) or _in_order(row, start, order, s)
    if entered and start is None:
        start = entered[0][0]
    if start is not None and end is not None and end < start:
        return Life(row, won, None, end)
    return Life(row, won, start, end, tuple(day for day, _ in entered), tuple(stage for _, stage in entered))


def _day(raw: Any) -> float | None:
    found = moment(raw)
    return (found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / DAY if found else None


def _closes(stage: str, s: Rules) -> bool:
    return stage.lower() in s["won_values"] or stage.lower() in s["lost_values"] or stage == "current_stage"


def _entered(row: Row, s: Rules) -> Iterator[tuple[float, str]]:
    """Day and stage of each time that the row tells it entered one."""
    for column, raw in row.items():
        match = ENTERED.fullmatch(str(column))
        if match and not _closes(match[1], s) and (day := _day(raw)) is not None:
            yield day, match[1]


def _in_order(row: Row, start: float | None, order: Mapping[str, int], s: Rules) -> list[tuple[float, str]]:
    """The same from days in stages, one after the other."""
    found: list[tuple[float, str]] = []
    if start is not None:
        for stage, stay in sorted(spent(row).items(), key=lambda item: order[item[0]]):
            if not _closes(stage, s):
                found.append((start, stage))
                start += stay
    return found


def _looks(life: Life, step: float, s: Rules) -> Iterator[tuple[float, Look]]:
    raw, traits, flags = held(life.row, "amount", s), traits_of(life.row, s), _flags(life.row)
    moves = changes(life.row, "amount_history", s)
    if life.start is None or life.end is None:
        yield life.end or 0.0, Look(amount=_amount(raw), traits=traits)
        return
    for n in range(math.floor(life.start / step) + 1, math.ceil(life.end / step)):
        day = n * step
        place = bisect_right(life.starts, day) - 1
        yield (
            day,
            Look(
                stage=life.stages[place] if place >= 0 else "",
                stay=day - life.starts[place] if place >= 0 else None,
                age=day - life.start,
                amount=_amount(_then(moves, day) if moves else raw),
                flags=flags if life.end - day <= s["flags_days"] else None,
                traits=traits,
            ),
        )


def _then(moves: Sequence[tuple[datetime, Any]], day: float) -> Any:
    """What a field held that day, by its past values."""
    return ([moves[0][1]] + [value for at, value in moves if at.timestamp() <= day * DAY])[-1]


def _amount(raw: Any) -> float | None:
    found = money(raw)
    return float(found) if found else None


def _flags(row: Row) -> frozenset[str] | None:
    """The findings of the last review before the deal closed; None where no review has seen it."""
    told = text(row.get(FLAGS))
    if not told and not text(row.get(LEVEL)):
        return None
    return frozenset(told.split(";")) & frozenset(CODES)
