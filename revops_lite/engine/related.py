"""Records related to those of a fan-out: they become contexts once somebody proposes something for them."""

from __future__ import annotations

from typing import Any

from revops_lite.engine import records
from revops_lite.engine.state import Draft
from revops_lite.models import CrmRecord, Run, Seen, Step
from revops_lite.values import replace


def widened(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> Step:
    """The step with the versions of the related records that its answer is about, which it was shown by its page."""
    others = {str(o["target"]) for o in outputs if o.get("target")} - step.versions.keys()
    if not others or run.page is None:
        return step
    seen = draft.page(run.page).seen
    shown = sorted(others & seen.keys())
    draft.need("context", shown)
    versions = dict(step.versions)
    for name in shown:
        if seen[name].known or draft.context(name).known:
            versions[name] = int(seen[name].shown["version"])
        else:
            fold(draft, name, seen[name])
            versions[name] = draft.context(name).version
    return replace(step, versions=versions)


def fold(draft: Draft, name: str, seen: Seen) -> None:
    """The first that the system gets to know of a related record: what the sweep found."""
    kind, _, id_ = name.partition(":")
    record = CrmRecord(kind, id_, seen.shown["values"], seen.created_at, seen.updated_at, seen.edited)
    records.fold(draft, record, draft.now)
