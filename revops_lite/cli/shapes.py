"""The JSON shapes that other programs read, and times, durations and values as people read them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from revops_lite import times
from revops_lite.models import Breaker, Context, FieldValue, Hold, Proposed, Review, Run, Step, Touch, Write
from revops_lite.rules import fanout


def stamp(at: float | None) -> str | None:
    """RFC 3339 in UTC, or None where there is no time."""
    return None if at is None else times.stamp(at)


def milliseconds(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round((end - start) * 1000))


def run(value: Run, writes: list[Write], reviews: list[Review], now: float) -> dict[str, Any]:
    """`elapsed_ms` counts from the trigger to the last confirmed side effect (or to now).

    A fan-out also has `records`, and each of its steps `parts` by state; `writes` and `reviews` are those of its parts.
    """
    trigger = value.trigger
    many = {"records": fanout.records(value.tally, value.expected)} if value.over is not None else {}
    return {
        "id": value.id,
        "workflow": value.workflow,
        "trigger": {"id": trigger.id, "type": trigger.type, "source": trigger.source, "time": stamp(trigger.time)},
        "record": value.record,
        "state": value.state,
        "started_at": stamp(value.started_at),
        "finished_at": stamp(value.finished_at),
        "elapsed_ms": milliseconds(trigger.time, value.finished_at or now),
        "deadline_ms": milliseconds(trigger.time, value.deadline_at),
        "deadline_missed": value.deadline_missed,
        "shadow": value.shadow,
        "note": value.note,
        "related": {role: list(records) for role, records in value.related.items()},
        **many,
        "steps": [{**step(one), **_many(value, one)} for one in value.steps.values()],
        "writes": [write(one) for one in writes],
        "reviews": [review(one) for one in reviews],
    }


def _many(value: Run, step: Step) -> dict[str, Any]:
    return {"parts": value.tally.get(step.name, {})} if value.over is not None else {}


def _run(value: str | None) -> dict[str, Any]:
    """Of a part, the run that it belongs to, and itself."""
    return {"run": fanout.whole(value) if value else None, **({"part": value} if value and "." in value else {})}


def step(value: Step) -> dict[str, Any]:
    return {
        "name": value.name,
        "agent": value.agent,
        "after": list(value.after),
        "state": value.state,
        "attempt": value.attempt,
        "started_at": stamp(value.started_at),
        "finished_at": stamp(value.finished_at),
        "elapsed_ms": milliseconds(value.started_at, value.finished_at),
        "confidence": min(value.confidence.values(), default=None),
        "confidences": value.confidence,
        "because": value.because,
        "values": value.values,
        "problems": list(value.problems),
    }


def write(value: Write) -> dict[str, Any]:
    return {
        "id": value.id,
        "record": value.record,
        "field": value.field,
        "before": value.before,
        "after": value.after,
        "agent": value.agent,
        "confidence": value.confidence,
        **_run(value.run),
        "step": value.step,
        "state": value.state,
        "at": stamp(value.at),
        "rule": value.rule,
        "because": value.because,
        "note": value.note,
    }


def review(value: Review) -> dict[str, Any]:
    return {
        "id": value.id,
        "reason": value.reason,
        "record": value.record,
        "field": value.field,
        "agent": value.agent,
        **_run(value.run),
        "step": value.step,
        "current": value.current,
        "proposed": value.proposed,
        "competing": value.competing,
        "confidence": value.confidence,
        "because": value.because,
        "problems": list(value.problems),
        "created_at": stamp(value.created_at),
        "expires_at": stamp(value.expires_at),
        "state": value.state,
        "decided_by": value.decided_by,
        "decided_at": stamp(value.decided_at),
        "note": value.note,
    }


def record(value: Context, holds: list[Hold], *, history: bool) -> dict[str, Any]:
    """`history` False: only the last ten lines of it."""
    return {
        "record": value.record,
        "version": value.version,
        "values": {name: field.value for name, field in value.fields.items()},
        "fields": {name: _field(field) for name, field in value.fields.items()},
        "flags": [
            {"code": f.code, "severity": f.severity, "detail": f.detail, "agent": f.agent, "at": stamp(f.at)}
            for f in value.flags.values()
        ],
        "holds": [hold(one) for one in holds],
        "proposed": {name: _proposed(proposed) for name, proposed in value.proposed.items()},
        "runs": [
            {"id": id_, "workflow": open_.workflow, "deadline": stamp(open_.deadline), "since": stamp(open_.since)}
            for id_, open_ in value.runs.items()
        ],
        "history": [_touch(touch) for touch in (value.history if history else value.history[-10:])],
    }


def _field(value: FieldValue) -> dict[str, Any]:
    return {
        "value": value.value,
        "agent": value.writer,
        "confidence": value.confidence,
        **_run(value.run),
        "at": stamp(value.at),
        "version": value.version,
        "priority": value.priority,
        "pending": value.pending,
    }


def _proposed(value: Proposed) -> dict[str, Any]:
    return {
        "value": value.value,
        "agent": value.agent,
        "confidence": value.confidence,
        **_run(value.run),
        "review": value.review,
        "why": value.why,
        "at": stamp(value.at),
    }


def _touch(value: Touch) -> dict[str, Any]:
    return {
        "at": stamp(value.at),
        "agent": value.agent,
        **_run(value.run),
        "outcome": value.outcome,
        "fields": value.fields,
        "confidence": value.confidence,
        "note": value.note,
    }


def hold(value: Hold) -> dict[str, Any]:
    return {
        "record": value.record,
        "field": None if value.field == "*" else value.field,
        "by": value.by,
        "reason": value.reason,
        "at": stamp(value.at),
        "until": stamp(value.until),
    }


def breaker(value: Breaker) -> dict[str, Any]:
    return {
        "agent": value.name,
        "state": value.state,
        "failures": len(value.failures),
        "opened_at": stamp(value.opened_at),
        "until": stamp(value.until),
        "cooldown_ms": round(value.cooldown * 1000),
        "reason": value.reason,
    }


# ---- as people read them -----------------------------------------------------------------------------------------


def ago(at: float | None, now: float) -> str:
    """ "3 s", "12 min", "5 h", "2 d"."""
    if at is None:
        return "-"
    seconds = max(0.0, now - at)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def local(at: float | None, zone: str) -> str:
    """Day, date and time as the clock of a zone shows them: "Mon 2026-01-05 09:00 EST"."""
    return "-" if at is None else datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M %Z")


def short(value: Any, width: int = 40) -> str:
    """A field's value in one line."""
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 1] + "…"


def quantile(values: list[float], q: float) -> float:
    """The value below which a share `q` lies (nearest rank); 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(q * len(ordered) + 0.5) - 1))]
