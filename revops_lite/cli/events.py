"""`revops emit` and `revops tail`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.cli import shapes
from revops_lite.cli.options import Json, state
from revops_lite.cli.out import put_items, put_json, remark, say
from revops_lite.cli.runs import end_of, ended
from revops_lite.errors import UsageError

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.models import Event

BATCH = 500


def emit(
    context: typer.Context,
    type_: Annotated[str | None, typer.Argument(metavar="TYPE", help="such as lead.created")] = None,
    record: Annotated[str | None, typer.Argument(metavar="RECORD", help="such as lead:42")] = None,
    data: Annotated[str | None, typer.Option(help="JSON object, or @file")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="the same id twice starts nothing twice")] = None,
    file: Annotated[Path | None, typer.Option(help="JSON lines: type, record, data, id; - for stdin")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="print the runs it started, when they end")] = False,
    as_json: Json = False,
) -> None:
    """Publish an event (or many, with --file). When it returns, the event is safe."""
    if file and (type_ or record or data or id_):
        raise UsageError("--file brings its own types, records, data and ids; give either it or TYPE and RECORD")
    events = _many(file) if file else [_single(type_, record, data, id_)]
    with state(context).open() as installation:
        statuses = _send(installation, events)
        runs = _wait(installation, events) if wait else []
        _told(installation, events, statuses, runs, as_json)


def _single(type_: str | None, record: str | None, data: str | None, id_: str | None) -> Event:
    from revops_lite.installation import make_event

    if not type_ or not record:
        raise UsageError("give TYPE and RECORD, as `revops emit lead.created lead:42`, or --file EVENTS.jsonl")
    text = _read(Path(data[1:])) if data and data.startswith("@") else data
    return make_event(type_, record, _object(text or "{}", "--data"), id_, "cli")


def _read(file: Path) -> str:
    try:
        return typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f'{where}: give a JSON object, as {{"email": "a@b.example"}}')
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _many(file: Path) -> list[Event]:
    """All lines are read and checked before the first is sent: a bad one stops the whole file."""
    from revops_lite.errors import EventRefused
    from revops_lite.installation import make_event

    events = []
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        given = _object(line, f"{file}:{number}")
        try:
            events.append(
                make_event(
                    str(given.get("type", "")),
                    str(given.get("record", "")),
                    _object(json.dumps(given.get("data") or {}), f"{file}:{number}: data"),
                    str(given["id"]) if given.get("id") else None,
                    "cli",
                )
            )
        except EventRefused as error:
            raise EventRefused(f"{file}:{number}: {error}") from None
    return events


def _send(installation: Installation, events: list[Event]) -> list[str]:
    statuses: list[str] = []
    installation.trust()
    for start in range(0, len(events), BATCH):
        statuses += installation.store.append(events[start : start + BATCH])
    return statuses


def _wait(installation: Installation, events: list[Event]) -> list[dict[str, Any]]:
    """Until every run that these events start has ended, or waits for a person."""
    from revops_lite.engine.ids import run_id

    workflows = installation.settings.rulebook.workflows.values()
    ids = [run_id(event.id, flow.name) for event in events for flow in workflows if event.type in flow.on]
    return ended(installation, ids)


def _told(
    installation: Installation, events: list[Event], statuses: list[str], runs: list[dict[str, Any]], as_json: bool
) -> None:
    from revops_lite.errors import EventRefused

    if as_json:
        by_event: dict[str, list[dict[str, Any]]] = {event.id: [] for event in events}
        for run in runs:
            by_event[run["trigger"]["id"]].append(run)
        put_items([{"id": e.id, "status": s, "runs": by_event[e.id]} for e, s in zip(events, statuses, strict=True)])
    elif len(events) == 1:
        say(f"{events[0].id}  {'accepted' if statuses[0] == 'new' else 'was known already'}")
        for run in runs:
            say(end_of(run))
    else:
        say(f"{len(events)} events: {statuses.count('new')} accepted, {statuses.count('known')} known already")
    types = {event.type for event in events}
    listened = {type_ for flow in installation.settings.rulebook.workflows.values() for type_ in flow.on}
    for type_ in sorted(types - listened):
        remark(f"note: no workflow starts on {type_}; it is kept in the stream, and in the audit as event.ignored")
    if "other" in statuses:
        bad = [event.id for event, status in zip(events, statuses, strict=True) if status == "other"]
        raise EventRefused(f"{len(bad)} ids were known with another type, record or data: {bad[0]}")


def tail(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", help="how many past events first")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="go on with what comes")] = True,
    as_json: Json = False,
) -> None:
    """The event stream: what was, then what comes."""
    with state(context).open() as installation:
        for entry in installation.store.tail(count):
            _line(entry.event, as_json)
        while follow:
            after = installation.store.last_event()
            from revops_lite.store.waiter import Waiter

            waiter = Waiter(installation.clients.blocking())
            while True:
                waiter.wait(after, 3600.0)
                for entry in installation.store.read(after, BATCH):
                    _line(entry.event, as_json)
                    after = entry.id


def _line(event: Event | None, as_json: bool) -> None:
    if event is None:
        remark("unreadable event")
    elif as_json:
        about = {"id": event.id, "type": event.type, "record": event.subject, "source": event.source}
        put_json({**about, "time": shapes.stamp(event.time), "run": event.run, "hop": event.hop, "data": event.data})
    else:
        say(f"{shapes.stamp(event.time)}  {event.type:<18} {event.subject:<20} {event.source:<10} {event.run or ''}")
