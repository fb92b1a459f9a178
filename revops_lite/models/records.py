"""A record: what agents say about it, what the system holds of it, what the CRM returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from revops_lite.models.noun import Noun


@dataclass(frozen=True, slots=True)
class Flag:
    """An unresolved finding on a record, identified by record + code."""

    code: str
    severity: str = "medium"  # low | medium | high
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to a person or channel; one `key` is sent once per `[notify] dedupe` window.

    `about` names the flags it tells of, as "code" or, for those of several records, as "deal:7|code": it goes out only
    if `to` has not been told of one of them since it was raised, whichever agent told. `report` names a Report that
    belongs to it: a channel that can attaches the page, the others tell where it is.
    """

    to: str
    subject: str
    body: str
    key: str
    about: tuple[str, ...] = ()
    report: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A page for people: becomes `var/reports/<name>.html`."""

    name: str
    html: str


class FieldValue(Noun, frozen=True, omit_defaults=True):
    """One field of a record as the system holds it, and who wrote it."""

    value: Any
    writer: str  # an agent's name, "crm" (read there), "person" (edited there), "event", "review:<who>"
    confidence: float
    at: float
    version: int  # the context's version when this value came
    run: str | None = None
    priority: int = 0
    pending: str | None = None  # the write that has not been confirmed yet
    write: str | None = None  # the write that brought it


class Proposed(Noun, frozen=True):
    """A value that was withheld: visible, but nobody's fact yet."""

    value: Any
    agent: str
    confidence: float
    at: float
    run: str | None
    review: str | None
    why: str


class OpenFlag(Noun, frozen=True):
    code: str
    severity: str
    detail: str
    agent: str
    at: float
    run: str | None = None


class Touch(Noun, frozen=True):
    """One line of a record's history: what an agent did to it."""

    at: float
    agent: str
    run: str | None
    outcome: str  # a StepState, or an event type such as "review.decided"
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    confidence: float | None = None
    note: str = ""


class Hold(Noun, frozen=True):
    """A legal stop on a record, or on one of its fields ("*" is all of them)."""

    record: str
    field: str
    by: str
    reason: str
    at: float
    until: float | None = None


class OpenRun(Noun, frozen=True):
    """A run that works on a record now: its urgency, for whoever else looks at the record."""

    workflow: str
    deadline: float | None
    since: float


class Context(Noun, frozen=True):
    """Everything the system knows about one record. Only the controller changes it."""

    record: str
    version: int = 0
    fields: dict[str, FieldValue] = msgspec.field(default_factory=dict)
    proposed: dict[str, Proposed] = msgspec.field(default_factory=dict)
    flags: dict[str, OpenFlag] = msgspec.field(default_factory=dict)
    history: tuple[Touch, ...] = ()
    runs: dict[str, OpenRun] = msgspec.field(default_factory=dict)
    sent: tuple[float, ...] = ()  # decision times of CRM writes within the last hour
    intents: tuple[str, ...] = ()  # CRM calls under way, in the order they have to be made
    known: bool = False  # the CRM (or an event) has given it first values
    told: dict[str, float] = msgspec.field(
        default_factory=dict
    )  # "reader|code" -> when that reader was told of that flag
    local: bool = False  # the CRM does not hold it: its values live here only, and nothing is written there


class CrmRecord(msgspec.Struct, frozen=True):
    """A record as the CRM returned it."""

    kind: str
    id: str
    values: Mapping[str, Any]
    created_at: float
    updated_at: float
    edited: Mapping[str, float] = msgspec.field(default_factory=dict)  # field -> time of a person's edit, where known

    @property
    def record(self) -> str:
        return f"{self.kind}:{self.id}"


class CrmChange(msgspec.Struct, frozen=True):
    """What the poller saw: a record that came or changed since the cursor."""

    record: str
    created: bool
    at: float  # the CRM's own time
    fields: Mapping[str, Any]  # changed fields and their new values
    actor: str  # who: a person's name, "import", or ours
    write_ids: tuple[str, ...] = ()  # our writes among them, where the CRM tells
    key: str = ""  # names this change for ever: becomes part of the event's id
    person: bool = False  # a person made it, by hand, in the CRM
