"""`revops review` by itself (see `reviewing`), and `revops review list|view|approve|edit|reject|retry`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.cli import deciding, out, shapes
from revops_lite.cli.deciding import Filters
from revops_lite.cli.options import (
    Agent,
    As,
    Json,
    Limit,
    Record,
    Since,
    Workflow,
    assignments,
    one_of,
    since,
    state,
    who,
)
from revops_lite.errors import Refused, UsageError
from revops_lite.models import Reason, ReviewState

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.models import Review
    from revops_lite.store.views import Views

app = typer.Typer()
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="items, or the beginning of their ids")]
All = Annotated[bool, typer.Option("--all", help="every pending item that the filters leave")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="only this reason, such as confidence")]
Field = Annotated[str | None, typer.Option("--field", help="only this field")]
Note = Annotated[str, typer.Option("--note", help="why")]
Run = Annotated[str | None, typer.Option("--run", help="only this run, or the beginning of its id")]
PATIENCE = 10.0


@app.callback(invoke_without_command=True)
def interactive(
    context: typer.Context,
    reason: ReasonOption = None,
    agent: Agent = None,
    record: Record = None,
    field: Field = None,
    run: Run = None,
    as_: As = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="no colours; so does NO_COLOR")] = False,
) -> None:
    """What waits for a person. Without a verb, on a terminal: one item at a time, decided by single keys."""
    given = (reason, agent, record, field, run)
    if context.invoked_subcommand:
        if any(given) or as_ or no_color:
            raise UsageError(f"put the options behind the verb: revops review {context.invoked_subcommand} …")
        return
    from revops_lite.cli import reviewing, terminal

    if not terminal.is_there():
        raise UsageError(
            "`revops review` asks a person at a terminal; elsewhere use `revops review list` and its verbs"
        )
    reviewing.review(state(context).open, _filters(*given), who(as_), colour=not no_color)


def _filters(
    reason: str | None,
    agent: str | None = None,
    record: str | None = None,
    field: str | None = None,
    run: str | None = None,
) -> Filters:
    """Raises UsageError for a reason that there is not."""
    return Filters(one_of("--reason", reason, Reason), agent, record, field, run)


def _views(installation: Installation) -> Views:
    from revops_lite.store.views import Views

    return Views(installation.clients.commands, installation.archive)


@app.command("list")
def list_(
    context: typer.Context,
    state_: Annotated[str, typer.Option("--state", help="pending, approved, …, or all")] = "pending",
    reason: ReasonOption = None,
    agent: Agent = None,
    record: Record = None,
    field: Field = None,
    run: Run = None,
    workflow: Workflow = None,
    since_: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Items in quarantine; by default those that wait, oldest first."""
    one_of("--state", state_, [*ReviewState, "all"])
    start, filters = since(context, since_), _filters(reason, agent, record, field, run)
    with state(context).look() as there:
        views = there.views
        mine = views.within(workflow)

        def keep(item: Review) -> bool:
            fits = state_ in ("all", item.state) and item.created_at >= start and filters.fits(item)
            return fits and mine(item.run)

        pool = views.pending() if state_ == "pending" else views.reviews(keep, None)
        found = [item for item in pool if keep(item)][: out.limit(limit, as_json)]
    if as_json:
        out.put_items([shapes.review(item) for item in found])
    else:
        heads = ("ITEM", "REASON", "RECORD", "FIELD", "CURRENT", "PROPOSED", "CONF", "AGENT", "AGE")
        out.listed(heads, _rows(found), limit, "nothing waits for a person")


def _rows(items: list[Review]) -> list[tuple[str, ...]]:
    now = time.time()
    return [
        (
            item.id,
            item.reason,
            item.record,
            item.field or f"({item.step or 'event'})",
            shapes.short(item.current, 20),
            shapes.short(item.proposed, 24) if item.field else shapes.short("; ".join(item.problems), 48),
            f"{item.confidence:.2f}" if item.confidence is not None else "-",
            item.agent,
            shapes.ago(item.created_at, now),
        )
        for item in items
    ]


