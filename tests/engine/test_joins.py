"""Parallel branches of one run that say different things: the outcome never depends on whose answer came first."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_play import Answer, Play
from revops_lite.models import Review, Run, Write
from revops_lite.policy import AgentPolicy, Governance, Rulebook, StepDef, WorkflowDef

NAMES = ("a", "b", "c")


def rulebook(priorities: dict[str, int]) -> Rulebook:
    agents = {
        name: AgentPolicy(name, f"agents.{name}:run", priority=priority, schema=Answer)
        for name, priority in priorities.items()
    }
    steps = tuple(StepDef(name, name) for name in priorities)
    flow = WorkflowDef("parallel", ("lead.created",), steps)
    return Rulebook(agents=agents, workflows={"parallel": flow}, governance=Governance())


def play(order: tuple[str, ...], claims: dict[str, tuple[str, float, int]]) -> Play:
    """Run the workflow with the steps answering in this order: name -> (value, confidence, priority)."""
    game = Play(rulebook({name: claims[name][2] for name in sorted(claims)}))
    run = game.start("parallel", {"industry": "before"})
    for at, name in enumerate(order, 2):
        value, confidence, _ = claims[name]
        game.answer(run, name, {"industry": value}, confidence, float(at))
    return game


def standing(game: Play) -> Any:
    return game.value("industry")


def test_the_higher_priority_wins_whoever_answers_first() -> None:
    claims = {"a": ("software", 0.9, 40), "b": ("retail", 0.99, 30)}
    for order in permutations(claims):
        game = play(order, claims)
        assert standing(game) == "software"
        (run,) = game.find(Run)
        assert run.state == "finished"


def test_a_full_tie_leaves_what_was_there_and_asks_a_person() -> None:
    claims = {"a": ("software", 0.9, 40), "b": ("retail", 0.9, 40)}
    for order in permutations(claims):
        game = play(order, claims)
        assert standing(game) == "before"
        (item,) = game.find(Review)
        assert (item.reason, item.state, item.current) == ("conflict", "pending", "before")
        assert {item.proposed, item.competing["value"]} == {"software", "retail"}
        assert not [write for write in game.find(Write) if write.state == "applied" and not write.undoes]


def test_a_third_claim_breaks_a_tie_and_closes_the_question() -> None:
    claims = {"a": ("software", 0.9, 40), "b": ("retail", 0.9, 40), "c": ("media", 0.9, 50)}
    for order in permutations(claims):
        game = play(order, claims)
        assert standing(game) == "media"
        assert not [item for item in game.find(Review) if item.state == "pending"]


def test_agreement_is_no_conflict() -> None:
    game = play(("a", "b"), {"a": ("software", 0.9, 40), "b": ("software", 0.85, 10)})
    assert standing(game) == "software"
    assert not game.find(Review)


@pytest.mark.parametrize("confidences", [(0.80, 0.84, 0.88), (0.88, 0.84, 0.80)])
def test_the_margin_is_no_chain(confidences: tuple[float, float, float]) -> None:
    """0.80 and 0.84 are a tie, and so are 0.84 and 0.88; all three together are decided as a set."""
    claims = {name: (name * 3, confidence, 10) for name, confidence in zip(NAMES, confidences, strict=True)}
    assert len({standing(play(order, claims)) for order in permutations(claims)}) == 1


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(
            st.sampled_from(["software", "retail", "media", "before"]),
            st.sampled_from([0.5, 0.8, 0.82, 0.84, 0.86, 0.9, 0.95, 1.0]),
            st.sampled_from([10, 40]),
        ),
        min_size=2,
        max_size=3,
    )
)
def test_the_outcome_never_depends_on_the_order_of_arrival(claims: dict[str, tuple[str, float, int]]) -> None:
    outcomes = set()
    for order in permutations(claims):
        game = play(order, claims)
        (run,) = game.find(Run)
        assert run.state == "finished"
        pending = [item for item in game.find(Review) if item.state == "pending" and item.reason == "conflict"]
        outcomes.add((standing(game), bool(pending)))
    assert len(outcomes) == 1, outcomes
