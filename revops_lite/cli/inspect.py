"""`revops record view`, `write list`, `explain`, `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.cli import out, shapes
from revops_lite.cli.options import Agent, Json, Limit, Record, Since, Workflow, one_of, since, state
from revops_lite.errors import NotFound

if TYPE_CHECKING:
    from revops_lite.models import Write

records = typer.Typer(help="The shared context of a record.", no_args_is_help=True)
writes = typer.Typer(help="Every field write.", no_args_is_help=True)


@records.callback()
@writes.callback()
def _group() -> None:
    """Nouns take verbs, also where there is only one."""


@records.command("view")
def view(
    context: typer.Context,
    record: Annotated[str, typer.Argument(metavar="RECORD", help="such as lead:42")],
    history: Annotated[bool, typer.Option("--history", help="all that happened to it")] = False,
    as_json: Json = False,
) -> None:
    """Values and who wrote them, withheld values, flags, holds, history."""
    from revops_lite.models import Context

    with state(context).look() as there:
        found = there.views.context(record)
        holds = list(there.views.holds().get(record, {}).values())
    if found is None and not holds:
        raise NotFound(f"no run has worked on {record} yet, so there is no shared context for it")
    data = shapes.record(found or Context(record), holds, history=history)
    if as_json:
        out.put_json(data)
    else:
        _show(data, history)


def _show(data: dict[str, Any], history: bool) -> None:
    out.say(f"{data['record']}  version {data['version']}")
    rows = [
        (name, shapes.short(f["value"], 44), f["agent"], f"{f['confidence']:.2f}", f["at"], f["run"] or "")
        for name, f in sorted(data["fields"].items())
    ]
    out.table(("FIELD", "VALUE", "WRITER", "CONF", "AT", "RUN"), rows, "no values")
    for name, p in data["proposed"].items():
        out.say(
            f"proposed  {name} = {shapes.short(p['value'], 44)} by {p['agent']} ({p['confidence']:.2f}): {p['why']}"
        )
    for flag in data["flags"]:
        out.say(f"flag      {flag['code']} ({flag['severity']}) by {flag['agent']}: {flag['detail']}")
    for hold in data["holds"]:
        out.say(f"hold      {hold['field'] or 'whole record'} by {hold['by']}: {hold['reason']}")
    for run in data["runs"]:
        out.say(f"open run  {run['id']} {run['workflow']}, deadline {run['deadline'] or '-'}")
    for line in data["history"] if history else []:
        out.say(f"{line['at']}  {line['agent']}: {line['outcome']}  {shapes.short(line['fields'], 80)}  {line['note']}")


@writes.command("list")
def list_writes(
    context: typer.Context,
    record: Record = None,
    run: Annotated[str | None, typer.Option("--run", help="only this run, or the beginning of its id")] = None,
    agent: Agent = None,
    workflow: Workflow = None,
    state_: Annotated[str | None, typer.Option("--state", help="applied, withheld, conflict, …")] = None,
    since_: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Field writes, newest first: before, after, who, why, state."""
    from revops_lite.models import WriteState

    start, state_ = since(context, since_), one_of("--state", state_, WriteState)
    with state(context).look() as there:
        views = there.views
        mine = views.within(workflow)

        def keep(write: Write) -> bool:
            return (
                (not record or write.record == record)
                and (not run or (write.run or "").startswith(run))
                and (not agent or write.agent == agent)
                and (not state_ or write.state == state_)
                and write.at >= start
                and mine(write.run)
            )

        found = views.writes(keep, out.limit(limit, as_json))
    if as_json:
        out.put_items([shapes.write(write) for write in found])
        return
    rows = [
        (w.id, w.record, w.field, shapes.short(w.before, 20), shapes.short(w.after, 20), w.agent,
         f"{w.confidence:.2f}", w.state, w.rule or w.note)
        for w in found
    ]  # fmt: skip
    out.listed(
        ("WRITE", "RECORD", "FIELD", "BEFORE", "AFTER", "AGENT", "CONF", "STATE", "RULE"), rows, limit, "no writes"
    )


def explain(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="RUN | RECORD.FIELD", help="a run's id, or lead:42.industry")],
    as_json: Json = False,
) -> None:
    """In sentences: why a value was written, refused or withheld, or what a run did."""
    from revops_lite.cli import sentences

    with state(context).look() as there:
        views = there.views
        record, dot, field = what.rpartition(".")
        story = sentences.of_field(views, record, field) if dot and ":" in record else sentences.of_run(views, what)
        lines = list(story)
    if as_json:
        out.put_json({"about": what, "sentences": lines})
        return
    for line in lines:
        out.say(line)


def status(context: typer.Context, as_json: Json = False) -> None:
    """What is going on now."""
    from revops_lite.cli import overview

    with state(context).open() as installation:
        data = overview.gather(installation)
    if as_json:
        out.put_json(data)
    else:
        overview.show(data)
