"""What a reviewer sees of an item, and what each key does: pure, without a terminal."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from revops_lite.cli import deciding
from revops_lite.cli.crm_cmds import parsed
from revops_lite.cli.deciding import Filters
from revops_lite.cli.review_desk import Decision, outcome
from revops_lite.cli.review_item import (
    Action,
    Seen,
    action_for,
    breakdown,
    explained,
    fitting,
    lines,
    prefill,
    question,
    summary,
    typed,
    whole,
)
from revops_lite.models import Hold, Reason, Review, ReviewState
from revops_lite.values import replace, same

NOW = 10_000.0
FIELD = Review(
    id="q1",
    reason=Reason.CONFIDENCE,
    record="lead:42",
    run="r1",
    agent="enrichment",
    created_at=NOW - 7200,
    field="numberofemployees",
    step="enrichment",
    current=120,
    proposed=240,
    confidence=0.62,
    because="the site says so",
    problems=("confidence 0.62 below 0.80",),
)
STEP = replace(
    FIELD,
    reason=Reason.CHECKPOINT,
    field=None,
    current=None,
    proposed={"numberofemployees": -5, "industry": "steel"},
    confidence=None,
    problems=("numberofemployees: at least 1",),
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def seen(item: Review, **about: Any) -> str:
    return "\n".join(lines(Seen(item, NOW, **about), "3 of 12", 80))


# ---- what is shown -----------------------------------------------------------------------------------------------


def test_a_field_shows_what_stands_what_is_proposed_by_whom_how_surely_and_why() -> None:
    text = seen(FIELD, workflow="new_lead")
    assert "[3 of 12] confidence, 2 h" in text
    assert "lead:42.numberofemployees" in text
    for name, told in {
        "current": "120",
        "proposed": "240",
        "by": "enrichment, confidence 0.62",
        "because": "the site says so",
        "problem": "confidence 0.62 below 0.80",
        "run": "r1 of new_lead, step enrichment",
    }.items():
        assert f"  {name:<11}{told}" in text


def test_a_conflict_shows_the_value_it_stands_against_and_whose_it_is() -> None:
    rival = {"value": 180, "writer": "crm", "confidence": 0.9}
    assert "against    180, by crm, confidence 0.90" in seen(replace(FIELD, competing=rival))


def test_a_whole_step_shows_its_values_and_its_problems() -> None:
    text = seen(STEP)
    assert "lead:42 (enrichment)" in text
    assert "value      numberofemployees = -5" in text
    assert "value      industry = steel" in text
    assert "problem    numberofemployees: at least 1" in text


def test_a_hold_in_force_is_shown_before_a_decision_that_it_would_stop() -> None:
    holds = {"*": Hold("lead:42", "*", "legal", "case 7", 1.0)}
    assert "on hold    the record, by legal: case 7" in seen(FIELD, holds=holds)


def test_text_that_looks_like_something_else_is_told_apart_from_it() -> None:
    assert "current    (none)" in seen(replace(FIELD, current=None))
    assert 'current    "12"' in seen(replace(FIELD, current="12"))
    assert 'current    ""' in seen(replace(FIELD, current=""))
    assert "current    12" in seen(replace(FIELD, current=12))


def test_a_long_value_is_cut_and_shown_whole_when_asked() -> None:
    story = "word " * 400 + "the end"
    item = replace(FIELD, proposed=story)
    short, long = seen(item), "\n".join(whole(Seen(item, NOW), 80))
    assert "… (v: all)" in short
    assert "the end" not in short
    assert len(short.splitlines()) < 20
    assert "the end" in long
    assert long.count("word") == 400


def test_many_values_and_problems_are_cut_and_shown_whole_when_asked() -> None:
    item = replace(STEP, proposed={f"f{n}": n for n in range(50)}, problems=tuple(f"bad {n}" for n in range(50)))
    assert seen(item).count("… and 42 more (v: all)") == 2
    assert "bad 49" in "\n".join(whole(Seen(item, NOW), 80))


@given(st.text(), VALUES, VALUES, st.text(min_size=1), st.integers(40, 100))
def test_whatever_a_stranger_wrote_moves_no_cursor_and_crosses_no_edge(
    because: str, current: Any, proposed: Any, problem: str, width: int
) -> None:
    item = replace(FIELD, because=because, current=current, proposed=proposed, problems=(problem,))
    step = replace(STEP, proposed={problem: proposed}, problems=(because,), output=({"values": {because: proposed}},))
    for each in (item, step, replace(item, record=f"lead:{problem}", note=because)):
        about = Seen(each, NOW, holds={problem: Hold("lead:1", problem, because, because, 1.0)})
        for line in [*lines(about, "1 of 2", width), *whole(about, width)]:
            assert cell_len(line) <= width
            assert not [letter for letter in line if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


# ---- what was typed ----------------------------------------------------------------------------------------------


@given(VALUES)
def test_a_value_written_as_one_would_type_it_is_read_as_the_same_value(value: Any) -> None:
    assert same(parsed(typed(value)), value)


@pytest.mark.parametrize("value", ["a\x1b[2Jb", "two\nlines", "\u202eturned", "x" * 600, None])
def test_an_edit_begins_empty_where_the_value_would_not_be_seen_as_it_is(value: Any) -> None:
    assert prefill(value) == ""


def test_an_edit_begins_with_the_value_as_one_would_type_it() -> None:
    assert (prefill("steel"), prefill("12"), prefill(12), prefill(["a"])) == ("steel", '"12"', "12", '["a"]')


# ---- keys --------------------------------------------------------------------------------------------------------


def test_the_question_names_the_keys_that_fit() -> None:
    assert question(FIELD, undo=False) == "Accept? [y,e,r,s,A,h,v,?,q] "
    assert question(FIELD, undo=True) == "Accept? [y,e,r,s,A,h,u,v,?,q] "
    assert question(STEP, undo=False) == "What now? [e,r,t,s,h,v,?,q] "
    assert question(replace(STEP, reason=Reason.FAILURE), undo=False) == "What now? [r,t,s,h,v,?,q] "
    assert question(replace(STEP, reason=Reason.DEAD_LETTER), undo=False) == "What now? [r,t,s,v,?,q] "


@pytest.mark.parametrize("reason", Reason)
def test_every_item_can_be_rejected_skipped_looked_at_and_left(reason: Reason) -> None:
    for item in (replace(FIELD, reason=reason), replace(STEP, reason=reason)):
        fit = fitting(item, undo=False)
        assert {Action.REJECT, Action.SKIP, Action.VIEW, Action.HELP, Action.QUIT} <= set(fit)
        assert len(explained(item, undo=False)) == len(fit)
        assert max(map(len, explained(item, undo=True))) <= 80


def test_both_keys_accept() -> None:
    assert action_for("y", FIELD, False) is action_for("a", FIELD, False) is Action.ACCEPT


@pytest.mark.parametrize(
    ("key", "item", "why"),
    [
        ("y", STEP, "does not fit a whole step"),
        ("e", replace(STEP, reason=Reason.FAILURE), "reject or retry it"),
        ("t", FIELD, "only a whole step"),
        ("u", FIELD, "has been sent"),
        ("h", replace(STEP, reason=Reason.DEAD_LETTER), "nothing to hold"),
        ("x", FIELD, "is no key here"),
        ("\x1b[A", FIELD, "\\x1b[A is no key here"),
    ],
)
def test_a_key_that_does_not_fit_says_why(key: str, item: Review, why: str) -> None:
    answer = action_for(key, item, undo=False)
    assert isinstance(answer, str)
    assert why in answer


def test_enter_alone_does_nothing() -> None:
    assert action_for("", FIELD, undo=False) == ""


# ---- which items, and what became of a decision ------------------------------------------------------------------


def test_filters_leave_what_fits_all_of_them() -> None:
    assert Filters().fits(FIELD)
    assert Filters("confidence", "enrichment", "lead:42", "numberofemployees", "r").fits(FIELD)
    for other in (
        Filters(reason="held"),
        Filters(agent="x"),
        Filters(record="x:1"),
        Filters(field="x"),
        Filters(run="q"),
    ):
        assert not other.fits(FIELD)


DECIDED = Decision(FIELD, "approve", deciding.event(FIELD, "approve", {}, "", "ana"))


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (replace(FIELD, state=ReviewState.APPROVED, decided_by="ana"), "stands"),
        (replace(FIELD, state=ReviewState.APPROVED, decided_by="ben"), "late"),
        (replace(FIELD, state=ReviewState.REJECTED, decided_by="ana"), "late"),
        (replace(FIELD, note="on hold"), "refused"),
        (replace(FIELD, state=ReviewState.EXPIRED, decided_by="ana", note="q2"), "changed"),
        (replace(FIELD, state=ReviewState.EXPIRED, decided_by="clock"), "late"),
        (replace(FIELD, state=ReviewState.EXPIRED, decided_by="ana"), "late"),
        (None, "late"),
    ],
)
def test_the_item_itself_says_what_became_of_a_decision(now: Review | None, what: str) -> None:
    assert outcome(DECIDED, now, "ana").what == what


def test_who_comes_second_is_told_who_and_when() -> None:
    now = replace(FIELD, state=ReviewState.REJECTED, decided_by="ben", decided_at=0.0)
    told = outcome(DECIDED, now, "ana").told
    assert told == "was rejected by ben at 1970-01-01T00:00:00.000Z; the first decision stands"


def test_the_end_counts_what_was_done_and_what_is_left() -> None:
    counts = {"accepted": 3, "edited": 1, "rejected": 2, "skipped": 4}
    assert summary(counts, 5, 0) == ["", "3 accepted, 1 edited, 2 rejected, 4 skipped; 5 left"]
    assert "1 decision(s) wait for `revops up` to carry them out" in summary({"retried": 1}, 0, 1)[-1]
    assert "1 retried" in summary({"retried": 1}, 0, 1)[1]


def test_a_breakdown_names_the_commonest_reason_first() -> None:
    assert breakdown([replace(FIELD, reason=Reason.HELD), FIELD, FIELD]) == "2 confidence, 1 held"
