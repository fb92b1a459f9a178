"""What a review session reads and sends. The installation is open only for moments: with the embedded Redis, `up` and
other commands can start while a reviewer thinks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec import Struct

from revops_lite.cli import deciding
from revops_lite.cli.deciding import Filters
from revops_lite.cli.review_item import Seen
from revops_lite.models import Event, Hold, Review
from revops_lite.rules.governance import active_holds
from revops_lite.store.views import Views
from revops_lite.values import replace

if TYPE_CHECKING:
    from revops_lite.installation import Installation

PAGE = 500
SOON = 1.0  # seconds to wait for the controller's answer before the next item is shown
CALL = 10.0  # seconds a call to the CRM may be under way while a hold is placed
PACE = 0.01


class Decision(Struct, frozen=True):
    """One decision about one item, as it will be sent; `mark` is where the event stream ended once it was."""

    item: Review
    verb: str  # approve | edit | reject | retry
    event: Event
    mark: str = ""


class Outcome(Struct, frozen=True):
    """What became of a decision; `what` and `told` as `deciding.became` has them."""

    decision: Decision
    what: str
    told: str = ""


class Desk:
    """`by` is the reviewer. Every method raises RevopsError where Redis or the configuration stand against it."""

    def __init__(self, open_: Callable[[], Installation], filters: Filters, by: str) -> None:
        self._open = open_
        self._filters = filters
        self.by = by
        self.under_way: dict[str, Decision] = {}  # sent, and not known how it went

    def decide(self, item: Review, verb: str, values: Mapping[str, Any] | None = None, note: str = "") -> Decision:
        """A decision, not yet sent."""
        return Decision(item, verb, deciding.event(item, verb, values or {}, note, self.by))

    def waiting(self) -> list[str]:
        """Ids of what waits and fits, oldest first, less what somebody has decided while no `up` ran."""
        with self._open() as installation:
            sent = _undelivered(installation)
            items = Views(installation.clients.commands, installation.archive).pending()
        return [item.id for item in items if self._filters.fits(item) and item.id not in sent]

    def look(self, id_: str) -> Seen | None:
        """One item and what stands around it; None where it is gone."""
        with self._open() as installation:
            views = Views(installation.clients.commands, installation.archive)
            item: Review | None = views.many("review", [id_])[0]
            if item is None:
                return None
            run = views.many("run", [item.run])[0] if item.run else None
            holds = installation.store.working_set().holds.get(item.record, {})
        now = time.time()
        standing = active_holds(holds, now)
        concerned = {name: hold for name, hold in standing.items() if item.field is None or name in ("*", item.field)}
        return Seen(item, now, run.workflow if run else "", concerned)

    def alike(self, item: Review, ids: Iterable[str]) -> list[Review]:
        """This item and those of `ids` that still wait with the same agent, kind of record and field."""
        with self._open() as installation:
            found: list[Review | None] = Views(installation.clients.commands, installation.archive).many(
                "review", [item.id, *ids]
            )
        return [
            each
            for each in found
            if each is not None
            and each.state == "pending"
            and (each.agent, each.field, _kind(each)) == (item.agent, item.field, _kind(item))
        ]

    def send(self, decisions: Sequence[Decision]) -> tuple[list[Outcome], bool]:
        """Send them; what is known of them (and of earlier ones) soon after, and whether a controller is there."""
        with self._open() as installation:
            installation.trust()
            for start in range(0, len(decisions), PAGE):
                installation.store.append([each.event for each in decisions[start : start + PAGE]])
            mark = installation.store.last_event()
            self.under_way |= {each.item.id: replace(each, mark=mark) for each in decisions}
            up = installation.controller_is_up()
            return self._outcomes(installation, SOON if up else 0.0), up

    def news(self, patience: float) -> list[Outcome]:
        """How decisions sent before went, as far as that is known within `patience` seconds."""
        if not self.under_way:
            return []
        with self._open() as installation:
            return self._outcomes(installation, patience if installation.controller_is_up() else 0.0)

    def hold(self, record: str, reason: str) -> bool:
        """Place a legal hold on the whole record. It is in force at once; False where the outcome of a call to the CRM
        made before is still open."""
        now = time.time()
        data = {"field": "*", "by": self.by, "reason": reason, "until": None}
        event = Event(f"hold.placed|{uuid4().hex}", "hold.placed", record, "cli", now, data)
        with self._open() as installation:
            installation.trust()
            installation.store.hold(event, Hold(record, "*", self.by, reason, now), "*")
            end = time.monotonic() + CALL
            while installation.store.call_under_way(record):
                if time.monotonic() > end or not installation.controller_is_up():
                    return False
                time.sleep(PACE)
        return True

    def _outcomes(self, installation: Installation, patience: float) -> list[Outcome]:
        end = time.monotonic() + patience
        found: list[Outcome] = []
        while self.under_way:
            if heard := self._heard(installation):
                found += heard
                end = time.monotonic() + patience  # it works on them
            elif time.monotonic() >= end:
                break
            else:
                time.sleep(PACE)
        return found

    def _heard(self, installation: Installation) -> list[Outcome]:
        """The cursor is read first: what the controller has read by then shows in the items read after it."""
        cursor = deciding.read_to(installation.store.controller())
        heard = [each for each in self.under_way.values() if deciding.position(each.mark) <= cursor]
        now = Views(installation.clients.commands, installation.archive).many(
            "review", [each.item.id for each in heard]
        )
        for each in heard:
            del self.under_way[each.item.id]
        return [outcome(each, item, self.by) for each, item in zip(heard, now, strict=True)]


def outcome(decision: Decision, now: Review | None, by: str) -> Outcome:
    """What became of a decision that the controller has read; `now` is its item since then."""
    return Outcome(decision, *deciding.became(decision.verb, now, by))


def _undelivered(installation: Installation) -> set[str]:
    """Items whose decision stands in the stream, but no controller has read it."""
    found: set[str] = set()
    cursor = installation.store.controller().get("cursor", "0-0")
    while page := installation.store.read(cursor, PAGE):
        found |= {
            str(entry.event.data.get("review"))
            for entry in page
            if entry.event is not None and entry.event.type == "review.decided"
        }
        cursor = page[-1].id
    return found


def _kind(item: Review) -> str:
    return item.record.partition(":")[0]
