"""The nouns of revops-lite: frozen values without behaviour or I/O. `docs/glossary.md` explains each word.

Times are float seconds since the epoch (UTC); the CLI prints them as RFC 3339. Durations are float seconds.
A *record* is named "kind:id" ("lead:42"). Field values are JSON values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any



class RunState(StrEnum):
    """What a run is doing, or how it ended."""

    RUNNING = "running"
    WAITING = "waiting"  # only for something that comes by itself: a breaker, a retry, a confirmation
    HELD = "held"  # for a person
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"


class StepState(StrEnum):
    """One agent's turn in a run."""

    PENDING = "pending"
    RUNNING = "running"
    PARKED = "parked"  # its agent's breaker is open
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class WriteState(StrEnum):
    """One field on its way to the CRM."""

    PLANNED = "planned"
    SENDING = "sending"
    APPLIED = "applied"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    CONFLICT = "conflict"
    WITHHELD = "withheld"
    SHADOW = "shadow"
    ROLLED_BACK = "rolled_back"


class IntentState(StrEnum):
    """One CRM call, recorded before it is made."""

    PLANNED = "planned"
    SENDING = "sending"
    IN_DOUBT = "in_doubt"
    APPLIED = "applied"
    FAILED = "failed"
    CONFLICT = "conflict"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a person is asked."""

    CHECKPOINT = "checkpoint"
    CONFIDENCE = "confidence"
    CONFLICT = "conflict"
    HUMAN_EDIT = "human_edit"
    HELD = "held"
    BUDGET = "budget"
    SENSITIVE = "sensitive"
    FAILURE = "failure"
    WRITE_FAILED = "write_failed"
    IN_DOUBT = "in_doubt"
    ROLLBACK = "rollback"
    DEAD_LETTER = "dead_letter"


class ReviewState(StrEnum):
    """What became of an item in quarantine."""

    PENDING = "pending"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    RETRIED = "retried"
    EXPIRED = "expired"


class Mode(StrEnum):
    """How far an agent's values may go; ordered from narrow to wide."""

    OFF = "off"
    SHADOW = "shadow"
    REVIEW = "review"
    AUTO = "auto"


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# ---- what agents see and say ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flag:
    """An unresolved finding on a record, identified by record + code."""

    code: str
    severity: str = "medium"  # low | medium | high
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to a person or channel; one `key` is sent once per `[notify] dedupe` window."""

    to: str
    subject: str
    body: str
    key: str


@dataclass(frozen=True, slots=True)
class Report:
    """A page for people: becomes `var/reports/<name>.html`."""

    name: str
    html: str


# ---- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened (CloudEvents attributes, plus cause, run and hop)."""

    id: str
    type: str  # past tense: "lead.created"
    subject: str  # the record: "lead:42"
    source: str  # "cli", "client", "crm", "host", "writer", "controller", ...
    time: float  # when it happened, by the clock of the one who tells
    data: dict[str, Any] = field(default_factory=dict)
    cause: str | None = None  # id of the event that led to this one
    run: str | None = None
    hop: int = 0  # how many of our own runs lie between this and the outside


# ---- the shared context -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldValue:
    """One field of a record as the system holds it, and who wrote it."""

    value: Any
    writer: str  # an agent's name, "crm" (read there), "person" (edited there), "event", "review:<who>"
    confidence: float
    at: float
    version: int  # the context's version when this value came
    run: str | None = None
    priority: int = 0
    pending: str | None = None  # the write that has not been confirmed yet


@dataclass(frozen=True, slots=True)
class Proposed:
    """A value that was withheld: visible, but nobody's fact yet."""

    value: Any
    agent: str
    confidence: float
    at: float
    run: str | None
    review: str | None
    why: str


@dataclass(frozen=True, slots=True)
class OpenFlag:
    code: str
    severity: str
    detail: str
    agent: str
    at: float
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Touch:
    """One line of a record's history: what an agent did to it."""

    at: float
    agent: str
    run: str | None
    outcome: str  # a StepState, or an event type such as "review.decided"
    fields: dict[str, Any] = field(default_factory=dict)
    confidence: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal stop on a record, or on one of its fields ("*" is all of them)."""

    record: str
    field: str
    by: str
    reason: str
    at: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that works on a record now: its urgency, for whoever else looks at the record."""

    workflow: str
    deadline: float | None
    since: float


@dataclass(frozen=True, slots=True)
class Context:
    """Everything the system knows about one record. Only the controller changes it."""

    record: str
    version: int = 0
    fields: dict[str, FieldValue] = field(default_factory=dict)
    proposed: dict[str, Proposed] = field(default_factory=dict)
    flags: dict[str, OpenFlag] = field(default_factory=dict)
    history: tuple[Touch, ...] = ()
    runs: dict[str, OpenRun] = field(default_factory=dict)
    sent: tuple[float, ...] = ()  # decision times of CRM writes within the last hour
    intents: tuple[str, ...] = ()  # CRM calls under way, in the order they have to be made
    known: bool = False  # the CRM (or an event) has given it first values


