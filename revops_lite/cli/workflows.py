"""`revops workflow list|view|start`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from msgspec import to_builtins

from revops_lite.cli import out, shapes
from revops_lite.cli.options import Json, Limit, state
from revops_lite.cli.runs import end_of, ended
from revops_lite.errors import BusError, NotFound, UsageError

if TYPE_CHECKING:
    from revops_lite.config import Settings
    from revops_lite.models import Event
    from revops_lite.policy import WorkflowDef

app = typer.Typer(help="Workflows: definitions and manual starts.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME")]


def _settings(context: typer.Context) -> Settings:
    from revops_lite import config

    return config.load(state(context).config, agents=False)


def _one(settings: Settings, name: str) -> WorkflowDef:
    found = settings.rulebook.workflows.get(name)
    if found is None:
        known = ", ".join(sorted(settings.rulebook.workflows)) or "none"
        raise NotFound(f"there is no workflow {name!r}; there are: {known}")
    return found


# ---- definitions -------------------------------------------------------------------------------------------------

Slots = dict[str, tuple[float | None, float | None]]  # workflow -> its last and its next slot


def _slots(context: typer.Context, flows: Sequence[WorkflowDef]) -> Slots:
    """Asks Redis, but not where no workflow has a cron; where Redis is away, the next slots follow from the file."""
    if not any(flow.cron for flow in flows):
        return {flow.name: (None, None) for flow in flows}
    from revops_lite.queue.scheduler import outlook

    zone, now = _settings(context).timezone, time.time()
    try:
        with state(context).open() as installation:
            return outlook(installation.clients.commands, zone, flows, now)
    except BusError as error:
        out.remark(f"note: {error}; slots are those of the file alone")
        return outlook(None, zone, flows, now)


def _json(flow: WorkflowDef, slots: Slots) -> dict[str, Any]:
    last, following = slots[flow.name]
    deadline = shapes.milliseconds(0.0, flow.deadline)
    return {
        **to_builtins(flow),
        "deadline_ms": deadline,
        "next_slot": shapes.stamp(following),
        "last_slot": shapes.stamp(last),
    }


def _next(slot: float | None, zone: str) -> str:
    return shapes.local(slot, zone) + (" (missed)" if slot is not None and slot <= time.time() else "")


@app.command("list")
def list_(context: typer.Context, limit: Limit = None, as_json: Json = False) -> None:
    """What starts when, with which steps."""
    settings = _settings(context)
    flows = list(settings.rulebook.workflows.values())[: out.limit(limit, as_json)]
    slots = _slots(context, flows)
    if as_json:
        out.put_items([_json(flow, slots) for flow in flows])
        return
    rows = [
        (flow.name, " or ".join([*flow.on, *([flow.cron] if flow.cron else [])]) or "by hand",
         _next(slots[flow.name][1], settings.timezone), shapes.local(slots[flow.name][0], settings.timezone),
         f"{flow.deadline:.0f} s" if flow.deadline else "-", " → ".join(step.name for step in flow.steps))
        for flow in flows
    ]  # fmt: skip
    out.listed(("WORKFLOW", "STARTS ON", "NEXT", "LAST", "DEADLINE", "STEPS"), rows, limit, "no workflows")


@app.command()
def view(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """One workflow as a drawing of its graph."""
    from revops_lite.cli.graph import workflow_view

    settings = _settings(context)
    flow = _one(settings, name)
    slots = _slots(context, [flow])
    if as_json:
        out.put_json(_json(flow, slots))
        return
    last, following = slots[name]
    more = [f"next {_next(following, settings.timezone)}"] if flow.cron else []
    more += [f"last {shapes.local(last, settings.timezone)}"] if last is not None else []
    out.say(workflow_view(flow, min(out.width(), 100), color=False, more=more))


# ---- starting ----------------------------------------------------------------------------------------------------


@app.command()
def start(
    context: typer.Context,
    name: Name,
    record: Annotated[str | None, typer.Argument(metavar="RECORD", help="such as lead:42")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="record what it would write, write nothing")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until the run ends, or waits for a person")] = False,
    as_json: Json = False,
) -> None:
    """Start a workflow by hand."""
    from revops_lite.engine.ids import run_id

    flow = _one(_settings(context), name)
    event = _started(flow, record, shadow)
    run = run_id(event.id, flow.name)
    with state(context).open() as installation:
        installation.send(event)
        up = installation.controller_is_up()
        if not as_json:
            out.say(f"run {run} {'starts' if up else 'starts once `revops up` runs'}")
        over = ended(installation, [run]) if wait else []
        if as_json:
            out.put_json({"run": run, "up": up, "runs": over})
            return
        for one in over:
            out.say(end_of(one))


def _started(flow: WorkflowDef, record: str | None, shadow: bool) -> Event:
    """The event that starts it: on one record, or on itself where it sweeps records or runs by the clock alone."""
    from revops_lite.engine.ids import itself
    from revops_lite.models import Event
    from revops_lite.store.events import validate

    by_itself = flow.over is not None or (flow.cron is not None and not flow.on)
    if record is None and not by_itself:
        raise UsageError(f"workflow {flow.name} works on one record: revops workflow start {flow.name} lead:42")
    if record is not None and flow.over is not None:
        what = f"workflow {flow.name} sweeps its records ({flow.over.kind}) by itself"
        raise UsageError(f"{what}; leave {record} out: revops workflow start {flow.name}")
    subject, data = record or itself(flow.name), {"workflow": flow.name, "shadow": shadow}
    return validate(Event(f"start-{uuid4().hex}", "workflow.started", subject, "cli", time.time(), data))
