"""The configuration as the rest of the program reads it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

from revops_lite.config.credentials import is_reference, secret
from revops_lite.config.tables import (
    AgentTable,
    AuditSettings,
    ChannelSettings,
    Config,
    CrmSettings,
    GovernanceTable,
    NotifySettings,
    RedisSettings,
    ReviewSettings,
    WorkersSettings,
    WorkflowTable,
)
from revops_lite.config.workflow_checks import pointers, step_defs
from revops_lite.models import Mode
from revops_lite.policy import (
    AgentPolicy,
    BreakerPolicy,
    FieldPolicy,
    Governance,
    Over,
    PayPeriods,
    Rulebook,
    WorkflowDef,
)
from revops_lite.registry import AgentSpec

QUEUE = "agents"


class Settings(Struct, frozen=True):
    """One installation. `path` is its config.toml, `root` the folder of it; all paths inside are absolute."""

    path: Path
    root: Path
    timezone: str
    redis: RedisSettings
    crm: CrmSettings
    notify: NotifySettings
    workers: WorkersSettings
    review: ReviewSettings
    audit: AuditSettings
    rulebook: Rulebook
    warnings: tuple[str, ...] = ()  # not wrong, but probably not meant

    @property
    def governance(self) -> Governance:
        return self.rulebook.governance

    @property
    def agents(self) -> Mapping[str, AgentPolicy]:
        return self.rulebook.agents

    @property
    def workflows(self) -> Mapping[str, WorkflowDef]:
        return self.rulebook.workflows

    def secret(self, reference: str) -> str:
        """The secret behind env:NAME or file:PATH. Raises CredentialError."""
        return secret(reference, self.root)

    def redis_url(self) -> str:
        """`[redis] url` with a reference resolved. Raises CredentialError."""
        return self.secret(self.redis.url) if is_reference(self.redis.url) else self.redis.url


def build(
    config: Config, path: Path, specs: Mapping[str, AgentSpec], pay: PayPeriods | None, warnings: tuple[str, ...]
) -> Settings:
    """Settings from a configuration without findings; `specs` are the imported agents, empty when none was, `pay` is
    what `[governance.pay]` leads to."""
    root = path.parent
    crm = config.crm.model_copy(update={"path": root / config.crm.path.expanduser()})
    return Settings(
        path=path,
        root=root,
        timezone=config.timezone,
        redis=config.redis,
        crm=crm,
        notify=_notify(config.notify, root),
        workers=config.workers,
        review=config.review,
        audit=config.audit,
        rulebook=_rulebook(config, specs, pay),
        warnings=warnings,
    )


def queue_for(env: tuple[str, ...]) -> str:
    """The RQ queue of agents that see these environment variables; the order does not matter."""
    if not env:
        return QUEUE
    return f"{QUEUE}-{blake2b(chr(10).join(sorted(set(env))).encode(), digest_size=4).hexdigest()}"


def _notify(notify: NotifySettings, root: Path) -> NotifySettings:
    channels = {"console": ChannelSettings(kind="console"), **notify.channels}
    absolute = {
        name: channel.model_copy(update={"path": root / channel.path.expanduser()}) if channel.path else channel
        for name, channel in channels.items()
    }
    return notify.model_copy(update={"channels": absolute, "ops": notify.ops or notify.default})


def _rulebook(config: Config, specs: Mapping[str, AgentSpec], pay: PayPeriods | None) -> Rulebook:
    return Rulebook(
        agents={name: _agent(name, table, specs.get(name)) for name, table in config.agents.items()},
        workflows={name: _workflow(name, table, config.crm.relations) for name, table in config.workflows.items()},
        governance=_governance(config.governance, pay),
        has_crm=config.crm.adapter != "none",
        ops_channel=config.notify.ops or config.notify.default,
        dedupe=config.notify.dedupe,
        max_hops=config.governance.max_hops,
        review_expires=dict(config.review.expires),
    )


def _agent(name: str, table: AgentTable, spec: AgentSpec | None) -> AgentPolicy:
    breaker = table.breaker
    return AgentPolicy(
        name=name,
        entry=table.entry,
        priority=table.priority,
        timeout=table.timeout,
        attempts=table.attempts,
        breaker=BreakerPolicy(
            failures=breaker.failures,
            cooldown=breaker.cooldown,
            within=breaker.within,
            cap=max(breaker.cap, breaker.cooldown),
        ),
        env=table.env,
        settings=table.settings,
        mode=Mode(table.mode) if table.mode else None,
        confidence=table.confidence,
        schema=spec.writes if spec else None,
        queue=queue_for(table.env),
    )


def _governance(table: GovernanceTable, pay: PayPeriods | None) -> Governance:
    values = {name: getattr(table, name) for name in GovernanceTable.model_fields if name != "max_hops"}
    fields = {}
    for name, field in table.fields.items():
        own = {each: getattr(field, each) for each in type(field).model_fields}
        fields[name] = FieldPolicy(**(own | {"mode": Mode(field.mode) if field.mode else None}))
    return Governance(**(values | {"mode": Mode(table.mode), "fields": fields, "pay": pay}))


def _workflow(name: str, table: WorkflowTable, relations: Mapping[str, str]) -> WorkflowDef:
    return WorkflowDef(
        name=name,
        on=table.on,
        steps=step_defs(table.steps, pointers(table.over.kind, relations) if table.over else {}),
        deadline=table.deadline,
        include=table.include,
        cron=table.cron,
        missed=table.missed,
        over=Over(table.over.kind, table.over.where) if table.over else None,
        extract={each: Over(which.kind, which.where) for each, which in table.extract.items()},
        on_failure=table.on_failure,
    )
