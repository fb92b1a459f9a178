"""How the states of many parts sum up, and who belongs to which group."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import Run, RunState, Step, StepState, Trigger
from revops_lite.rules import fanout
from revops_lite.values import replace

TRIGGER = Trigger("e", "t", "cli", 0.0)
NAMES = ("inspect", "forecast")
STEPS = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(StepState), st.none() | st.just(5.0)))
VERSIONS = st.tuples(STEPS, st.sampled_from(RunState))
HISTORIES = st.lists(st.tuples(st.booleans(), st.lists(VERSIONS, min_size=1, max_size=4)), max_size=6)


def part(number: int, group: bool, version: tuple[dict[str, Any], RunState]) -> Run:
    steps = {name: Step(name, name, state=state, due=due) for name, (state, due) in version[0].items()}
    members = ("deal:1",) if group else ()
    return Run(f"r.{number}", "w", f"deal:{number}", TRIGGER, 0.0, steps, version[1], part_of="r", members=members)


def counted(parts: list[Run]) -> dict[str, dict[str, int]]:
    tally: dict[str, dict[str, int]] = {}
    for one in parts:
        tally = fanout.tallied(tally, fanout.moves(None, one))
    return tally


def full(tally: fanout.Tally) -> dict[str, dict[str, int]]:
    return {row: dict(counts) for row, counts in tally.items() if counts}


@given(HISTORIES)
def test_moves_lead_to_what_a_count_finds_whatever_the_parts_went_through(histories: Any) -> None:
    tally: dict[str, dict[str, int]] = {}
    last = []
    for number, (group, versions) in enumerate(histories):
        before = None
        for version in versions:
            after = part(number, group, version)
            tally = fanout.tallied(tally, fanout.moves(before, after))
            before = after
        assert before is not None
        last.append(before)
    assert full(tally) == full(counted(last))
    assert all(number > 0 for counts in tally.values() for number in counts.values())
    assert fanout.records(tally)["total"] == sum(not one.members for one in last)
    assert fanout.open_(tally) == any(one.state in ("running", "waiting") for one in last)
    assert fanout.held(tally) == any(one.state == "held" for one in last)
    assert fanout.under_way(tally) == sum(one.state in ("running", "waiting") and not one.members for one in last)


@given(VERSIONS, VERSIONS)
def test_moving_there_and_back_moves_nothing(one: Any, other: Any) -> None:
    a, b = part(1, False, one), part(1, False, other)
    tally = counted([a])
    there = fanout.tallied(tally, fanout.moves(a, b))
    assert full(fanout.tallied(there, fanout.moves(b, a))) == full(tally)
    assert fanout.moves(a, a) == {}
    assert fanout.moves(a, replace(a, note="another")) == {}


def test_a_step_behind_a_quarantined_one_waits_for_the_same_person() -> None:
    states = {"inspect": (StepState.QUARANTINED, None), "forecast": (StepState.PENDING, None)}
    assert full(counted([part(1, False, (states, RunState.HELD))])) == {
        "inspect": {"quarantined": 1},
        "forecast": {"quarantined": 1},
        "records": {"held": 1},
    }
    due = {"inspect": (StepState.QUARANTINED, None), "forecast": (StepState.PENDING, 5.0)}
    assert counted([part(1, False, (due, RunState.HELD))])["forecast"] == {"pending": 1}


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({}, "skipped"),
        ({"skipped": 3}, "skipped"),
        ({"pending": 1}, "running"),
        ({"pending": 1, "done": 5}, "running"),
        ({"running": 1, "parked": 5, "failed": 1}, "running"),
        ({"pending": 2, "parked": 1}, "parked"),
        ({"parked": 1, "done": 5, "quarantined": 1}, "parked"),
        ({"done": 1, "failed": 9, "quarantined": 9, "skipped": 1}, "done"),
        ({"quarantined": 1, "failed": 9, "skipped": 9}, "quarantined"),
        ({"failed": 1, "skipped": 9}, "failed"),
    ],
)
def test_a_step_of_the_whole_is_what_its_parts_make_it(counts: dict[str, int], state: str) -> None:
    step = fanout.summed(Step("inspect", "inspect"), counts, 7.0)
    assert step.state == state
    assert step.attempt == 1
    assert step.started_at == 7.0
    assert step.finished_at == (None if state in ("running", "parked") else 7.0)
    assert fanout.summed(step, counts, 9.0) is step, "what has not changed keeps its times"


@given(st.dictionaries(st.sampled_from(StepState), st.integers(0, 3)), st.sampled_from(StepState))
def test_a_step_has_an_end_only_where_no_part_is_at_work(counts: dict[StepState, int], before: StepState) -> None:
    at_work = any(counts.get(state) for state in (StepState.PENDING, StepState.RUNNING, StepState.PARKED))
    started = None if before is StepState.PENDING else 1.0
    ended = None if before in (StepState.PENDING, StepState.RUNNING, StepState.PARKED) else 2.0
    step = fanout.summed(Step("s", "s", state=before, started_at=started, finished_at=ended), counts, 7.0)
    assert (step.finished_at is None) == at_work
    assert step.started_at is not None


@pytest.mark.parametrize(
    ("related", "values", "field", "group"),
    [
        ({"owner": ("owner:7", "owner:8")}, {"owner": "ben"}, None, "owner:7"),
        ({"owner": ()}, {"owner": "ben"}, None, "owner:ben"),
        ({}, {"hubspot_owner_id": 7, "owner": "ben"}, "hubspot_owner_id", "owner:7"),
        ({}, {"owner": "  ben "}, None, "owner:ben"),
        ({}, {"owner": ""}, None, "owner:none"),
        ({}, {"owner": " "}, None, "owner:none"),
        ({}, {"owner": None}, None, "owner:none"),
        ({}, {"owner": "ben"}, "hubspot_owner_id", "owner:none"),
        ({}, {}, None, "owner:none"),
        ({}, {"owner": 0}, None, "owner:0"),
    ],
)
def test_a_group_is_named_by_what_its_records_point_at(
    related: dict[str, tuple[str, ...]], values: dict[str, object], field: str | None, group: str
) -> None:
    assert fanout.group_of("owner", related, values, field) == group
