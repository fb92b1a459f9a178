"""The rule of the health figures: entries of the audit trail in, figures out."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import AuditEntry
from revops_lite.rules import health

DURATIONS = st.floats(min_value=1.0, max_value=4e9)


def entry(what: str, **facts: object) -> AuditEntry:
    given = {"who": "scoring", "workflow": "new_lead", **facts}
    return AuditEntry(at=1.0, what=what, **given)  # type: ignore[arg-type]


def counted(*entries: AuditEntry) -> Counter[health.Name]:
    counts: Counter[health.Name] = Counter()
    for each in entries:
        counts.update(dict(health.tally(each)))
    return counts


def figures(*entries: AuditEntry, workflow: str | None = None) -> health.Health:
    return health.figures(health.Tallies(counted(*entries), 0, 0, 0, 0), workflow)


# ---- durations ---------------------------------------------------------------------------------------------------


@given(DURATIONS)
def test_a_bucket_knows_a_duration_to_its_error(milliseconds: float) -> None:
    assert abs(health.middle(health.bucket(milliseconds)) - milliseconds) <= health.ERROR * milliseconds * (1 + 1e-9)


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_the_nearest_rank_to_its_error(durations: list[float], q: float) -> None:
    exact = sorted(durations)[math.ceil(q * len(durations) - 1e-9) - 1]
    found = health.quantile(Counter(map(health.bucket, durations)), q)
    assert found is not None
    assert abs(found - exact) <= health.ERROR * exact * (1 + 1e-9)


@given(st.lists(DURATIONS, max_size=50), st.lists(DURATIONS, max_size=50))
def test_the_buckets_of_two_hours_added_are_those_of_both(one: list[float], other: list[float]) -> None:
    added = Counter(map(health.bucket, one)) + Counter(map(health.bucket, other))
    assert added == Counter(map(health.bucket, one + other))


def test_no_duration_makes_more_than_a_few_hundred_buckets() -> None:
    century = 100 * 365 * 86_400 * 1000.0
    assert health.bucket(-5.0) == health.bucket(0.0) == health.bucket(1.0) == 0
    assert health.bucket(century) < 600


def test_nothing_counted_has_no_quantile_and_no_rate() -> None:
    assert health.quantile({}, 0.95) is None
    empty = figures()
    assert [rate.value for rate in (empty.checkpoint, empty.conflicts, empty.uptime, empty.intervention)] == [None] * 4
    assert (empty.latency, empty.agents) == ({}, {})


# ---- what an entry adds ------------------------------------------------------------------------------------------


def test_only_finished_runs_have_a_latency() -> None:
    found = figures(
        entry("run.finished", elapsed_ms=100.0),
        entry("run.failed", elapsed_ms=9000.0),
        entry("run.cancelled", elapsed_ms=9000.0),
        entry("deadline.missed"),
    ).latency["new_lead"]
    assert (found.count, found.deadline_missed) == (1, 1)
    assert found.p99 == pytest.approx(100.0, rel=health.ERROR, abs=0.1)


def test_a_handoff_passes_with_an_answer_or_a_skip_and_not_when_a_person_lets_it_through() -> None:
    found = figures(
        entry("step.done", rule="checkpoint"),
        entry("step.skipped"),
        entry("step.quarantined"),
        entry("step.done", rule="review"),
        entry("step.failed"),
    ).checkpoint
    assert (found.part, found.whole) == (2, 3)


def test_conflicts_are_counted_where_they_are_decided_and_where_the_crm_shows_them() -> None:
    found = figures(
        entry("step.done", rule="checkpoint", proposals=8),
        entry("conflict.decided"),
        entry("write.conflicted", rule="human_edit"),
        entry("write.conflicted", rule="rollback"),
    ).conflicts
    assert (found.part, found.whole, found.value) == (2, 8, 0.25)


@pytest.mark.parametrize(
    ("what", "failures"), [("step.done", 0), ("step.retried", 0), ("step.failed", 1), ("step.parked", 1)]
)
def test_an_agent_is_charged_with_calls_that_were_made(what: str, failures: int) -> None:
    called = figures(entry(what, elapsed_ms=20.0)).agents["scoring"]
    assert (called.runs, called.failures) == (1, failures)
    assert called.p95_ms == pytest.approx(20.0, rel=health.ERROR, abs=0.1)
    assert figures(entry(what)).agents == {}


def test_a_call_that_nobody_measured_counts_without_a_duration() -> None:
    called = figures(entry("step.failed", elapsed_ms=0.0), entry("step.done", elapsed_ms=50.0)).agents["scoring"]
    assert called.runs == 2
    assert called.p95_ms == pytest.approx(50.0, rel=health.ERROR, abs=0.1)


def test_figures_of_a_workflow_leave_the_others_out() -> None:
    entries = [
        entry("step.done", rule="checkpoint", elapsed_ms=10.0, proposals=1),
        entry("step.quarantined", elapsed_ms=10.0, workflow="nightly", who="audit"),
        entry("run.finished", elapsed_ms=10.0),
        entry("run.finished", elapsed_ms=10.0, workflow="nightly"),
    ]
    both, one = figures(*entries), figures(*entries, workflow="nightly")
    assert (set(both.latency), set(both.agents), both.checkpoint.value) == (
        {"new_lead", "nightly"},
        {"scoring", "audit"},
        0.5,
    )
    assert (set(one.latency), set(one.agents), one.checkpoint.value) == ({"nightly"}, {"audit"}, 0.0)
    assert one.conflicts.value is None


def test_a_record_that_a_person_is_asked_about_was_processed_too() -> None:
    assert health.touches(entry("review.asked")) == ("processed", "reviewed")
    assert health.touches(entry("write.withheld")) == ("processed", "reviewed")
    assert health.touches(entry("run.started")) == ("processed",)
    assert health.touches(entry("notice.sent")) == ()
