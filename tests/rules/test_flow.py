"""Which steps may start, which never will, and what a run is doing."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import RunState, Step, StepState
from revops_lite.rules.flow import cycle, doomed, ready, run_state

STATES = {state.value: state for state in StepState}


def graph(*lines: str) -> dict[str, Step]:
    """Steps written as "name state < what it follows", with "?" behind an optional name and "@" for a due retry."""
    steps = {}
    for line in lines:
        head, _, after = line.partition("<")
        name, state = head.split()
        due = 99.0 if state.endswith("@") else None
        plain = name.rstrip("?")
        follows = tuple(after.split())
        steps[plain] = Step(plain, plain, follows, name.endswith("?"), state=STATES[state.rstrip("@")], due=due)
    return steps


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (graph("a pending", "b pending < a"), ["a"]),
        (graph("a done", "b pending < a", "c pending < b"), ["b"]),
        (graph("a skipped", "b pending < a"), ["b"]),
        (graph("a? failed", "b pending < a"), ["b"]),
        (graph("a failed", "b pending < a"), []),
        (graph("a running", "b pending < a"), []),
        (graph("a parked", "b pending < a"), []),
        (graph("a quarantined", "b pending < a"), []),
        (graph("a pending@"), []),
        (graph("c pending < a", "b pending < a", "a done"), ["c", "b"]),
        (graph("a done", "b running", "c pending < a b"), []),
        (graph("a done", "b skipped", "c pending < a b"), ["c"]),
        (graph("a done", "b? failed", "c pending < a b"), ["c"]),
        (graph("a done", "b failed", "c pending < a b"), []),
        (graph("a pending < nowhere"), []),
        ({}, []),
    ],
)
def test_a_step_starts_when_all_it_follows_has_ended_well(steps: Mapping[str, Step], expected: list[str]) -> None:
    assert ready(steps) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (graph("a failed", "b pending < a", "c pending < b"), ["b", "c"]),
        (graph("c pending < b", "b pending < a", "a failed"), ["c", "b"]),
        (graph("a? failed", "b pending < a"), []),
        (graph("a failed", "b? pending < a", "c pending < b"), ["b", "c"]),
        (graph("a failed", "b done", "c pending < a b", "d pending < b"), ["c"]),
        (graph("a failed", "b pending"), []),
        (graph("a failed", "b done < a", "c pending < b"), []),
        (graph("a skipped", "b pending < a"), []),
        (graph("a pending < nowhere", "b pending < a"), ["a", "b"]),
        ({}, []),
    ],
)
def test_a_step_is_doomed_when_something_it_follows_has_failed(steps: Mapping[str, Step], expected: list[str]) -> None:
    assert doomed(steps) == expected


RUNNING, WAITING, HELD = RunState.RUNNING, RunState.WAITING, RunState.HELD
FAILED, FINISHED = RunState.FAILED, RunState.FINISHED
TABLE = [
    ("nothing is loaded", graph("a pending"), (), (), False, RUNNING),
    ("not even with a person's item", graph("a quarantined"), (), ("q",), False, RUNNING),
    ("a step may start", graph("a pending"), (), (), True, RUNNING),
    ("a step runs", graph("a running"), (), (), True, RUNNING),
    ("a step runs beside a quarantined one", graph("a running", "b quarantined"), (), ("q",), True, RUNNING),
    ("a step may start beside a quarantined one", graph("a pending", "b quarantined"), (), (), True, RUNNING),
    ("a step runs beside a failed one", graph("a running", "b failed"), (), (), True, RUNNING),
    ("a step runs beside a parked one", graph("a running", "b parked"), (), (), True, RUNNING),
    ("quarantined", graph("a quarantined", "b pending < a"), (), (), True, HELD),
    ("quarantined and parked: a person comes first", graph("a quarantined", "b parked"), (), (), True, HELD),
    ("quarantined and a write under way", graph("a quarantined"), ("i",), (), True, HELD),
    ("quarantined and failed elsewhere", graph("a quarantined", "b failed"), (), (), True, HELD),
    ("a review item stops what could start", graph("a done", "b pending < a"), (), ("q",), True, HELD),
    ("a review item after the last step", graph("a done"), (), ("q",), True, HELD),
    ("parked", graph("a parked", "b pending < a"), (), (), True, WAITING),
    ("a retry is due", graph("a pending@", "b pending < a"), (), (), True, WAITING),
    ("a write is unconfirmed", graph("a done"), ("i",), (), True, WAITING),
    ("failed, a write is unconfirmed", graph("a failed"), ("i",), (), True, WAITING),
    ("failed, another branch is parked", graph("a failed", "b parked"), (), (), True, WAITING),
    ("failed at the end", graph("a done", "b failed < a"), (), (), True, FAILED),
    ("failed, the rest is doomed", graph("a failed", "b pending < a"), (), (), True, FAILED),
    ("failed, the rest was skipped", graph("a failed", "b skipped < a"), (), (), True, FAILED),
    ("nothing can ever start", graph("a pending < b", "b pending < a"), (), (), True, FAILED),
    ("done", graph("a done", "b done < a"), (), (), True, FINISHED),
    ("skipped", graph("a skipped", "b skipped < a"), (), (), True, FINISHED),
    ("only an optional step failed", graph("a? failed", "b done < a"), (), (), True, FINISHED),
    ("no steps at all", {}, (), (), True, FINISHED),
]


@pytest.mark.parametrize(
    ("steps", "effects", "waits_for", "loaded", "state"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_what_a_run_is_doing(
    steps: Mapping[str, Step], effects: tuple[str, ...], waits_for: tuple[str, ...], loaded: bool, state: RunState
) -> None:
    assert run_state(steps, effects, waits_for, loaded) is state


def test_a_cycle_is_named_in_full() -> None:
    assert cycle({"a": ["b"], "b": ["a"]}) in (["a", "b", "a"], ["b", "a", "b"])
    assert cycle({"a": ["a"]}) == ["a", "a"]
    assert cycle({"a": [], "b": ["a"], "c": ["a", "b"]}) is None
    assert cycle({"a": ["nowhere"]}) is None


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Step]:
    """Acyclic graphs in any mixture of states."""
    steps: dict[str, Step] = {}
    for index in range(draw(st.integers(0, 7))):
        after = draw(st.lists(st.sampled_from(sorted(steps)), max_size=3, unique=True)) if steps else []
        state = draw(st.sampled_from(StepState))
        name = f"s{index}"
        steps[name] = Step(name, name, tuple(after), draw(st.booleans()), state=state)
    return dict(draw(st.permutations(list(steps.items()))))


@given(graphs())
def test_no_step_is_both_ready_and_doomed(steps: dict[str, Step]) -> None:
    assert not set(ready(steps)) & set(doomed(steps))
    assert all(steps[name].state is StepState.PENDING for name in [*ready(steps), *doomed(steps)])


@given(graphs(), st.data())
def test_every_run_ends(steps: dict[str, Step], data: st.DataObject) -> None:
    """Whatever the agents answer: as long as a run is not over something can be done, and it ends by doing it."""
    over = {StepState.DONE, StepState.SKIPPED, StepState.FAILED}
    for _ in range(3 * len(steps) + 1):
        state = run_state(steps, (), (), True)
        if state in (FAILED, FINISHED):
            break
        open_ = [n for n, s in steps.items() if s.state not in over and s.state is not StepState.PENDING]
        name = (open_ + ready(steps))[0]
        answer = data.draw(st.sampled_from(sorted(over)))
        step = steps[name]
        steps[name] = Step(name, name, step.after, step.optional, state=answer)
    assert run_state(steps, (), (), True) in (FAILED, FINISHED)
    failed = any(s.state is StepState.FAILED and not s.optional for s in steps.values())
    assert (run_state(steps, (), (), True) is FAILED) == failed
    assert all(s.state in over for n, s in steps.items() if n not in doomed(steps))


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.sampled_from("abcde"), max_size=3), max_size=5))
def test_a_cycle_that_is_named_is_one(after: dict[str, list[str]]) -> None:
    found = cycle(after)
    if found is None:
        order = {name: Step(name, name, tuple(follows)) for name, follows in after.items()}
        for name in {n for follows in after.values() for n in follows} - set(order):
            order[name] = Step(name, name)
        while pending := ready(order):
            order[pending[0]] = Step(pending[0], pending[0], order[pending[0]].after, state=StepState.DONE)
        assert all(step.state is StepState.DONE for step in order.values())
    else:
        assert found[0] == found[-1]
        assert all(one in after[other] for one, other in pairwise(found))
