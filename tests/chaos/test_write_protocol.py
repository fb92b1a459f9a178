"""The way of one call to the CRM (docs/design.md, "Writing to the CRM"), walked as a whole: every answer of each class
of CRM, undisturbed, and with the process dying at each boundary of the way.

By default each boundary of each answer is died at with one class of CRM, in turn. With REVOPS_LONG=1 it is all three
classes, and at every boundary of the recovery the process dies once more.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise

import pytest

from protocol_walk import ANSWERS, OVER, Outside, Walk, deaths, undisturbed
from simulated_crm import KINDS

LONG = bool(os.environ.get("REVOPS_LONG"))
ANSWERED_ALIKE: dict[
    str, tuple[str, str, int]
] = {  # the states after "planned", what people are asked, lines in the log
    "applied": ("sending applied", "", 1),
    "refused": ("sending failed", "write_failed industry, write_failed score", 0),
    "unavailable": ("sending planned sending applied", "", 1),
    "unavailable, asks for 7 s": ("sending planned sending applied", "", 1),
    "unavailable, asks for 10^9 s": ("sending planned sending applied", "", 1),
    "unavailable three times": ("sending planned sending planned sending planned sending applied", "", 1),
    "unknown before": ("sending in_doubt planned sending applied", "", 1),
    "unknown after": ("sending in_doubt applied", "", 1),
    "unknown before, twice": ("sending in_doubt planned sending in_doubt planned sending applied", "", 1),
    "adapter fails before": ("sending in_doubt planned sending applied", "", 1),
    "adapter fails after": ("sending in_doubt applied", "", 1),
    "applied within the settle time": ("sending in_doubt applied", "", 1),
    "unknown after, and a person edits": ("sending in_doubt applied", "", 1),  # after us: the other value is ours
    "cannot be read": ("planned planned planned sending applied", "", 1),
    "the record is gone": ("failed", "write_failed industry, write_failed score", 0),
    "shows what stood there before": ("sending applied", "", 1),
    "unknown after, cannot be read back": ("sending in_doubt in_doubt in_doubt applied", "", 1),
    "our values stand there already": ("applied", "", 0),
    "one of our values stands there already": ("sending applied", "", 1),
    "a person's value stands there": ("planned sending applied", "human_edit industry", 1),
    "a person's values stand there": ("conflict", "human_edit industry, human_edit score", 0),
    "a person edits another field after the gate": ("sending applied", "", 1),
    "a hold before": ("failed", "held industry, held score", 0),
    "a hold on one field before": ("planned sending applied", "held score", 1),
    "a hold before the gate": ("failed", "held industry, held score", 0),
    "a hold after the gate": ("sending applied", "", 1),
    "unknown before, and a hold": ("sending in_doubt planned failed", "held industry, held score", 0),
    "the hold field is set": ("failed", "held industry, held score", 0),
    "the hour's calls are used up": ("planned sending applied", "", 1),
}
OVERWRITTEN = ("sending applied", "human_edit industry", 1)  # and told of afterwards: nobody can prevent it there
COMPARED = ("sending planned sending applied", "human_edit industry", 1)
BOTH = "human_edit industry, human_edit score"
IN_DOUBT = "in_doubt industry, in_doubt score"
RESENT = ("sending in_doubt planned sending applied", "", 1)
ANSWERED_BY_CLASS: dict[str, dict[str, tuple[str, str, int]]] = {
    "applied after the settle time": {"keyed": RESENT, "compare": RESENT, "plain": (*RESENT[:2], 2)},
    "unknown after, is gone at the reading back": {
        "keyed": ("sending in_doubt applied", "", 1),
        "compare": ("sending in_doubt conflict", IN_DOUBT, 1),
        "plain": ("sending in_doubt conflict", IN_DOUBT, 1),
    },
    "a person edits before the gate": {"keyed": OVERWRITTEN, "compare": COMPARED, "plain": OVERWRITTEN},
    "a person edits after the gate": {"keyed": OVERWRITTEN, "compare": COMPARED, "plain": OVERWRITTEN},
    "a person edits both after the gate": {
        "keyed": ("sending applied", BOTH, 1),
        "compare": ("sending conflict", BOTH, 0),
        "plain": ("sending applied", BOTH, 1),
    },
    "unknown before, and a person edits": {
        "keyed": ("sending in_doubt planned planned sending applied", "human_edit industry", 1),
        "compare": ("sending in_doubt conflict", IN_DOUBT, 0),
        "plain": ("sending in_doubt conflict", IN_DOUBT, 0),
    },
    "the hold field is set after the gate": {
        "keyed": ("sending applied", "", 1),
        "compare": ("sending planned failed", "held industry, held score", 0),
        "plain": ("sending applied", "", 1),
    },
}
TRANSITIONS = {
    ("planned", "planned"),  # later: unreadable, the hour's calls used up; or only some of its fields go on
    ("planned", "sending"),
    ("planned", "applied"),  # our values stood there already
    ("planned", "conflict"),
    ("planned", "failed"),  # a hold came, or the record is gone
    ("sending", "applied"),
    ("sending", "planned"),
    ("sending", "in_doubt"),
    ("sending", "failed"),
    ("sending", "conflict"),
    ("in_doubt", "applied"),
    ("in_doubt", "planned"),
    ("in_doubt", "in_doubt"),
    ("in_doubt", "conflict"),
}
DEATHS = 1_500 if LONG else 250  # at least so many: a walk that goes nowhere shows nothing


@pytest.fixture(scope="module")
def planned() -> dict[str, Outside]:
    return {kind: Walk.planned(kind) for kind in KINDS}


def outcome(walk: Walk) -> tuple[str, str, int]:
    asked = sorted(f"{item.reason} {item.field}" for item in walk.world.views.pending())
    lines = sum(line.source == "revops" for line in walk.world.crm.log)
    return " ".join(walk.way()[1:]), ", ".join(asked), lines


def problems(walk: Walk) -> list[str]:
    """Applied once or told why not; log and state agree; and all else that has to hold at rest."""
    state = walk.intent()["state"]
    return [*walk.objections(), *([] if state in OVER else [f"the intent is {state}"]), *walk.untold()]


def test_every_answer_is_expected() -> None:
    assert ANSWERED_ALIKE.keys() | ANSWERED_BY_CLASS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_leads_where_the_protocol_says(planned: dict[str, Outside], kind: str) -> None:
    wrong = {}
    for name in ANSWERS:
        walk = undisturbed(planned[kind], name)
        expected = ANSWERED_BY_CLASS[name][kind] if name in ANSWERED_BY_CLASS else ANSWERED_ALIKE[name]
        if (got := outcome(walk)) != expected or problems(walk):
            wrong[name] = (got, expected, problems(walk))
    assert wrong == {}


def test_a_death_at_any_boundary_changes_nothing_of_what_is_promised(planned: dict[str, Outside]) -> None:
    points: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    wrong: list[tuple[str, ...]] = []
    applied = 0
    for number, kind in enumerate(KINDS):
        for name in ANSWERS:
            for where, walk in deaths(planned[kind], name, deep=LONG, every=None if LONG else (number, len(KINDS))):
                points[kind] += 1
                applied += walk.intent()["state"] == "applied"
                seen.update(pairwise(walk.way()))
                if found := problems(walk):
                    wrong.append((kind, name, where, *found))
    print(f"\n{sum(points.values())} deaths ({dict(points)}), {len(ANSWERS)} answers, {applied} calls applied")
    assert wrong == []
    assert seen == TRANSITIONS
    assert sum(points.values()) >= DEATHS
    assert applied >= DEATHS // 2