# ---- runs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
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
    confidence: dict[str, float] = field(default_factory=dict)
    because: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    versions: dict[str, int] = field(default_factory=dict)  # record -> context version in its snapshot


@dataclass(frozen=True, slots=True)
class Trigger:
    id: str
    type: str
    source: str
    time: float


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a workflow for one trigger."""

    id: str
    workflow: str
    record: str
    trigger: Trigger
    started_at: float
    steps: dict[str, Step]
    state: RunState = RunState.RUNNING
    include: tuple[str, ...] = ()
    related: dict[str, tuple[str, ...]] = field(default_factory=dict)  # role ("company") -> records
    loaded: bool = False
    finished_at: float | None = None
    deadline_at: float | None = None
    deadline_missed: bool = False
    hop: int = 0
    shadow: bool = False
    writes: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()  # intents and notices not yet confirmed
    waits_for: tuple[str, ...] = ()  # review items that stop it
    seed: dict[str, Any] = field(default_factory=dict)  # the trigger's data: first values of an unknown record
    note: str = ""


# ---- writes, reviews, breakers, notices -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """One field's change: the row of `revops write list`."""

    id: str
    record: str
    field: str
    before: Any
    after: Any
    agent: str
    confidence: float
    run: str | None
    state: WriteState
    at: float
    rule: str = ""  # the rule that decided it
    step: str | None = None
    intent: str | None = None
    because: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """One CRM call for one record: several fields at once."""

    id: str
    record: str
    run: str | None
    agent: str
    at: float
    values: dict[str, Any]  # what shall stand there afterwards
    expected: dict[str, Any]  # the before-values the decision was made on
    writes: dict[str, str]  # field -> id of its Write
    state: IntentState = IntentState.PLANNED
    tries: int = 0  # calls made
    passes: int = 0  # reports folded in: tells the writer that what it said has been heard
    due: float = 0.0  # not before
    settle_until: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """One item in quarantine, for a person to decide."""

    id: str
    reason: Reason
    record: str
    run: str | None
    agent: str
    created_at: float
    field: str | None = None  # None: a whole step
    step: str | None = None
    current: Any = None
    proposed: Any = None
    confidence: float | None = None
    because: str = ""
    problems: tuple[str, ...] = ()
    state: ReviewState = ReviewState.PENDING
    write: str | None = None
    decided_by: str | None = None
    decided_at: float | None = None
    note: str = ""
    expires_at: float | None = None
    competing: dict[str, Any] | None = None  # the other value of a conflict, and whose it is
    output: tuple[dict[str, Any], ...] = ()  # what a whole step answered, for edit and retry


@dataclass(frozen=True, slots=True)
class Breaker:
    """Counts an agent's failures; open, it keeps further steps parked."""

    name: str
    state: BreakerState = BreakerState.CLOSED
    failures: tuple[float, ...] = ()  # times of the failures that count now
    opened_at: float | None = None
    until: float | None = None  # when one probe may go
    cooldown: float = 0.0  # of this opening; doubles on a failed probe
    reason: str = ""
    probe: str | None = None  # "run|step" of the probe under way
    forced: bool = False  # opened by hand: stays until reset
    proven: bool = False  # has seen one success: until then no more calls go out than it takes to open it
    trying: tuple[str, ...] = ()  # "run|step" of the calls under way while it is not proven


@dataclass(frozen=True, slots=True)
class OutNotice:
    """A notice on its way to a channel."""

    id: str
    key: str
    to: str
    subject: str
    body: str
    at: float
    run: str | None
    state: str = "planned"  # planned | sent | failed | repeated
    tries: int = 0
    due: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, to which record, by which rule."""

    at: float
    what: str  # an event type or a decision: "write.allowed", "conflict.decided"
    who: str
    record: str | None = None
    run: str | None = None
    field: str | None = None
    before: Any = None
    after: Any = None
    rule: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Job:
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


# ---- the outside ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A record as the CRM returned it."""

    kind: str
    id: str
    values: Mapping[str, Any]
    created_at: float
    updated_at: float
    edited: Mapping[str, float] = field(default_factory=dict)  # field -> time of a person's edit, where known

    @property
    def record(self) -> str:
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class CrmChange:
    """What the poller saw: a record that came or changed since the cursor."""

    record: str
    created: bool
    at: float  # the CRM's own time
    fields: Mapping[str, Any]  # changed fields and their new values
    actor: str  # who: a person's name, "import", or ours
    write_ids: tuple[str, ...] = ()  # our writes among them, where the CRM tells
    key: str = ""  # names this change for ever: becomes part of the event's id
    person: bool = False  # a person made it, by hand, in the CRM
