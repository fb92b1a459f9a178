"""`revops audit list|verify|export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.cli import out, shapes
from revops_lite.cli.options import Json, Limit, Record, Since, Workflow, since, state

if TYPE_CHECKING:
    from revops_lite.cli.audit_cmds import Filter
    from revops_lite.models import AuditEntry

app = typer.Typer(help="The audit trail.", no_args_is_help=True)
Run = Annotated[str | None, typer.Option("--run", help="only this run")]
What = Annotated[str | None, typer.Option("--what", help="such as event.ignored, write.withheld")]
Who = Annotated[str | None, typer.Option("--who", "--agent", help="an agent, a person, controller, crm, …")]
FINDINGS = 6


def _filter(
    context: typer.Context,
    since_: str | None,
    record: str | None,
    run: str | None,
    what: str | None,
    who: str | None,
    workflow: str | None,
) -> Filter:
    from revops_lite.cli.audit_cmds import Filter

    return Filter(record, run, what, who, workflow, since(context, since_))


@app.command("list")
def list_(
    context: typer.Context,
    record: Record = None,
    run: Run = None,
    what: What = None,
    who: Who = None,
    workflow: Workflow = None,
    since_: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Who did what in the last 90 days, or since another moment; newest first."""
    from revops_lite.cli import audit_cmds

    keep = _filter(context, since_ or audit_cmds.RECENT, record, run, what, who, workflow)
    with state(context).open() as installation:
        found = audit_cmds.newest(installation, keep, out.limit(limit, as_json))
    if as_json:
        out.put_items([audit_cmds.shape(entry) for entry in found])
    else:
        out.listed(("AT", "WHAT", "WHO", "RECORD", "FIELD", "RULE"), _rows(found), limit, "no audit entries")


def _rows(found: list[AuditEntry]) -> list[tuple[object, ...]]:
    return [(shapes.stamp(e.at), e.what, e.who, e.record or "", e.field or "", e.rule or e.note) for e in found]


@app.command()
def verify(
    context: typer.Context,
    anchor: Annotated[str | None, typer.Option("--anchor", metavar="SEQ:MAC", help="from a notice you kept")] = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="do not compare with Redis")] = False,
    as_json: Json = False,
) -> None:
    """Recompute the whole chain and compare it with Redis and the anchors; exit 6 where something is wrong."""
    from revops_lite.cli import audit_cmds

    report = audit_cmds.verify(state(context), anchor, files_only=files_only)
    data = audit_cmds.report(report)
    if as_json:
        out.put_json(data)
    else:
        _show(data)
    raise typer.Exit(0 if report.ok else FINDINGS)


def _show(data: dict[str, Any]) -> None:
    for finding in data["findings"]:
        lines = f":{finding['line']}" + (f"-{finding['until']}" if finding["until"] else "") if finding["line"] else ""
        out.say(f"{finding['kind']:<10}  {finding['file']}{lines}: {finding['what']}")
    if data["left_out"]:
        out.say(f"and {data['left_out']} more")
    for note in data["notes"]:
        out.remark(f"note: {note}")
    stream, head = data["stream"], data["head"]
    out.say(
        f"{'ok' if data['ok'] else 'NOT OK'}: {data['entries']} lines in {data['files']} files, "
        f"{data['anchors']} anchors, {stream['compared']} compared with Redis, {stream['unsealed']} not yet sealed"
    )
    if data["ok"] and head["seq"]:
        out.say(f"head: {head['seq']}:{head['mac']}")


@app.command()
def export(
    context: typer.Context,
    format_: Annotated[str, typer.Option("--format", help="csv or jsonl")] = "jsonl",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a file, 0600; default: stdout")] = None,
    record: Record = None,
    run: Run = None,
    what: What = None,
    who: Who = None,
    workflow: Workflow = None,
    since_: Since = None,
) -> None:
    """Everything ever sealed and what waits for it, oldest first; values of sensitive fields are masked."""
    from revops_lite.cli import audit_cmds

    keep = _filter(context, since_, record, run, what, who, workflow)
    number = audit_cmds.export(state(context), keep, format_, output)
    out.remark(f"{number} entries" + (f" in {output}" if output else ""))
