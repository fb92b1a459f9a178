"""An event as it travels: JSON bytes in one stream field, the same bytes on the channel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from revops_lite.errors import EventRefused
from revops_lite.models import Event
from revops_lite.store import codec
from revops_lite.store.keys import CHANNEL as CHANNEL
from revops_lite.store.keys import EVENTS as EVENTS_KEY
from revops_lite.store.keys import SEEN_TTL as SEEN_TTL
from revops_lite.store.keys import seen as seen_key

FIELD = b"e"
MAX_BYTES = 1_000_000
MAX_OF_MANY = 64_000_000  # of our own events about many records: a page of a sweep, the answers of one job
OF_MANY = frozenset({"records.swept", "step.finished", "step.continued"})
RECORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}:[^\x00-\x20\x7f]{1,200}", re.ASCII)
TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", re.ASCII)

__all__ = [
    "CHANNEL",
    "EVENTS_KEY",
    "FIELD",
    "SEEN_TTL",
    "Entry",
    "decode_event",
    "encode_event",
    "entries_of",
    "seen_key",
]


class Entry(Struct, frozen=True):
    """One entry of the event stream; `event` is None where it cannot be read, and `error` says why."""

    id: str
    event: Event | None
    error: str = ""


def encode_event(event: Event) -> bytes:
    """Raises EventRefused for a body over 1 MB, or one that cannot be written as JSON (half a surrogate pair)."""
    try:
        raw = codec.dump(event)
    except (ValueError, TypeError) as error:
        raise EventRefused(f"event {event.id!r}: it cannot be written as JSON: {error}") from None
    limit = MAX_OF_MANY if event.type in OF_MANY else MAX_BYTES
    if len(raw) > limit:
        raise EventRefused(f"event {event.id!r}: its data is {len(raw):,} bytes; at most {limit:,} are taken")
    return raw


def decode_event(raw: bytes) -> Event:
    """Raises EventRefused, naming what is wrong. What JSON can write and no double can hold is read as null, which is
    also how it would be kept."""
    try:
        if raw.count(b"[") + raw.count(b"{") > codec.SURELY_FLAT:
            codec.plain(raw)  # refuses what is nested too deeply to be written again
        event: Event = codec.load("event", raw)
    except ValueError as error:
        raise EventRefused(f"unreadable event: {error}") from None
    return event


def entries_of(found: Iterable[Any]) -> list[Entry]:
    """What a stream has answered."""
    entries = []
    for id_, fields in found:
        raw = fields.get(FIELD)
        try:
            if raw is None:
                raise EventRefused("unreadable event: the stream entry has no field 'e'")
            entries.append(Entry(id_.decode(), decode_event(raw)))
        except EventRefused as error:
            entries.append(Entry(id_.decode(), None, str(error)))
    return entries


def validate(event: Event) -> Event:
    """What people and programs send. Raises EventRefused naming the attribute and the mend."""
    if not TYPE.fullmatch(event.type):
        raise EventRefused(
            f"event type {event.type!r}: write it as 'kind.happened', lower case, such as 'lead.created'"
        )
    if not RECORD.fullmatch(event.subject):
        raise EventRefused(f"record {event.subject!r}: write it as 'kind:id', such as 'lead:42'")
    if not 0 < len(event.id) <= 300:
        raise EventRefused(f"event id of {len(event.id)} characters: give 1 to 300")
    return event
