"""What has been said already is not said again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import Flag, OpenFlag
from revops_lite.rules.dedupe import fresh_flags, repeat, restated, told

SEVERITIES = ["low", "medium", "high"]


def open_flags(**severities: str) -> dict[str, OpenFlag]:
    return {code: OpenFlag(code, severity, "", "inspection", 0.0) for code, severity in severities.items()}


@pytest.mark.parametrize(
    ("known", "raised", "fresh"),
    [
        ({}, [("stale", "low")], [("stale", "low")]),
        ({"stale": "low"}, [("stale", "low")], []),
        ({"stale": "low"}, [("stale", "high")], [("stale", "high")]),
        ({"stale": "high"}, [("stale", "low")], []),
        ({"stale": "high"}, [("slipped", "low")], [("slipped", "low")]),
        ({}, [("stale", "low"), ("stale", "high"), ("stale", "medium")], [("stale", "high")]),
        ({"stale": "medium"}, [("stale", "urgent")], []),  # a word nobody knows counts as medium
        ({}, [("b", "low"), ("a", "low")], [("b", "low"), ("a", "low")]),
        ({"stale": "low"}, [], []),
    ],
)
def test_a_flag_is_fresh_once_unless_it_becomes_worse(
    known: dict[str, str], raised: list[tuple[str, str]], fresh: list[tuple[str, str]]
) -> None:
    found = fresh_flags(open_flags(**known), [Flag(code, severity) for code, severity in raised])
    assert [(flag.code, flag.severity) for flag in found] == fresh


@given(st.lists(st.builds(Flag, st.sampled_from("abc"), st.sampled_from(SEVERITIES)), max_size=8))
def test_raising_the_same_flags_again_tells_nothing_new(raised: list[Flag]) -> None:
    told = fresh_flags({}, raised)
    known = open_flags(**{flag.code: flag.severity for flag in told})
    assert fresh_flags(known, raised) == []
    assert {flag.code for flag in told} == {flag.code for flag in raised}


@pytest.mark.parametrize(
    ("last", "now", "window", "expected"),
    [
        (None, 100.0, 60.0, False),
        (50.0, 100.0, 60.0, True),
        (40.0, 100.0, 60.0, False),
        (200.0, 100.0, 60.0, True),  # the clock was set back
        (100.0, 100.0, 0.0, False),
    ],
)
def test_a_notice_repeats_itself_within_its_window(
    last: float | None, now: float, window: float, expected: bool
) -> None:
    assert repeat(last, now, window) is expected


@given(st.lists(st.floats(0, 1000), max_size=30), st.floats(0.1, 100))
def test_at_most_one_notice_goes_out_in_any_window(times: list[float], window: float) -> None:
    sent: list[float] = []
    for now in sorted(times):
        if not repeat(sent[-1] if sent else None, now, window):
            sent.append(now)
    assert all(later - earlier >= window for earlier, later in pairwise(sent))


@pytest.mark.parametrize(
    ("raised", "agent", "again"),
    [
        ([("medium", "15 days")], "inspection", ["15 days"]),
        ([("medium", "14 days")], "inspection", []),  # nothing new in it
        ([("low", "14 days")], "inspection", ["14 days"]),
        ([("high", "30 days")], "inspection", []),  # worse: that is news, and no restatement
        ([("medium", "15 days"), ("high", "30 days")], "inspection", []),
        ([("medium", "15 days"), ("medium", "16 days")], "inspection", ["15 days"]),
        ([("medium", "somebody else's words")], "alert", []),
    ],
)
def test_a_flag_is_restated_by_its_own_agent_only_and_when_it_is_no_news(
    raised: list[tuple[str, str]], agent: str, again: list[str]
) -> None:
    known = {"stale": OpenFlag("stale", "medium", "14 days", "inspection", 0.0)}
    found = restated(known, [Flag("stale", severity, detail) for severity, detail in raised], agent)
    assert [flag.detail for flag in found] == again
    assert restated({}, [Flag("stale", severity, detail) for severity, detail in raised], agent) == []


def test_who_has_been_told_of_a_flag_that_is_open() -> None:
    entries = {"rep|ana|stale": 1.0, "ben|stale": 2.0, "ben|gone": 3.0}  # a reader's name may hold a bar
    assert told(entries, open_flags(stale="low")) == {"stale": ["rep|ana", "ben"]}
