"""Values, times and names as the embedded CRM's file spells them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from revops_lite.errors import CrmRefused, CrmUnavailable

MAX_DEPTH = 500  # SQLite reads JSON no deeper than 1,000, and Python's own bound is another in each version


def to_json(value: Any, where: str) -> str:
    """`value` as compact JSON. Raises CrmRefused, naming `where`, for what JSON or a text file cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CrmRefused(f"{where}: not a value that can be stored: {error}") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise CrmRefused(f"{where}: not a value that can be stored: nested deeper than {MAX_DEPTH}")
    return text


def _deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects lie in each other more than `limit` deep; level by level, without recursion."""
    level = [value]
    for _ in range(limit + 1):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [inner for part in parts for inner in part]
        if not level:
            return False
    return True


def from_json(text: str | None, where: str) -> Any:
    """The value behind JSON text; None is the JSON null. Raises CrmUnavailable, naming `where`, for other text."""
    try:
        return None if text is None else json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise CrmUnavailable(f"{where}: holds no JSON, some other program has damaged it: {error}") from error


def fields_of(text: str, record: str) -> dict[str, Any]:
    """A record's fields. Raises CrmUnavailable where they are no JSON object."""
    found = from_json(text, record)
    if not isinstance(found, dict):
        raise CrmUnavailable(f"{record}: its fields are no JSON object, some other program has damaged them")
    return found


def seconds(at: str | float, where: str) -> float:
    """Seconds since the epoch of a time as `stamp` writes it, or as another program may have written it.

    Also taken: any ISO 8601 text (UTC where it names no zone) and a number of seconds. Raises CrmUnavailable.
    """
    if isinstance(at, int | float):
        return float(at)
    try:
        moment = datetime.fromisoformat(at)
    except (TypeError, ValueError) as error:
        raise CrmUnavailable(f"{where}: {at!r} is no time, some other program has damaged it") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def split(record: str) -> tuple[str, str]:
    """("lead", "42") of "lead:42". Raises CrmRefused for what names no record."""
    kind, colon, id_ = record.partition(":")
    if not (kind and colon and id_):
        raise CrmRefused(f"{record!r} names no record; write KIND:ID, as in lead:42")
    check_text(record)
    return kind, id_


def check_text(*texts: str) -> None:
    """Raises CrmRefused for text that no UTF-8 file can hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CrmRefused(f"{text!r}: not text that can be stored") from error


def check_names(*names: str) -> None:
    """Raises CrmRefused for what cannot be the name of a field."""
    if "" in names:
        raise CrmRefused("a field without a name cannot be stored")
    check_text(*names)


def by_kind(records: list[str]) -> dict[str, list[str]]:
    """kind -> ids of the names that are well formed."""
    found: dict[str, list[str]] = {}
    for record in records:
        kind, _, id_ = record.partition(":")
        if kind and id_:
            found.setdefault(kind, []).append(id_)
    return found
