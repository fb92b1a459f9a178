"""What the sealed trail testifies about Redis: that it once held more than nothing. Needs no key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from revops_lite.audit.chain import Head
from revops_lite.audit.folder import find_end, locked
from revops_lite.errors import AuditError


def refuse_to_begin_anew(folder: Path) -> None:
    """For a Redis that holds nothing of a controller. Raises AuditError where the trail in `folder` knows of one."""
    if not folder.is_dir():
        return
    with locked(folder, write=False):
        head = find_end(folder).head
    if head.seq:
        raise emptied(folder, head)


def emptied(folder: Path, head: Head) -> AuditError:
    upto = f" up to {when(head.id)}" if head.id != "0-0" else ""
    return AuditError(
        f"Redis is empty, but {folder} tells of {head.seq:,} audit entries{upto}: "
        "its data are lost. Restore var/redis from a backup; or, to begin anew, move var/audit away"
    )


def when(id_: str) -> str:
    """The moment in a stream id, for people."""
    at = datetime.fromtimestamp(int(id_.partition("-")[0]) / 1000, UTC)
    return at.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
