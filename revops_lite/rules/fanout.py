"""Fan-out: how the states of many parts sum up to those of the whole's steps, and which part belongs to which group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from revops_lite.models import Run, RunState, Step, StepState
from revops_lite.values import replace

RECORDS, GROUPS = "records", "groups"  # the rows of a tally that count parts by their own state

UNDER_WAY = (StepState.PENDING, StepState.RUNNING, StepState.PARKED)

Moves = dict[tuple[str, str], int]  # (a step, "records" or "groups"; a state) -> how many parts more, or less
Tally = Mapping[str, Mapping[str, int]]


def whole(run: str) -> str:
    """The run that users know: of a part's id, that of the fan-out it belongs to."""
    return run.partition(".")[0]


def moves(before: Run | None, after: Run) -> Moves:
    """What a part's new version changes in the tally of its whole; `before` is None for a new part."""
    if before is not None and before.steps is after.steps and before.state is after.state:
        return {}
    found: Moves = {}
    for part, by in ((before, -1), (after, 1)):
        for place in _places(part) if part is not None else ():
            found[place] = found.get(place, 0) + by
    return {place: by for place, by in found.items() if by}


def _places(part: Run) -> Iterator[tuple[str, str]]:
    """Where a part counts: once in the row of each of its steps, and once among the records or the groups.

    A step that waits behind a quarantined one counts as that: nobody but a person moves it. One that was under way
    when its part was cancelled counts as skipped: nothing moves it.
    """
    held, stopped = part.state is RunState.HELD, part.state in (RunState.CANCELLED, RunState.ROLLED_BACK)
    for step in part.steps.values():
        if held and step.state is StepState.PENDING and step.due is None:
            yield step.name, StepState.QUARANTINED
        elif stopped and step.state in UNDER_WAY:
            yield step.name, StepState.SKIPPED
        else:
            yield step.name, step.state
    yield GROUPS if part.members else RECORDS, part.state


def tallied(tally: Tally, by: Moves) -> dict[str, dict[str, int]]:
    """The tally after these moves; states that nobody is in are left out."""
    new = {row: dict(counts) for row, counts in tally.items()}
    for (row, state), number in by.items():
        counts = new.setdefault(row, {})
        counts[state] = counts.get(state, 0) + number
        if not counts[state]:
            del counts[state]
    return new


def summed(step: Step, counts: Mapping[str, int], now: float) -> Step:
    """A step of the whole as its parts make it.

    Some work on it: running. All who are left wait for its agent: parked. All ended: done where one is, whatever
    became of the others (the tally tells); else quarantined, failed or skipped.
    """
    state = _state(counts)
    if state is step.state:
        return step
    started = step.started_at if step.started_at is not None or state is StepState.PENDING else now
    ended = None if state in UNDER_WAY else now
    attempt = max(step.attempt, int(started is not None))
    return replace(step, state=state, started_at=started, finished_at=ended, attempt=attempt)


def _state(counts: Mapping[str, int]) -> StepState:
    if counts.get(StepState.RUNNING) or (counts.get(StepState.PENDING) and not counts.get(StepState.PARKED)):
        return StepState.RUNNING
    order = (StepState.PARKED, StepState.DONE, StepState.QUARANTINED, StepState.FAILED)
    return next((state for state in order if counts.get(state)), StepState.SKIPPED)


def open_(tally: Tally) -> bool:
    """Whether a part is still at work, or waits for something that comes by itself."""
    return any(
        tally.get(row, {}).get(state) for row in (RECORDS, GROUPS) for state in (RunState.RUNNING, RunState.WAITING)
    )


def under_way(tally: Tally) -> int:
    """How many records are neither at an end nor before a person."""
    counts = tally.get(RECORDS, {})
    return counts.get(RunState.RUNNING, 0) + counts.get(RunState.WAITING, 0)


def held(tally: Tally) -> bool:
    """Whether a part waits for a person."""
    return any(tally.get(row, {}).get(RunState.HELD) for row in (RECORDS, GROUPS))


def records(tally: Tally, expected: int = 0) -> dict[str, int]:
    """{total done failed held} of a fan-out's records; `expected` are those of its sweep.

    Those under way, to come, or cancelled, are in the total alone.
    """
    counts = tally.get(RECORDS, {})
    return {
        "total": max(expected, sum(counts.values())),
        "done": counts.get(RunState.FINISHED, 0) + counts.get(RunState.ROLLED_BACK, 0),
        "failed": counts.get(RunState.FAILED, 0),
        "held": counts.get(RunState.HELD, 0),
    }


def group_of(by: str, related: Mapping[str, tuple[str, ...]], values: Mapping[str, object], field: str | None) -> str:
    """The name of the group a record belongs to: the record it is related to by that role, else what the field says
    (`field`, or the one that is called as the role), else nobody's ("owner:none")."""
    if found := related.get(by):
        return found[0]
    told = values.get(field or by)
    text = "" if told is None else str(told).strip()
    return f"{by}:{text or 'none'}"
