"""The archiver: takes what has come to its end out of Redis into a file, but for the newest, and brings it back.

Its own thread reads a document, and puts it on disk; the controller, which alone writes documents, lets it go from
Redis with one of its commits, unless it has been changed or asked for meanwhile. Killed anywhere, a document is in
Redis, or on disk, or in both; then Redis has the say.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial

from revops_lite.engine.state import over
from revops_lite.models import Context, Key, Run
from revops_lite.store import keys
from revops_lite.store.archive import LIFETIMES, Archive, Row
from revops_lite.store.commit import WORDS, Command
from revops_lite.store.store import Store
from revops_lite.times import ahead

KEPT = {"run": 1_000, "write": 10_000, "notice": 1_000, "review": 1_000, "context": 1_000}  # in Redis, the newest
SOME = 100  # more than that, before any are moved: each pass costs a look and a write to disk
# In a pass, at most: a third of what is there to be moved, so that a lead which comes alone after many hardly feels it.
PAGE = {kind: kept // 4 for kind, kept in KEPT.items()}
PACE = 0.1  # seconds between passes while there is much to move
AGAIN = 10.0  # seconds after which those that were not at their end are looked at again
EXPIRE_EVERY = 3_600.0
REST = 60.0  # seconds before the next try where the disk has refused


class Archiver:
    """`tick` is for its own thread; all else for the controller's."""

    def __init__(self, store: Store, archive: Archive, kept: Mapping[str, int] = KEPT, some: int = SOME) -> None:
        self._store = store
        self._archive = archive
        self._kept = kept
        self._least = some
        self._lock = threading.Lock()
        self._announced: set[Key] = set()  # being read, or read already; not changed since
        self._ready: list[Key] = []  # of these, those on disk
        self._passed: dict[str, int] = {}  # kind -> so many of the oldest are not at their end
        self._looked_at = 0.0
        self._expired_at = 0.0
        self._due: float | None = None
        self._rests_until = 0.0  # after a failure

    # ---- its own thread ----

    def tick(self, now: float) -> int:
        """One pass over all kinds. Raises BusError where Redis or the file cannot be reached; then it rests a while."""
        if ahead(self._rests_until, now, REST):
            return 0
        self._rests_until = self._due = now + REST
        self._look(now)
        self._rests_until = 0.0
        return 0

    def _look(self, now: float) -> None:
        if not 0 <= now - self._looked_at < AGAIN:
            self._looked_at = now
            self._passed.clear()
        if not 0 <= now - self._expired_at < EXPIRE_EVERY:
            self._expired_at = now
            self._archive.expire(now)
        # While some are ready, the controller has not come to it yet.
        self._due = now + PACE if self._ready or self._pass(now) else None

    def next_due(self) -> float | None:
        return self._due

    def _pass(self, now: float) -> bool:
        """Whether any have been brought to disk."""
        with self._lock:
            self._announced.clear()
        rows = [row for kind in self._kept for row in self._some(kind)]
        if rows:
            self._archive.put(rows, now)
            with self._lock:
                self._ready = [row.key for row in rows]
        return bool(rows)

    def _some(self, kind: str) -> list[Row]:
        """The oldest of a kind that are at their end, with the calls to the CRM that belong to them."""
        rows: list[Row] = []
        passed = began = self._passed.get(kind, 0)
        while not rows and passed - began < PAGE[kind]:  # a piece of which none may go is passed over at once
            found = self._store.oldest(kind, passed, PAGE[kind], self._kept[kind], self._least)
            if not found:
                break
            rows = self._rested(kind, found)
            passed += len(found) - len(rows)
        self._passed[kind] = passed
        if kind != "write":
            return rows
        return rows + self._rested("intent", {write.intent: row.at for row in rows if (write := row.document()).intent})

    def _rested(self, kind: str, found: Mapping[str, float]) -> list[Row]:
        """Those at their end. They are announced before they are read: a change from then on will be heard of."""
        with self._lock:
            self._announced.update((kind, id_) for id_ in found)
        raws = self._store.raw(kind, list(found))
        rows = [Row(kind, id_, found[id_], raw) for id_, raw in zip(found, raws, strict=True) if raw]
        return [row for row in rows if at_rest(row)]

    # ---- the controller's thread ----

    def leave(self, docs: Container[Key], changed: Container[Key]) -> list[Key]:
        """Those that may go from Redis with a commit that writes `changed`; what is in `docs` stays. No commit is under
        way, and `stay` knows of each that was."""
        with self._lock:
            ready, self._ready = self._ready, []
            going = [key for key in ready if key in self._announced and key not in docs and key not in changed]
            self._announced.difference_update(ready)
        return going

    def stay(self, changed: Iterable[Key]) -> None:
        """These have been written to Redis: what was read of them before may be old."""
        if self._announced:
            with self._lock:
                self._announced.difference_update(changed)

    def forget(self) -> None:
        """Nobody knows what the last commit did."""
        with self._lock:
            self._announced.clear()
            self._ready.clear()

    def find(self, wanted: list[Key]) -> list[Row]:
        """Those of the documents that are on disk."""
        return list(self._archive.find(wanted).values())


def at_rest(row: Row) -> bool:
    """Whether it may leave Redis: it has come to its end, or nothing works on the record; and it has no parts there.
    What cannot be read stays where it is: somebody may mend it."""
    try:
        value = row.document()
    except (ValueError, KeyError, TypeError):
        return False
    if isinstance(value, Context):
        return not value.runs and not value.intents
    return over(value) and not (isinstance(value, Run) and value.over)


def departures(going: Iterable[Key]) -> Iterator[Command]:
    """Out of Redis, and out of its lists."""
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for kind, id_ in going:
        by_kind[kind].append(id_)
    for kind, ids in by_kind.items():
        key = keys.context if kind == "context" else partial(keys.doc, kind)
        for start in range(0, len(ids), WORDS):
            yield ("DEL", *map(key, ids[start : start + WORDS]))
            if kind in KEPT:
                yield ("ZREM", keys.index(f"{kind}s"), *ids[start : start + WORDS])


def returns(rows: Iterable[Row]) -> Iterator[Command]:
    """Into Redis as it lay there."""
    for row in rows:
        if isinstance(row.value, bytes):
            yield ("SETS", LIFETIMES[row.kind], keys.doc(row.kind, row.id), row.value)
        else:
            key = keys.context(row.id)
            words = [word for pair in row.value.items() for word in pair]
            for start in range(0, len(words), WORDS):
                yield ("HSET", key, *words[start : start + WORDS])
            yield ("EXPIRE", key, keys.CONTEXT_TTL)
        if row.kind in KEPT:
            yield ("ZADD", keys.index(f"{row.kind}s"), row.at, row.id)
