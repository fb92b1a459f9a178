"""Values to JSON bytes and back, one adapter per noun."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
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

ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "event": TypeAdapter(Event),
    "run": TypeAdapter(Run),
    "page": TypeAdapter(Page),
    "write": TypeAdapter(Write),
    "intent": TypeAdapter(Intent),
    "review": TypeAdapter(Review),
    "notice": TypeAdapter(OutNotice),
    "context": TypeAdapter(Context),
    "breaker": TypeAdapter(Breaker),
    "hold": TypeAdapter(Hold),
    "audit": TypeAdapter(AuditEntry),
}


def dump(value: Any) -> bytes:
    """JSON of a noun or of plain JSON values; NaN and infinities become null and never travel."""
    return to_json(value, inf_nan_mode="null")


def load(kind: str, raw: bytes) -> Any:
    """The noun of that kind. Raises pydantic's ValidationError for bytes that are none."""
    return ADAPTERS[kind].validate_json(raw)


def plain(raw: bytes) -> Any:
    """Plain JSON values, for parts of a hash."""
    return from_json(raw)


def restore(kind: str, values: dict[str, Any]) -> Any:
    """The noun of that kind from plain values."""
    return ADAPTERS[kind].validate_python(values)