@app.command()
def view(context: typer.Context, item: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """One item, whole."""
    with state(context).look() as there:
        found = there.views.review(item)
    if as_json:
        out.put_json(shapes.review(found))
        return
    data = shapes.review(found)
    rows = [(name, shapes.short(value, 200)) for name, value in data.items() if value not in (None, "", [])]
    out.pairs(rows)


@app.command()
def approve(
    context: typer.Context,
    ids: Ids = None,
    all_: All = False,
    reason: ReasonOption = None,
    agent: Agent = None,
    record: Record = None,
    field: Field = None,
    note: Note = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Write what the agent proposed, in your name."""
    _decide(context, "approve", ids, all_, _filters(reason, agent, record, field), {}, note, as_, as_json)


@app.command()
def edit(
    context: typer.Context,
    ids: Ids = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value, JSON or text; repeatable")] = None,
    note: Note = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Write another value instead; a whole step goes on with the values corrected."""
    if not set_:
        raise UsageError("give --set field=value")
    _decide(context, "edit", ids, False, None, assignments(set_), note, as_, as_json)


@app.command()
def reject(
    context: typer.Context,
    ids: Ids = None,
    all_: All = False,
    reason: ReasonOption = None,
    agent: Agent = None,
    record: Record = None,
    field: Field = None,
    note: Annotated[str, typer.Option("--note", help="why; required")] = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Do not write it; a whole step ends without output."""
    if not note:
        raise UsageError('say why: --note "why"')
    _decide(context, "reject", ids, all_, _filters(reason, agent, record, field), {}, note, as_, as_json)


@app.command()
def retry(
    context: typer.Context,
    ids: Ids = None,
    all_: All = False,
    reason: ReasonOption = None,
    agent: Agent = None,
    record: Record = None,
    note: Note = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Let the agent of a whole step try again (or a dead event be handled again)."""
    _decide(context, "retry", ids, all_, _filters(reason, agent, record), {}, note, as_, as_json)


def _decide(
    context: typer.Context,
    decision: str,
    ids: list[str] | None,
    all_: bool,
    filters: Filters | None,
    values: dict[str, Any],
    note: str,
    as_: str | None,
    as_json: bool,
) -> None:
    with state(context).open() as installation:
        views = _views(installation)
        if bool(ids) == all_:
            raise UsageError("give item ids, or --all with filters")
        items = [views.review(id_) for id_ in ids or []]
        items = items or [item for item in views.pending() if filters is None or filters.fits(item)]
        by = who(as_)
        _send(installation, items, decision, values, note, by)
        if not installation.controller_is_up():
            out.remark(f"{len(items)} decision(s) accepted; they are carried out once `revops up` runs")
            if as_json:
                out.put_items([shapes.review(item) for item in items])
            return
        results = _await(installation, views, items)
    _tell(results, decision, by, as_json)


def _send(
    installation: Installation, items: list[Review], decision: str, values: dict[str, Any], note: str, by: str
) -> None:
    late = next((item for item in items if item.state != "pending"), None)
    if late is not None:
        raise Refused(f"{late.id} was {deciding.fate(late)}; the first decision stands")
    installation.trust()
    events = [deciding.event(item, decision, values, note, by) for item in items]
    for start in range(0, len(events), 500):
        installation.store.append(events[start : start + 500])


def _await(installation: Installation, views: Views, before: list[Review]) -> list[Review]:
    """The items as they stand once the controller has answered each."""
    end = time.monotonic() + PATIENCE
    mark = deciding.position(installation.store.last_event())
    while True:
        heard = deciding.read_to(installation.store.controller()) >= mark
        now = views.many("review", [item.id for item in before])
        if heard or time.monotonic() > end:
            return now
        time.sleep(0.02)


def _tell(results: list[Review], decision: str, by: str, as_json: bool) -> None:
    """Raises Refused where a decision does not stand."""
    outcomes = [deciding.became(decision, item, by) for item in results]
    if as_json:
        out.put_items([shapes.review(item) for item in results])
    else:
        for item, (what, told) in zip(results, outcomes, strict=True):
            out.say(f"{item.id}  {deciding.subject(item)}  {item.state}  {_said(item, what, told)}".rstrip())
    lost = [(item, *outcome) for item, outcome in zip(results, outcomes, strict=True) if outcome[0] != "stands"]
    if lost:
        raise Refused(f"{len(lost)} of {len(results)} not carried out: {lost[0][0].id} {_said(*lost[0])}")


def _said(item: Review, what: str, told: str) -> str:
    if what == "changed":
        return f"the value has changed since; decide {told}, with what stands now"
    return (item.note or "no answer yet") if what == "refused" else told
