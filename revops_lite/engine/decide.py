"""Which handler answers which event. Everything else about an event stands in its handler."""

from __future__ import annotations

from collections.abc import Callable

from revops_lite.engine import alarms, answers, breakers, fanout, jobs, reviews, rollback, runs, trail, waits, writes
from revops_lite.engine.state import Changes, Draft, State
from revops_lite.models import Event
from revops_lite.policy import Rulebook

HANDLERS: dict[str, Callable[[Draft], None]] = {
    "record.loaded": runs.loaded,
    "record.missing": runs.missing,
    "records.swept": fanout.swept,
    "sweep.ended": fanout.sweep_ended,
    "run.cancelled": runs.cancelled,
    "run.retried": runs.retried,
    "step.finished": answers.finished,
    "step.late": answers.late,
    "job.refused": answers.refused,
    "step.continued": answers.continued,
    "write.sending": writes.sending,
    "write.applied": writes.applied,
    "write.failed": writes.failed,
    "write.deferred": writes.deferred,
    "write.doubted": writes.doubted,
    "write.conflicted": writes.conflicted,
    "write.stopped": writes.stopped,
    "notice.sent": writes.notice_sent,
    "notice.failed": writes.notice_failed,
    "review.decided": reviews.decided,
    "hold.placed": reviews.hold_placed,
    "hold.released": reviews.hold_released,
    "rollback.requested": rollback.requested,
    "breaker.opened": breakers.opened_by_hand,
    "breaker.reset": breakers.reset_by_hand,
    "audit.anchored": trail.anchored,
    "audit.alarm": trail.alarm,
    "digest.due": reviews.digest,
    "cron.fired": runs.fired,
    "event.unreadable": runs.unreadable,
    "timer.due": alarms.due,
    "workflow.started": runs.started_by_hand,
}

RESERVED = frozenset(HANDLERS)  # types that only the program itself may send


def decide(state: State, rulebook: Rulebook, event: Event, now: float) -> Changes:
    """What this event changes. Pure: the same arguments give the same changes.

    Raises Missing where a document has to be loaded first; nothing has happened then.
    """
    draft = Draft(state, rulebook, event, now)
    HANDLERS.get(event.type, runs.triggered)(draft)
    waits.go_on(draft)
    fanout.settle(draft)
    draft.changes.jobs += jobs.together(draft)
    return draft.changes
