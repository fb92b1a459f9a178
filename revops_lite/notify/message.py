"""What every channel says about a notice, in the forms that more than one of them needs."""

from __future__ import annotations

from revops_lite.models import OutNotice
from revops_lite.notify.report import file_name
from revops_lite.times import stamp

REPORTS = "var/reports"  # beside the config.toml: what a reader looks for


def as_data(notice: OutNotice) -> dict[str, str]:
    """The shape that programs read, in a file's line and a webhook's body; `report` only where there is one."""
    data = {
        "at": stamp(notice.at),
        "to": notice.to,
        "subject": notice.subject,
        "body": notice.body,
        "key": notice.key,
    }
    return {**data, "report": report_path(notice)} if notice.report else data


def report_path(notice: OutNotice) -> str:
    """Where the notice's report lies, relative to the installation's folder; "" without one."""
    return f"{REPORTS}/{file_name(notice.report)}" if notice.report else ""


def with_report(notice: OutNotice) -> str:
    """The body, and as its last line where the report lies."""
    if not notice.report:
        return notice.body
    body = notice.body.rstrip("\n")
    return f"{body}\n" * bool(body) + f"Report: {report_path(notice)}"
