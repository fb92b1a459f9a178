"""Who waits for a review item, and how they go on once it is closed: decided, expired, or needless.

Several may wait for one item, since the same open question is asked once. They are found by the record it is about,
whose context names the runs that work on it. Whoever closes an item need not know of them: `go_on` is the end of every
decision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from revops_lite.engine import ids, steps
from revops_lite.engine.state import Draft
from revops_lite.models import OpenRun, Review, ReviewState, Run, Step, StepState
from revops_lite.values import replace

# ---- who waits ---------------------------------------------------------------------------------------------------


def wait_for(draft: Draft, run: Run, items: tuple[str, ...]) -> Run:
    """The run, waiting for these items from now on and for no others.

    Where they are about another record than its own (an included one), that record names it, too, for as long.
    """
    before, after = _elsewhere(draft, run, run.waits_for), _elsewhere(draft, run, items)
    for record in sorted(before ^ after):
        context = draft.context(record)
        named = {id_: other for id_, other in context.runs.items() if id_ != run.id}
        if record in after:
            named[run.id] = OpenRun(run.workflow, run.deadline_at, draft.now)
        draft.put(replace(context, runs=named))
    return replace(run, waits_for=items)


def _elsewhere(draft: Draft, run: Run, items: tuple[str, ...]) -> set[str]:
    draft.need("review", items)
    return {item.record for id_ in items if (item := draft.review(id_)) is not None} - {run.record}


def know(draft: Draft, items: Collection[Review]) -> None:
    """Load the runs that may have asked these items: all at once, or each that is missing means deciding again."""
    draft.need("context", {item.record for item in items if item.field is not None})
    draft.need("run", {id_ for item in items for id_ in _named(draft, item)})


def askers(draft: Draft, item: Review) -> Iterator[Run]:
    """The run that asked this item first, whatever became of it, and the open ones that asked the same."""
    for id_ in _named(draft, item):
        run = draft.run(id_)
        if run is not None and (run.id == item.run or item.id in run.reviews):
            yield run


def _named(draft: Draft, item: Review) -> list[str]:
    """A whole step is asked about by its own run alone; a value, by any run that works on the record."""
    first = [item.run] if item.run else []
    others = [] if item.field is None else [id_ for id_ in draft.context(item.record).runs if id_ != item.run]
    return first + others


def still_waits(draft: Draft, run: Run, step: Step) -> bool:
    draft.need("review", run.waits_for)
    items = (draft.review(id_) for id_ in run.waits_for)
    return any(item is not None and item.state is ReviewState.PENDING and _of(run, step, item) for item in items)


def _of(run: Run, step: Step, item: Review) -> bool:
    """Whether the item came of this step's answer. A value may have been asked about by another step, or run, before:
    then nothing but the step's own write, whose id is derived, tells that it wanted the same."""
    if item.field is None:
        return item.step == step.name
    write = ids.write_id(run.id, step.name, str(step.attempt), item.record, item.field)
    return item.agent == step.agent and write in run.writes


# ---- how they go on ----------------------------------------------------------------------------------------------


def go_on(draft: Draft) -> None:
    """Every run that waits for an item which this decision has closed goes on."""
    know(draft, draft.closed.values())
    while draft.closed:
        _, item = draft.closed.popitem()
        for run in askers(draft, item):
            if item.id in run.waits_for:
                _resume(draft, run, item)


def _resume(draft: Draft, run: Run, item: Review) -> None:
    """A step ends with the last item it waited for: done, or, where it was stopped as a whole, without output."""
    run = wait_for(draft, run, tuple(other for other in run.waits_for if other != item.id))
    for step in run.steps.values():
        if step.state is not StepState.QUARANTINED or not _of(run, step, item) or still_waits(draft, run, step):
            continue
        if item.field is None:
            run = steps.put_step(draft, run, replace(step, state=StepState.SKIPPED, finished_at=draft.now))
        else:
            run = steps.complete(draft, run, step)
    draft.put(run)
    steps.advance(draft, run)
