"""How each planted bug is brought to show itself, and the invariants that have to notice.

A bug is found where the checker names one of `found` with the bug, and nothing at all without it in the same trial.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import Any
from zoneinfo import ZoneInfo

from boundary_proxy import Strike
from checker import Violation, check
from nursery import Nursery
from revops_lite.models import Event
from scenes import FANOUT, held_at_the_gate, two_leads, worked_on
from trial import Trial, until


@dataclass(frozen=True, slots=True)
class Plant:
    """`play` is called with a trial in which the bug is planted, and leaves it at rest."""

    found: tuple[str, ...]
    play: Callable[[Trial], object]
    kind: str = "keyed"
    options: dict[str, Any] = field(default_factory=dict)
    unfinished: bool = False  # the trial ends in the midst of work: only what is `found` counts


def play(nursery: Nursery, name: str, planted: bool) -> list[Violation]:
    """What the checker says of a trial with that bug, or of the same one without."""
    plant = PLANTS[name]
    bugs = (name,) if planted else ()
    with Trial(nursery, plant.kind, bugs=bugs, **plant.options) as trial:
        plant.play(trial)
        found = check(trial.evidence())
        return [one for one in found if one.invariant in plant.found or not plant.unfinished]


def _rest(trial: Trial) -> None:
    two_leads(trial)
    trial.rest(PATIENCE)


def _struck(how: str, label: str, at: int = 1) -> Callable[[Trial], object]:
    def play(trial: Trial) -> None:
        two_leads(trial)
        trial.struck(Strike(at, how, label), PATIENCE)

    return play


def _at_crm(fault: str, op: str = "write", nth: int = 1, **more: Any) -> Callable[[Trial], object]:
    def play(trial: Trial) -> None:
        two_leads(trial)
        trial.faults({"op": op, "nth": nth, "fault": fault, **more})
        trial.note("struck", how=fault)
        child = trial.up("--until-idle")
        child.wait(PATIENCE)
        child.kill()
        trial.rest(PATIENCE)

    return play


def _one_lead_killed(trial: Trial) -> None:
    trial.create("lead:1", {"name": "Ada"})
    trial.faults({"op": "write", "nth": 1, "fault": "kill after"})
    trial.note("struck", how="kill after")
    child = trial.up("--until-idle")
    child.wait(PATIENCE)
    child.kill()
    trial.rest(PATIENCE)


def _held(trial: Trial) -> None:
    trial.create("lead:1", {"name": "Ada"})
    child = trial.up("--until-idle", strikes=[held_at_the_gate(trial, 1)])
    child.wait(PATIENCE)
    child.kill()
    trial.rest(PATIENCE)


def _approved_over_an_edit(trial: Trial) -> None:
    worked_on(trial)
    trial.edit("lead:2", grade="Z")
    trial.revops("review", "approve", "--all", "--agent", "scoring", bugs=()).wait()
    trial.rest(PATIENCE)


def _rolled_back_over_an_edit(trial: Trial) -> None:
    worked_on(trial)
    trial.edit("lead:1", industry="tin")
    trial.roll_back("--agent", "enrichment")
    trial.rest(PATIENCE)


def _two_controllers(trial: Trial) -> None:
    """One is stopped right before it commits; another takes over and ends the work; the first one wakes up."""
    two_leads(trial)
    first = trial.up()
    trial.proxy.begin(Strike(12, "call", then=lambda: first.signal(signal.SIGSTOP)))
    until(lambda: trial.proxy.strikes[0].fired, "the first one is stopped")
    trial.note("struck", how="stop")
    second = trial.revops("up", "--no-web", "--until-idle")
    second.wait(PATIENCE)
    first.signal(signal.SIGCONT)
    first.wait(3)
    first.kill()
    trial.rest(PATIENCE)


def _a_late_result(trial: Trial) -> None:
    """The answer of an attempt that is over comes again, with other values."""
    worked_on(trial)
    run = next(
        run for run in trial.evidence().all("run") if run["workflow"] == "new_lead" and run["record"] == "lead:1"
    )
    answer = {"values": {"industry": "tin", "size": 9}, "confidence": {"industry": 0.9, "size": 0.9}, "because": ""}
    data = {"step": "enrichment", "agent": "enrichment", "attempt": 0, "outcome": "done", "proposals": [answer]}
    trial.push(Event("late", "step.finished", "lead:1", "host", 0.0, data, run=run["id"]))
    trial.rest(PATIENCE)


def _more_comes_meanwhile(trial: Trial) -> None:
    two_leads(trial)
    more = Strike(4, "call", "commit", then=lambda: trial.emit("ping-2", "lead.pinged", "lead:1"))
    trial.struck(more, PATIENCE)


def _slot_that_is_cut_off(trial: Trial) -> None:
    """Down over two mornings; killed when the first of them has been told."""
    trial.create("lead:1", {"name": "Ada"})
    trial.rest(PATIENCE)
    since = time.time()
    trial.shift_clock(days=2)
    trial.spec["slots"] = {"review": mornings(since, time.time() + trial.clock)}
    trial.struck(Strike(1, "kill after", "fire"), PATIENCE)


def mornings(since: float, until: float) -> list[str]:
    """Six o'clock in Berlin on each day in between, in UTC."""
    day = datetime.fromtimestamp(since, ZoneInfo("Europe/Berlin")).date()
    found = []
    while True:
        at = datetime.combine(day, clock(6), ZoneInfo("Europe/Berlin")).astimezone(UTC)
        if at.timestamp() > until:
            return found
        if at.timestamp() > since:
            found.append(at.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        day += timedelta(days=1)


def _many_that_fail(trial: Trial) -> None:
    trial.create("lead:1", {"name": "fails"})
    for number in range(4):
        trial.emit(f"ping-{number}", "lead.pinged", "lead:1")
    child = trial.up()
    until(lambda: _breaker_opened(trial), "the breaker has opened")
    for number in range(4, 16):
        trial.emit(f"ping-{number}", "lead.pinged", "lead:1")
    until(lambda: trial.runs_started() >= 17, "all of them have been looked at")
    until(lambda: not trial.jobs_left(), "nothing is called any more")
    child.kill()


def _breaker_opened(trial: Trial) -> bool:
    with trial.redis.client() as client:
        return any(b'"breaker.opened"' in entry[b"a"] for _, entry in client.xrange("revops:audit"))


def _two_decisions(trial: Trial) -> None:
    worked_on(trial)
    (item,) = trial.evidence().all("review")
    for number, decision in enumerate(("approve", "reject")):
        data = {"review": item["id"], "decision": decision, "by": "pat", "values": None, "note": ""}
        trial.push(Event(f"decision-{number}", "review.decided", item["record"], "cli", 0.0, data))
    trial.rest(PATIENCE)


def _hostile_text(trial: Trial) -> None:
    trial.create("lead:1", {"name": "\x1b]0;owned\x07Ada"})
    trial.rest(PATIENCE)
    trial.revops("record", "view", "lead:1").wait()


PATIENCE = 8.0
MORNINGS: dict[str, Any] = {"extra": FANOUT}

PLANTS: dict[str, Plant] = {
    "call_then_record": Plant(("I5", "I14"), _struck("kill before", "gate")),
    "record_then_call": Plant(("I5",), _at_crm("kill before")),
    "blind_retry": Plant(("I4", "I14"), _at_crm("error after"), kind="plain"),
    "no_settle": Plant(("I4",), _at_crm("late", seconds=0.15), kind="plain"),
    "counted_after_the_call": Plant(("I8",), _one_lead_killed, options={"budget": 1}),
    "hold_forgotten_at_the_gate": Plant(("I8",), _held),
    "approved_without_a_look": Plant(("I6",), _approved_over_an_edit),
    "rolled_back_without_a_look": Plant(("I6", "I7"), _rolled_back_over_an_edit),
    "no_fence": Plant(("I3", "I12", "I2", "I11", "I14"), _two_controllers),
    "default_retry": Plant(("I12",), _struck("reply lost", "commit", 4)),
    "published_only": Plant(("I1",), _rest),
    "known_ids_forgotten": Plant(("I2",), _struck("kill before", "SET revops:poll")),
    "cursor_ahead": Plant(("I1", "I3"), _more_comes_meanwhile),
    "context_in_a_second_step": Plant(("I11",), _struck("kill before", "v:industry")),
    "any_attempt_counts": Plant(("I3",), _a_late_result),
    "recovery_forgotten": Plant(("I3",), _struck("kill before", "finish")),
    "echo_unknown": Plant(("I2",), _rest),
    "slots_without_compare": Plant(("I9",), _slot_that_is_cut_off, options=MORNINGS),
    "unsure_is_sure_enough": Plant(("I8",), _rest),
    "breaker_not_asked": Plant(("I13",), _many_that_fail, unfinished=True),
    "undeclared_is_taken": Plant(("I8",), _rest),
    "decided_twice": Plant(("I10",), _two_decisions),
    "seal_skipped": Plant(("I12",), _rest),
    "audit_forgotten": Plant(("I12",), _rest),
    "notices_again": Plant(("I16",), _rest),
    "text_as_it_comes": Plant(("I15",), _hostile_text),
    "keys_for_ever": Plant(("I15",), _rest),
}
