"""The audit stream: what has been committed, for the sealer and for those who look; and how far it has been sealed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from revops_lite.models import AuditEntry
from revops_lite.store import codec, keys
from revops_lite.store.client import bus_errors
from revops_lite.wire import Wire, mapping

FIELD = b"a"
PAGE = 1000
ID = re.compile(r"\d+-\d+", re.ASCII)

Raw = tuple[str, bytes]  # stream id, and one JSON object in one line


class AuditStream:
    """Audit entries as the bytes they were committed as. Every method raises BusError when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as all it could be in any protocol
        self._wire = Wire(redis.connection_pool, ResponseError)

    def read(self, start: str, count: int) -> list[Raw]:
        """Up to `count` entries, oldest first, from the stream id `start` on, that one included."""
        with bus_errors():
            found = self._wire("XRANGE", keys.AUDIT, start, "+", "COUNT", count)
        return [_raw(id_, mapping(fields)) for id_, fields in found]

    def after(self, id_: str) -> Iterator[Raw]:
        """Every entry behind that stream id ("0-0": all), oldest first, in pages."""
        page = self.read(f"({id_}", PAGE)
        while page:
            yield from page
            page = self.read(f"({page[-1][0]}", PAGE)

    def back(self) -> Iterator[Raw]:
        """Every entry, newest first, in pages."""
        last = "+"
        while True:
            with bus_errors():
                page = self.redis.xrevrange(keys.AUDIT, last, count=PAGE)
            if not page:
                return
            yield from (_raw(id_, fields) for id_, fields in page)
            last = f"({page[-1][0].decode()}"

    def sealed(self) -> dict[str, Any] | None:
        """What the sealer noted last: {chain seq id mac}, or None."""
        with bus_errors():
            raw = self.redis.get(keys.SEALED)
        return _mark(raw)

    def must_hold(self, now: float) -> float:
        """Epoch seconds from which on every entry has to be here; what is older may have been trimmed."""
        with bus_errors():
            trimmed = self.redis.hget(keys.CONTROLLER, "trimmed") or b"0"
        by_age = now - keys.AUDIT_KEPT + keys.DAY
        return max(by_age, (int(trimmed) + 0.5) / 1000)  # a half, so that no rounding takes the millisecond before it

    def set_sealed(self, mark: dict[str, Any]) -> None:
        """Note how far the files reach: what lies behind it may be trimmed from the stream one day."""
        with bus_errors():
            self.redis.set(keys.SEALED, codec.dump(mark))


def milliseconds(stream_id: str) -> int:
    """When an entry was added, in milliseconds since the epoch, by the server's clock."""
    return int(stream_id.partition("-")[0])


def trim_limit(mark: bytes | None) -> int:
    """Milliseconds since the epoch up to which the sealer's note allows to trim: 0 where nothing is sealed."""
    found = _mark(mark)
    return milliseconds(str(found["id"])) if found else 0


def read_entry(id_: str, raw: bytes) -> AuditEntry:
    """The entry behind its bytes. What cannot be read becomes an entry of its own, `audit.unreadable`."""
    try:
        entry: AuditEntry = codec.load("audit", raw)
    except ValueError:
        at = milliseconds(id_) / 1000
        return AuditEntry(at, "audit.unreadable", "redis", note=raw[:500].decode("utf-8", "backslashreplace"))
    return entry


def _mark(raw: bytes | None) -> dict[str, Any] | None:
    try:
        found = codec.plain(raw) if raw else None
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("seq"), int):
        return None
    texts = [str(found.get(name)) for name in ("chain", "id", "mac")]
    return (
        {**dict(zip(("chain", "id", "mac"), texts, strict=True)), "seq": found["seq"]}
        if ID.fullmatch(texts[1])
        else None
    )


def _raw(id_: bytes, fields: dict[bytes, bytes]) -> Raw:
    """One line of JSON for any entry: those that are not ours are kept as hex, so that they can be looked at."""
    raw = fields.get(FIELD, b"")
    if len(fields) != 1 or not _is_object(raw):
        raw = codec.dump({"unreadable": {name.hex(): value.hex() for name, value in fields.items()}})
    return id_.decode(), raw


def _is_object(raw: bytes) -> bool:
    if raw[:1] != b"{" or raw[-1:] != b"}" or b"\n" in raw:
        return False
    return codec.is_json(raw)
