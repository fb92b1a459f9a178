"""Flow: which steps of a run may start, which never will, and what the run as a whole is doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

from revops_lite.models import RunState, Step, StepState


def ready(steps: Mapping[str, Step]) -> list[str]:
    """Names of the pending steps that may start now: everything they follow has ended well. In declaration order."""
    return [
        name
        for name, step in steps.items()
        if step.state is StepState.PENDING and step.due is None and all(_ended_well(steps.get(n)) for n in step.after)
    ]


def doomed(steps: Mapping[str, Step]) -> list[str]:
    """Names of the pending steps that can never start, in declaration order.

    Something they follow, directly or through other pending steps, has failed and is not optional (or is not there).
    """
    lost = {name for name, step in steps.items() if step.state is StepState.FAILED and not step.optional}
    failed = frozenset(lost)
    grown = True
    while grown:
        before = len(lost)
        lost |= {
            name
            for name, step in steps.items()
            if step.state is StepState.PENDING and any(n in lost or n not in steps for n in step.after)
        }
        grown = len(lost) > before
    return [name for name in steps if name in lost and name not in failed]


def run_state(steps: Mapping[str, Step], effects: Sequence[str], waits_for: Sequence[str], loaded: bool) -> RunState:
    """What a run is doing, or how it ended. The first line that applies:

    ======== ============================================================================================
    running  its records are not loaded; a step runs; a step may start and no review item stops the run
    held     a step is quarantined, or a review item stops the run: a person has to act
    waiting  a step is parked, a retry is due later, or a side effect (`effects`) is unconfirmed
    failed   a step that is not optional failed, or pending steps are left that nothing can start any more
    finished everything ended
    ======== ============================================================================================

    So `held` comes before `waiting`: what comes by itself comes anyway, the person has to be told. And while any
    step can still be worked on, a failure elsewhere in the graph does not end the run. Cancelled and rolled-back
    runs are the caller's business: this function never answers so.
    """
    states = {step.state for step in steps.values()}
    if not loaded or StepState.RUNNING in states or (not waits_for and ready(steps)):
        return RunState.RUNNING
    if waits_for or StepState.QUARANTINED in states:
        return RunState.HELD
    pending = [step for step in steps.values() if step.state is StepState.PENDING]
    if effects or StepState.PARKED in states or any(step.due is not None for step in pending):
        return RunState.WAITING
    if pending or any(step.state is StepState.FAILED and not step.optional for step in steps.values()):
        return RunState.FAILED
    return RunState.FINISHED


def cycle(after: Mapping[str, Sequence[str]]) -> list[str] | None:
    """A cycle in "step -> the steps it follows", as names of which each is followed by the next; None without one.

    The first name is repeated at the end: ["a", "b", "a"].
    """
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        return names
    return None


def concurrent(steps: Mapping[str, Step], name: str) -> frozenset[str]:
    """The steps that neither lead to this one nor follow it: nobody says which of them speaks first."""
    if len(steps) == 1:
        return frozenset()
    return _concurrent(tuple((other, step.after) for other, step in steps.items()), name)


@lru_cache(maxsize=1024)  # asked for every value; an installation has a few graphs
def _concurrent(graph: tuple[tuple[str, tuple[str, ...]], ...], name: str) -> frozenset[str]:
    after = dict(graph)
    before = _leading_to(after, name)
    return frozenset(
        other for other in after if other != name and other not in before and name not in _leading_to(after, other)
    )


def _leading_to(after: Mapping[str, Sequence[str]], name: str) -> set[str]:
    found: set[str] = set()
    ahead = list(after.get(name, ()))
    while ahead:
        step = ahead.pop()
        if step not in found and step in after:
            found.add(step)
            ahead += after[step]
    return found


def _ended_well(step: Step | None) -> bool:
    if step is None:
        return False
    return step.state in (StepState.DONE, StepState.SKIPPED) or (step.state is StepState.FAILED and step.optional)
