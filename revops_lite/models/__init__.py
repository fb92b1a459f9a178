"""The nouns of revops-lite: frozen values without behaviour or I/O. `docs/glossary.md` explains each word.

Times are float seconds since the epoch (UTC); the CLI prints them as RFC 3339. Durations are float seconds.
A *record* is named "kind:id" ("lead:42"). Field values are JSON values.
"""

from revops_lite.models.effects import AuditEntry, Breaker, Intent, OutNotice, Review, Write
from revops_lite.models.noun import Key
from revops_lite.models.records import (
    Context,
    CrmChange,
    CrmRecord,
    FieldValue,
    Flag,
    Hold,
    Notice,
    OpenFlag,
    OpenRun,
    Proposed,
    Report,
    Touch,
)
from revops_lite.models.runs import Claimed, Event, Job, Over, Page, Run, Seen, Step, Trigger
from revops_lite.models.states import (
    BreakerState,
    IntentState,
    Mode,
    Reason,
    ReviewState,
    RunState,
    StepState,
    WriteState,
)

__all__ = [
    "AuditEntry",
    "Breaker",
    "BreakerState",
    "Claimed",
    "Context",
    "CrmChange",
    "CrmRecord",
    "Event",
    "FieldValue",
    "Flag",
    "Hold",
    "Intent",
    "IntentState",
    "Job",
    "Key",
    "Mode",
    "Notice",
    "OpenFlag",
    "OpenRun",
    "OutNotice",
    "Over",
    "Page",
    "Proposed",
    "Reason",
    "Report",
    "Review",
    "ReviewState",
    "Run",
    "RunState",
    "Seen",
    "Step",
    "StepState",
    "Touch",
    "Trigger",
    "Write",
    "WriteState",
]
