"""Which of several values for one field stands: a table of cases, and what holds for all of them."""

from itertools import permutations
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import FieldValue
from revops_lite.policy import FieldPolicy, Governance
from revops_lite.rules.arbitration import Claim, arbitrate, conflicts
from revops_lite.values import replace, same

NOW = 1_800_000_000.0
DAY = 86_400.0
DEFAULT = Governance()
ORDERS = {
    "default": DEFAULT,
    "confidence first": Governance(conflict_order=("confidence", "priority", "recency")),
    "recency only": Governance(conflict_order=("recency",)),
    "priority only": Governance(conflict_order=("priority",)),
    "nothing": Governance(conflict_order=()),
    "no margin": Governance(conflict_margin=0.0),
    "one day": Governance(human_wins_for=DAY),
    "never": Governance(human_wins_for=0.0),
}
LISTED = FieldPolicy(priority=("routing", "scoring"))


def by(writer: str, value: Any, priority: int = 0, confidence: float = 0.9, age: float = 60.0) -> Claim:
    return Claim(value, writer, priority, confidence, NOW - age)


def person(value: Any, age: float = 60.0) -> Claim:
    return Claim(value, "person", 0, 1.0, NOW - age, person=True)


def crm(value: Any, age: float = 60.0) -> Claim:
    return Claim(value, "crm", 0, 1.0, NOW - age)


# who claims what -> the value that stands (None: a person decides), and the rule that said so
CASES: list[tuple[str, list[Claim], Any, str]] = [
    # one value everywhere
    ("alone", [by("a", "x")], "x", "agreement"),
    ("two agree", [by("a", "x", 1), by("b", "x", 9)], "x", "agreement"),
    ("a person agrees", [by("a", "x"), person("x", 400 * DAY)], "x", "agreement"),
    ("1 is 1.0", [by("a", 1), by("b", 1.0)], 1, "agreement"),
    ("lists agree", [by("a", ["u", 1]), by("b", ["u", 1.0])], ["u", 1], "agreement"),
    ("empty agrees with empty", [by("a", None), person(None)], None, "agreement"),
    # people
    ("person, one minute old", [by("a", "x", 99, 1.0, 0), person("p")], "p", "human"),
    ("person, 29 days old", [by("a", "x", 99, 1.0, 0), person("p", 29 * DAY)], "p", "human"),
    ("person, exactly 30 days old", [by("a", "x", 1), person("p", 30 * DAY)], "x", "priority"),
    ("person, 31 days old, low priority", [by("a", "x", 1), person("p", 31 * DAY)], "x", "priority"),
    ("person, 31 days old, same priority", [by("a", "x", 0, 0.9), person("p", 31 * DAY)], "p", "confidence"),
    ("person, 31 days old, near confidence", [by("a", "x", 0, 0.97), person("p", 31 * DAY)], "x", "recency"),
    ("person ahead of our clock", [by("a", "x", 9), person("p", -DAY)], "p", "human"),
    ("person against two agents", [by("a", "x", 9), by("b", "x", 8), person("p")], "p", "human"),
    ("person who emptied the field", [by("a", "x", 9), person("")], "", "human"),
    ("two persons, the newer", [person("p", 60), person("q", 10)], "q", "human"),
    ("two persons and an agent", [person("p", 60), person("q", 10), by("a", "x", 9)], "q", "human"),
    ("the older person agrees with the agent", [person("p", 60), person("q", 10), by("a", "p", 9)], "q", "human"),
    ("two old persons, the newer", [person("p", 50 * DAY), person("q", 40 * DAY)], "q", "human"),
    ("two old persons and an agent", [person("p", 50 * DAY), person("q", 40 * DAY), by("a", "x", 1)], "x", "priority"),
    ("two persons in the same second", [person("p"), person("q")], None, "tie"),
    ("two persons in the same second and an agent", [person("p"), person("q"), by("a", "x", 9)], None, "tie"),
    ("persons with one word in the same second", [person("p"), person("p"), by("a", "x", 9)], "p", "human"),
    # priority
    ("higher priority", [by("a", "x", 40), by("b", "y", 30)], "x", "priority"),
    ("higher priority, lower confidence", [by("a", "x", 40, 0.1), by("b", "y", 30, 1.0)], "x", "priority"),
    ("higher priority, older", [by("a", "x", 40, 0.9, 5 * DAY), by("b", "y", 30, 0.9, 0)], "x", "priority"),
    ("negative priorities", [by("a", "x", -2), by("b", "y", -1)], "y", "priority"),
    ("agent over the CRM's own value", [by("a", "x", 1, 0.5), crm("c")], "x", "priority"),
    ("three priorities", [by("a", "x", 1), by("b", "y", 3), by("c", "z", 2)], "y", "priority"),
    ("two top agents agree", [by("a", "x", 3), by("b", "x", 3), by("c", "z", 2)], "x", "priority"),
    # confidence
    ("surer", [by("a", "x", 0, 0.95), by("b", "y", 0, 0.8)], "x", "confidence"),
    ("surer by exactly the margin", [by("a", "x", 0, 0.85, 9), by("b", "y", 0, 0.8, 0)], "x", "confidence"),
    ("surer by the margin, other rounding", [by("a", "x", 0, 0.8, 9), by("b", "y", 0, 0.75, 0)], "x", "confidence"),
    ("surer by less than the margin", [by("a", "x", 0, 0.84, 9), by("b", "y", 0, 0.8, 0)], "y", "recency"),
    ("CRM against an unsure agent", [by("a", "x", 0, 0.9), crm("c")], "c", "confidence"),
    ("CRM against a sure agent, older", [by("a", "x", 0, 0.96, 0), crm("c", DAY)], "x", "recency"),
    ("a confidence that is none", [by("a", "x", 0, nan, 0), by("b", "y", 0, 0.1, 9)], "y", "confidence"),
    (
        "a chain of near ties keeps those near the best",
        [by("a", "x", 0, 0.80, 0), by("b", "y", 0, 0.84, 5), by("c", "z", 0, 0.88, 9)],
        "y",
        "recency",
    ),
    ("surest two agree", [by("a", "x", 0, 0.95), by("b", "x", 0, 0.93), by("c", "z", 0, 0.8)], "x", "confidence"),
    # recency
    ("newer", [by("a", "x", age=10), by("b", "y", age=20)], "x", "recency"),
    ("newer by a millisecond", [by("a", "x", age=10.0), by("b", "y", age=10.001)], "x", "recency"),
    ("a time that is none is the oldest", [by("a", "x", age=nan), by("b", "y", age=9 * DAY)], "y", "recency"),
    # full ties
    ("nothing tells them apart", [by("a", "x"), by("b", "y")], None, "tie"),
    ("True is not 1", [by("a", True), by("b", 1)], None, "tie"),
    ("text is not a number", [by("a", "1"), by("b", 1)], None, "tie"),
    ("three ways", [by("a", "x"), by("b", "y"), by("c", "z")], None, "tie"),
    ("two of three agree, yet no votes are counted", [by("a", "x"), by("b", "x"), by("c", "z")], None, "tie"),
]


