"""What many commands share: the open installation, and options that mean the same everywhere."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from msgspec import Struct

from revops_lite.errors import UsageError

if TYPE_CHECKING:
    from revops_lite.cli.looking import Look
    from revops_lite.installation import Installation

Json = Annotated[bool, typer.Option("--json", help="machine-readable, schema 1")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="how many (else 50; all with --json)")]
Since = Annotated[str | None, typer.Option("--since", help="2h, 3d, or a date")]
Record = Annotated[str | None, typer.Option("--record", help="only this record, as lead:42")]
Agent = Annotated[str | None, typer.Option("--agent", help="only this agent")]
Workflow = Annotated[str | None, typer.Option("--workflow", help="only this workflow")]
As = Annotated[str | None, typer.Option("--as", help="who decides; default: the OS user")]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class State(Struct, frozen=True):
    """Typer's context object: which installation is meant."""

    config: Path

    def open(self, *, agents: bool = False) -> Installation:
        from revops_lite.installation import Installation

        return Installation(self.config, "cli", agents=agents)

    def look(self) -> Look:
        """For commands that only read what Redis holds."""
        from revops_lite.cli.looking import Look

        return Look(self.config)


def state(context: typer.Context) -> State:
    found: State = context.obj
    return found


def since(context: typer.Context, text: str | None) -> float:
    """Seconds since the epoch: "90s 15m 2h 3d 1w" ago, or an ISO date or time. Raises UsageError."""
    if text is None:
        return 0.0
    if match := re.fullmatch(r"(\d+)([smhdw])", text):
        return time.time() - int(match[1]) * UNITS[match[2]]
    return moment(context, text, f"--since {text!r}: write 90s, 15m, 2h, 3d, 1w, or a date such as 2026-01-31")


def moment(context: typer.Context, text: str, mend: str) -> float:
    """Seconds since the epoch of an ISO date or time; without an offset it is one of the configured `timezone`.

    Raises UsageError, which says `mend`.
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=_zone(context))
        return found.timestamp()
    except (ValueError, OverflowError):
        raise UsageError(mend) from None


def _zone(context: typer.Context) -> ZoneInfo:
    from revops_lite import config

    return ZoneInfo(config.load(state(context).config, agents=False).timezone)


def one_of(option: str, given: str | None, known: Iterable[str]) -> str | None:
    """The word that was given. Raises UsageError for one that means nothing, with those that do."""
    words = list(map(str, known))
    if given is None or given in words:
        return given
    raise UsageError(f"{option} {given!r}: write one of {', '.join(words)}")


def assignments(words: list[str]) -> dict[str, Any]:
    """`field=value` words; a value that is JSON is taken as such, else as text. Raises UsageError."""
    from revops_lite.cli.crm_cmds import parsed

    values = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r}: write field=value")
        values[name] = parsed(text)
    return values


def who(given: str | None) -> str:
    """Who decides: --as, or the OS user."""
    from revops_lite.cli.crm_cmds import user

    return given or user()
