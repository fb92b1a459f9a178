"""Arbitration: which of several values for one field stands. The order in which they arrive never matters.

Every rule keeps a *set* of claims and hands it to the next one. That matters for confidence: "closer than the margin
is a tie" is not transitive (0.80 ~ 0.84 ~ 0.88, yet 0.80 < 0.88), so comparing claims in pairs would let the order
decide. Instead all claims within the margin of the best one stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, isnan
from typing import Any

from msgspec import Struct

from revops_lite.models import FieldValue
from revops_lite.policy import FieldPolicy, Governance
from revops_lite.values import same

ROUNDING = 1e-9  # 0.80 - 0.75 is a little more than 0.05 in binary and 0.85 - 0.80 a little less: both are 0.05


class Claim(Struct, frozen=True):
    """One value that somebody holds to be right. `at` in epoch seconds, `confidence` 0..1."""

    value: Any
    writer: str
    priority: int
    confidence: float
    at: float
    person: bool = False


class Ruling(Struct, frozen=True):
    """`winner` indexes the claims; None: a person decides. `rule` names what decided.

    "agreement" (all values are the same), "human", "priority", "confidence", "recency" or "tie".
    """

    winner: int | None
    rule: str


Keep = Callable[[list[Claim]], list[Claim]]  # one rule: the claims that it leaves in the race


def arbitrate(claims: Sequence[Claim], policy: Governance, field_policy: FieldPolicy | None, now: float) -> Ruling:
    """Decide between the claims (one or more) on a field. NaN counts as confidence 0, and as the oldest time.

    1. The same value everywhere: no conflict, the strongest claim stands for all.
    2. Of several persons' values the newest counts; younger than `human_wins_for` it beats every agent.
    3. The rules of `conflict_order` in turn. Claims that a rule does not tell apart go on to the next.
    4. Still different values: a person decides.
    """
    ladder = {name: _rule(name, policy, field_policy) for name in policy.conflict_order}
    alive = list(claims)
    if _agreed(alive):
        return Ruling(_strongest(claims, alive, ladder), "agreement")
    alive, final = _humans(alive, policy.human_wins_for, now)
    if _agreed(alive):
        return Ruling(_strongest(claims, alive, ladder), "human")
    if final:
        return Ruling(None, "tie")
    for name, keep in ladder.items():
        alive = keep(alive)
        if _agreed(alive):
            return Ruling(_strongest(claims, alive, ladder), name)
    return Ruling(None, "tie")


def conflicts(seen_version: int | None, incumbent: FieldValue | None, value: Any) -> bool:
    """Whether a new value conflicts with the one that stands: they differ, and neither side saw the other's.

    `seen_version` is the context's version in the challenger's snapshot; None: it saw nothing of the record.
    """
    if incumbent is None or same(incumbent.value, value):
        return False
    return seen_version is None or incumbent.version > seen_version


def _humans(claims: list[Claim], wins_for: float, now: float) -> tuple[list[Claim], bool]:
    """The claims without persons' outdated ones; or, decided, only the newest person's while it is young enough."""
    newest = max((_time(claim) for claim in claims if claim.person), default=-inf)
    persons = [claim for claim in claims if claim.person and _time(claim) == newest]
    if persons and now - newest < wins_for:
        return persons, True
    return [claim for claim in claims if not claim.person or _time(claim) == newest], False


def _rule(name: str, policy: Governance, field_policy: FieldPolicy | None) -> Keep:
    match name:
        case "priority":
            first = field_policy.priority if field_policy else ()
            return lambda claims: _best(claims, lambda claim: _rank(claim, first))
        case "confidence":
            return lambda claims: _near_best(claims, policy.conflict_margin)
        case "recency":
            return lambda claims: _best(claims, lambda claim: (_time(claim),))
        case unknown:
            raise ValueError(f"conflict_order: unknown rule {unknown!r}")


def _best(claims: list[Claim], key: Callable[[Claim], tuple[float, ...]]) -> list[Claim]:
    top = max(map(key, claims))
    return [claim for claim in claims if key(claim) == top]


def _near_best(claims: list[Claim], margin: float) -> list[Claim]:
    top = max(map(_confidence, claims))
    return [c for c in claims if _confidence(c) == top or top - _confidence(c) < margin - ROUNDING]


def _rank(claim: Claim, first: Sequence[str]) -> tuple[float, ...]:
    """Agents that the field's own list names come first, in its order; the others by their priority."""
    if claim.writer in first:
        return (1, -first.index(claim.writer))
    return (0, claim.priority)


def _strongest(claims: Sequence[Claim], alive: list[Claim], ladder: Mapping[str, Keep]) -> int:
    """Index of the claim that stands for all that are alive: a person's first, a full tie is broken by name."""
    alive = [claim for claim in alive if claim.person] or alive
    for keep in ladder.values():
        alive = keep(alive)
    chosen = min(alive, key=lambda claim: claim.writer)
    return next(index for index, claim in enumerate(claims) if claim is chosen)


def _agreed(claims: list[Claim]) -> bool:
    return all(same(claims[0].value, claim.value) for claim in claims)


def _time(claim: Claim) -> float:
    return -inf if isnan(claim.at) else claim.at


def _confidence(claim: Claim) -> float:
    return 0.0 if isnan(claim.confidence) else claim.confidence
