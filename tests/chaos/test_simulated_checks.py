"""The checks' own test, over facts made by hand: what a rollback without a call may have been, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from simulated_checks import a_rollback_restores_or_asks
from simulated_facts import Facts, Said


def write(state: str, before: str, after: str, undoes: str = "") -> dict[str, Any]:
    said = {"record": "lead:1", "field": "industry", "state": state, "before": before, "after": after}
    return {**said, "undoes": [undoes] if undoes else []}


def asked_to_undo(*asked: str, **writes: dict[str, Any]) -> Facts:
    return Facts(
        kind="keyed",
        budget=20,
        sure={},
        said=Said(rollbacks=[list(asked)]),
        log=[],
        calls=[],
        records={},
        docs={"write": {id_: {**one, "id": id_} for id_, one in writes.items()}, "review": {}},
        contexts={},
        audit=[],
        queued=0,
        in_flight=0,
        calling=[],
        open_={},
        told=[],
        listening={},
    )


def test_a_write_and_what_it_had_undone_may_be_rolled_back_together() -> None:
    both = {"first": write("rolled_back", "x", "y"), "back": write("rolled_back", "y", "x", undoes="first")}
    assert list(a_rollback_restores_or_asks(asked_to_undo("back", **both))) == []


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(write("applied", "x", "y"), id="stands-still"),
        pytest.param(write("rolled_back", "z", "y"), id="led-from-elsewhere"),
    ],
)
def test_what_it_had_undone_has_to_be_gone_and_to_have_begun_there(first: dict[str, Any]) -> None:
    both = {"first": first, "back": write("rolled_back", "y", "x", undoes="first")}
    [objection] = a_rollback_restores_or_asks(asked_to_undo("back", **both))
    assert "nothing went out" in objection


def test_several_that_lead_back_to_where_they_began_need_no_call() -> None:
    three = {
        "one": write("rolled_back", "x", "y"),
        "two": write("rolled_back", "y", "z"),
        "three": write("rolled_back", "z", "x"),
    }
    assert list(a_rollback_restores_or_asks(asked_to_undo("one", "two", "three", **three))) == []
    assert list(a_rollback_restores_or_asks(asked_to_undo("one", "two", **three))) != []


def test_a_write_that_was_to_be_rolled_back_and_still_stands_needs_a_question() -> None:
    [objection] = a_rollback_restores_or_asks(asked_to_undo("one", one=write("applied", "x", "y")))
    assert "neither done nor asked" in objection
