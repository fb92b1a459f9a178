"""The tables of config.toml as pydantic models: what keys there are, of which type, with which default.

Whatever has a default in `revops_lite.policy` takes it from there. What the tables mean together is judged in
`checks` and `workflow_checks`; this is only their shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from revops_lite.config.durations import seconds
from revops_lite.policy import AgentPolicy, BreakerPolicy, FieldPolicy, Governance, Rulebook, StepDef, WorkflowDef

T = TypeVar("T")

_RULES, _GOVERNANCE, _BREAKER = Rulebook({}, {}), Governance(), BreakerPolicy()
_AGENT, _FIELD, _STEP, _WORKFLOW = AgentPolicy("", ""), FieldPolicy(), StepDef("", ""), WorkflowDef("", (), ())


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else _listed(value)


def _plain(value: Any) -> Any:
    """TOML values as JSON values: dates become RFC 3339 text. Raises ValueError for nan and inf."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be handed on as JSON; write a finite number")
    return value


Duration = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Length = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Listed = Annotated[tuple[T, ...], BeforeValidator(_listed)]
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
PathText = Annotated[Path, Field(strict=False)]
JsonTable = Annotated[dict[str, Any], BeforeValidator(_plain)]
ModeWord = Literal["off", "shadow", "review", "auto"]
ConflictRule = Literal["priority", "confidence", "recency"]


class Table(BaseModel):
    """Strict, frozen, no unknown keys."""

    # Deferred: a validator is built for the whole, once, and not for each table beforehand.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


class RedisSettings(Table):
    """Where Redis is. `url` may be a secret's reference: use `Settings.redis_url()`."""

    url: str = "embedded"
    durability: Literal["always", "everysec"] = "always"
    allow_weak: bool = False


class CrmSettings(Table):
    """The CRM. `path` is absolute, `token` a secret's reference, `poll` seconds; other keys are in `options`."""

    model_config = ConfigDict(extra="allow")

    adapter: str = "sqlite"
    path: PathText = Path("var/crm.sqlite3")
    token: str | None = None
    poll: Length = 10.0
    relations: dict[str, str] = Field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """What the adapter alone understands, as TOML gave it."""
        return dict(self.model_extra or {})


class ChannelSettings(Table):
    """One channel. `path` is absolute; `url`, `token` and `password` are secrets' references where they are secret."""

    kind: Literal["console", "file", "slack", "email", "webhook"]
    path: PathText | None = None  # file
    url: str | None = None  # slack (incoming webhook), webhook
    token: str | None = None  # slack (bot), webhook (bearer)
    channel: str | None = None  # slack (bot): "#sales" or its id
    base_url: str | None = None  # slack (bot): another host than slack.com
    allow_private: bool = False  # webhook: addresses inside one's own network
    host: str | None = None  # email, and all below
    port: Annotated[int, Field(ge=1, le=65535)] | None = None  # None: what `tls` usually goes with
    tls: Literal["starttls", "ssl", "none"] = "starttls"
    sender: str | None = Field(default=None, alias="from")
    to: OneOrMore = ()
    username: str | None = None
    password: str | None = None


class NotifySettings(Table):
    """Channels by name. A channel `console` always exists; `dedupe` is in seconds."""

    default: str = "console"
    ops: str = ""  # empty: `default`
    dedupe: Duration = _RULES.dedupe
    channels: dict[str, ChannelSettings] = Field(default_factory=dict)


class WorkersSettings(Table):
    """Agent hosts beside the controller (0: agents run in it) and concurrent jobs in each."""

    processes: Annotated[int, Field(ge=0, le=256)] = 1
    threads: Annotated[int, Field(ge=1, le=1024)] = 16
    memory_mb: Annotated[int, Field(ge=0)] = 2048


class FieldTable(Table):
    """`[governance.fields."kind.field"]`."""

    mode: ModeWord | None = None
    confidence: Share | None = _FIELD.confidence
    sensitive: bool = _FIELD.sensitive
    priority: Listed[str] = _FIELD.priority
    minimum: float | None = _FIELD.minimum
    maximum: float | None = _FIELD.maximum


