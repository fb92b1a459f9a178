"""Events, and the runs and steps they lead to."""

from __future__ import annotations

from typing import Any

import msgspec

from revops_lite.models.noun import Noun
from revops_lite.models.states import RunState, StepState


class Event(Noun, frozen=True):
    """Something that happened (CloudEvents attributes, plus cause, run and hop)."""

    id: str
    type: str  # past tense: "lead.created"
    subject: str  # the record: "lead:42"
    source: str  # "cli", "client", "crm", "host", "writer", "controller", ...
    time: float  # when it happened, by the clock of the one who tells
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    cause: str | None = None  # id of the event that led to this one
    run: str | None = None
    hop: int = 0  # how many of our own runs lie between this and the outside


class Step(Noun, frozen=True, omit_defaults=True):
    """One agent's turn in a run. The graph (`after`) is frozen into the run when it starts."""

    name: str
    agent: str
    after: tuple[str, ...] = ()
    optional: bool = False
    wait_for_review: bool = False
    state: StepState = StepState.PENDING
    attempt: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    due: float | None = None  # a Retry's next try
    confidence: dict[str, float] = msgspec.field(default_factory=dict)
    because: str = ""
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    problems: tuple[str, ...] = ()
    versions: dict[str, int] = msgspec.field(default_factory=dict)  # record -> context version in its snapshot
    when: str | None = None  # "flagged": only for records with an open flag
    gather: str | None = None  # one call for several records: "all", or by what they are gathered
    alone: bool = False  # a host died with it and others: it goes in a job of its own
    asked: int = 0  # how often its agent has asked for another try


class Trigger(Noun, frozen=True):
    id: str
    type: str
    source: str
    time: float


class Claimed(Noun, frozen=True):
    """What one of several parallel steps says about a field; `before` stood there before the first of them spoke."""

    value: Any
    agent: str
    priority: int
    confidence: float
    step: str
    before: Any = None
    write: str | None = None


class Over(msgspec.Struct, frozen=True):
    """All records of `kind` whose fields equal `where`."""

    kind: str
    where: dict[str, Any] = msgspec.field(default_factory=dict)


class Seen(Noun, frozen=True):
    """A related record as the sweep found it: what every step of the run is shown of it.

    `known`: the system had a context of it; the rest of `shown` stands for that. Else it has none until somebody
    proposes something for it, which is why the CRM's times are kept.
    """

    shown: dict[str, Any]  # a snapshot, as it travels in a job
    known: bool
    created_at: float = 0.0
    updated_at: float = 0.0
    edited: dict[str, float] = msgspec.field(default_factory=dict)


class Page(Noun, frozen=True):
    """Some of the records of a fan-out, with what is related to them."""

    id: str
    run: str
    at: float
    records: dict[str, dict[str, tuple[str, ...]]]  # record -> role -> names of related records
    seen: dict[str, Seen]


class Run(Noun, frozen=True, omit_defaults=True):
    """One execution of a workflow for one trigger.

    A fan-out has a part for each record it sweeps and for each group it gathers: a run of its own, with `part_of`.
    """

    id: str
    workflow: str
    record: str
    trigger: Trigger
    started_at: float
    steps: dict[str, Step]
    state: RunState = RunState.RUNNING
    include: tuple[str, ...] = ()
    related: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)  # role ("company") -> records
    loaded: bool = False
    loads: int = 0  # how often its records were asked for again: by `run retry`, before they had come
    finished_at: float | None = None
    deadline_at: float | None = None
    deadline_missed: bool = False
    hop: int = 0
    shadow: bool = False
    writes: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()  # intents and notices not yet confirmed
    waits_for: tuple[str, ...] = ()  # review items that stop it
    seed: dict[str, Any] = msgspec.field(default_factory=dict)  # the trigger's data: first values of an unknown record
    note: str = ""
    claims: dict[str, tuple[Claimed, ...]] = msgspec.field(default_factory=dict)  # "record|field" -> of parallel steps
    # -- of a fan-out, and of its parts --
    over: Over | None = None  # what it sweeps: it is a fan-out, and `steps` sum up those of its parts
    as_of: float | None = None  # when the sweep began: the `now` of all its snapshots
    pages: int = 0  # how many pages of records have come
    expected: int = 0  # how many records the sweep has found, until all of them have come
    tally: dict[str, dict[str, int]] = msgspec.field(
        default_factory=dict
    )  # a step, or "records" -> state -> how many parts
    part_of: str | None = None  # of a part: the whole
    page: str | None = None  # of a record's part: the page it came with
    members: tuple[str, ...] = ()  # of a group's part: its records


class Job(Noun, frozen=True):
    """One agent call, handed to RQ. The snapshot travels inside."""

    id: str
    queue: str
    run: str
    step: str
    attempt: int
    agent: str
    record: str
    timeout: float
    attempts: int  # tries of transient errors within this job
    snapshot: dict[str, Any]
