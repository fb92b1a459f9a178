"""The closed sets: every state, reason and mode there is."""

from __future__ import annotations

from enum import StrEnum


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
