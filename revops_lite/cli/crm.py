"""`revops crm import|view|set|export`: the embedded CRM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revops_lite.cli import out
from revops_lite.cli.options import As, Json, state
from revops_lite.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from revops_lite.crm.sqlite import SqliteCrm

app = typer.Typer(help="The embedded CRM: import any CRM's CSV export, look, edit, export.", no_args_is_help=True)
RecordArgument = Annotated[str, typer.Argument(metavar="RECORD", help="such as lead:42")]


def _crm(context: typer.Context) -> SqliteCrm:
    """The CRM alone: these commands need no Redis."""
    from revops_lite import config
    from revops_lite.crm.sqlite import SqliteCrm
    from revops_lite.installation import open_crm

    settings = config.load(state(context).config, agents=False)
    crm = open_crm(settings)
    if not isinstance(crm, SqliteCrm):
        raise ConfigError(f"{settings.path.name}: crm.adapter: `revops crm` works on the embedded CRM, sqlite")
    return crm


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv")],
    kind: Annotated[str, typer.Option("--kind", help="lead, company, contact, deal, …")],
    id_: Annotated[str, typer.Option("--id", metavar="COLUMN", help="the column that holds the id")],
    map_: Annotated[list[str] | None, typer.Option("--map", help="column=field; repeatable")] = None,
    as_json: Json = False,
) -> None:
    """Read a CSV export into the CRM. The same file twice changes nothing."""
    from revops_lite.cli import crm_cmds

    data = crm_cmds.import_(_crm(context), file, kind, id_, map_ or ())
    if as_json:
        out.put_json(data)
        return
    out.say(f"{file.name}: {data['created']} created, {data['updated']} updated, {data['unchanged']} unchanged")
    for problem in data["problems"]:
        out.remark(f"  {problem}")


@app.command()
def view(context: typer.Context, record: RecordArgument, as_json: Json = False) -> None:
    """A record as the CRM holds it."""
    from revops_lite.cli import crm_cmds

    data = crm_cmds.view(_crm(context), record)
    if as_json:
        out.put_json(data)
        return
    for line in crm_cmds.shown(data):
        out.say(line)


@app.command("set")
def set_(
    context: typer.Context,
    record: RecordArgument,
    assignments: Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE…")] = None,
    create: Annotated[bool, typer.Option("--create", help="make the record where it is not there")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Edit a record as a person would in the CRM."""
    from revops_lite.cli import crm_cmds

    data = crm_cmds.set_(_crm(context), record, assignments or [], as_, create)
    if as_json:
        out.put_json(data)
    else:
        verb = "created" if data["created"] else "changed"
        out.say(f"{record} {verb}: {', '.join(data['changed']) or 'nothing'}")


@app.command()
def export(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option("--kind", help="lead, company, contact, deal, …; default: all")] = None,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="default: stdout")] = None,
) -> None:
    """All records as CSV, or those of a kind."""
    from revops_lite.cli import crm_cmds

    if file is None:
        crm_cmds.export(_crm(context), kind, sys.stdout)
        return
    crm = _crm(context)
    try:
        with file.open("w", newline="", encoding="utf-8") as stream:
            data = crm_cmds.export(crm, kind, stream)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
    out.remark(f"{data['exported']} records in {file}")
