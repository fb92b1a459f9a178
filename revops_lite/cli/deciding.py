"""What `revops review` and its verbs share: which items are meant, and a decision as the event that carries it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from msgspec import Struct

from revops_lite.cli import shapes
from revops_lite.models import Event, Review

DECIDED = {"approve": "approved", "edit": "edited", "reject": "rejected", "retry": "retried"}  # what an item becomes


class Filters(Struct, frozen=True):
    """Only these items; None is no filter. `run` may be the beginning of an id."""

    reason: str | None = None
    agent: str | None = None
    record: str | None = None
    field: str | None = None
    run: str | None = None

    def fits(self, item: Review) -> bool:
        return (
            (not self.reason or item.reason == self.reason)
            and (not self.agent or item.agent == self.agent)
            and (not self.record or item.record == self.record)
            and (not self.field or item.field == self.field)
            and (not self.run or (item.run or "").startswith(self.run))
        )


def event(item: Review, decision: str, values: Mapping[str, Any], note: str, by: str) -> Event:
    """`decision`: approve, edit, reject or retry. Two events about one item are two decisions; the first stands."""
    return Event(
        id=f"decided|{item.id}|{by}|{uuid4().hex[:8]}",
        type="review.decided",
        subject=item.record,
        source="cli",
        time=time.time(),
        data={"review": item.id, "decision": decision, "values": dict(values), "note": note, "by": by},
        run=item.run,
    )


def subject(item: Review) -> str:
    """ "lead:42.industry"; a whole step: "lead:42 (enrichment)"."""
    return f"{item.record}.{item.field}" if item.field else f"{item.record} ({item.step or 'event'})"


def fate(item: Review) -> str:
    """Who has decided an item, and when."""
    return f"{item.state} by {item.decided_by} at {shapes.stamp(item.decided_at)}"


def became(decision: str, now: Review | None, by: str) -> tuple[str, str]:
    """What a decision of `by` has led to, once the controller has read it; `now` is its item since then.

    "stands"; "refused" and why; "changed" and the id of the item that asks again with what stands now; "late" and who
    was first.
    """
    if now is None:
        return "late", "is gone"
    if now.state == "pending":
        return "refused", now.note or "refused"
    if now.decided_by == by and now.state == DECIDED[decision]:
        return "stands", ""
    if now.decided_by == by and now.state == "expired" and now.note.isalnum():
        return "changed", now.note
    return "late", f"was {fate(now)}; the first decision stands"


def position(id_: str) -> tuple[int, int]:
    """A stream id, comparable."""
    time_, _, number = id_.partition("-")
    return int(time_), int(number or 0)


def read_to(controller: Mapping[str, str]) -> tuple[int, int]:
    """How far the controller has read, by what it says of itself."""
    return position(controller.get("cursor") or "0-0")
