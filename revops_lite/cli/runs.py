"""`revops run list|view|watch|cancel|retry`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.cli import out, shapes
from revops_lite.cli.options import As, Json, Limit, Record, Since, Workflow, one_of, since, state, who
from revops_lite.errors import Refused

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.models import Run
    from revops_lite.store.views import Views

app = typer.Typer(help="Runs and their steps.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="RUN", help="a run's id, or the beginning of it")]
SHOWN = 50  # of a run's writes, as text
ROWS = ("records", "groups")  # of a fan-out's tally
ENDED = ("finished", "failed", "cancelled", "rolled_back")


def _views(installation: Installation) -> Views:
    from revops_lite.store.views import Views

    return Views(installation.clients.commands, installation.archive)


def _with_answers(run: Run, parts: list[Run]) -> Run:
    """A step that gathers all records has one call: what that answered is the step's answer."""
    from revops_lite.values import replace

    steps = dict(run.steps)
    for part in parts:
        if part.members and part.record == run.record:
            for name, step in part.steps.items():
                steps[name] = replace(step, after=run.steps[name].after)
    return replace(run, steps=steps) if steps != run.steps else run


def _json(views: Views, run: Run, parts: list[Run] | None = None) -> dict[str, Any]:
    """With its writes and review items; those of a fan-out are its parts', where these are given."""
    several = [run, *(parts or ())]
    writes = views.many("write", [id_ for one in several for id_ in one.writes])
    reviews = views.many("review", [id_ for one in several for id_ in one.reviews])
    run = _with_answers(run, parts or [])
    there = [write for write in writes if write is not None], [item for item in reviews if item is not None]
    return shapes.run(run, *there, time.time())


