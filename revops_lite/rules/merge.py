"""Merge: what a read of the CRM changes in a record's context, and which of its changes are only our own echo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from revops_lite.models import Context, CrmRecord, FieldValue
from revops_lite.values import replace, same

CRM, PERSON, EVENT = "crm", "person", "event"
LAG = 120.0  # seconds for which a CRM may go on showing what stood there before our write, or a person's edit


def merge(context: Context, found: CrmRecord, asked_at: float, now: float) -> tuple[Context, tuple[str, ...]]:
    """Fold a CRM read that was asked for at `asked_at` into the context. Returns it and the fields people changed.

    * A field with an unconfirmed write, or confirmed at or after `asked_at`, keeps our value: the read may be older.
      So does one confirmed less than LAG before, and one that a person has set as lately, of a record that by the CRM's
      own word has not changed since.
    * The same value changes nothing, except that a person's later word for it makes it the person's.
    * Any other value comes in: as the person's where the CRM names one, or where it replaces what we knew
      (somebody must have changed it); else as the CRM's. All fields of one merge get the same new version.
    * A field that the CRM no longer has becomes None, unless it never stood there (an event's value).

    The second result names the fields that differ from what we knew: not those seen for the first time. Where nothing
    changes, the very same context comes back. Times of people's edits are cut at `now`, against clocks that run ahead.
    """
    version = context.version + 1
    news: dict[str, FieldValue] = {}
    for name in [*found.values, *_vanished(context, found)]:
        known, value = context.fields.get(name), found.values.get(name)
        if known is not None and (known.pending is not None or known.at >= asked_at or _lags(known, found, asked_at)):
            continue
        if known is None or not same(known.value, value):
            news[name] = _incoming(name, value, known, found, asked_at, now, version)
        elif _confirmed(name, known, found):
            news[name] = replace(known, writer=PERSON, confidence=1.0, at=min(found.edited[name], now), run=None)
    if not news and context.known:
        return context, ()
    grown = [name for name, new in news.items() if new.version == version]
    merged = replace(
        context, fields={**context.fields, **news}, known=True, version=version if grown else context.version
    )
    return merged, tuple(name for name in grown if name in context.fields)


def own(change_fields: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a change without our own echo: fields that we did not write, or not with this value."""
    return {name: value for name, value in change_fields.items() if name not in ours or not same(ours[name], value)}


def told(known: FieldValue) -> bool:
    """Whether a write of ours or a person put the value there, so that `at` says when it came."""
    return known.writer not in (CRM, EVENT)


def _lags(known: FieldValue, found: CrmRecord, asked_at: float) -> bool:
    """Whether the CRM, asked after our write was confirmed or an edit was told, still shows the record as before it."""
    return told(known) and behind(known.at, found, asked_at)


def behind(at: float, found: CrmRecord, now: float) -> bool:
    """Whether the CRM, asked at about `now`, shows the record as it was before `at`, by its own word."""
    return found.updated_at < at and now - at < LAG


def _vanished(context: Context, found: CrmRecord) -> list[str]:
    return [name for name, known in context.fields.items() if name not in found.values and known.writer != EVENT]


def _incoming(
    name: str, value: Any, known: FieldValue | None, found: CrmRecord, asked_at: float, now: float, version: int
) -> FieldValue:
    person = name in found.edited or known is not None
    at = found.edited.get(name, found.updated_at)
    if name not in found.edited and (at > asked_at or (known is not None and at <= known.at)):
        at = asked_at  # the record's time cannot be this field's: it is newer than the read, or older than ours
    return FieldValue(value, PERSON if person else CRM, 1.0, min(at, now), version)


def _confirmed(name: str, known: FieldValue, found: CrmRecord) -> bool:
    """Whether a person has set the very value that we knew, after we knew it, or where it was nobody's yet."""
    at = found.edited.get(name)
    return at is not None and known.writer != PERSON and (known.writer in (CRM, EVENT) or at > known.at)
