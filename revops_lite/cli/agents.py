"""`revops agent list|try`."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import typer

from revops_lite.cli import out, shapes
from revops_lite.cli.options import Json, Limit, state
from revops_lite.errors import NotFound

app = typer.Typer(help="Agents.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context, limit: Limit = None, as_json: Json = False) -> None:
    """The configured agents, what they may write, and in which workflows they work."""
    from revops_lite import config

    rulebook = config.load(state(context).config, agents=True).rulebook
    items: list[dict[str, Any]] = [
        {
            "name": agent.name,
            "entry": agent.entry,
            "priority": agent.priority,
            "timeout_ms": round(agent.timeout * 1000),
            "attempts": agent.attempts,
            "mode": agent.mode,
            "writes": list(agent.schema.model_fields) if agent.schema else [],
            "workflows": [f.name for f in rulebook.workflows.values() if any(s.agent == agent.name for s in f.steps)],
        }
        for agent in list(rulebook.agents.values())[: out.limit(limit, as_json)]
    ]
    if as_json:
        out.put_items(items)
        return
    rows = [
        (i["name"], i["entry"], i["priority"], ", ".join(i["workflows"]) or "-", ", ".join(i["writes"]) or "nothing")
        for i in items
    ]
    out.listed(("AGENT", "ENTRY", "PRIORITY", "WORKFLOWS", "WRITES"), rows, limit, "no agents")


@app.command("try")
def try_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    record: Annotated[str, typer.Argument(metavar="RECORD", help="such as lead:42")],
    as_json: Json = False,
) -> None:
    """One agent on one record, here and now: what it would propose and what governance would say. Writes nothing."""
    from revops_lite.rehearsal import rehearse

    with state(context).open(agents=True) as installation:
        settings = installation.settings
        if name not in settings.rulebook.agents:
            raise NotFound(f"there is no agent {name!r}; `revops agent list` shows them")
        os.chdir(settings.root)
        crm = installation.crm if settings.rulebook.has_crm else None
        result = rehearse(settings.rulebook, installation.store, crm, name, record, time.time())
    data: dict[str, Any] = {
        "agent": name,
        "record": record,
        "outcome": result.outcome,
        "because": result.because,
        "problems": list(result.problems),
        "writes": [shapes.write(write) for write in result.writes],
        "notices": [{"to": n.to, "subject": n.subject, "body": n.body} for n in result.notices],
    }
    if as_json:
        out.put_json(data)
        return
    out.say(f"{name} on {record}: {result.outcome}  {result.because}")
    for problem in result.problems:
        out.say(f"  problem: {problem}")
    rows = [
        (f"{w.record}.{w.field}", shapes.short(w.before, 24), shapes.short(w.after, 24), f"{w.confidence:.2f}",
         "would be written" if w.state == "planned" else w.state, w.rule)
        for w in result.writes
    ]  # fmt: skip
    out.table(("FIELD", "NOW", "PROPOSED", "CONF", "VERDICT", "RULE"), rows, "no field would change")
    for notice in result.notices:
        out.say(f"notice to {notice.to}: {notice.subject}")
        out.say(notice.body)
