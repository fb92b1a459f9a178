"""What is different from the last review, deal by deal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from agents.review.lines import Line, code_of, ranked
from agents.review.memory import Kept, Memory
from agents.review.money import shown

T = TypeVar("T")
MOVED = Decimal("0.1")  # of a win probability; less is noise


@dataclass(frozen=True, slots=True)
class Move:
    """One value of a deal, then and now, as people read it."""

    what: str
    before: str
    after: str


@dataclass(slots=True)
class Changes:
    """The biggest deals first, everywhere. `missing` smaller deals of the last review could not be compared."""

    since: Memory
    came: list[Line] = field(default_factory=list)
    left: list[Kept] = field(default_factory=list)
    raised: list[tuple[Line, list[str]]] = field(default_factory=list)
    cleared: list[tuple[Line, list[str]]] = field(default_factory=list)
    moves: list[tuple[Line, list[Move]]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return self.since.left_out

    @property
    def findings_raised(self) -> int:
        return sum(len(codes) for _, codes in self.raised)

    @property
    def findings_cleared(self) -> int:
        return sum(len(codes) for _, codes in self.cleared)


def compare(memory: Memory, lines: Sequence[Line]) -> Changes:
    """A deal of which nothing was kept has come in, where all deals were kept; else only if it was made since."""
    then = {one.record: one for one in memory.deals}
    now = {line.record for line in lines}
    found = Changes(memory, left=[one for one in memory.deals if one.record not in now])
    for line in ranked(lines, {line.record: 1 for line in lines}):
        before = then.get(line.record)
        if before is not None:
            codes = [code_of(flag) for flag in line.flags]
            note(found.raised, line, [code for code in codes if code not in before.codes])
            note(found.cleared, line, [code for code in before.codes if code not in codes])
            note(found.moves, line, list(moves(before, line)))
        elif not memory.left_out or (line.created and line.created > memory.at):
            found.came.append(line)
            note(found.raised, line, [code_of(flag) for flag in line.flags])
    return found


def note(those: list[tuple[Line, list[T]]], line: Line, what: list[T]) -> None:
    if what:
        those.append((line, what))


def moves(before: Kept, line: Line) -> Iterator[Move]:
    """Stage, amount, close date, win probability and risk where they moved."""
    old, new = (before.amount, before.currency), (line.amount, line.currency)
    pairs = [
        ("stage", before.stage != line.stage, before.stage, line.stage),
        ("amount", old != new, money(*old), money(*new)),
        ("close date", before.close != line.close, str(before.close or ""), str(line.close or "")),
        ("win probability", far(before, line), percent(before.probability), percent(line.probability)),
        ("risk", before.risk != line.risk, before.risk, line.risk),
    ]
    for what, moved, was, is_ in pairs:
        if moved:
            yield Move(what, was or "none", is_ or "none")


def far(before: Kept, line: Line) -> bool:
    if before.probability is None or line.probability is None:
        return before.probability is not line.probability
    return abs(line.probability - before.probability) >= MOVED


def money(amount: Decimal | None, currency: str) -> str:
    return "none" if amount is None else shown(amount, currency)


def percent(share: Decimal | float | None) -> str:
    return "none" if share is None else f"{share * 100:.0f}%"
