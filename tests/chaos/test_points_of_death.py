"""A process that dies between two boundaries, where only its own memory knew what it had done: nothing lost, nothing
twice, and nothing but a notice told again."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from chaos_report import sized
from checker import check
from crash_points import POINTS, VARIABLE
from nursery import Nursery
from scenes import two_leads
from sweep import KINDS
from trial import Trial

pytestmark = pytest.mark.real
CALLS = sized(1, 3)  # at the first so many calls of each function


@pytest.fixture(scope="module")
def nursery(program: object) -> Iterator[Nursery]:
    del program
    with Nursery() as made:
        yield made


@pytest.mark.parametrize("number", range(1, CALLS + 1))
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_who_dies_there_has_lost_and_doubled_nothing(nursery: Nursery, point: str, when: str, number: int) -> None:
    kind = KINDS[(POINTS.index(point) + number) % 3]
    with Trial(nursery, kind) as trial:
        two_leads(trial)
        child = trial.up("--until-idle", env={VARIABLE: f"{point} {when} {number}"})
        code = child.wait()
        trial.note("struck", how=f"kill {when} {point}", at=number, label="")
        assert code == -signal.SIGKILL or number > 1, f"it has not come there: {child.said()}"
        assert trial.rest()
        assert check(trial.evidence()) == []
