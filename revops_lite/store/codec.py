"""Values to JSON bytes and back, one decoder per noun."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

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
        written: bytes = _pydantic().to_json(value, inf_nan_mode="null", fallback=msgspec.structs.asdict)
        return written


def load(kind: str, raw: bytes) -> Any:
    """The noun of that kind. Raises ValueError for bytes that are none."""
    try:
        return _DECODERS[kind].decode(raw)
    except UNREADABLE:
        # JSON may hold numbers that no double can, and NaN: read once more, by one who takes that.
        core = _pydantic()
        return restore(kind, core.from_json(core.to_json(core.from_json(raw), inf_nan_mode="null")))


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
    return _pydantic().from_json(raw)


def restore(kind: str, values: dict[str, Any]) -> Any:
    """The noun of that kind from plain values."""
    return msgspec.convert(values, KINDS[kind])


def read_context(raw: dict[bytes, bytes]) -> Context | None:
    """The context behind a hash, or None for an empty one."""
    if not raw:
        return None
    parts: dict[bytes, dict[str, Any]] = {b"v": {}, b"p": {}, b"f": {}}
    for name, value in raw.items():
        if name[1:2] == b":":
            parts[name[:1]][name[2:].decode()] = plain(value)
    values = {"record": raw[b"r"].decode(), "fields": parts[b"v"], "proposed": parts[b"p"], "flags": parts[b"f"]}
    context: Context = restore("context", {**values, **plain(raw[b"m"])})
    return context


def read_holds(raw: dict[bytes, bytes]) -> dict[str, dict[str, Hold]]:
    """Record -> field or "*" -> hold, from the hash of all of them."""
    holds: dict[str, dict[str, Hold]] = {}
    for body in raw.values():
        hold: Hold = load("hold", body)
        holds.setdefault(hold.record, {})[hold.field] = hold
    return holds


def _pydantic() -> Any:
    # By its name: seldom needed, and it takes a twentieth of a command's start.
    return import_module("pydantic_core")
