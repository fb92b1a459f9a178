"""Hints: what a batch loads together, and that nothing that others send can make them fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.engine.decide import RESERVED
from revops_lite.engine.ids import notice_id, part_id, run_id
from revops_lite.hints import calls_of, named, sure
from revops_lite.models import Context, Event, Intent, Key
from revops_lite.policy import StepDef, WorkflowDef

FLOW = WorkflowDef("new_lead", ("lead.created",), (StepDef("score", "score"),))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = ("intent", "review", "notice", "records", "seen", "results", "proposals", "notices")


def event(type_: str, source: str = "host", run: str | None = None, **data: Any) -> Event:
    return Event("e1", type_, "lead:1", source, 1.0, data, run=run)


def call(id_: str, *writes: str, run: str | None = "r1") -> Intent:
    return Intent(id_, "lead:1", run, "score", 1.0, {}, {}, {write: write for write in writes})


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        (event("lead.created", "crm"), {("run", run_id("e1", "new_lead")), ("context", "lead:1")}),
        (event("step.finished", run="r1"), {("run", "r1"), ("context", "lead:1")}),
        (
            event("step.finished", run="r1", proposals=[{"notices": [{"key": "k"}]}]),
            {("run", "r1"), ("context", "lead:1"), ("notice", notice_id("k"))},
        ),
        (
            event("step.finished", run="r1", results=[{"run": "r1.x", "record": "deal:1", "page": "r1.p0"}]),
            {("run", "r1"), ("run", "r1.x"), ("context", "deal:1"), ("page", "r1.p0")},
        ),
        (
            event("records.swept", run="r1", records={"deal:1": {}}, seen={"owner:1": {}}),
            {("run", "r1"), ("context", "deal:1"), ("context", "owner:1"), ("run", part_id("r1", "deal:1"))},
        ),
        (event("write.applied", "writer", intent="i1"), {("intent", "i1")}),
        (event("deal.seen", "elsewhere", intent="i1"), set()),
    ],
)
def test_an_event_names_what_it_needs(given_: Event, wanted: set[Key]) -> None:
    assert set(sure(given_, [FLOW])) == wanted


def test_a_call_names_what_it_touches_as_soon_as_that_is_known() -> None:
    docs: dict[Key, Any] = {}
    assert set(named("i1", docs)) == set()
    docs["intent", "i1"] = call("i1", "w1", "w2")
    first = {("context", "lead:1"), ("run", "r1"), ("write", "w1"), ("write", "w2")}
    assert set(named("i1", docs)) == first
    docs["context", "lead:1"] = Context("lead:1", intents=("i1", "i2"))
    assert set(named("i1", docs)) == first | {("intent", "i1"), ("intent", "i2")}
    docs["intent", "i1"] = call("i1", run=None)
    docs["context", "lead:1"] = None
    assert set(named("i1", docs)) == {("context", "lead:1")}


@given(
    st.sampled_from(["lead.created", *sorted(RESERVED)]),
    st.dictionaries(
        st.sampled_from(PLACES), JSON | st.lists(st.dictionaries(st.sampled_from(PLACES), JSON), max_size=2)
    ),
)
def test_whatever_others_send_names_keys_or_nothing(type_: str, data: dict[str, Any]) -> None:
    told = event(type_, "elsewhere", **data)
    assert all(isinstance(word, str) for key in sure(told, [FLOW]) for word in key)
    assert all(isinstance(id_, str) for id_ in calls_of([told]))
