"""`revops workflow list|view|start`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from revops_lite.cli import out
from revops_lite.cli.options import Json, state
from revops_lite.errors import NotFound, UsageError

if TYPE_CHECKING:
    from revops_lite.config import Settings
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


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """What starts when, with which steps."""
    flows = _settings(context).rulebook.workflows.values()
    if as_json:
        out.put_items([asdict(flow) for flow in flows])
        return
    rows = [
        (flow.name, ", ".join(flow.on) or flow.cron or "by hand", f"{flow.deadline:.0f} s" if flow.deadline else "-",
         " → ".join(step.name for step in flow.steps))
        for flow in flows
    ]  # fmt: skip
    out.table(("WORKFLOW", "STARTS ON", "DEADLINE", "STEPS"), rows, "no workflows")


@app.command()
def view(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """One workflow as a drawing of its graph."""
    from revops_lite.cli.graph import workflow_view

    flow = _one(_settings(context), name)
    if as_json:
        out.put_json(asdict(flow))
    else:
        out.say(workflow_view(flow, min(out.width(), 100), color=False))


@app.command()
def start(
    context: typer.Context,
    name: Name,
    record: Annotated[str | None, typer.Argument(metavar="RECORD", help="such as lead:42")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="record what it would write, write nothing")] = False,
) -> None:
    """Start a workflow by hand."""
    from revops_lite.engine.ids import run_id
    from revops_lite.models import Event
    from revops_lite.store.events import validate

    flow = _one(_settings(context), name)
    if record is None:
        raise UsageError(f"workflow {name} works on one record: revops workflow start {name} lead:42")
    data = {"workflow": flow.name, "shadow": shadow}
    event = validate(Event(f"start-{uuid4().hex}", "workflow.started", record, "cli", time.time(), data))
    with state(context).open() as installation:
        installation.send(event)
        up = installation.controller_is_up()
    out.say(f"run {run_id(event.id, flow.name)} {'starts' if up else 'starts once `revops up` runs'}")
    sys.stdout.flush()
