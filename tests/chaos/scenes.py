"""Scenes: what happens in an installation under trial."""

from __future__ import annotations

from boundary_proxy import Strike
from sweep import Scene
from trial import Trial, by_hand

FANOUT = """
[workflows.review]
over = { kind = "lead", where = {} }
cron = "0 6 * * *"
missed = "all"
steps = [{ agent = "watch" }]
"""


def two_leads(trial: Trial) -> None:
    """One goes through; the grade of the other is too unsure, so that a person is asked."""
    trial.create("lead:1", {"name": "Ada"})
    trial.create("lead:2", {"name": "Bob", "unsure": "yes"})
    trial.emit("ping-1", "lead.pinged", "lead:1")


def worked_on(trial: Trial) -> None:
    two_leads(trial)
    trial.rest()


def edited(trial: Trial) -> None:
    """A person changes in the CRM what an agent has written there, and something else."""
    trial.edit("lead:1", industry="tin")
    trial.edit("lead:2", name="Bea")


def approved(trial: Trial) -> None:
    trial.revops("review", "approve", "--all", "--agent", "scoring", bugs=()).wait()


def rolled_back(trial: Trial) -> None:
    """Everything of one lead, and all that one agent has written."""
    trial.roll_back("--record", "lead:1")
    trial.roll_back("--agent", "enrichment")


def edited_then_rolled_back(trial: Trial) -> None:
    trial.edit("lead:1", industry="tin")
    rolled_back(trial)


def held_then_approved(trial: Trial) -> None:
    trial.hold("lead:2")
    approved(trial)


def released(trial: Trial) -> None:
    trial.release("lead:2")
    approved(trial)
    trial.rest()


def touched_often(trial: Trial) -> None:
    """More changes within the hour than the budget allows to answer."""
    for number in range(3):
        trial.edit("lead:1", name="Ada" + "a" * number)


def swept(trial: Trial) -> None:
    by_hand(trial, "review")


LEADS = Scene("leads", two_leads)
EDITED = Scene("edited", edited, worked_on)
APPROVED = Scene("approved", approved, worked_on)
ROLLED_BACK = Scene("rolled back", rolled_back, worked_on)
CORRECTED = Scene("corrected, then rolled back", edited_then_rolled_back, worked_on)
HELD = Scene("held, approved, released", held_then_approved, worked_on, released)
BUDGET = Scene("over budget", touched_often, worked_on, options={"budget": 3})
SWEPT = Scene("fan-out", swept, worked_on, options={"extra": FANOUT})
SCENES = {scene.name: scene for scene in (LEADS, EDITED, APPROVED, ROLLED_BACK, CORRECTED, HELD, BUDGET, SWEPT)}


def held_at_the_gate(trial: Trial, at: int) -> Strike:
    """A hold that is placed right before the gate of the `at`-th call."""
    return Strike(at, "call", "gate", then=lambda: trial.hold("lead:1"))