@pytest.mark.parametrize(("claims", "value", "rule"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_value_that_stands_whatever_the_order(claims: list[Claim], value: Any, rule: str) -> None:
    for order in permutations(claims):
        ruling = arbitrate(order, DEFAULT, None, NOW)
        assert ruling.rule == rule
        assert (ruling.winner is None) == (rule == "tie")
        if ruling.winner is not None:
            assert same(order[ruling.winner].value, value)


@pytest.mark.parametrize(
    ("order", "claims", "value", "rule"),
    [
        ("confidence first", [by("a", "x", 9, 0.8), by("b", "y", 1, 0.9)], "y", "confidence"),
        ("confidence first", [by("a", "x", 9, 0.88), by("b", "y", 1, 0.9)], "x", "priority"),
        ("recency only", [by("a", "x", 9, 1.0, 20), by("b", "y", 1, 0.1, 10)], "y", "recency"),
        ("priority only", [by("a", "x", 1, 1.0, 0), by("b", "y", 1, 0.1, 10)], None, "tie"),
        ("nothing", [by("a", "x", 9), by("b", "y", 1)], None, "tie"),
        ("nothing", [by("a", "x", 9), person("p")], "p", "human"),
        ("no margin", [by("a", "x", 0, 0.901, 9), by("b", "y", 0, 0.9, 0)], "x", "confidence"),
        ("no margin", [by("a", "x", 0, 0.9, 9), by("b", "y", 0, 0.9, 0)], "y", "recency"),
        ("one day", [by("a", "x", 1), person("p", 2 * DAY)], "x", "priority"),
        ("never", [by("a", "x", 1), person("p", 0)], "x", "priority"),
    ],
)
def test_the_configuration_decides_which_rule_comes_first(
    order: str, claims: list[Claim], value: Any, rule: str
) -> None:
    ruling = arbitrate(claims, ORDERS[order], None, NOW)
    assert ruling.rule == rule
    assert (None if ruling.winner is None else claims[ruling.winner].value) == value


@pytest.mark.parametrize(
    ("claims", "value", "rule"),
    [
        ([by("scoring", "x", 99), by("routing", "y", 1)], "y", "priority"),
        ([by("enrichment", "x", 99), by("scoring", "y", 1)], "y", "priority"),
        ([by("enrichment", "x", 99), by("alert", "y", 1)], "x", "priority"),
        ([by("routing", "x", 1, 0.9), by("routing", "y", 1, 0.5)], "x", "confidence"),
        ([by("scoring", "x", 99), person("p")], "p", "human"),
    ],
)
def test_the_list_of_a_field_overrides_the_agents_own_priorities(claims: list[Claim], value: Any, rule: str) -> None:
    ruling = arbitrate(claims, DEFAULT, LISTED, NOW)
    assert ruling.rule == rule
    assert ruling.winner is not None
    assert claims[ruling.winner].value == value


def test_the_strongest_of_those_who_agree_stands_for_all() -> None:
    claims = [by("b", "x", 5, 0.7), by("a", "x", 5, 0.95), by("c", "x", 1, 1.0)]
    for order in permutations(claims):
        winner = arbitrate(order, DEFAULT, None, NOW).winner
        assert winner is not None
        assert order[winner].writer == "a"


def test_a_person_stands_for_the_agents_who_agree() -> None:
    claims = [by("a", "x", 99), person("x", 400 * DAY)]
    assert arbitrate(claims, DEFAULT, None, NOW).winner == 1


def test_a_rule_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown rule 'votes'"):
        arbitrate([by("a", 1), by("b", 2)], Governance(conflict_order=("votes",)), None, NOW)


VALUES = st.one_of(st.sampled_from(["x", "y", 0, 1, True, None, 1.0]), st.floats(), st.lists(st.booleans(), max_size=2))
FLOATS = st.one_of(st.sampled_from([nan, inf, -inf, 0.0, 0.8, 0.84, 0.85, 0.88, 0.9, NOW]), st.floats())
CLAIMS = st.lists(
    st.builds(
        Claim,
        value=VALUES,
        writer=st.sampled_from(["enrichment", "scoring", "routing", "crm"]),
        priority=st.integers(-1, 2),
        confidence=FLOATS,
        at=FLOATS,
        person=st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
POLICIES = st.builds(
    Governance,
    conflict_margin=FLOATS,
    human_wins_for=FLOATS,
    conflict_order=st.permutations(["priority", "confidence", "recency"]).map(tuple),
)


@given(CLAIMS, POLICIES, st.sampled_from([None, LISTED]), FLOATS, st.randoms(use_true_random=False))
def test_the_order_of_claims_never_decides(
    claims: list[Claim], policy: Governance, field: FieldPolicy | None, now: float, random: Any
) -> None:
    first = arbitrate(claims, policy, field, now)
    shuffled = random.sample(claims, len(claims))
    second = arbitrate(shuffled, policy, field, now)
    assert first.rule == second.rule
    assert (first.winner is None) == (second.winner is None)
    if first.winner is not None and second.winner is not None:
        one, other = claims[first.winner], shuffled[second.winner]
        assert same(one.value, other.value)
        assert one.writer == other.writer


@given(CLAIMS, POLICIES, FLOATS)
def test_a_claim_said_twice_changes_nothing(claims: list[Claim], policy: Governance, now: float) -> None:
    once, twice = arbitrate(claims, policy, None, now), arbitrate([*claims, claims[0]], policy, None, now)
    assert once == twice


@given(CLAIMS, FLOATS)
def test_a_young_edit_by_a_person_is_never_overruled_by_an_agent(claims: list[Claim], confidence: float) -> None:
    agents = [replace(claim, person=False, confidence=confidence) for claim in claims]
    everyone = [*agents, person("what the person wrote", 29 * DAY)]
    winner = arbitrate(everyone, DEFAULT, LISTED, NOW).winner
    assert winner == len(agents)


@pytest.mark.parametrize(
    ("seen", "version", "standing", "value", "expected"),
    [
        (3, 3, "x", "y", False),  # it saw what it overwrites
        (3, 4, "x", "y", True),
        (3, 2, "x", "y", False),
        (3, 4, "x", "x", False),  # the same value
        (3, 4, 1, 1.0, False),
        (3, 4, 1, True, True),
        (None, 1, "x", "y", True),  # it saw nothing
        (None, 1, "x", "x", False),
        (3, 4, None, "y", True),  # somebody emptied it meanwhile
    ],
)
def test_values_conflict_when_neither_side_saw_the_other(
    seen: int | None, version: int, standing: Any, value: Any, expected: bool
) -> None:
    assert conflicts(seen, FieldValue(standing, "a", 0.9, NOW, version), value) is expected


def test_nothing_conflicts_with_an_empty_place() -> None:
    assert not conflicts(None, None, "x")
