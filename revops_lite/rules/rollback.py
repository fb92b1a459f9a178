"""Rollback: which values go back where. Pure: applied writes and what stands there, in; what to restore, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from revops_lite.models import Write
from revops_lite.values import same


class Revert(Struct, frozen=True):
    """One field of a record: `current` stands there and is ours, `target` shall stand there again."""

    field: str
    current: Any
    target: Any
    undoes: tuple[str, ...]  # ids of the writes, newest first


def plan(writes: Sequence[Write], standing: Mapping[str, Any]) -> tuple[list[Revert], list[Write]]:
    """What to restore on one record, and the writes that cannot be undone because their value no longer stands there.

    Newest first, and through a chain: after a→b and b→c, both ours, c goes back to a. A write whose value somebody
    has replaced is left alone, and so is everything before it on that field. Raises nothing.
    """
    reverts: list[Revert] = []
    lost: list[Write] = []
    for field in dict.fromkeys(write.field for write in writes):
        left = sorted((w for w in writes if w.field == field), key=lambda w: (w.at, w.id), reverse=True)
        current = target = standing.get(field)
        undone: list[str] = []
        while (last := next((w for w in left if same(w.after, target)), None)) is not None:
            target = last.before
            undone.append(last.id)
            left.remove(last)
        if undone:
            reverts.append(Revert(field, current, target, tuple(undone)))
        lost += left
    return reverts, lost
