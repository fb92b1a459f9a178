"""What every channel says about a notice, in the forms that more than one of them needs."""

from __future__ import annotations

from revops_lite.models import OutNotice
from revops_lite.times import stamp


def as_data(notice: OutNotice) -> dict[str, str]:
    """The shape that programs read, in a file's line and a webhook's body."""
    return {
        "at": stamp(notice.at),
        "to": notice.to,
        "subject": notice.subject,
        "body": notice.body,
        "key": notice.key,
    }
