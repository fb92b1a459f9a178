"""`revops init` and `revops check`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from revops_lite.cli import out
from revops_lite.cli.options import Json, state
from revops_lite.errors import UsageError


class Dates(Enum):
    """Typer's choice for --dates."""

    dmy = "dmy"
    mdy = "mdy"
    iso = "iso"


def init(
    target: Annotated[Path, typer.Argument(metavar="DIR")],
    leads: Annotated[int, typer.Option(min=1, max=100_000, help="how many sample leads")] = 60,
    seed: Annotated[int, typer.Option(help="the same seed makes the same sample")] = 7,
    from_: Annotated[Path | None, typer.Option("--from", metavar="DEALS.csv", help="a CRM's export of deals")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="column=field of the export; repeatable")] = None,
    dates: Annotated[Dates | None, typer.Option(help="how the export writes its dates; guessed unless given")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="ask nothing; the guess is right")] = False,
) -> None:
    """A working installation to start from: on sample data, or the deal review of your own CRM's export."""
    from revops_lite.cli import init_cmds, intake_cmds

    if from_ is None and (map_ or dates):
        raise UsageError("--map and --dates say how to read an export; add --from DEALS.csv")
    if from_ is None:
        lines = init_cmds.init(target, leads=leads, seed=seed)
    else:
        lines = intake_cmds.init_from(target, from_, map_ or (), dates.value if dates else None, yes)
    for line in lines:
        out.say(line)


def check(context: typer.Context, as_json: Json = False) -> None:
    """Is the configuration right? Each finding with file, line, key and mend; exit 6 where there are any."""
    from revops_lite.cli import config_cmds

    raise typer.Exit(config_cmds.check(state(context).config, as_json))
