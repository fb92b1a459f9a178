"""The five health figures: what one audit entry adds to them, and what the counts amount to.

Nothing is counted that is not in the audit trail: whoever doubts a figure can count again.

Durations are kept in logarithmic buckets: an hour's distribution has a bounded size, hours can be added, and a quantile
is off by at most `ERROR` of its value. What took less than a millisecond counts as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from msgspec import Struct

from revops_lite.models import AuditEntry

ERROR = 0.025
_BASE = (1 + ERROR) / (1 - ERROR)

Name = tuple[str | int, ...]
# ("latency", workflow, bucket)       runs finished, by their time from the trigger to the last confirmed side effect
# ("late", workflow)                  runs that missed their deadline
# ("passed" | "stopped", workflow)    handoffs without a person; handoffs that wait for one
# ("proposals", workflow)             values proposed for a field
# ("conflicts", workflow)             values that met another one
# ("called" | "failed", workflow, agent)      calls, and those that failed
# ("took", workflow, agent, bucket)           calls, by their time


def bucket(milliseconds: float) -> int:
    """The bucket of a duration: 0 up to a millisecond, then one for every 5 % more."""
    return max(0, math.ceil(math.log(milliseconds) / math.log(_BASE))) if milliseconds > 1 else 0


def middle(number: int) -> float:
    """Milliseconds that no duration in this bucket differs from by more than ERROR."""
    return 2 * _BASE**number / (_BASE + 1) if number else 1.0


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """The duration (ms) that a share `q` does not exceed, by nearest rank; None where nothing was counted."""
    rank = max(1, math.ceil(q * sum(buckets.values()) - 1e-9))
    below = 0
    for number in sorted(buckets):
        below += buckets[number]
        if below >= rank:
            return middle(number)
    return None


# ---- counting ----------------------------------------------------------------------------------------------------


def tally(entry: AuditEntry) -> Iterator[tuple[Name, int]]:
    """What one audit entry adds to the counts of its hour."""
    flow = entry.workflow
    match entry.what:
        case "run.finished" if entry.elapsed_ms is not None:
            yield ("latency", flow, bucket(entry.elapsed_ms)), 1
        case "deadline.missed":
            yield ("late", flow), 1
        case "step.done" if entry.rule == "checkpoint":
            yield ("passed", flow), 1
        case "step.skipped":
            yield ("passed", flow), 1
        case "step.quarantined":
            yield ("stopped", flow), 1
        case "conflict.decided":
            yield ("conflicts", flow), 1
        case "write.conflicted" if entry.rule != "rollback":
            yield ("conflicts", flow), 1
    if entry.proposals:
        yield ("proposals", flow), entry.proposals
    if entry.what.startswith("step.") and entry.elapsed_ms is not None:
        yield from _call(entry, entry.elapsed_ms)


def _call(entry: AuditEntry, took: float) -> Iterator[tuple[Name, int]]:
    yield ("called", entry.workflow, entry.who), 1
    if entry.what in ("step.failed", "step.parked"):
        yield ("failed", entry.workflow, entry.who), 1
    if took:  # nobody measured a call whose host died
        yield ("took", entry.workflow, entry.who, bucket(took)), 1


def touches(entry: AuditEntry) -> tuple[str, ...]:
    """What it makes of its record: "processed", and "reviewed" where a person is asked about it."""
    match entry.what:
        case "run.started" | "write.allowed" | "write.denied" | "write.shadowed" | "conflict.decided":
            return ("processed",)
        case "review.asked" | "write.withheld":
            return ("processed", "reviewed")
        case _:
            return ()


# ---- the figures -------------------------------------------------------------------------------------------------


class Rate(Struct, frozen=True):
    """A share, and what it is a share of."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """0 to 1 to four places; None where there is nothing to have a share of."""
        return round(self.part / self.whole, 4) if self.whole else None


class Latency(Struct, frozen=True):
    """End to end, in milliseconds, of the runs that finished."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    deadline_missed: int


class Calls(Struct, frozen=True):
    """Of one agent."""

    runs: int
    failures: int
    p95_ms: float | None


class Tallies(Struct, frozen=True):
    """What was counted in a window; records and minutes are distinct ones."""

    counts: Mapping[Name, int]
    processed: int
    reviewed: int
    minutes: int  # elapsed in the window since the first start
    minutes_up: int


class Health(Struct, frozen=True):
    """The five figures, and the agents."""

    latency: dict[str, Latency]  # workflow -> ...
    checkpoint: Rate  # handoffs passed without a person, of all
    conflicts: Rate  # of all field proposals
    uptime: Rate  # minutes with a heartbeat, of all
    intervention: Rate  # records with a review item, of all processed
    agents: dict[str, Calls]


def figures(tallies: Tallies, workflow: str | None = None) -> Health:
    """The figures of one workflow, or of all. `tallies.processed` and `.reviewed` have to be that workflow's."""
    counts = {name: by for name, by in tallies.counts.items() if workflow in (None, name[1])}

    def total(*kinds: str) -> int:
        return sum(by for name, by in counts.items() if name[0] in kinds)

    flows = sorted({str(name[1]) for name in counts if name[0] in ("latency", "late")})
    agents = sorted({str(name[2]) for name in counts if name[0] == "called"})
    return Health(
        latency={flow: _latency(counts, flow) for flow in flows},
        checkpoint=Rate(total("passed"), total("passed", "stopped")),
        conflicts=Rate(total("conflicts"), total("proposals")),
        uptime=Rate(tallies.minutes_up, tallies.minutes),
        intervention=Rate(tallies.reviewed, tallies.processed),
        agents={agent: _calls(counts, agent) for agent in agents},
    )


def _latency(counts: Mapping[Name, int], flow: str) -> Latency:
    buckets = {int(name[2]): by for name, by in counts.items() if name[:2] == ("latency", flow)}
    p50, p95, p99 = (_rounded(quantile(buckets, q)) for q in (0.5, 0.95, 0.99))
    return Latency(sum(buckets.values()), p50, p95, p99, counts.get(("late", flow), 0))


def _calls(counts: Mapping[Name, int], agent: str) -> Calls:
    runs, failures, buckets = 0, 0, dict[int, int]()
    for name, by in counts.items():
        if name[0] == "called" and name[2] == agent:
            runs += by
        elif name[0] == "failed" and name[2] == agent:
            failures += by
        elif name[0] == "took" and name[2] == agent:
            number = int(name[3])
            buckets[number] = buckets.get(number, 0) + by
    return Calls(runs, failures, _rounded(quantile(buckets, 0.95)))


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
