"""`revops hold add|list|release` and `revops breaker list|open|reset`."""

from __future__ import annotations

import time
from typing import Annotated
from uuid import uuid4

import typer

from revops_lite.cli import out, shapes
from revops_lite.cli.options import As, Json, Limit, moment, state, who
from revops_lite.errors import NotFound

holds = typer.Typer(help="Legal holds: a held record or field is never written.", no_args_is_help=True)
breakers = typer.Typer(help="Circuit breakers of the agents.", no_args_is_help=True)

PATIENCE = 10.0  # seconds a call to the CRM may be under way while a hold is placed

RecordArgument = Annotated[str, typer.Argument(metavar="RECORD", help="such as lead:42")]
FieldOption = Annotated[str | None, typer.Option("--field", help="only this field; default: the whole record")]
AgentArgument = Annotated[str, typer.Argument(metavar="AGENT")]


@holds.command("add")
def add(
    context: typer.Context,
    record: RecordArgument,
    reason: Annotated[str, typer.Option("--reason", help="why")],
    field: FieldOption = None,
    until: Annotated[str | None, typer.Option("--until", help="ISO date or time at which it ends")] = None,
    as_: As = None,
) -> None:
    """Place a hold. It is in force when this returns: a call to the CRM that was under way has ended."""
    from revops_lite.models import Hold

    now = time.time()
    hold = Hold(record, field or "*", who(as_), reason, now, _until(context, until))
    _change(context, record, field, hold)
    name = f"{record}{'.' + field if field else ''}"
    if _calls_ended(context, record):
        out.say(f"{name} is on hold since {shapes.stamp(time.time())}")
    else:
        out.say(
            f"{name} is on hold; the outcome of a call to the CRM made before is still open: see `revops write list`"
        )


def _calls_ended(context: typer.Context, record: str) -> bool:
    """Wait until no call for the record is under way; False where its outcome stays unknown."""
    end = time.monotonic() + PATIENCE
    with state(context).open() as installation:
        while installation.store.call_under_way(record):
            if time.monotonic() > end or not installation.controller_is_up():
                return False
            time.sleep(0.02)
    return True


def _until(context: typer.Context, text: str | None) -> float | None:
    if text is None:
        return None
    return moment(context, text, f"--until {text!r}: write an ISO date or time, such as 2027-01-31")


@holds.command("release")
def release(
    context: typer.Context,
    record: RecordArgument,
    field: FieldOption = None,
    reason: Annotated[str, typer.Option("--reason", help="why")] = "",
    as_: As = None,
) -> None:
    """End a hold; what was withheld meanwhile still waits in review."""
    with state(context).open() as installation:
        if (field or "*") not in installation.store.working_set().holds.get(record, {}):
            raise NotFound(f"there is no hold on {record}{'.' + field if field else ''}; `revops hold list` shows them")
    _change(context, record, field, None, who(as_), reason)
    out.say(f"{record}{'.' + field if field else ''} is free")


def _change(
    context: typer.Context, record: str, field: str | None, hold: object, by: str = "", reason: str = ""
) -> None:
    from revops_lite.models import Event, Hold
    from revops_lite.store.events import validate

    placed = hold if isinstance(hold, Hold) else None
    data = {
        "field": field or "*",
        "by": placed.by if placed else by,
        "reason": placed.reason if placed else reason,
        "until": placed.until if placed else None,
    }
    kind = "hold.placed" if placed else "hold.released"
    event = validate(Event(f"{kind}|{uuid4().hex}", kind, record, "cli", time.time(), data))
    with state(context).open() as installation:
        installation.trust()
        installation.store.hold(event, placed, field or "*")


@holds.command("list")
def list_holds(
    context: typer.Context,
    record: Annotated[str | None, typer.Argument(metavar="[RECORD]", help="only those of this record")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """All holds, or those of one record."""
    with state(context).look() as there:
        known = there.views.holds()
    records = known if record is None else {record: known.get(record, {})}
    found = [hold for held in records.values() for hold in held.values()][: out.limit(limit, as_json)]
    if as_json:
        out.put_items([shapes.hold(hold) for hold in found])
    else:
        rows = [(h.record, h.field, h.by, shapes.stamp(h.at), shapes.stamp(h.until) or "-", h.reason) for h in found]
        out.listed(("RECORD", "FIELD", "BY", "SINCE", "UNTIL", "REASON"), rows, limit, "no holds")


@breakers.command("list")
def list_breakers(
    context: typer.Context,
    agent: Annotated[str | None, typer.Argument(metavar="[AGENT]", help="only this one's")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Every agent's breaker, or one."""
    from revops_lite.models import Breaker

    with state(context).open() as installation:
        known = installation.store.working_set().breakers
        names = sorted({*installation.settings.rulebook.agents, *known})
    if agent is not None:
        if agent not in names:
            raise NotFound(f"there is no agent {agent!r}; `revops agent list` shows them")
        names = [agent]
    found = [known.get(name) or Breaker(name) for name in names[: out.limit(limit, as_json)]]
    if as_json:
        out.put_items([shapes.breaker(breaker) for breaker in found])
    else:
        rows = [(b.name, b.state, len(b.failures), shapes.stamp(b.until) or "-", b.reason) for b in found]
        out.listed(("AGENT", "STATE", "FAILURES", "PROBE AT", "LAST FAILURE"), rows, limit)


@breakers.command("open")
def open_(
    context: typer.Context,
    agent: AgentArgument,
    reason: Annotated[str, typer.Option("--reason", help="why")] = "",
    as_: As = None,
) -> None:
    """Stop calling an agent until `breaker reset`; its steps park."""
    _breaker(context, agent, "breaker.opened", who(as_), reason)
    out.say(f"the breaker of {agent} is open until reset")


@breakers.command("reset")
def reset(context: typer.Context, agent: AgentArgument, as_: As = None) -> None:
    """Close a breaker; parked steps go on."""
    _breaker(context, agent, "breaker.reset", who(as_), "")
    out.say(f"the breaker of {agent} is closed")


def _breaker(context: typer.Context, agent: str, kind: str, by: str, reason: str) -> None:
    from revops_lite.models import Event

    with state(context).open() as installation:
        if agent not in installation.settings.rulebook.agents:
            raise NotFound(f"there is no agent {agent!r}; `revops agent list` shows them")
        data = {"agent": agent, "by": by, "reason": reason}
        installation.send(Event(f"{kind}|{uuid4().hex}", kind, f"agent:{agent}", "cli", time.time(), data))
