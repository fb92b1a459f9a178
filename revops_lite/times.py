"""Times as other programs read them."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(at: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the nearest millisecond: "2026-01-31T06:00:00.000Z"."""
    moment = datetime.fromtimestamp(round(at * 1000) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
