"""What the health figures are made of, in Redis: counted in the commit that they come from, read for a window.

An hour's counts are a hash; its field names are JSON lists, `["passed","new_lead"]` (`rules/health.py` tells them all),
and `["up",17]` marks its minute 17 as one in which a commit arrived: controller and Redis both lived. Which records
were processed and reviewed is a sorted set by the last time of it: what lies behind the start of a window that ends now
is exactly the set of that window.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from revops_lite.models import AuditEntry
from revops_lite.rules import health
from revops_lite.store import codec, keys
from revops_lite.store.client import bus_errors

Command = tuple[Any, ...]

HOUR = 3600
MEMBERS = 500  # in one command: a script's call takes only so many words


# ---- writing -----------------------------------------------------------------------------------------------------


def counting(entries: Sequence[AuditEntry], now: float) -> Iterator[Command]:
    """What these audit entries add to the counts."""
    counts: Counter[health.Name] = Counter()
    records: defaultdict[str, dict[str, None]] = defaultdict(dict)  # key -> members, each once
    for entry in entries:
        for name, by in health.tally(entry):
            counts[name] += by
        for kind in health.touches(entry) if entry.record else ():
            member = keys.digest(entry.record or "")
            for workflow in {"", entry.workflow}:
                records[keys.records(kind, workflow)][member] = None
    if counts:
        hour = keys.counts(int(now // HOUR))
        for name, by in counts.items():
            yield ("HINCRBY", hour, codec.dump(name), by)
        yield ("EXPIRE", hour, keys.COUNTS_TTL)
    for key, members in records.items():
        yield from _add(key, list(members), now)


def _add(key: str, members: list[str], now: float) -> Iterator[Command]:
    for start in range(0, len(members), MEMBERS):
        yield ("ZADD", key, *(word for member in members[start : start + MEMBERS] for word in (now, member)))
    yield ("ZREMRANGEBYSCORE", key, "-inf", now - keys.COUNTS_TTL)
    yield ("EXPIRE", key, keys.COUNTS_TTL)


def beats(marked: float | None, now: float) -> Iterator[Command]:
    """Marks the minute of a commit; `marked` is when the last one was marked. Whole minutes without are audited."""
    minute, last = int(now // 60), None if marked is None else int(marked // 60)
    if minute == last:
        return
    yield ("HSETNX", keys.CONTROLLER, "first", now)
    yield ("HSET", keys.CONTROLLER, "marked", now)
    hour = keys.counts(minute // 60)
    yield ("HSET", hour, codec.dump(("up", minute % 60)), 1)
    yield ("EXPIRE", hour, keys.COUNTS_TTL)
    if last is not None and minute > last + 1:
        silent = AuditEntry(
            now, "controller.silent", "controller", before=marked, after=now, note=f"{minute - last - 1} min"
        )
        yield ("XADD", keys.AUDIT, "*", "a", codec.dump(silent))


# ---- reading -----------------------------------------------------------------------------------------------------


def since(window: float, now: float) -> float:
    """Where a window of so many seconds that ends now begins: at a whole hour, so that nothing of it is left out."""
    return (now - window) // HOUR * HOUR


def read(redis: Redis, start: float, now: float, workflow: str | None = None) -> health.Tallies:
    """What was counted from `start`, a whole hour, until now. Records are those of `workflow`, or of all.

    Raises BusError when Redis does not answer.
    """
    client: Any = redis  # redis-py types every answer as all it could be in any protocol
    hours = range(int(start // HOUR), int(now // HOUR) + 1)
    with bus_errors():
        pipe = client.pipeline(transaction=False)
        pipe.hget(keys.CONTROLLER, "first")
        for kind in ("processed", "reviewed"):
            pipe.zcount(keys.records(kind, workflow or ""), start, "+inf")
        for hour in hours:
            pipe.hgetall(keys.counts(hour))
        first, processed, reviewed, *found = pipe.execute()
    counts: Counter[health.Name] = Counter()
    up: set[int] = set()
    for hour, fields in zip(hours, found, strict=True):
        for raw, number in fields.items():
            if not raw.startswith(b"["):
                continue  # no name of ours: another version's, or another program's
            name = tuple(codec.plain(raw))
            if name[0] == "up":
                up.add(hour * 60 + name[1])
            else:
                counts[name] += int(number)
    elapsed = _minutes(max(start, float(first)), now, up) if first else range(0)
    return health.Tallies(counts, processed, reviewed, len(elapsed), sum(minute in up for minute in elapsed))


def _minutes(start: float, now: float, up: set[int]) -> range:
    """Minutes since the epoch that are over; the present one counts as soon as it is marked."""
    present = int(now // 60)
    return range(int(start // 60), present + (present in up))
