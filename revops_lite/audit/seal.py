"""The sealer: follows the audit stream and writes it to the trail, at most a second behind.

The trail itself says how far it has come, so that a kill anywhere loses and doubles nothing: a line is the same whoever
writes it. The note in Redis (`revops:audit:sealed`) follows the files and is only a witness of them, and what keeps
`trim` from dropping what is not yet sealed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Protocol

from revops_lite.audit.chain import Head, Raw, fingerprint
from revops_lite.audit.folder import Moved, Trail, anchors, make_folder
from revops_lite.audit.witness import emptied
from revops_lite.errors import AuditError, BusError
from revops_lite.models import Event

log = logging.getLogger("revops.audit")

BATCH = 1000
PACE = 0.5  # seconds between two looks at the stream
AT_STOP = 5.0  # seconds that a stop may take; what is left is sealed at the next start
RETRY = 10.0  # seconds without another try after trouble
START = "0-0"


class Stream(Protocol):
    """The audit stream, as `revops_lite.store.audit` has it."""

    def read(self, start: str, count: int) -> list[Raw]: ...

    def back(self) -> Iterator[Raw]: ...

    def sealed(self) -> dict[str, Any] | None: ...

    def set_sealed(self, mark: dict[str, Any]) -> None: ...


class Sealer:
    """The body of the service `sealer`. `channel` is where the head goes once a day; "" keeps it in the folder."""

    def __init__(self, trail: Trail, stream: Stream, send: Callable[[Event], object], channel: str = "") -> None:
        self.trail = trail
        self.stream = stream
        self.send = send
        self.channel = channel
        self._head: Head | None = None
        self._day = ""
        self._due = 0.0
        self._troubled = False

    def check(self, redis_is_new: bool) -> None:
        """Refuse a start that would begin anew what the trail knows of. Raises AuditError; comes first of all."""
        make_folder(self.trail.folder)
        head = self.trail.open()
        if head.seq and redis_is_new and not self.stream.read("-", 1):
            raise emptied(self.trail.folder, head)

    def open(self, now: float) -> Head:
        """Find where to go on. Raises AuditError, BusError or OSError."""
        make_folder(self.trail.folder)
        head = self.trail.open()
        if mark := self.stream.sealed():
            self._compare(head, mark, now)
        self._head = head
        return head

    def _compare(self, head: Head, mark: dict[str, Any], now: float) -> None:
        """What was noted in Redis must not be ahead of the files: they come first."""
        folder, noted = self.trail.folder, Head(mark["seq"], mark["id"], str(mark["mac"]).encode())
        if mark["chain"] != fingerprint(self.trail.key):
            if not head.seq:
                self._alarm(f"{folder}: a new trail begins; an earlier one had {noted.seq:,} entries", now)
        elif noted.seq > head.seq:
            why = (
                f"{folder} ends with sequence {head.seq}, but {noted.seq} were sealed: lines have been cut off. What "
                "Redis still has of them is sealed again; `revops audit verify` tells the rest"
            )
            self._alarm(why, now)
            known = [(line.get("seq"), line.get("mac")) for line in anchors(folder)]
            if (noted.seq, mark["mac"]) not in known:  # once, however often this is found
                self.trail.anchor(noted, "mark", now)

    def tick(self, now: float) -> int:
        """Seal what has come, up to one batch; 1 where more waits. Trouble is told, and tried again."""
        if self._troubled and 0 < self._due - now <= RETRY:
            return 0
        self._due = now + PACE
        try:
            more = self._seal(now)
            self._anchor_daily(now)
        except (AuditError, OSError) as error:
            self._head, self._due, self._troubled = None, now + RETRY, True
            self._alarm(f"the audit trail is not being sealed: {error}", now)
            return 0
        self._troubled = False
        return int(more)

    def next_due(self) -> float:
        return self._due

    def close(self) -> None:
        """Seal the rest and note the head: the last act before a stop in good order."""
        end = time.monotonic() + AT_STOP
        try:
            while self._seal(time.time()) and time.monotonic() < end:
                pass
            if self._head and self._head.seq != self._last_anchor():
                self.trail.anchor(self._head, "stop", time.time())
        except (AuditError, OSError, BusError) as error:
            log.warning("the audit trail could not be sealed to its end; the next start does: %s", error)

    # -- one look at the stream --

    def _seal(self, now: float) -> bool:
        """True where more may wait."""
        head = self._head or self.open(now)
        page = self.stream.read(head.id if head.id != START else "-", BATCH + 1)
        if head.id != START:
            if not page or page[0][0] != head.id:
                return self._append([self._rewound(head, now)], rewound=True)
            page = page[1:]
        return bool(page) and self._append(page[:BATCH]) and len(page) >= BATCH

    def _append(self, page: list[Raw], rewound: bool = False) -> bool:
        self._head = None  # unknown until we are through
        try:
            head = self.trail.append(page, rewound=rewound)
        except Moved:
            return True
        chain = fingerprint(self.trail.key)
        self._head = head
        self.stream.set_sealed({"chain": chain, "seq": head.seq, "id": head.id, "mac": head.mac.decode()})
        return True

    def _rewound(self, head: Head, now: float) -> Raw:
        """Redis does not hold any more what was sealed last: it has lost what it had confirmed.

        With `durability = "everysec"` a crash may do that, a restored backup does. The lost entries stay in the files;
        this line says so, and its id is where the stream goes on.
        """
        if not self.stream.read("-", 1):
            # Trimming leaves the newest entry: an empty stream is an emptied server, and a restored backup is to go on
            # where the files end.
            raise emptied(self.trail.folder, head)
        known = self.trail.recent()
        there = next((id_ for id_, entry in self.stream.back() if (id_, hash(entry)) in known), START)
        note = f"Redis has lost the entries after {there} up to {head.id}; here they are kept"
        self._alarm(f"{self.trail.folder}: {note}", now)
        entry = {"at": now, "what": "audit.rewound", "who": "sealer", "before": head.id, "after": there, "note": note}
        return there, json.dumps(entry, separators=(",", ":")).encode()

    # -- anchors --

    def _anchor_daily(self, now: float) -> None:
        day, head = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d"), self._head
        if day == self._day or head is None or not head.seq:
            return
        if self._anchored_on(day):
            self._day = day
            return
        if self.channel:  # first, and the same however often: killed here, it is sent again
            data = {"day": day, "seq": head.seq, "mac": head.mac.decode(), "to": self.channel}
            self.send(Event(f"audit-anchor|{day}", "audit.anchored", "audit:trail", "sealer", now, data))
        self.trail.anchor(head, "daily", now)
        self._day = day

    def _anchored_on(self, day: str) -> bool:
        daily = [line for line in anchors(self.trail.folder) if line.get("why") == "daily"]
        return any(str(line.get("at", "")).startswith(day) for line in daily)

    def _last_anchor(self) -> int:
        return next((line["seq"] for line in reversed(anchors(self.trail.folder)) if "seq" in line), 0)

    def _alarm(self, why: str, now: float) -> None:
        """In the log each time, to the ops channel once a day."""
        log.error("%s", why)
        day, mark = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d"), blake2b(why.encode(), digest_size=6)
        id_ = f"audit-alarm|{day}|{mark.hexdigest()}"
        self.send(Event(id_, "audit.alarm", "audit:trail", "sealer", now, {"why": why[:1000]}))
