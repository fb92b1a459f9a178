"""A trail and its sealers beside a Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from revops_lite.audit.folder import Trail, make_folder, months
from revops_lite.audit.seal import Sealer
from revops_lite.models import AuditEntry, Event
from revops_lite.store import codec, keys
from revops_lite.store.audit import AuditStream

KEY = b"0123456789abcdef" * 4
JANUARY = 1_767_225_600.0  # 2026-01-01 00:00 UTC
DAY = 86_400.0


class Bench:
    """One Redis, one folder, and sealers of it; the clock is `now`."""

    def __init__(self, redis: Redis, folder: Path) -> None:
        self.redis: Any = redis
        self.folder = folder
        self.stream = AuditStream(redis)
        self.events: list[Event] = []
        self.now = JANUARY
        make_folder(folder)

    def sealer(self, channel: str = "") -> Sealer:
        return Sealer(Trail(self.folder, KEY), self.stream, self.events.append, channel)

    def commit(self, count: int, start: float = JANUARY, step: float = 1.0, name: str = "lead") -> list[str]:
        """`count` entries in the stream, `step` seconds apart; their stream ids."""
        return [self.entry(start + number * step, f"{name}:{number}") for number in range(count)]

    def entry(self, at: float, record: str = "lead:1") -> str:
        entry = AuditEntry(at, "write.applied", "enrichment", record=record, field="industry", before=None, after="IT")
        id_ = self.redis.xadd(keys.AUDIT, {"a": codec.dump(entry)}, id=f"{int(at * 1000)}-0")
        return str(id_.decode())

    def seal(self, sealer: Sealer) -> None:
        while sealer.tick(self.now):
            pass

    def raw(self) -> list[tuple[str, bytes]]:
        """The stream, oldest first."""
        return list(self.stream.after("0-0"))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in months(self.folder)}

    def bytes(self) -> bytes:
        return b"".join(self.files().values())

    def longer_than(self, size: int) -> bool:
        return len(self.bytes()) > size
