"""Alarms: what the controller's own timers are for."""

from __future__ import annotations

from revops_lite.engine import effects, fanout, ids, steps
from revops_lite.engine.state import Draft
from revops_lite.models import OutNotice, ReviewState, RunState, StepState, Touch
from revops_lite.values import replace

UNPARKED_AT_ONCE = 100


def due(draft: Draft) -> None:
    """`timer.due`: the controller's own alarm; its name says what for."""
    name = str(draft.event.data["timer"])
    draft.timer(name, None)
    what, _, rest = name.partition("|")
    match what:
        case "deadline":
            _deadline(draft, rest)
        case "retry":
            _retry(draft, rest)
        case "probe" | "unpark":
            _unpark(draft, rest, 1 if what == "probe" else UNPARKED_AT_ONCE)
        case "parts":
            fanout.walked(draft, rest)
        case "expire":
            _expire(draft, rest)
        case "release":
            _release(draft, rest)
        case _:
            draft.audit("timer.unknown", note=name)


def _deadline(draft: Draft, run_id: str) -> None:
    run = draft.run(run_id)
    if run is None or run.state in steps.ENDED:
        return
    draft.put(replace(run, deadline_missed=True))
    draft.audit("deadline.missed", record=run.record, run=run.id)
    if run.state is RunState.HELD:
        return  # a person is being waited for, and has been told
    key = f"deadline|{run.id}"
    subject, body = f"Deadline missed: {run.workflow} on {run.record}", f"Run {run.id} is still {run.state}."
    draft.put(OutNotice(ids.notice_id(key), key, draft.rulebook.ops_channel, subject, body, draft.now, None))


def _retry(draft: Draft, rest: str) -> None:
    run_id, _, name = rest.partition("|")
    run = draft.run(run_id)
    step = run.steps.get(name) if run else None
    if run is None or step is None or run.state in steps.ENDED or step.state is not StepState.PENDING:
        return
    run = steps.put_step(draft, run, replace(step, due=None))
    steps.advance(draft, run)


def _unpark(draft: Draft, agent: str, at_most: int) -> None:
    """Parked steps try their agent again; where it lets none through they stay parked."""
    waiting = draft.parked(agent)
    begun = False
    draft.need("run", [key.partition("|")[0] for key in waiting[:at_most]])
    runs = [draft.run(key.partition("|")[0]) for key in waiting[:at_most]]
    # All at once: what is found missing one by one is decided again from the start each time.
    draft.need("context", [record for run in runs if run is not None for record in steps.concerned(run)])
    for key in waiting[:at_most]:
        run_id, _, name = key.partition("|")
        run = draft.run(run_id)
        if run is None or run.state in steps.ENDED or run.steps[name].state is not StepState.PARKED:
            draft.changes.parked[key] = (agent, False)
            continue
        run = steps.advance(draft, steps.begin(draft, run, run.steps[name]))
        if run.steps[name].state is StepState.PARKED:
            return
        begun = begun or run.steps[name].state is StepState.RUNNING
    if len(waiting) > at_most and (at_most > 1 or not begun):
        draft.timer(f"{'unpark' if at_most > 1 else 'probe'}|{agent}", draft.now)


def _release(draft: Draft, rest: str) -> None:
    """A hold has come to its end date."""
    record, _, field = rest.rpartition("|")
    hold = draft.holds(record).get(field)
    if hold is not None and hold.until is not None and hold.until <= draft.now:
        draft.changes.holds[record, field] = None
        draft.audit("hold.released", who="clock", record=record, field=field, note="its end date has come")


def _expire(draft: Draft, review_id: str) -> None:
    item = draft.review(review_id)
    if item is None or item.state is not ReviewState.PENDING:
        return
    effects.close(draft, item, "clock", "nobody has decided it in time")
    draft.touch(item.record, Touch(draft.now, item.agent, item.run, "review.expired", note=item.reason))
