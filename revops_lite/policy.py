"""What the configuration decides, as frozen values for the engine and the rules. `config/` builds them from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from revops_lite.models import Mode
from revops_lite.models import Over as Over


class StepDef(Struct, frozen=True):
    """One step of a workflow; `after` is always spelled out here (the step above it where the TOML says nothing)."""

    name: str  # unique in its workflow: the agent's name unless the TOML names it
    agent: str
    after: tuple[str, ...] = ()
    optional: bool = False
    wait_for_review: bool = False
    when: str | None = None
    gather: str | None = None
    gather_field: str | None = None  # the field that points at what it gathers by, where a relation says so


class WorkflowDef(Struct, frozen=True):
    """`[workflows.NAME]`: what starts it, which records its agents see, and its steps in the order of the TOML."""

    name: str
    on: tuple[str, ...]
    steps: tuple[StepDef, ...]
    deadline: float | None = None  # seconds from the trigger
    include: tuple[str, ...] = ()
    cron: str | None = None
    missed: str = "latest"  # latest | all | skip
    over: Over | None = None  # it works on all of these, in one run
    extract: Mapping[str, Over] = field(default_factory=dict)  # files of records for its agents: name -> which
    on_failure: str = "keep"  # keep | rollback


class BreakerPolicy(Struct, frozen=True):
    """`failures` in a row (or `within` seconds, where set) open it for `cooldown` seconds; doubled up to `cap`."""

    failures: int = 5
    cooldown: float = 300.0
    within: float | None = None
    cap: float = 3600.0


class AgentPolicy(Struct, frozen=True):
    """How one agent is called and what its word counts."""

    name: str
    entry: str
    priority: int = 0
    timeout: float = 30.0
    attempts: int = 3
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    env: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode | None = None
    confidence: float | None = None
    schema: type[Any] | None = None  # its pydantic output model; None: it may write no field
    queue: str = "agents"  # RQ queue: agents with the same `env` share one


class FieldPolicy(Struct, frozen=True):
    """`[governance.fields."kind.field"]`: what is stricter about one field."""

    mode: Mode | None = None
    confidence: float | None = None
    sensitive: bool = False
    priority: tuple[str, ...] = ()  # agents, first wins; overrides the agents' own priorities
    minimum: float | None = None
    maximum: float | None = None


class PayPeriod(Struct, frozen=True):
    """One pay period: `start` <= t < `end` in seconds since 1970; `label` is its days, as people write them."""

    start: float
    end: float
    open: bool
    label: str


class PayPeriods(Struct, frozen=True):
    """`[governance.pay]`: the fields that somebody is paid by ("kind.field"), and the plan's periods."""

    fields: frozenset[str]
    periods: tuple[PayPeriod, ...]


class Governance(Struct, frozen=True):
    """`[governance]`: what holds for all agents; times in seconds, shares 0..1."""

    max_writes_per_record_per_hour: int = 20
    auto_write_confidence: float = 0.80
    human_wins_for: float = 30 * 86400.0
    conflict_order: tuple[str, ...] = ("priority", "confidence", "recency")
    conflict_margin: float = 0.05
    hold_field: str | None = "legal_hold"
    mode: Mode = Mode.AUTO
    fields: Mapping[str, FieldPolicy] = field(default_factory=dict)  # by "kind.field"
    pay: PayPeriods | None = None


class Rulebook(Struct, frozen=True):
    """Everything the engine decides by."""

    agents: Mapping[str, AgentPolicy]
    workflows: Mapping[str, WorkflowDef]
    governance: Governance = field(default_factory=Governance)
    has_crm: bool = True
    ops_channel: str = "console"
    dedupe: float = 30 * 86400.0  # seconds in which one notice key is sent once
    max_hops: int = 5
    review_expires: Mapping[str, float] = field(default_factory=dict)  # by reason, seconds
