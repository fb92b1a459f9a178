"""Notices on their way: what the controller committed, for the notifier to send."""

from __future__ import annotations

from collections.abc import Iterable
from queue import Empty, SimpleQueue

from revops_lite.models import OutNotice


class Outbox:
    """`offer` it notices as committed; `due` hands out each one once until the controller has heard how it went."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[OutNotice] = SimpleQueue()
        self._waiting: dict[str, OutNotice] = {}
        self._given: dict[str, tuple[float, int]] = {}  # notice -> (decided at, tries) when it was handed out

    def offer(self, notices: Iterable[OutNotice]) -> None:
        """Callable from any thread."""
        for notice in notices:
            self._inbox.put(notice)

    def due(self, now: float, limit: int) -> list[OutNotice]:
        """Planned notices whose time has come, oldest first, none that is being sent."""
        while True:
            try:
                notice = self._inbox.get_nowait()
            except Empty:
                break
            if notice.state == "planned":
                self._waiting[notice.id] = notice
            else:
                self._waiting.pop(notice.id, None)
                self._given.pop(notice.id, None)
        ready = [n for n in self._waiting.values() if n.due <= now and self._given.get(n.id) != (n.at, n.tries)]
        for notice in ready[:limit]:
            self._given[notice.id] = (notice.at, notice.tries)
        return ready[:limit]

    def next_due(self) -> float | None:
        """When the next one that is not being sent is due."""
        return min(
            (n.due for n in self._waiting.values() if self._given.get(n.id) != (n.at, n.tries)),
            default=None,
        )
