"""`revops init` and `revops check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from revops_lite.cli import out
from revops_lite.cli.options import Json, state


def init(
    target: Annotated[Path, typer.Argument(metavar="DIR")],
    leads: Annotated[int, typer.Option(min=1, max=100_000, help="how many sample leads")] = 60,
    seed: Annotated[int, typer.Option(help="the same seed makes the same sample")] = 7,
    _yes: Annotated[bool, typer.Option("--yes", help="ask nothing")] = False,
) -> None:
    """A working installation to start from: config.toml, agents/, sample data."""
    from revops_lite.cli import init_cmds

    for line in init_cmds.init(target, leads=leads, seed=seed):
        out.say(line)


def check(context: typer.Context, as_json: Json = False) -> None:
    """Is the configuration right? Each finding with file, line, key and mend; exit 6 where there are any."""
    from revops_lite.cli import config_cmds

    raise typer.Exit(config_cmds.check(state(context).config, as_json))
