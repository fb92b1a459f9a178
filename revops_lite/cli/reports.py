"""`revops report list|open`."""

from __future__ import annotations

from typing import Annotated

import typer

from revops_lite.cli import out
from revops_lite.cli.options import Json, Limit, state

app = typer.Typer(help="The pages that agents have made.", no_args_is_help=True)
Print = Annotated[bool, typer.Option("--print", help="only say where it is")]


@app.command("list")
def list_(context: typer.Context, limit: Limit = None, as_json: Json = False) -> None:
    """The reports in var/reports, newest first."""
    from revops_lite.cli import report_cmds

    found = report_cmds.newest(report_cmds.folder(state(context).config), out.limit(limit, as_json))
    if as_json:
        out.put_items([report_cmds.shape(page) for page in found])
    else:
        rows = [(shape["at"], shape["size"], shape["name"]) for shape in map(report_cmds.shape, found)]
        out.listed(("AT", "BYTES", "NAME"), rows, limit, "no reports")


@app.command("open")
def open_(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="or its beginning; default: the newest")] = None,
    print_: Print = False,
) -> None:
    """Show a report in the browser; without a display say where it is."""
    from revops_lite.cli import report_cmds

    path = report_cmds.named(report_cmds.folder(state(context).config), name)
    if print_ or not report_cmds.browse(path):
        out.say(str(path))
    else:
        out.remark(f"opened {path}")
