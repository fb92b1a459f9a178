"""Values to JSON bytes and back, one decoder per noun."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic_core import from_json, to_json

from revops_lite.models import (
    AuditEntry,
    Breaker,
    Context,
    Event,
    Hold,
    Intent,
    OutNotice,
    Page,
    Review,
    Run,
    Write,
)

KINDS: dict[str, type] = {
    "event": Event,
    "run": Run,
    "page": Page,
    "write": Write,
    "intent": Intent,
    "review": Review,
    "notice": OutNotice,
    "context": Context,
    "breaker": Breaker,
    "hold": Hold,
    "audit": AuditEntry,
}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(noun) for kind, noun in KINDS.items()}
UNREADABLE = (msgspec.MsgspecError, RecursionError)
SURELY_FLAT = 100  # brackets, behind which nothing can be nested too deeply
_ENCODER = msgspec.json.Encoder()


def dump(value: Any) -> bytes:
    """JSON of a noun or of plain JSON values; NaN and infinities become null and never travel.

    Raises ValueError for text with half a surrogate pair, or what is no JSON at all.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, RecursionError):  # only pydantic writes models and keys that are no text, and refuses rings
        return to_json(value, inf_nan_mode="null", fallback=msgspec.structs.asdict)


def load(kind: str, raw: bytes) -> Any:
    """The noun of that kind. Raises ValueError for bytes that are none."""
    try:
        return _DECODERS[kind].decode(raw)
    except UNREADABLE:
        # JSON may hold numbers that no double can, and NaN: read once more, by one who takes that.
        return restore(kind, from_json(to_json(from_json(raw), inf_nan_mode="null")))


def is_json(raw: bytes) -> bool:
    """Whether everybody can read it."""
    try:
        plain(raw)
    except ValueError:
        return False
    return True


def plain(raw: bytes) -> Any:
    """Plain JSON values. Raises ValueError for what is no JSON, or nested deeper than others read."""
    if raw.count(b"[") + raw.count(b"{") <= SURELY_FLAT:
        try:
            return msgspec.json.decode(raw)
        except msgspec.MsgspecError:
            pass
    return from_json(raw)


def restore(kind: str, values: dict[str, Any]) -> Any:
    """The noun of that kind from plain values."""
    return msgspec.convert(values, KINDS[kind])
