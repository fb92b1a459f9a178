"""What every channel says about a notice, in the forms that more than one of them needs."""

from __future__ import annotations

from datetime import UTC, datetime

from revops_lite.models import OutNotice


def stamp(at: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC: "2026-01-31T06:00:00.000Z"."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_data(notice: OutNotice) -> dict[str, str]:
    """The shape that programs read, in a file's line and a webhook's body."""
    return {
        "at": stamp(notice.at),
        "to": notice.to,
        "subject": notice.subject,
        "body": notice.body,
        "key": notice.key,
    }
