"""Portions: how many of the events that have come go into one decision, in which pieces, and what stands for those that
cannot be read or decided. Pure."""

from __future__ import annotations

from revops_lite.models import Event
from revops_lite.store.events import Entry
from revops_lite.values import replace

BATCH = 128  # events


def bounded(entries: list[Entry]) -> list[Entry]:
    """As many events as one commit should carry: those about many records count as many."""
    size = 0
    for number, entry in enumerate(entries):
        size += _records_in(entry.event)
        if size > BATCH * 2 and number:
            return entries[:number]
    return entries


def _records_in(event: Event | None) -> int:
    data = event.data if event is not None else {}
    return max(1, *(len(data[name]) for name in ("results", "records", "proposals") if _is_many(data.get(name))), 1)


def _is_many(value: object) -> bool:
    return isinstance(value, list | dict)


def pieces(event: Event) -> list[Event]:
    """The same event for each of the records it is about."""
    data = event.data
    match event.type, data.get("results"), data.get("records"):
        case "step.finished", list(results), _:
            return [replace(event, data={**data, "results": [result]}) for result in results]
        case "records.swept", _, dict(records):
            return [replace(event, data={**data, "records": {name: raw}}) for name, raw in records.items()]
    return []


def unreadable(entry: Entry, now: float) -> Event:
    """What to decide instead of an entry that is no event: a dead letter."""
    data = {"error": entry.error, "entry": entry.id}
    return Event(f"stream|{entry.id}", "event.unreadable", "event:unreadable", "stream", now, data)


def undecidable(event: Event, why: str, now: float) -> Event:
    """What to decide instead: an agent's answer becomes a failure of its step, so that its run ends; all else a
    dead letter."""
    failed = {"outcome": "failed", "proposals": [], "error": why}
    match event.type, event.data.get("results", event.data):
        case "step.finished", [dict(result)] if result.get("outcome") != "failed":
            return replace(event, data={**event.data, "results": [{**result, **failed}]})
        case "step.finished", dict(result) if result is event.data and result.get("outcome") != "failed":
            return replace(event, data={**event.data, **failed})
    data = {"error": why, "event": event.type}
    if event.type == "timer.due":
        data["timer"] = str(event.data.get("timer", ""))
    return Event(event.id, "event.unreadable", event.subject, "controller", now, data)
