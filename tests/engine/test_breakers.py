"""What becomes of the probe of an open breaker, and of the calls that were under way when it opened."""

from __future__ import annotations

from engine_play import Answer, Play
from revops_lite.engine import Missing, decide
from revops_lite.models import Breaker, BreakerState, Event, RunState, StepState
from revops_lite.policy import AgentPolicy, BreakerPolicy, Governance, Rulebook, StepDef, WorkflowDef

COOLDOWN = 60.0


def playing(failures: int = 2) -> Play:
    policy = BreakerPolicy(failures=failures, cooldown=COOLDOWN)
    agent = AgentPolicy("scoring", "agents.scoring:score", schema=Answer, breaker=policy)
    flow = WorkflowDef("new_lead", ("lead.created",), (StepDef("scoring", "scoring"),))
    return Play(Rulebook(agents={"scoring": agent}, workflows={"new_lead": flow}, governance=Governance()))


def start(game: Play, number: int, now: float = 1.0) -> str:
    return game.start("new_lead", {"number": number}, f"e{number}", f"lead:{number}", now)


def report(game: Play, run: str, outcome: str, now: float) -> None:
    found = game.state.docs["run", run]
    attempt = found.steps["scoring"].attempt
    data = {"step": "scoring", "attempt": attempt, "outcome": outcome, "error": outcome}
    event = Event(f"{run}|scoring|{attempt}|finished", "step.finished", found.record, "host", now, data, run=run)
    game.send(event, now)


def ring(game: Play, timer: str, now: float) -> dict[str, float | None]:
    """The timer goes off. Returns the timers it set."""
    return game.send(Event(f"{timer}|{now}", "timer.due", "timer:due", "controller", now, {"timer": timer}), now).timers


def cancel(game: Play, run: str, now: float) -> dict[str, float | None]:
    record = game.state.docs["run", run].record
    return game.send(Event(f"{run}|cancel", "run.cancelled", record, "cli", now, run=run), now).timers


def step(game: Play, run: str) -> StepState:
    state: StepState = game.state.docs["run", run].steps["scoring"].state
    return state


def opened(game: Play) -> list[str]:
    """Two runs failed, the breaker is open, three more are parked: their ids."""
    for number in range(2):
        report(game, start(game, number), "failed", 2.0)
    assert game.state.breakers["scoring"].state is BreakerState.OPEN
    return [start(game, number, 3.0) for number in range(2, 5)]


def test_a_call_that_fails_after_the_breaker_has_opened_parks_its_step() -> None:
    game = playing()
    game.state.breakers["scoring"] = Breaker("scoring", proven=True)
    first, second, third = (start(game, number) for number in range(3))
    for run in (first, second, third):
        report(game, run, "failed", 2.0)
    assert [step(game, run) for run in (first, second, third)] == [
        StepState.FAILED,
        StepState.FAILED,
        StepState.PARKED,
    ]


def test_a_cancelled_probe_makes_room_for_another() -> None:
    game = playing()
    probe, *others = opened(game)
    ring(game, "probe|scoring", 70.0)
    assert step(game, probe) is StepState.RUNNING
    timers = cancel(game, probe, 71.0)
    assert timers["probe|scoring"] == 71.0
    ring(game, "probe|scoring", 71.0)
    assert step(game, others[0]) is StepState.RUNNING


def test_a_cancelled_first_call_of_an_unproven_agent_gives_its_place_back() -> None:
    game = playing()
    runs = [start(game, number) for number in range(3)]
    assert [step(game, run) for run in runs] == [StepState.RUNNING, StepState.RUNNING, StepState.PARKED]
    timers = cancel(game, runs[0], 2.0)
    assert "unpark|scoring" in timers
    ring(game, "unpark|scoring", 2.0)
    assert step(game, runs[2]) is StepState.RUNNING


def test_a_probe_does_not_end_at_a_run_that_is_over() -> None:
    game = playing()
    runs = opened(game)
    ended = game.state.docs["run", runs[0]]
    ended.steps["scoring"] = type(ended.steps["scoring"])("scoring", "scoring", state=StepState.DONE)
    timers = ring(game, "probe|scoring", 70.0)
    assert timers["probe|scoring"] == 70.0
    ring(game, "probe|scoring", 70.0)
    assert step(game, runs[1]) is StepState.RUNNING


def test_an_agent_taken_out_of_the_configuration_while_it_is_called_ends_its_step() -> None:
    game = playing()
    run = start(game, 1)
    game.rulebook.agents.clear()
    report(game, run, "done", 2.0)
    assert step(game, run) is StepState.FAILED
    assert game.state.docs["run", run].state is RunState.FAILED


def test_parked_steps_go_on_after_few_questions_however_many_they_are() -> None:
    """What is found missing one by one has the whole decision made again each time: a backlog would take for ever."""
    game = playing()
    waiting = opened(game)
    for number in range(5, 90):
        waiting.append(start(game, number, 3.0))
    game.send(Event("reset", "breaker.reset", "breaker:scoring", "cli", 4.0, {"agent": "scoring"}), 4.0)
    held, asked = dict(game.state.docs), 0
    game.state.docs.clear()
    alarm = Event("unpark", "timer.due", "timer:due", "controller", 5.0, {"timer": "unpark|scoring"})
    while True:
        try:
            changes = decide(game.state, game.rulebook, alarm, 5.0)
            break
        except Missing as missing:
            asked += 1
            game.state.docs.update({key: held.get(key) for key in missing.keys})
    assert len(changes.jobs) == len(waiting)
    assert asked <= 3
