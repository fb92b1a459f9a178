"""`revops up` and `revops worker`: the long-running commands."""

from __future__ import annotations

import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.clean import CleanLines
from revops_lite.cli import out
from revops_lite.cli.options import state

if TYPE_CHECKING:
    from revops_lite.ahead import Ahead
    from revops_lite.installation import Installation
    from revops_lite.orchestrator import Orchestrator


def up(
    context: typer.Context,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="stop once nothing is left to do by itself")] = False,
    _no_web: Annotated[bool, typer.Option("--no-web", help="no web server even if one is configured")] = False,
) -> None:
    """Controller, agent hosts, CRM writer and poller, notices, embedded Redis: everything, in one command."""
    from revops_lite import config
    from revops_lite.ahead import Ahead

    _log_to_stderr()
    started, path = time.time(), state(context).config
    with Ahead(config.load(path, agents=False)) as ahead:
        _run(path, ahead, started, until_idle)


def _run(path: Path, ahead: Ahead, started: float, until_idle: bool) -> None:
    from revops_lite import bootstrap
    from revops_lite.cli import overview
    from revops_lite.cli.live import watching
    from revops_lite.installation import Installation

    with Installation(path, "up", agents=True, ahead=ahead) as installation:
        with watching(sys.stderr) as display:
            orchestrator = bootstrap.orchestrator(
                installation, display.stream, until_idle=until_idle, reserve=ahead.reserve
            )
            orchestrator.parts.controller.after_commit.append(display.committed)
            _stop_on_signals(orchestrator)
            _greet(installation)
            orchestrator.run()
        if until_idle:
            data = overview.summary(installation, started)
            overview.show_summary(data, overview.next_commands(installation, data))


def _log_to_stderr() -> None:
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(CleanLines("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _stop_on_signals(orchestrator: Orchestrator) -> None:
    def stop(_number: int, _frame: Any) -> None:
        orchestrator.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _greet(installation: Installation) -> None:
    settings = installation.settings
    hosts = settings.workers.processes
    out.remark(
        f"revops: {len(settings.rulebook.workflows)} workflows, {len(settings.rulebook.agents)} agents, "
        f"{hosts or 'no'} agent host{'s' if hosts != 1 else ''} of {settings.workers.threads} threads, "
        f"CRM {settings.crm.adapter}; Redis at {installation.address()}; Ctrl-C stops"
    )
    for weakness in installation.weaknesses():
        out.remark(f"warning: {weakness}")


def worker(context: typer.Context) -> None:
    """Only an agent host, for another machine that shares the Redis of `revops up`."""
    from revops_lite import bootstrap
    from revops_lite.installation import Installation

    _log_to_stderr()
    with Installation(state(context).config, "cli", agents=True) as installation:
        bootstrap.run_worker(installation)