class PayTable(Table):
    """`[governance.pay]`: the plan whose periods count, and what agents leave alone while one is open."""

    plan: PathText = Path("agents/data/comp_plan.toml")
    fields: Listed[str] = (
        "deal.amount",
        "deal.closedate",
        "deal.dealstage",
        "deal.hubspot_owner_id",
        "deal.splits",
    )


class GovernanceTable(Table):
    """`[governance]`; `max_hops` is how many of our own runs may follow from one event of the outside."""

    max_writes_per_record_per_hour: Annotated[int, Field(ge=0)] = _GOVERNANCE.max_writes_per_record_per_hour
    auto_write_confidence: Share = _GOVERNANCE.auto_write_confidence
    human_wins_for: Duration = _GOVERNANCE.human_wins_for
    conflict_order: Listed[ConflictRule] = ("priority", "confidence", "recency")
    conflict_margin: Share = _GOVERNANCE.conflict_margin
    hold_field: str | None = _GOVERNANCE.hold_field
    mode: ModeWord = "auto"
    max_hops: Annotated[int, Field(ge=1)] = _RULES.max_hops
    fields: dict[str, FieldTable] = Field(default_factory=dict)
    pay: PayTable | None = None


class BreakerTable(Table):
    """`breaker = { ... }` of an agent."""

    failures: Annotated[int, Field(ge=1)] = _BREAKER.failures
    cooldown: Length = _BREAKER.cooldown
    within: Length | None = _BREAKER.within
    cap: Length = _BREAKER.cap


class AgentTable(Table):
    """`[agents.NAME]`."""

    entry: str
    priority: int = _AGENT.priority
    timeout: Length = _AGENT.timeout
    attempts: Annotated[int, Field(ge=1)] = _AGENT.attempts
    breaker: BreakerTable = Field(default_factory=BreakerTable)
    env: Listed[str] = _AGENT.env
    settings: JsonTable = Field(default_factory=dict)
    mode: ModeWord | None = None
    confidence: Share | None = _AGENT.confidence


class StepTable(Table):
    """One element of `steps`; without `after` it follows the one above."""

    agent: str
    name: str | None = None
    after: OneOrMore | None = None
    optional: bool = _STEP.optional
    wait_for_review: bool = _STEP.wait_for_review
    when: Literal["flagged"] | None = None
    gather: str | None = _STEP.gather


class OverTable(Table):
    """`over = { kind, where }` of a fan-out workflow."""

    kind: str
    where: JsonTable = Field(default_factory=dict)


class WorkflowTable(Table):
    """`[workflows.NAME]`."""

    on: OneOrMore = _WORKFLOW.on
    deadline: Length | None = _WORKFLOW.deadline
    include: Listed[str] = _WORKFLOW.include
    steps: Listed[StepTable] = ()
    cron: str | None = _WORKFLOW.cron
    missed: Literal["latest", "all", "skip"] = "latest"
    over: OverTable | None = None
    extract: dict[str, OverTable] = Field(default_factory=dict)
    on_failure: Literal["keep", "rollback"] = "keep"


class ReviewSettings(Table):
    """`[review]`: the channel that is told what waits ("": none), how often, and after how many seconds an undecided
    item ends by itself, by reason; without an entry it waits for ever."""

    digest: str = ""
    digest_every: Length = 86400.0
    expires: dict[str, Length] = Field(default_factory=dict)


class AuditSettings(Table):
    """The sealed audit trail: the channel that gets its head once a day, and the key ("": both in var/audit)."""

    anchor: str = ""
    key: str = ""


class Config(Table):
    """The whole file."""

    timezone: str = ""  # required; `checks` says so with a better mend than "missing"
    redis: RedisSettings = Field(default_factory=RedisSettings)
    crm: CrmSettings = Field(default_factory=CrmSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    workers: WorkersSettings = Field(default_factory=WorkersSettings)
    governance: GovernanceTable = Field(default_factory=GovernanceTable)
    review: ReviewSettings = Field(default_factory=ReviewSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    agents: dict[str, AgentTable] = Field(default_factory=dict)
    workflows: dict[str, WorkflowTable] = Field(default_factory=dict)
