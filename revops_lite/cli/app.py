"""The commands and their order in `--help`. Each is a few lines here: parse, one call, print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from revops_lite.cli import (
    agents,
    audit,
    crm,
    events,
    govern,
    inspect,
    installation,
    metrics,
    reports,
    reviews,
    rollback,
    runs,
    up,
    workflows,
)
from revops_lite.cli.options import State

app = typer.Typer(
    name="revops",
    help="Several RevOps agents as one governed system: events, shared context, review, rollback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", envvar="REVOPS_CONFIG", help="the installation's TOML")] = (
        Path("config.toml")
    ),
) -> None:
    context.obj = State(config)
    if context.invoked_subcommand != "init":  # its files are the user's own
        os.umask(0o077)


app.command("up")(up.up)
app.command("worker")(up.worker)
app.command("emit")(events.emit)
app.command("tail")(events.tail)
app.add_typer(runs.app, name="run")
app.add_typer(reviews.app, name="review")
app.add_typer(inspect.records, name="record")
app.add_typer(govern.holds, name="hold")
app.add_typer(inspect.writes, name="write")
app.command("rollback")(rollback.rollback)
app.command("explain")(inspect.explain)
app.add_typer(govern.breakers, name="breaker")
app.add_typer(agents.app, name="agent")
app.add_typer(workflows.app, name="workflow")
app.add_typer(audit.app, name="audit")
app.add_typer(reports.app, name="report")
app.command("status")(inspect.status)
app.command("metrics")(metrics.metrics)
app.add_typer(crm.app, name="crm")
app.command("check")(installation.check)
app.command("init")(installation.init)
