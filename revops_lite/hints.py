"""Hints: which documents a batch of events is going to need, so that they are loaded together. Pure.

What a decision needs it asks for itself, and raises Missing where it is not there: so a hint too few costs a round trip
and the decision is made again, one too many loads what nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from revops_lite.engine.decide import RESERVED
from revops_lite.engine.ids import notice_id, part_id, run_id
from revops_lite.models import Event, Key
from revops_lite.policy import WorkflowDef
from revops_lite.rules.fanout import whole


def sure(event: Event, workflows: Iterable[WorkflowDef]) -> Iterator[Key]:
    """Those that the event itself names."""
    data = event.data
    if event.run:
        yield ("run", event.run)
        if (of := whole(event.run)) != event.run:
            yield ("run", of)
    for flow in workflows:
        if event.type in flow.on:
            yield ("run", run_id(event.id, flow.name))
    if event.source in ("crm", "cli", "client", "controller") or event.type == "record.loaded":
        yield ("context", event.subject)
    for kind in ("intent", "review", "notice") if event.type in RESERVED else ():
        if isinstance(data.get(kind), str):  # an id of ours: what others send may be any text
            yield (kind, data[kind])
    if event.type == "record.loaded":
        for record in _names(data.get("records")):
            yield ("context", record)
    elif event.type == "records.swept":
        for record in (*_names(data.get("records")), *_names(data.get("seen"))):
            yield ("context", record)
        for record in _names(data.get("records")):
            yield ("run", part_id(event.run or "", record))
    elif event.type == "step.finished":
        yield from _answered(event)


def _answered(event: Event) -> Iterator[Key]:
    results = _objects(event.data.get("results"))
    if not results:  # else it is the answer about each of these, not about its subject
        yield ("context", event.subject)
    for result in results:
        yield ("run", str(result.get("run")))
        yield ("context", str(result.get("record")))
        yield ("page", str(result.get("page")))
    for proposal in _objects(event.data.get("proposals")):
        for notice in _objects(proposal.get("notices")):
            yield ("notice", notice_id(str(notice.get("key"))))


def calls_of(events: Sequence[Event]) -> list[str]:
    """The intents that are reported on."""
    ids = (event.data.get("intent") for event in events if event.type in RESERVED)
    return [id_ for id_ in ids if isinstance(id_, str)]


def named(intent: str, docs: Mapping[Key, Any]) -> Iterator[Key]:
    """Those that a report on a call to the CRM needs besides, as far as `docs` tell. Once these have been loaded, they
    may tell more."""
    call = docs.get(("intent", intent))
    if call is None:
        return
    yield ("context", call.record)
    if call.run:
        yield ("run", call.run)
    for write in call.writes.values():
        yield ("write", write)
    context = docs.get(("context", call.record))
    for other in context.intents if context else ():
        yield ("intent", other)


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; what others send may be anything."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(value: object) -> Iterable[str]:
    """The names of records in an object by record."""
    return value if isinstance(value, dict) else ()
