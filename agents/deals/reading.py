"""How a deal is read, whichever CRM it comes from: `fields` in the settings says which field holds what.

Nothing here raises because of what a record holds: what cannot be read is None, "" or empty.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from agents.deals.kept import Kept
from agents.evidence.reading import moment, text, yes
from revops_lite import Snapshot

DATA = Path(__file__).parent.parent / "data"
DEFAULTS: dict[str, Any] = tomllib.loads((DATA / "deals.toml").read_text(encoding="utf-8"))
ACTIVITIES = ("activities", "activity", "sales_activities", "touches", "engagements")  # relations, where included
CONTACTS = ("contacts", "contact")
CODES = tuple(DEFAULTS["severity"])
DAY = 86400.0


# The settings are the caller's, who may change them.
RULES: Kept[Mapping[str, Any]] = Kept(16, lambda key: (key[0], deepcopy(dict(key[1]))))


def rules(settings: Mapping[str, Any], defaults: Mapping[str, Any] = DEFAULTS) -> Mapping[str, Any]:
    """The settings over the defaults; equal settings get the same answer, which nobody may change.

    Raises ValueError where `fields` is no table of names.
    """
    return RULES.get((id(defaults), settings), lambda: _rules(settings, defaults))


def _rules(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    own = settings.get("fields", {})
    if not isinstance(own, Mapping):
        raise ValueError('settings.fields: has to be a table, such as fields = { amount = "estimated_acv" }')
    fields = dict(defaults["fields"])
    for name, columns in own.items():
        if name not in fields:
            raise ValueError(f"settings.fields: there is no {name!r}; it may name {', '.join(sorted(fields))}")
        fields[name] = [columns] if isinstance(columns, str) else list(columns)
    return {**defaults, **settings, "fields": fields}


def held(values: Mapping[str, Any], name: str, s: Mapping[str, Any]) -> Any:
    """The first filled field among those that may hold `name`; None where none is."""
    for column in s["fields"][name]:
        value = values.get(column)
        if value is not None and value != "":
            return value
    return None


def money(raw: Any) -> Decimal | None:
    """An amount exact to its last digit ("12,345.67"); None for what is none, negative or beyond 10^12."""
    try:
        found = Decimal(text(raw).replace(",", "").replace(" ", ""))
    except InvalidOperation:
        return None
    return found if found.is_finite() and 0 <= found < 10**12 else None


def outcome(values: Mapping[str, Any], s: Mapping[str, Any]) -> bool | None:
    """True for won, False for lost, None for a deal that is open."""
    for column in s["fields"]["outcome"]:
        word = text(values.get(column)).lower()
        # "is closed won: false" says nothing about a deal that may still be open.
        if word in s["won_values"]:
            return True
        if word in s["lost_values"] and (word not in ("false", "0") or yes(held(values, "is_closed", s))):
            return False
    return None


def is_open(deal: Snapshot, s: Mapping[str, Any]) -> bool:
    return outcome(deal.values, s) is None and not yes(held(deal.values, "is_closed", s))


def days(later: datetime, earlier: datetime | None) -> float | None:
    """Days between two times, None without the earlier one."""
    return None if earlier is None else (later - earlier).total_seconds() / DAY


def when(deal: Snapshot, name: str, s: Mapping[str, Any]) -> datetime | None:
    return moment(held(deal.values, name, s))


def related(deal: Snapshot, roles: Sequence[str]) -> list[Snapshot]:
    return [found for role in roles for found in deal.related.get(role, [])]


def last_activity(deal: Snapshot, s: Mapping[str, Any]) -> datetime | None:
    """The last activity by the deal's own field and by related activities; one in the future does not count."""
    times = [when(deal, "activity", s), *(when(a, "activity_at", s) for a in related(deal, ACTIVITIES))]
    return max((t for t in times if t is not None and t <= deal.now), default=None)


def in_stage(deal: Snapshot, s: Mapping[str, Any]) -> tuple[float | None, bool]:
    """Days in the present stage, and whether they are the stage's own (else those since the deal was made)."""
    entered = when(deal, "entered", s)
    return days(deal.now, entered or when(deal, "created", s)), entered is not None


def changes(values: Mapping[str, Any], name: str, s: Mapping[str, Any]) -> list[tuple[datetime, Any]]:
    """A field's past values, oldest first: a list of {value, timestamp} as HubSpot gives it, or that as JSON."""
    raw = held(values, name, s)
    if isinstance(raw, str):
        try:
            raw = json.loads(raw[:100_000])
        except (ValueError, RecursionError):
            return []
    return sorted(_dated(raw if isinstance(raw, (list, tuple)) else []), key=lambda change: change[0])


def _dated(entries: Sequence[Any]) -> Iterator[tuple[datetime, Any]]:
    for entry in entries:
        if isinstance(entry, Mapping) and (at := moment(entry.get("timestamp") or entry.get("at"))):
            yield at, entry.get("value")


def label(deal: Snapshot, s: Mapping[str, Any]) -> str:
    return text(held(deal.values, "name", s), 120) or deal.record


def open_codes(deal: Snapshot) -> tuple[str, ...]:
    """The deal's open findings that deal inspection knows, in its order."""
    raised = {flag.code for flag in deal.flags}
    return tuple(code for code in CODES if code in raised)
