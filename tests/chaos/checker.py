"""The independent checker: evidence in, violations of the invariants out. It knows nothing of the product's code.

It is read in three parts: what became of events and runs (`check_flow.py`), what reached the CRM (`check_writes.py`),
and what was left behind (`check_traces.py`). Each check is a function from evidence to sentences.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import check_flow
import check_traces
import check_writes
from evidence import Evidence

Check = Callable[[Evidence], Iterable[str]]

# Where the evidence of what was found is kept.
KEPT = Path(os.environ.get("REVOPS_CHAOS_KEPT") or Path(__file__).resolve().parents[2] / "build" / "chaos")

CHECKS: dict[str, tuple[str, Check]] = {
    "I1": ("each accepted event has its runs, or a person's item, or a reason", check_flow.each_event_has_its_runs),
    "I2": ("one run for an event and workflow, and no run without a cause", check_flow.runs_are_not_doubled),
    "I3": ("nothing stays open, and each done step has one result", check_flow.nothing_stays_open),
    "I4": ("each intent is applied once at most", check_writes.applied_once),
    "I5": ("applied, if and only if the CRM says so", check_writes.applied_is_what_the_crm_says),
    "I6": ("no person's edit is overwritten unnoticed", check_writes.no_edit_is_lost),
    "I7": ("rolled back, or asked about and untouched", check_writes.rolled_back_or_asked),
    "I8": ("nothing on hold, over budget, undeclared, or unsure without a person", check_writes.governed),
    "I9": ("slots that fired are those that came, once each", check_flow.slots_fire_once),
    "I10": ("one decision for an item, and before its write", check_flow.decided_once),
    "I11": ("the context is what its history and the CRM say", check_writes.context_is_its_history),
    "I12": ("the audit is gapless, chained, and tells legal lives", check_traces.audit_is_whole),
    "I13": ("no call while a breaker is open", check_flow.breakers_hold),
    "I14": ("each CRM call is one recorded attempt of one intent", check_writes.calls_are_recorded),
    "I15": ("no secret, no rubbish, no orphan, no key that stays", check_traces.nothing_is_left_behind),
    "I16": ("one key of a notice is told once, unless a crash came between", check_traces.told_once),
}


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} ({CHECKS[self.invariant][0]}): {self.what}"


def check(evidence: Evidence) -> list[Violation]:
    """Every violation that the evidence shows."""
    return [Violation(name, what) for name, (_, find) in CHECKS.items() for what in find(evidence)]


def looked_into(evidence: Evidence, name: str) -> list[Violation]:
    """`check`, and whatever shows a violation is kept: what its threads did will not come the same way again."""
    violations = check(evidence)
    if violations:
        KEPT.mkdir(parents=True, exist_ok=True)
        named = re.sub(r"[^a-z0-9]+", "-", f"{name} {time.strftime('%H%M%S')}".lower())
        said = {"violations": [str(one) for one in violations], **asdict(evidence)}
        (KEPT / f"{named}.json").write_text(json.dumps(said, indent=1, default=str), "utf-8")
    return violations
