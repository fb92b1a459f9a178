"""A job's JSON snapshot becomes what the agent is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from revops_lite.agentapi import Gathered, Snapshot
from revops_lite.models import Flag, Touch


def rebuild(snapshot: Mapping[str, Any]) -> Snapshot | Gathered:
    """One Snapshot, or for a gather step ({"many": [...], the group's own}) all of its group. Raises KeyError or
    TypeError."""
    if "many" in snapshot:
        return Gathered([_one(one, snapshot) for one in snapshot["many"]], _one(snapshot, snapshot))
    return _one(snapshot, snapshot)


def _one(raw: Mapping[str, Any], top: Mapping[str, Any]) -> Snapshot:
    """`top` is the snapshot that was asked for: its time, deadline and settings hold for related ones too."""
    deadline = raw.get("deadline", top.get("deadline"))
    return Snapshot(
        kind=raw["kind"],
        id=raw["id"],
        values=raw["values"],
        version=raw.get("version", 0),
        now=_time(raw.get("now", top.get("now", 0.0))),
        related={role: [_one(one, top) for one in several] for role, several in raw.get("related", {}).items()},
        flags=tuple(Flag(flag["code"], flag["severity"], flag["detail"]) for flag in raw.get("flags", ())),
        history=tuple(Touch(**touch) for touch in raw.get("history", ())),
        deadline=None if deadline is None else _time(deadline),
        settings=raw.get("settings") or top.get("settings", {}),
        written={name: (writer, _time(at)) for name, (writer, at) in raw.get("written", {}).items()},
        told={code: tuple(readers) for code, readers in raw.get("told", {}).items()},
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
