"""How often a workflow goes to Redis, and what is done there for it. The limits are what was measured, and a little."""

from __future__ import annotations

import pytest

from counted import STEPS, Works

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("leads", "trips_a_step", "commands_a_workflow"),
    [(1, 5.0, 315), (100, 0.07, 125)],
)
def test_a_step_costs_no_more_than_so_many_round_trips_and_commands(
    works: Works, monkeypatch: pytest.MonkeyPatch, leads: int, trips_a_step: float, commands_a_workflow: float
) -> None:
    with works.counting(monkeypatch) as spent:
        works.together(leads)
    print(f"{leads} at once: {spent.trips / leads / len(STEPS):.3f} trips a step, {spent.commands / leads} commands")
    assert works.store.counted("runs") == {"runs": 0}
    assert spent.trips / leads / len(STEPS) <= trips_a_step
    assert spent.commands / leads <= commands_a_workflow


def test_a_batch_of_events_is_one_commit(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.accept(100)
    with works.counting(monkeypatch) as spent:
        assert works.decide() == 100
    assert spent.trips == 3, "events read, what is known of them loaded, all of it committed"
