"""The commands and their order in `--help`. Each is a few lines elsewhere: parse, one call, print."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from revops_lite.cli.options import State

# name -> module of this package, what it has there, and the beginning of its help
COMMANDS = {
    "up": ("up", "up", "Controller, agent hosts, CRM writer and poller, notices, embedded Redis: everything, in one"),
    "worker": ("up", "worker", "Only an agent host, for another machine that shares the Redis of `revops up`."),
    "emit": ("events", "emit", "Publish an event (or many, with --file). When it returns, the event is safe."),
    "tail": ("events", "tail", "The event stream: what was, then what comes."),
    "run": ("runs", "app", "Runs and their steps."),
    "review": ("reviews", "app", "What waits for a person. Without a verb, on a terminal: one item at a time, decided"),
    "record": ("inspect", "records", "The shared context of a record."),
    "hold": ("govern", "holds", "Legal holds: a held record or field is never written."),
    "write": ("inspect", "writes", "Every field write."),
    "rollback": ("rollback", "rollback", "Undo what agents wrote: last write first, and only where nobody has changed"),
    "explain": ("inspect", "explain", "In sentences: why a value was written, refused or withheld, or what a run did."),
    "breaker": ("govern", "breakers", "Circuit breakers of the agents."),
    "agent": ("agents", "app", "Agents."),
    "workflow": ("workflows", "app", "Workflows: definitions and manual starts."),
    "audit": ("audit", "app", "The audit trail."),
    "report": ("reports", "app", "The pages that agents have made."),
    "status": ("inspect", "status", "What is going on now."),
    "metrics": ("metrics", "metrics", "The health figures: latency, checkpoint passes, conflicts, uptime, human"),
    "crm": ("crm", "app", "The embedded CRM: import any CRM's CSV export, look, edit, export."),
    "check": (
        "installation",
        "check",
        "Is the configuration right? Each finding with file, line, key and mend; exit 6",
    ),
    "init": ("installation", "init", "A working installation to start from: on sample data, or the deal review of"),
}
LOOKS: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}


class Commands(dict[str, Any]):
    """Imported and made when they are asked for: no command waits for the others."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COMMANDS))

    def __getitem__(self, name: str) -> Any:
        if (made := super().__getitem__(name)) is None:
            made = self[name] = _made(name)
        return made

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401

    def items(self) -> Any:
        return {name: self[name] for name in self}.items()


def _made(name: str) -> Any:
    module, attribute, _ = COMMANDS[name]
    found = getattr(import_module(f"{__package__}.{module}"), attribute)
    around = typer.Typer(**LOOKS)
    around.callback()(lambda: None)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    group: Any = typer.main.get_command(around)
    return group.commands[name]


class Group(TyperGroup):
    """`revops` itself."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.commands = Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _config_first(args))

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `--help`, without any of the commands."""
        del ctx
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        told = [
            (name, TyperCommand(name, help=text).get_short_help_str(limit)) for name, (_, _, text) in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(told)


def _config_first(args: list[str]) -> list[str]:
    """`--config` may also stand behind the command, as people write it."""
    rest, found = list(args), list[str]()
    end = rest.index("--") if "--" in rest else len(rest)
    for at in reversed(range(end)):
        if rest[at] == "--config" and at + 1 < end:
            found = rest[at : at + 2] + found
            del rest[at : at + 2]
        elif rest[at].startswith("--config="):
            found.insert(0, rest.pop(at))
    return found + rest


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"revops-lite {version('revops-lite')}")
        raise typer.Exit


app = typer.Typer(
    name="revops",
    cls=Group,
    help="Several RevOps agents as one governed system: events, shared context, review, rollback.",
    no_args_is_help=True,
    **LOOKS,
)


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", envvar="REVOPS_CONFIG", help="the installation's TOML")] = (
        Path("config.toml")
    ),
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="which one this is")] = False,
) -> None:
    context.obj = State(config)
    if context.invoked_subcommand != "init":  # its files are the user's own
        os.umask(0o077)