@app.command("list")
def list_(
    context: typer.Context,
    state_: Annotated[str | None, typer.Option("--state", help="running, held, failed, …")] = None,
    workflow: Workflow = None,
    record: Record = None,
    agent: Annotated[str | None, typer.Option("--agent", help="runs in which this agent has a step")] = None,
    since_: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Runs, newest first."""
    from revops_lite.models import RunState

    start, state_ = since(context, since_), one_of("--state", state_, RunState)

    def keep(run: Run) -> bool:
        return (
            (not state_ or run.state == state_)
            and (not workflow or run.workflow == workflow)
            and (not record or run.record == record)
            and (not agent or any(step.agent == agent for step in run.steps.values()))
            and run.started_at >= start
        )

    with state(context).look() as there:
        views = there.views
        found = views.runs(keep, out.limit(limit, as_json))
        if as_json:
            out.put_items([_json(views, run) for run in found])
        else:
            out.listed(("RUN", "WORKFLOW", "RECORD", "STATE", "AGE", "TOOK", "STEPS"), _rows(found), limit, "no runs")


def _rows(runs: list[Run]) -> list[tuple[str, ...]]:
    now = time.time()
    return [
        (
            run.id,
            run.workflow,
            run.record,
            run.state,
            shapes.ago(run.trigger.time, now),
            f"{shapes.milliseconds(run.trigger.time, run.finished_at)} ms" if run.finished_at else "-",
            " ".join(f"{step.name}:{step.state}" for step in run.steps.values()),
        )
        for run in runs
    ]


@app.command()
def view(context: typer.Context, run: Id, as_json: Json = False) -> None:
    """One run: its steps, writes and review items."""
    with state(context).look() as there:
        views = there.views
        found = views.run(run)
        data = _json(views, found, views.parts(found))
    if as_json:
        out.put_json(data)
    else:
        _show(data)


def _show(data: dict[str, Any]) -> None:
    out.say(f"{data['workflow']} on {data['record']}: {data['state']}  {data['note']}".rstrip())
    out.pairs(
        [
            ("run", data["id"]),
            ("trigger", f"{data['trigger']['type']} at {data['trigger']['time']} ({data['trigger']['source']})"),
            ("elapsed", f"{data['elapsed_ms']} ms" + (" (deadline missed)" if data["deadline_missed"] else "")),
        ]
    )
    if "records" in data:
        out.say("records    " + ", ".join(f"{number} {name}" for name, number in data["records"].items()))
    for step in data["steps"]:
        out.say()
        took = f" in {step['elapsed_ms']} ms" if step["elapsed_ms"] is not None else ""
        out.say(f"{step['name']}: {step['state']}{took}, attempt {step['attempt']}")
        if step.get("parts"):
            out.say("    " + ", ".join(f"{number} {state}" for state, number in step["parts"].items()))
        if step["because"]:
            out.say(f"    because: {step['because']}")
        for name, value in step["values"].items():
            out.say(f"    {name} = {shapes.short(value, 60)}  ({step['confidences'].get(name, 0):.2f})")
        for problem in step["problems"]:
            out.say(f"    problem: {problem}")
    for title, items in (("writes", data["writes"]), ("reviews", data["reviews"])):
        if items:
            out.say()
            out.say(f"{title}:" if len(items) <= SHOWN else f"{title}: {len(items)}, of which the first {SHOWN}")
        for item in items[:SHOWN]:
            if title == "writes":
                out.say(f"    {item['id']}  {item['record']}.{item['field']}: {shapes.short(item['before'], 30)}"
                        f" → {shapes.short(item['after'], 30)}  {item['state']}")  # fmt: skip
            else:
                out.say(f"    {item['id']}  {item['reason']}  {item['record']}.{item['field'] or item['step']}"
                        f"  {item['state']}")  # fmt: skip


@app.command()
def watch(context: typer.Context, run: Id) -> None:
    """Follow one run until it ends or waits for a person."""
    from revops_lite.cli.watching import follow

    with state(context).look() as there:
        follow(there.views, run)


@app.command()
def cancel(context: typer.Context, run: Id, as_: As = None) -> None:
    """Start no further step; what was written stays (see `revops rollback`)."""
    _ask(context, run, "cancelled", as_, lambda found: found.state not in ENDED, "has ended: nothing to cancel")


@app.command()
def retry(context: typer.Context, run: Id, as_: As = None) -> None:
    """Start the failed steps of a run again, and those that were skipped because of them.

    Of a fan-out, those of the records that have failed.
    """
    _ask(context, run, "retried", as_, _can_be_retried, "has not failed")


def _can_be_retried(run: Run) -> bool:
    return run.state in ("failed", "cancelled") or any(run.tally.get(row, {}).get("failed") for row in ROWS)


def _ask(context: typer.Context, prefix: str, what: str, as_: str | None, fits: Any, otherwise: str) -> None:
    from revops_lite.models import Event

    with state(context).open() as installation:
        views = _views(installation)
        found = views.run(prefix)
        if not fits(found):
            raise Refused(f"run {found.id} is {found.state} and {otherwise}")
        by = who(as_)
        id_ = f"{what}|{found.id}|{found.finished_at}|{by}"
        event = Event(id_, f"run.{what}", found.record, "cli", time.time(), {"by": by}, run=found.id)
        installation.send(event)
        if installation.controller_is_up():
            _until(views, found)
        else:
            out.remark("accepted; it is carried out once `revops up` runs")


def ended(installation: Installation, ids: list[str]) -> list[dict[str, Any]]:
    """Wait until all these runs have ended, or wait for a person. Raises Refused where nothing handles their events."""
    if not installation.controller_is_up():
        raise Refused("the event is accepted, but nothing handles it now: start `revops up`")
    views, store = _views(installation), installation.store
    while True:
        decided = store.all_decided()
        found = [run for run in views.many("run", ids) if run is not None]
        if all(run.finished_at or run.state == "held" for run in found) and (decided or len(found) == len(ids)):
            break
        time.sleep(0.1)
    if len(found) < len(ids):
        out.remark("note: `revops up` runs with another configuration and started fewer runs; start it anew")
    return [_json(views, run) for run in found]


def end_of(run: dict[str, Any]) -> str:
    """One line about a run that has ended."""
    return f"run {run['id']}  {run['workflow']}  {run['state']}  {run['elapsed_ms']} ms"


def _until(views: Views, before: Run) -> None:
    """Wait until the controller has answered, and say what became of it."""
    end = time.monotonic() + 5
    now = views.run(before.id)
    while now == before and time.monotonic() < end:
        time.sleep(0.05)
        now = views.run(before.id)
    out.say(f"run {now.id} is {now.state}")
