"""What runs lead to: writes, calls to the CRM, review items, breakers, notices, audit entries."""

from __future__ import annotations

from typing import Any

from msgspec import field

from revops_lite.models.noun import Noun
from revops_lite.models.states import BreakerState, IntentState, Reason, ReviewState, WriteState


class Write(Noun, frozen=True, omit_defaults=True):
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
    undoes: tuple[str, ...] = ()  # a rollback's: the writes whose before-image it restores
    undo: str | None = None  # asked to be rolled back, by whom, while it was still under way
    replaces: str | None = None  # our write whose value stood there when this one was planned


class Intent(Noun, frozen=True):
    """One CRM call for one record: several fields at once."""

    id: str
    record: str
    run: str | None
    agent: str
    at: float
    values: dict[str, Any]  # what shall stand there afterwards
    expected: dict[str, Any]  # the before-values the decision was made on
    writes: dict[str, str]  # field -> id of its Write
    since: float = 0.0  # when the last of the before-values was confirmed, or told by a person; the CRM may lag behind
    state: IntentState = IntentState.PLANNED
    tries: int = 0  # calls made
    passes: int = 0  # reports folded in: tells the writer that what it said has been heard
    due: float = 0.0  # not before
    settle_until: float | None = None
    note: str = ""
    sent_at: float | None = None  # when the writer had last looked and was about to call
    compared: bool = False  # applied by a CRM that compares: whatever a person has set since stands
    crossed: dict[str, tuple[Any, float]] = field(default_factory=dict)  # people's edits during the call, and when
    unseen: dict[str, tuple[Any, float]] = field(default_factory=dict)  # such before it, maybe after our last look
    taken: bool = False  # the CRM has taken it; it is open only until somebody has looked what stands there now
    echoes: int = 0  # how often its values came back from the CRM, of a call that was sent again
    doubted: bool = False  # the outcome of one of its calls has been unknown: it may still arrive


class Review(Noun, frozen=True):
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


class Breaker(Noun, frozen=True):
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


class OutNotice(Noun, frozen=True):
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
    report: str = ""  # name of the page that belongs to it


class AuditEntry(Noun, frozen=True):
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
    workflow: str = ""  # of its run
    elapsed_ms: float | None = None  # an ended run, since its trigger; a step, its agent's call
    proposals: int = 0  # values for fields in the answer that was taken in
