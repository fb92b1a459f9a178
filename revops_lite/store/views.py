"""Reading for people and programs: lists by filter, one thing by the beginning of its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from redis import Redis

from revops_lite.errors import NotFound, UsageError
from revops_lite.models import AuditEntry, Context, Hold, OutNotice, Review, Run, Write
from revops_lite.rules.fanout import whole
from revops_lite.store import codec, keys
from revops_lite.store.audit import AuditStream, read_entry
from revops_lite.store.client import bus_errors
from revops_lite.store.codec import read_context, read_holds

PAGE = 200


class Views:
    """Reads only. Every method raises BusError when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as all it could be in any protocol

    def runs(self, keep: Callable[[Run], bool], limit: int | None) -> list[Run]:
        """Newest first, like every list here; `limit` None is all."""
        return self._list("run", keep, limit)

    def reviews(self, keep: Callable[[Review], bool], limit: int | None) -> list[Review]:
        return self._list("review", keep, limit)

    def writes(self, keep: Callable[[Write], bool], limit: int | None) -> list[Write]:
        return self._list("write", keep, limit)

    def notices(self, keep: Callable[[OutNotice], bool], limit: int | None) -> list[OutNotice]:
        return self._list("notice", keep, limit)

    def within(self, workflow: str | None) -> Callable[[str | None], bool]:
        """Whether a run's id, or that of a part, belongs to this workflow; with None every one does."""
        if workflow is None:
            return lambda _: True
        ids = {run.id for run in self.runs(lambda run: run.workflow == workflow, None)}
        return lambda run: run is not None and whole(run) in ids

    def pending(self) -> list[Review]:
        """What waits for a person, oldest first."""
        with bus_errors():
            ids = [id_.decode() for id_ in self.redis.zrange(keys.open_("reviews"), 0, -1)]
        return [review for review in self.many("review", ids) if review is not None]

    def audit(self, keep: Callable[[AuditEntry], bool], limit: int | None) -> list[AuditEntry]:
        """Newest first."""
        entries = (read_entry(id_, raw) for id_, raw in AuditStream(self.redis).back())
        return list(islice(filter(keep, entries), limit))

    def run(self, prefix: str) -> Run:
        """A run, or by the beginning of an id with a dot a part of one. Raises NotFound and UsageError."""
        found: Run = self._one("run", prefix)
        return found

    def parts(self, run: Run) -> list[Run]:
        """The parts of a fan-out, in the order in which they came; none of any other run."""
        return [part for part in self.many("run", self._part_ids(run.id)) if part is not None]

    def _part_ids(self, run: str) -> list[str]:
        with bus_errors():
            return [id_.decode() for id_ in self.redis.zrange(keys.parts(run), 0, -1)]

    def review(self, prefix: str) -> Review:
        found: Review = self._one("review", prefix)
        return found

    def write(self, prefix: str) -> Write:
        found: Write = self._one("write", prefix)
        return found

    def context(self, record: str) -> Context | None:
        with bus_errors():
            return read_context(self.redis.hgetall(keys.context(record)))

    def holds(self) -> dict[str, dict[str, Hold]]:
        """Record -> field or "*" -> hold."""
        with bus_errors():
            return read_holds(self.redis.hgetall(keys.HOLDS))

    def many(self, kind: str, ids: list[str]) -> list[Any]:
        """Documents in the order asked for; None for those that are gone."""
        found: list[Any] = []
        for start in range(0, len(ids), PAGE):
            with bus_errors():
                page = self.redis.mget([keys.doc(kind, id_) for id_ in ids[start : start + PAGE]])
            found += [codec.load(kind, raw) if raw else None for raw in page]
        return found

    def _list(self, kind: str, keep: Callable[[Any], bool], limit: int | None) -> list[Any]:
        found: list[Any] = []
        for page in self._pages(kind):
            found += (value for value in self.many(kind, page) if value is not None and keep(value))
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]

    def _pages(self, kind: str) -> Iterator[list[str]]:
        start = 0
        told: set[bytes] = set()  # what comes meanwhile moves the rest down, into the next page
        while True:
            with bus_errors():
                ids = self.redis.zrevrange(keys.index(f"{kind}s"), start, start + PAGE - 1)
            if not ids:
                return
            yield [id_.decode() for id_ in ids if id_ not in told]
            told.update(ids)
            start += PAGE

    def _one(self, kind: str, prefix: str) -> Any:
        exact = self.many(kind, [prefix])[0] if prefix.replace(".", "").isalnum() else None
        if exact is not None:
            return exact
        whole, dot, _ = prefix.partition(".")
        of_part = kind == "run" and whole and dot
        pages = [self._part_ids(self.run(whole).id)] if of_part else self._pages(kind)
        matches = [id_ for page in pages for id_ in page if id_.startswith(prefix)] if prefix else []
        if not matches:
            raise NotFound(f"there is no {kind} {prefix!r}; `revops {kind} list` shows them")
        if len(matches) > 1:
            raise UsageError(f"{kind} {prefix!r} fits {len(matches)} of them; give more of the id: {matches[0]} …")
        return self.many(kind, matches)[0]
