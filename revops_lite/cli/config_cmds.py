"""`revops check`: is the configuration right?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from revops_lite.cli.out import put_items, remark, say
from revops_lite.config import Examined, Settings, examine, spell
from revops_lite.policy import AgentPolicy, WorkflowDef

FINDINGS = 6


def check(settings_path: Path, json: bool) -> int:
    """Print what is wrong, or what is configured; 6 with findings, else 0.

    With `json` the items are findings: {"state": "fail" or "warn", "file", "line", "key", "problem"}; none is right.
    Raises ConfigError where there is no file to read.
    """
    examined = examine(settings_path)
    if json:
        put_items(_items(settings_path, examined))
    elif examined.settings is None:
        for finding in examined.findings:
            say(str(finding))
        remark(f"{len(examined.findings)} {'finding' if len(examined.findings) == 1 else 'findings'}")
    else:
        for line in _lines(settings_path, examined.settings):
            say(line)
    return FINDINGS if examined.findings else 0


def _items(path: Path, examined: Examined) -> list[dict[str, Any]]:
    warnings = examined.settings.warnings if examined.settings else ()
    split = (warning.partition(": ") for warning in warnings)
    return [
        {"state": "fail", "file": each.file, "line": each.line, "key": each.key, "problem": each.problem}
        for each in examined.findings
    ] + [{"state": "warn", "file": str(path), "line": None, "key": key, "problem": text} for key, _, text in split]


def _lines(path: Path, settings: Settings) -> list[str]:
    rows = [
        (str(path), f"{settings.timezone}, redis {settings.redis.url.partition('://')[0]}, crm {settings.crm.adapter}"),
        *((f"agents.{name}", _agent(agent)) for name, agent in settings.agents.items()),
        *((f"workflows.{name}", _workflow(workflow)) for name, workflow in settings.workflows.items()),
        *((f"notify.channels.{name}", channel.kind) for name, channel in settings.notify.channels.items()),
    ]
    wide = max(len(name) for name, _ in rows)
    return [f"ok    {name.ljust(wide)}  {text}" for name, text in rows] + [
        f"warn  {each}" for each in settings.warnings
    ]


def _agent(agent: AgentPolicy) -> str:
    fields = tuple(agent.schema.model_fields) if agent.schema else ()
    return f"writes {', '.join(fields)}" if fields else "writes no field"


def _workflow(workflow: WorkflowDef) -> str:
    starts = [f"on {event}" for event in workflow.on] + ([f"cron {workflow.cron}"] if workflow.cron else [])
    deadline = [f"deadline {spell(workflow.deadline)}"] if workflow.deadline else []
    count = f"{len(workflow.steps)} {'step' if len(workflow.steps) == 1 else 'steps'}"
    return ", ".join([count, *(starts or ["started by hand"]), *deadline])
