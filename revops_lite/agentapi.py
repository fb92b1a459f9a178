"""What an agent is given and what it gives back. Agents import these from `revops_lite` itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from revops_lite.models import Flag, Notice, Report, Touch


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen copy of one record's context, made when the step started.

    `snapshot["field"]` raises KeyError where the field is unknown, `.get` does not. `related["company"]` is a list
    of snapshots, empty where there is none. `flags` are the record's open findings, the last lines of `history`
    what each agent has done to it, `told` which readers have been told of an open flag ({"stale_activity":
    ("rep-ana",)}). `written` says of values that were written here who did it and when ({"amount": ("enrichment",
    <time>)}), also where the CRM has not confirmed it yet. `deadline` (aware, UTC) is the run's; `now` is the time of
    the decision to start this step, in a fan-out that of the sweep: one moment for all its records and steps.
    """

    kind: str
    id: str
    values: Mapping[str, Any]
    version: int
    now: datetime
    related: Mapping[str, list[Snapshot]] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    history: tuple[Touch, ...] = ()
    deadline: datetime | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    written: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)

    @property
    def record(self) -> str:
        return f"{self.kind}:{self.id}"

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)


class Gathered(list[Snapshot]):
    """What a `gather` step is given: its group's snapshots, in the order of the sweep.

    `of` is the snapshot of what they are gathered by: the owner, or "workflow:<name>" for `gather = "all"`. A proposal
    without `target` is about that. Where no CRM holds such a record its values live in the context alone: what this
    agent proposes for it now, it finds in `of` the next time.
    """

    def __init__(self, snapshots: Iterable[Snapshot], of: Snapshot) -> None:
        super().__init__(snapshots)
        self.of = of

    @property
    def now(self) -> datetime:
        return self.of.now

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.of.settings


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an agent would like to see: nothing is written by returning it.

    `values` is a pydantic model (fields that are unset or None are not proposed) or a mapping. `confidence` is one
    number 0..1 or one per field with "*" for the rest. `target` names another record ("company:7"); the default is
    the record the agent was given.
    """

    values: Any = field(default_factory=dict)
    confidence: float | Mapping[str, float] = 1.0
    because: str = ""
    target: str | None = None
    flags: Sequence[Flag] = ()
    clears: Sequence[str] = ()
    notices: Sequence[Notice] = ()
    reports: Sequence[Report] = ()


class Skip(Exception):
    """Ends the step without output: there is nothing to do here. Say why."""


class Retry(Exception):
    """Asks for another try later, `after` seconds from now. Say why."""

    def __init__(self, why: str = "", after: float = 5.0) -> None:
        super().__init__(why)
        self.after = after
