"""Rollback as a rule: what goes back where, and what cannot."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import Write, WriteState
from revops_lite.rules.rollback import plan


def write(number: int, before: Any, after: Any, at: float = 1.0, field: str = "f") -> Write:
    return Write(f"w{number}", "lead:1", field, before, after, "agent", 0.9, "r1", WriteState.APPLIED, at)


CASES = {
    "one write goes back": ([(None, "a")], "a", {"f": None}, []),
    "a chain goes back to its beginning": ([("x", "a"), ("a", "b"), ("b", "c")], "c", {"f": "x"}, []),
    "a person's value stays": ([("x", "a")], "mine", {}, ["w0"]),
    "only what is on top of a foreign write goes back": ([("x", "a"), ("y", "b")], "b", {"f": "y"}, ["w0"]),
    "back where it came from needs no call": ([("x", "a"), ("a", "x")], "x", {"f": "x"}, []),
    "true is not one": ([(None, 1)], True, {}, ["w0"]),
    "a cleared field is a change": ([("x", "a")], None, {}, ["w0"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_goes_back(name: str) -> None:
    pairs, standing, targets, lost = CASES[name]
    writes = [write(n, before, after, at=float(n)) for n, (before, after) in enumerate(pairs)]
    reverts, left = plan(writes, {"f": standing})
    assert {revert.field: revert.target for revert in reverts} == targets
    assert [one.id for one in left] == lost


def test_fields_are_independent() -> None:
    writes = [write(0, "x", "a", field="f"), write(1, "y", "b", field="g")]
    reverts, lost = plan(writes, {"f": "a", "g": "changed"})
    assert [(revert.field, revert.target) for revert in reverts] == [("f", "x")]
    assert [one.id for one in lost] == ["w1"]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.randoms())
def test_a_whole_chain_goes_back_however_it_is_listed_and_timed(values: list[int], random: Any) -> None:
    """Writes of one batch share their time: the chain itself tells the order, as far as values tell it apart."""
    steps = [(a, b) for a, b in pairwise(values) if a != b]
    writes = [write(n, before, after, at=float(n)) for n, (before, after) in enumerate(steps)]
    random.shuffle(writes)
    reverts, lost = plan(writes, {"f": steps[-1][1] if steps else values[0]})
    assert not lost
    assert [revert.target for revert in reverts] == ([steps[0][0]] if steps else [])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), max_size=6), st.integers(0, 2))
def test_every_write_is_either_undone_or_told(rows: list[tuple[int, int, int]], standing: int) -> None:
    writes = [write(n, before, after, at=float(at)) for n, (before, after, at) in enumerate(rows)]
    reverts, lost = plan(writes, {"f": standing})
    undone = [id_ for revert in reverts for id_ in revert.undoes]
    assert sorted(undone + [one.id for one in lost]) == sorted(one.id for one in writes)
