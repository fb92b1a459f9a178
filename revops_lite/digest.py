"""A digest of what waits for people, to a channel: computed here from the pending items, sent by the controller.

One per window of `[review] digest_every`, counted from midnight UTC, so that a restart repeats nothing; none where
nothing waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from revops_lite.models import Event, Review
from revops_lite.times import stamp

KINDS = 12  # lines; the rest is summed up


class Digest:
    """The body of the service `digest`: `pending()` gives what waits, `send` takes the event `digest.due`."""

    def __init__(
        self, channel: str, every: float, pending: Callable[[], Sequence[Review]], send: Callable[[Event], object]
    ) -> None:
        self._channel = channel
        self._every = every  # seconds
        self._pending = pending
        self._send = send
        self._window = -1

    def tick(self, now: float) -> int:
        """Tell what waits, at the first call of each window. Raises what `pending` and `send` raise; call it again."""
        window = int(now // self._every)
        if window == self._window:
            return 0
        items = self._pending()
        if items:
            since = stamp(window * self._every)
            data = {"window": since, "to": self._channel, "subject": subject(len(items)), "text": text(items, now)}
            self._send(Event(f"review-digest|{since}", "digest.due", "review:pending", "digest", now, data))
        self._window = window
        return len(items)

    def next_due(self) -> float:
        return (self._window + 1) * self._every


def subject(number: int) -> str:
    return f"{number} item{'s wait' if number != 1 else ' waits'} for review"


def text(items: Sequence[Review], now: float) -> str:
    """How many of which reason, agent and field, and how old the oldest is. No values: they may be secret."""
    kinds = Counter((str(item.reason), item.agent, _field(item)) for item in items).most_common()
    lines = [
        f"{number:>5}  {reason:<12} {field}{' by ' + agent if agent else ''}"
        for (reason, agent, field), number in kinds
    ]
    rest = sum(number for _, number in kinds[KINDS:])
    more = [f"{rest:>5}  of {len(kinds) - KINDS} other kinds"] if rest else []
    hours = max(0.0, now - min(item.created_at for item in items)) / 3600
    oldest = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"
    return "\n".join([*lines[:KINDS], *more, f"The oldest has waited {oldest}. Decide them with `revops review`."])


def _field(item: Review) -> str:
    kind = item.record.partition(":")[0]
    return f"{kind}.{item.field}" if item.field else f"{kind} ({item.step or 'event'})"
