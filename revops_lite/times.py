"""Times as other programs read them, and whether one is still to come."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime


def stamp(at: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the nearest millisecond: "2026-01-31T06:00:00.000Z"."""
    moment = datetime.fromtimestamp(round(at * 1000) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ahead(at: float, now: float, longest: float) -> bool:
    """Whether `at` is still to come. Nobody waits for longer than `longest`: beyond it the clock was set back."""
    return now < at <= now + longest


def ticking() -> float:
    """Seconds of a clock that nobody sets and that goes on while this process, or its machine, is stopped."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
