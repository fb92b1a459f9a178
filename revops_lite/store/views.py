"""Reading for people and programs: lists by filter, one thing by the beginning of its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from redis import Redis

from revops_lite.errors import NotFound, UsageError
from revops_lite.models import AuditEntry, Context, Hold, Key, OutNotice, Review, Run, Write
from revops_lite.rules.fanout import whole
from revops_lite.store import codec, keys
from revops_lite.store.archive import Archive
from revops_lite.store.audit import AuditStream, read_entry
from revops_lite.store.client import bus_errors
from revops_lite.store.codec import read_context, read_holds

PAGE = 200


class Views:
    """Reads only. Every method raises BusError when Redis does not answer."""

    def __init__(self, redis: Redis, archive: Archive | None = None) -> None:
        """`archive` has what has left Redis; None where nothing ever does."""
        self.redis: Any = redis  # redis-py types every answer as all it could be in any protocol
        self._archive = archive

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
            found = read_context(self.redis.hgetall(keys.context(record)))
        return found or self._archived([("context", record)]).get(("context", record))

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
        archived = self._archived([(kind, id_) for id_, value in zip(ids, found, strict=True) if value is None])
        if archived:
            return [
                archived.get((kind, id_)) if value is None else value for id_, value in zip(ids, found, strict=True)
            ]
        return found

    def _archived(self, absent: list[Key]) -> dict[Key, Any]:
        """Asked after Redis, so that what leaves it meanwhile is found in one of the two."""
        if not absent or self._archive is None:
            return {}
        return {key: row.document() for key, row in self._archive.find(absent).items()}

    def _list(self, kind: str, keep: Callable[[Any], bool], limit: int | None) -> list[Any]:
        found: list[Any] = []
        for page in self._pages(kind):
            found += (value for value in self.many(kind, page) if value is not None and keep(value))
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]

    def _pages(self, kind: str) -> Iterator[list[str]]:
        """Ids, newest first, each once: what comes or goes meanwhile is in another place of the lists."""
        archived = self._archive.newest(kind) if self._archive else iter(())
        told: set[str] = set()
        page: list[str] = []
        for _, id_ in merge(self._listed(kind), archived, key=itemgetter(0), reverse=True):
            if id_ not in told:
                told.add(id_)
                page.append(id_)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    def _listed(self, kind: str) -> Iterator[tuple[float, str]]:
        start = 0
        while True:
            with bus_errors():
                found = self.redis.zrevrange(keys.index(f"{kind}s"), start, start + PAGE - 1, withscores=True)
            if not found:
                return
            yield from ((at, id_.decode()) for id_, at in found)
            start += PAGE

    def _one(self, kind: str, prefix: str) -> Any:
        exact = self.many(kind, [prefix])[0] if prefix.replace(".", "").isalnum() else None
        if exact is not None:
            return exact
        matches = sorted(self._beginning(kind, prefix)) if prefix else []
        if not matches:
            raise NotFound(f"there is no {kind} {prefix!r}; `revops {kind} list` shows them")
        if len(matches) > 1:
            raise UsageError(f"{kind} {prefix!r} fits {len(matches)} of them; give more of the id: {matches[0]} …")
        return self.many(kind, matches)[0]

    def _beginning(self, kind: str, prefix: str) -> set[str]:
        whole, dot, _ = prefix.partition(".")
        if kind == "run" and whole and dot:
            return {id_ for id_ in self._part_ids(self.run(whole).id) if id_.startswith(prefix)}
        archived = self._archive.beginning(kind, prefix) if self._archive else []
        return {id_ for _, id_ in self._listed(kind) if id_.startswith(prefix)}.union(archived)
