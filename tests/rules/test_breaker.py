"""Whether an agent may be called: every transition, and a naive model that counts on its fingers."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import Breaker, BreakerState
from revops_lite.policy import BreakerPolicy
from revops_lite.rules.breaker import failed, force_open, gate, opened, probing, reset, succeeded
from revops_lite.values import replace

POLICY = BreakerPolicy(failures=3, cooldown=10.0, cap=35.0)
WINDOW = BreakerPolicy(failures=3, cooldown=10.0, within=60.0)
FRESH = Breaker("enrichment")


def after_failures(count: int, policy: BreakerPolicy = POLICY, start: float = 0.0) -> Breaker:
    b = FRESH
    for number in range(count):
        b = failed(b, policy, start + number, f"failure {number + 1}")
    return b


OPEN = after_failures(3)  # at 2.0, until 12.0
PROBING = probing(OPEN, "run|step")


def test_it_opens_at_exactly_the_last_failure_it_takes() -> None:
    assert after_failures(2).state is BreakerState.CLOSED
    assert gate(after_failures(2), 2.0) == "go"
    assert OPEN.state is BreakerState.OPEN
    assert (OPEN.opened_at, OPEN.until, OPEN.cooldown, OPEN.reason) == (2.0, 12.0, 10.0, "failure 3")
    assert len(OPEN.failures) == 3


def test_a_success_between_starts_the_count_anew() -> None:
    b = succeeded(after_failures(2))
    assert after_failures(2) != b
    assert failed(failed(b, POLICY, 5.0, "x"), POLICY, 6.0, "x").state is BreakerState.CLOSED


def test_in_a_window_successes_do_not_help() -> None:
    b = succeeded(after_failures(2, WINDOW), WINDOW)
    assert failed(b, WINDOW, 50.0, "x").state is BreakerState.OPEN


def test_in_a_window_old_failures_are_forgotten() -> None:
    b = after_failures(2, WINDOW)
    assert failed(b, WINDOW, 60.0, "x").state is BreakerState.CLOSED  # the first was exactly a window ago
    assert failed(b, WINDOW, 59.9, "x").state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("b", "now", "expected"),
    [
        (FRESH, 0.0, "go"),
        (OPEN, 2.0, "park"),
        (OPEN, 11.999, "park"),
        (OPEN, 12.0, "probe"),
        (PROBING, 12.0, "park"),
        (PROBING, 1e9, "park"),
        (replace(PROBING, probe=None), 12.0, "probe"),
        (force_open(FRESH, 5.0, "by hand"), 1e9, "park"),
        (force_open(PROBING, 5.0, "by hand"), 1e9, "park"),
        (reset(force_open(FRESH, 5.0, "by hand")), 6.0, "go"),
    ],
)
def test_the_gate(b: Breaker, now: float, expected: str) -> None:
    assert gate(b, now) == expected


def test_a_probe_that_succeeds_closes() -> None:
    assert succeeded(PROBING, key="run|step") == FRESH


def test_a_probe_that_fails_doubles_the_cooldown_up_to_the_cap() -> None:
    b, now, cooldowns = OPEN, 12.0, []
    for number in range(4):
        b = failed(probing(b, f"probe {number}"), POLICY, now, f"still {number}", key=f"probe {number}")
        assert b.state is BreakerState.OPEN
        assert b.until == now + b.cooldown
        assert b.reason == f"still {number}"
        cooldowns.append(b.cooldown)
        now = b.until
    assert cooldowns == [20.0, 35.0, 35.0, 35.0]
    assert b.opened_at == 2.0  # the same opening, going on


def test_a_cooldown_beyond_the_cap_is_not_shortened() -> None:
    policy = BreakerPolicy(failures=1, cooldown=100.0, cap=50.0)
    b = failed(FRESH, policy, 0.0, "x")
    assert failed(probing(b, "p"), policy, 100.0, "x", key="p").cooldown == 100.0


@pytest.mark.parametrize("b", [OPEN, PROBING, force_open(FRESH, 5.0, "by hand")])
@pytest.mark.parametrize("key", [None, "another|step"])
def test_what_started_before_it_opened_changes_nothing(b: Breaker, key: str | None) -> None:
    assert failed(b, POLICY, 13.0, "late", key=key) == b
    assert succeeded(b, key=key) == b


def test_a_probe_under_way_counts_no_more_once_a_person_has_opened_it() -> None:
    b = force_open(PROBING, 13.0, "by hand")
    assert succeeded(b, key="run|step") == b
    assert failed(b, POLICY, 14.0, "late", key="run|step") == b


def test_an_opening_is_told_once() -> None:
    assert opened(after_failures(2), OPEN)
    assert opened(FRESH, force_open(FRESH, 0.0, "by hand"))
    assert not opened(OPEN, PROBING)
    assert not opened(PROBING, failed(PROBING, POLICY, 13.0, "still", key="run|step"))
    assert not opened(FRESH, after_failures(1))
    assert not opened(PROBING, succeeded(PROBING, key="run|step"))


def test_what_the_caller_keeps_stays() -> None:
    kept = replace(FRESH, proven=True, trying=("a|b",))
    b = failed(failed(failed(kept, POLICY, 0.0, "x"), POLICY, 1.0, "x"), POLICY, 2.0, "x")
    for later in (b, succeeded(b), probing(b, "p"), succeeded(probing(b, "p"), key="p"), force_open(b, 3.0, "y")):
        assert (later.proven, later.trying) == (True, ("a|b",))
    assert reset(b) == kept


@dataclass
class Naive:
    """A breaker that remembers everything that happened and works it out from the beginning."""

    log: list[tuple[str, float, str]] = field(default_factory=list)  # what, when, whose

    def view(self, policy: BreakerPolicy) -> tuple[str, float | None, str | None]:
        """State, until, and whose probe is under way."""
        state, wait, row = "closed", 0.0, list[float]()
        until: float | None = None
        probe: str | None = None
        for what, at, key in self.log:
            if what == "probing":
                state, probe = "half_open", key
            elif state == "closed" and what == "ok":
                row = [] if policy.within is None else row
            elif state == "closed" and what == "bad":
                row.append(at)
                counted = row if policy.within is None else [t for t in row if t > at - policy.within]
                if len(counted) >= policy.failures:
                    state, wait, row = "open", policy.cooldown, []
                    until = at + wait
            elif state == "half_open" and key == probe:
                wait = min(2 * wait, policy.cap)
                state, until, probe = ("open", at + wait, None) if what == "bad" else ("closed", None, None)
        return state, until, probe


@given(
    st.sampled_from([POLICY, WINDOW, BreakerPolicy(failures=1, cooldown=7.0, cap=7.0)]),
    st.lists(
        st.tuples(st.sampled_from(["ok", "bad", "ask"]), st.integers(0, 15), st.sampled_from(["early", "probe"])),
        max_size=40,
    ),
)
def test_it_does_what_a_naive_model_does(policy: BreakerPolicy, script: list[tuple[str, int, str]]) -> None:
    b, naive, now = FRESH, Naive(), 0.0
    for what, pause, whose in script:
        now += pause
        state, until, probe = naive.view(policy)
        free = state == "half_open" and probe is None
        over = state == "open" and until is not None and now >= until
        expected = "go" if state == "closed" else "probe" if free or over else "park"
        assert gate(b, now) == expected
        key = b.probe if whose == "probe" and b.probe else f"early {now}"
        if what == "bad":
            b = failed(b, policy, now, "why", key=key)
            naive.log.append(("bad", now, key))
        elif what == "ok":
            b = succeeded(b, policy, key=key)
            naive.log.append(("ok", now, key))
        elif expected == "probe":
            b = probing(b, f"probe {now}")
            naive.log.append(("probing", now, f"probe {now}"))
        assert (b.state, b.until, b.probe) == naive.view(policy)


@given(st.lists(st.tuples(st.booleans(), st.floats(), st.sampled_from([None, "p", "q"])), max_size=30))
def test_nothing_it_is_told_makes_it_stumble(script: list[tuple[bool, float, str | None]]) -> None:
    b = FRESH
    for good, now, key in script:
        b = succeeded(b, WINDOW, key=key) if good else failed(b, WINDOW, now, "why", key=key)
        if gate(b, now) == "probe":
            b = probing(b, "p")
        assert len(b.failures) <= WINDOW.failures
        assert (b.state is BreakerState.HALF_OPEN) == (b.probe is not None)
