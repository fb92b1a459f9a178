"""What the controller is told about a job that ended: `step.finished`, with one result or with one for each record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from revops_lite.engine.ids import run_of
from revops_lite.models import Event, Job


def result(
    outcome: str,
    *,
    error: str = "",
    proposals: Sequence[dict[str, object]] = (),
    problems: Sequence[str] = (),
    after: float | None = None,
    elapsed_ms: float = 0.0,
    tries: int = 1,
) -> dict[str, Any]:
    """How one call ended."""
    return {
        "outcome": outcome,
        "proposals": list(proposals),
        "error": error,
        "problems": list(problems),
        "after": after,
        "elapsed_ms": round(elapsed_ms, 3),
        "tries": tries,
    }


def step_finished(job: Job, now: float, **ended: Any) -> Event:
    """Of a job with one call: what `result` takes. Its id is the job's turn, so a second one is known as the same."""
    data = {"step": job.step, "attempt": job.attempt, "agent": job.agent, **result(**ended)}
    return _event(f"{job.run}|{job.step}|{job.attempt}|finished", job, now, data)


def calls_of(job: Job) -> list[dict[str, Any]] | None:
    """The records of a job with many, each a snapshot with what it is `about`; None for a job with one call."""
    return job.snapshot.get("each")


def steps_finished(job: Job, now: float, results: Sequence[dict[str, Any]]) -> Event:
    """Of a job with many calls: `results` are theirs, each with what it is about."""
    data = {"agent": job.agent, "job": job.id, "results": list(results)}
    return _event(f"{job.id}|finished", job, now, data)


def endless(job: Job, now: float, outcome: str, error: str = "", *, turn: str = "finished") -> Event:
    """Of a job that nobody brought to its end: all its calls have this outcome."""
    calls = calls_of(job)
    if calls is None:
        event = step_finished(job, now, outcome=outcome, error=error)
    else:
        others = {"others": True} if len(calls) > 1 else {}
        event = steps_finished(
            job, now, [{**call["about"], **result(outcome, error=error), **others} for call in calls]
        )
    return Event(
        event.id.removesuffix("finished") + turn,
        event.type,
        event.subject,
        event.source,
        now,
        event.data,
        run=event.run,
    )


def job_refused(job_id: str, execution: str, now: float, why: str) -> Event:
    """Of what lay in the queue and is no job of ours: it was not called, and somebody has to hear of it."""
    data = {"job": job_id, "error": why}
    return Event(f"{job_id}|{execution}|refused", "job.refused", f"job:{job_id}", "host", now, data, run=run_of(job_id))


def _event(id_: str, job: Job, now: float, data: dict[str, Any]) -> Event:
    return Event(id_, "step.finished", job.record, "host", now, data, run=job.run)
