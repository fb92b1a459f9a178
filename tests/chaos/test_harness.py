"""The harness itself: that it strikes, that its checker notices, and that an undisturbed scene is clean.

All of it runs by `scripts/chaos quick`; here is one of each kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

import plants
import sweep
from boundary_proxy import HOWS, Strike
from checker import CHECKS, check
from nursery import Nursery
from scenes import LEADS
from sweep import KINDS, Point
from trial import Trial

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def nursery(program: object) -> Iterator[Nursery]:
    del program  # without a server there is nothing to kill
    with Nursery() as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_an_undisturbed_scene_is_clean_and_writes(nursery: Nursery, kind: str) -> None:
    found, outcome = sweep.count(nursery, LEADS, kind)
    assert outcome.violations == []
    assert outcome.writes == 5
    assert found["redis"] > 40
    assert found["write"] == 3


@pytest.mark.parametrize(
    ("side", "at", "how"),
    [
        ("redis", 20, "kill before"),
        ("redis", 40, "kill after"),
        ("redis", 25, "reply lost"),
        ("write", 1, "kill after"),
        ("write", 2, "hang after"),
        ("read", 2, "edit"),
    ],
)
def test_a_strike_fires_and_what_is_left_is_whole(nursery: Nursery, side: str, at: int, how: str) -> None:
    outcome = sweep.strike(nursery, Point(LEADS, KINDS[at % 3], side, at, how))
    assert outcome.fired
    assert outcome.violations == []
    assert outcome.writes >= 4


@pytest.mark.parametrize("bug", ["call_then_record", "published_only", "text_as_it_comes"])
def test_a_planted_bug_is_found_and_without_it_nothing(nursery: Nursery, bug: str) -> None:
    assert plants.play(nursery, bug, planted=False) == []
    assert {one.invariant for one in plants.play(nursery, bug, planted=True)} & set(plants.PLANTS[bug].found)


def test_each_planted_bug_names_invariants_that_there_are() -> None:
    from planted import BUGS

    assert BUGS.keys() == plants.PLANTS.keys()
    assert len(BUGS) >= 20
    assert {name for plant in plants.PLANTS.values() for name in plant.found} <= CHECKS.keys()


def test_a_cut_connection_is_no_crash(nursery: Nursery) -> None:
    with Trial(nursery, "keyed") as trial:
        trial.create("lead:1", {"name": "Ada"})
        child = trial.up("--until-idle", strikes=[Strike(at, "half a reply", "commit") for at in (3, 5)])
        assert child.wait() == 0
        assert trial.proxy.fired == Counter({"half a reply": 2})
        assert trial.rest()
        assert check(trial.evidence()) == []


def test_a_strike_of_no_kind_is_refused() -> None:
    with pytest.raises(AssertionError):
        Strike(1, "explode")
    assert len(set(HOWS)) == len(HOWS)
