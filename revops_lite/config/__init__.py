"""config.toml becomes `Settings`. `load` refuses what is not right, all at once, each with file, line, key and mend."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from revops_lite.config.checks import check_sections, check_writable
from revops_lite.config.credentials import is_reference, secret
from revops_lite.config.durations import seconds, spell
from revops_lite.config.entries import import_from, load_agents
from revops_lite.config.pay import pay_periods
from revops_lite.config.positions import lines_of, nearest
from revops_lite.config.problems import Finding, Problem, not_toml, printable
from revops_lite.config.problems import spell as spell_key
from revops_lite.config.settings import Settings, build
from revops_lite.config.shape import read
from revops_lite.config.tables import (
    ChannelSettings,
    Config,
    CrmSettings,
    NotifySettings,
    RedisSettings,
    WorkersSettings,
)
from revops_lite.config.workflow_checks import check_workflows
from revops_lite.errors import ConfigError
from revops_lite.policy import PayPeriods
from revops_lite.registry import AgentSpec

__all__ = [
    "ChannelSettings",
    "CrmSettings",
    "Examined",
    "Finding",
    "NotifySettings",
    "RedisSettings",
    "Settings",
    "WorkersSettings",
    "examine",
    "import_from",
    "is_reference",
    "load",
    "seconds",
    "secret",
    "spell",
]


class Examined(Struct, frozen=True):
    """What a configuration is, or everything that is wrong with it: `settings` is None when there are findings."""

    settings: Settings | None
    findings: tuple[Finding, ...] = ()


def load(path: Path, *, agents: bool = True) -> Settings:
    """Read and check config.toml; with `agents`, import every agent for its schema.

    Raises ConfigError: one line per finding, "config.toml:12: redis.url: what is wrong; the mend".
    """
    examined = examine(path, agents=agents)
    if examined.settings is None:
        raise ConfigError("\n".join(map(str, examined.findings)))
    return examined.settings


def examine(path: Path, *, agents: bool = True) -> Examined:
    """The same, with the findings as data. Raises ConfigError only where the file cannot be read at all."""
    text = _text(path)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        return Examined(None, (Finding(str(path), None, "", "lists or tables are nested too deeply; write it flat"),))
    except ValueError as error:
        return Examined(None, (not_toml(str(path), text, str(error)),))
    config, problems = read(data)
    home = path.expanduser().absolute()
    specs: dict[str, AgentSpec] = {}
    if agents:
        specs, more = load_agents(config.agents, home.parent)
        problems += more
    problems += _meaning(config, data, specs if agents else None)
    pay, plans = _pay(config, path, problems)
    if problems or plans:
        return Examined(None, (*_located(path, text, problems), *plans))
    return Examined(build(config, home, specs, pay, tuple(_warnings(config, data))))


def _pay(config: Config, path: Path, problems: list[Problem]) -> tuple[PayPeriods | None, list[Finding]]:
    table = config.governance.pay
    if table is None or any(key == ("timezone",) for key, _ in problems):  # whose days they are is not known
        return None, []
    return pay_periods(table, path.expanduser(), config.timezone)


def _meaning(config: Config, data: dict[str, Any], specs: dict[str, AgentSpec] | None) -> Iterator[Problem]:
    yield from check_sections(config, data)
    yield from check_workflows(config, data)
    if specs is not None and len(specs) == len(data.get("agents", {})):  # else some fields are not known
        yield from check_writable(config.governance, [spec.fields for spec in specs.values()])


def _warnings(config: Config, data: dict[str, Any]) -> Iterator[str]:
    if config.redis.url != "embedded" and "durability" in data.get("redis", {}):
        yield "redis.durability: only the embedded server obeys it; set appendfsync on your own server"
    if config.workers.processes == 0 and any(agent.env for agent in config.agents.values()):
        yield "workers.processes: with 0, agents run in the controller and see its whole environment"
    for name, workflow in config.workflows.items():
        own = {f"{step.agent}.complete" for step in workflow.steps}
        for event in workflow.on:
            if event in own:
                yield f"workflows.{name}.on: {event} comes from its own step; it starts itself again and again"


def _located(path: Path, text: str, problems: list[Problem]) -> tuple[Finding, ...]:
    lines = lines_of(text)
    findings = [
        Finding(str(path), nearest(lines, key), spell_key(key), printable(problem)) for key, problem in problems
    ]
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.line or 0))


def _text(path: Path) -> str:
    try:
        return path.expanduser().read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError as error:
        mend = "`revops init DIR` makes an installation, --config PATH names another file"
        raise ConfigError(f"{path}: there is no such file; {mend}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder; name the file, for example {path / 'config.toml'}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
