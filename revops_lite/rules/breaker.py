"""Breakers: whether an agent may be called. Closed, open, and half open while one probe finds out.

closed    -- the last failure it takes --> open
open      -- cooldown over, `probing` ---> half open
half open -- the probe succeeds ---------> closed
half open -- the probe fails ------------> open, twice as long (up to the cap)
any       -- `force_open` ---------------> open until `reset`

Only the probe's own result moves a breaker that is not closed: a call that started before it opened and ends late
says nothing new. The caller keeps `proven` and `trying`; they are never touched here.
"""

from __future__ import annotations

from math import inf
from typing import Literal

from revops_lite.models import Breaker, BreakerState
from revops_lite.policy import BreakerPolicy
from revops_lite.values import replace

Gate = Literal["go", "probe", "park"]


def gate(b: Breaker, now: float) -> Gate:
    """What a call may do now: go, go as the one probe (tell `probing`), or wait."""
    match b.state:
        case BreakerState.CLOSED:
            return "go"
        case BreakerState.OPEN:
            return "probe" if b.until is not None and now >= b.until else "park"
        case BreakerState.HALF_OPEN:
            return "park" if b.probe is not None else "probe"


def probing(b: Breaker, key: str) -> Breaker:
    """The call named `key` goes out as the probe."""
    return replace(b, state=BreakerState.HALF_OPEN, probe=key)


def failed(b: Breaker, p: BreakerPolicy, now: float, why: str, key: str | None = None) -> Breaker:
    """A call has failed. Opens at exactly the `failures`-th in a row, or within `within` seconds where that is set."""
    if b.state is BreakerState.HALF_OPEN and key is not None and key == b.probe:
        cooldown = min(b.cooldown * 2, max(p.cap, p.cooldown))
        return _open(b, now, cooldown, why)
    if b.state is not BreakerState.CLOSED:
        return b
    enough = max(p.failures, 1)
    since = -inf if p.within is None else now - p.within
    failures = (*(at for at in b.failures if at > since), now)[-enough:]
    if len(failures) < enough:
        return replace(b, failures=failures, reason=why)
    return replace(_open(b, now, p.cooldown, why), failures=failures, opened_at=now)


def succeeded(b: Breaker, p: BreakerPolicy | None = None, *, key: str | None = None) -> Breaker:
    """A call has succeeded. Failures in a row start anew; with `p` and its `within`, failures in the window stay."""
    if b.state is BreakerState.HALF_OPEN and key is not None and key == b.probe:
        return reset(b)
    if b.state is not BreakerState.CLOSED or (p is not None and p.within is not None):
        return b
    return replace(b, failures=(), reason="")


def force_open(b: Breaker, now: float, why: str) -> Breaker:
    """Opened by hand: no probe, no cooldown, until `reset`. A probe under way counts no more."""
    return replace(_open(b, now, 0.0, why), opened_at=now, until=None, forced=True)


def reset(b: Breaker) -> Breaker:
    """Closed, as if nothing had ever failed."""
    return Breaker(b.name, proven=b.proven, trying=b.trying)


def opened(before: Breaker, after: Breaker) -> bool:
    """Whether somebody should be told: it was closed, now it is not. A failed probe is the same opening going on."""
    return before.state is BreakerState.CLOSED and after.state is BreakerState.OPEN


def _open(b: Breaker, now: float, cooldown: float, why: str) -> Breaker:
    return replace(b, state=BreakerState.OPEN, until=now + cooldown, cooldown=cooldown, reason=why, probe=None)
