"""Slots: the moments at which a cron line is due in a time zone, and which of several missed ones still count.

A cron line speaks of wall-clock times; a slot is the instant (epoch seconds, whole) of one of them. `crontab` reads the
line; croniter matches the wall-clock times, in plain calendar arithmetic without a zone; the zone is put on here:

* a time that the clock jumps over has its slot right after the jump (several such times: one slot),
* a time that the clock shows twice has its slot at the first of the two.

Slots therefore come in the order of their wall-clock times, which is what makes both searches below short.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter
from msgspec import Struct

from revops_lite.errors import ConfigError
from revops_lite.rules.crontab import spelled_out

LATE_AFTER = 10.0  # seconds: a slot that nobody took for longer has been missed
DAY = 86_400


class Firing(Struct, frozen=True):
    """One move of a schedule: `slot` is told (None: nothing is), and `next` is the slot to wait for."""

    slot: float | None
    next: float


def next_slot(cron: str, zone: ZoneInfo, after: float) -> float:
    """The first slot later than `after` (epoch seconds). Raises ConfigError for a line that is none or never comes."""
    start = math.floor(after)  # slots are whole seconds; a rounded-up fraction would step over one
    walls = _walls(cron, _wall(start, zone))
    while (slot := _instant(_next(walls, cron), zone)) <= start:
        pass  # the second showing of an hour: its times had their slots at the first
    return slot


def last_slot(cron: str, zone: ZoneInfo, until: float) -> float:
    """The last slot not later than `until` (epoch seconds). Raises ConfigError as `next_slot` does."""
    end = math.floor(until)
    # Where the clock was set back within a day, later wall-clock times than the present one have been shown already.
    ahead = max(timedelta(), _offset(end - DAY, zone) - _offset(end, zone))
    walls = _walls(cron, _wall(end, zone) + ahead + timedelta(seconds=1))
    while (slot := _instant(_previous(walls, cron), zone)) > end:
        pass
    return slot


def firings(cron: str, zone: ZoneInfo, planned: float, now: float, missed: str, limit: int = 100) -> list[Firing]:
    """What is to be done at `now` about a schedule that waits for the slot `planned`; nothing before it is due.

    `missed` says what becomes of slots that came while nothing ran: "latest" tells the last one, "all" each of them
    (at most `limit` at a time), "skip" none, where a slot counts as missed `LATE_AFTER` seconds after its time.
    """
    if planned > now:
        return []
    if missed == "all":
        moves = [Firing(planned, next_slot(cron, zone, planned))]
        while moves[-1].next <= now and len(moves) < limit:
            moves.append(Firing(moves[-1].next, next_slot(cron, zone, moves[-1].next)))
        return moves
    latest = max(planned, last_slot(cron, zone, now))
    following = next_slot(cron, zone, now)
    return [Firing(None if missed == "skip" and now - latest > LATE_AFTER else latest, following)]


def _walls(cron: str, start: datetime) -> croniter:
    # Where a field of days begins with `*` ("*/2"), crontab wants both kinds of day to fit; croniter calls that a bug.
    return croniter(spelled_out(cron), start, implement_cron_bug=True)


def _next(walls: croniter, cron: str) -> datetime:
    try:
        found: datetime = walls.get_next(datetime)
    except ValueError as error:
        raise ConfigError(f"{cron!r} never comes; there is no such day") from error
    return found


def _previous(walls: croniter, cron: str) -> datetime:
    try:
        found: datetime = walls.get_prev(datetime)
    except ValueError as error:
        raise ConfigError(f"{cron!r} never comes; there is no such day") from error
    return found


def _wall(at: int, zone: ZoneInfo) -> datetime:
    """What the clock of the zone shows at an instant."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None)


def _offset(at: int, zone: ZoneInfo) -> timedelta:
    return _wall(at, zone) - datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def _instant(wall: datetime, zone: ZoneInfo) -> float:
    """The slot of a wall-clock time: its first showing, or right after the jump that leaves it out."""
    first = math.floor(wall.replace(tzinfo=zone).timestamp())
    if _wall(first, zone) == wall:
        return float(first)
    # In a jump, fold 0 counts with the old offset and lands behind it, fold 1 with the new one and lands before it.
    before, behind = math.floor(wall.replace(tzinfo=zone, fold=1).timestamp()), first
    new = _offset(behind, zone)
    while behind - before > 1:
        middle = (before + behind) // 2
        if _offset(middle, zone) == new:
            behind = middle
        else:
            before = middle
    return float(behind)
