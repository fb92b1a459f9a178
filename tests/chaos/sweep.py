"""The sweep: a scenario once undisturbed, to count its boundaries, and then again with a strike at each of them.

A `Scene` makes a trial ready (`prepare`), is struck while it works on `act`, and may go on afterwards (`later`).
"""

from __future__ import annotations

import atexit
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boundary_proxy import Strike
from checker import Violation, check, looked_into
from evidence import Evidence
from nursery import Nursery
from trial import Trial

KINDS = ("keyed", "compare", "plain")
AT_REDIS = ("kill before", "kill after", "reply lost", "cut before")
AT_CRM = {
    "write": (
        "kill before",
        "kill after",
        "error before",
        "error after",
        "reset before",
        "reset after",
        "half after",
        "page after",
        "hang before",
        "hang after",
        "late",
        "unavailable",
        "refused",
    ),
    "read": ("kill before", "edit", "stale", "error before", "unavailable", "refused"),
    "changes": ("kill before", "kill after", "error before", "unavailable"),
}
# What the CRM's faults need beyond their name: a person's value that is read after, and a moment within, or beyond, the
# time that an unknown outcome is given to settle.
WITH = {
    "edit": {"field": "industry", "value": "pat says"},
    "late": {"seconds": 0.2},
    "unavailable": {"retry_after": 0.1},
}


def nothing(_: Trial) -> None:
    """What a scene does where it does nothing."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Names what happens; `options` are Trial's."""

    name: str
    act: Callable[[Trial], None]
    prepare: Callable[[Trial], None] = nothing
    later: Callable[[Trial], None] = nothing
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a sweep: the scene, the class of CRM, where (the n-th boundary or CRM call), and what happens."""

    scene: Scene
    kind: str
    side: str  # "redis", or what of the CRM is called: "write", "read", "changes"
    at: int
    how: str

    def __str__(self) -> str:
        return f"{self.scene.name}/{self.kind}/{self.side}/{self.at}/{self.how}"


@dataclass(slots=True)
class Outcome:
    point: str
    fired: bool
    violations: list[Violation]
    writes: int


def writes_in(evidence: Evidence) -> int:
    return sum(fact["kind"] == "applied" for fact in evidence.crm)


def count(nursery: Nursery, scene: Scene, kind: str) -> tuple[Counter[str], Outcome]:
    """Boundaries with Redis, and calls to the CRM by kind, of an undisturbed run; and what is wrong with it."""
    with prepared(nursery, scene, kind) as trial:
        before = _calls(trial.evidence())
        scene.act(trial)
        trial.rest()
        found = Counter(redis=trial.proxy.boundaries)
        scene.later(trial)
        evidence = trial.evidence()
        found += _calls(evidence) - before
        violations = looked_into(evidence, f"{scene.name} {kind}")
        return found, Outcome(f"{scene.name}/{kind}", True, violations, writes_in(evidence))


def _calls(evidence: Evidence) -> Counter[str]:
    return Counter(fact["op"] for fact in evidence.crm if fact["kind"] == "call")


def points(scene: Scene, kind: str, found: Counter[str], hows: tuple[str, ...] = AT_REDIS) -> Iterator[Point]:
    """Every place of a sweep. Of an idle poller's calls, the first ones stand for all."""
    for how in hows:
        for at in range(1, found["redis"] + 1):
            yield Point(scene, kind, "redis", at, how)
    for op, faults in AT_CRM.items():
        for how in faults:
            for at in range(1, min(found[op], 8) + 1):
                yield Point(scene, kind, op, at, how)


def strike(nursery: Nursery, point: Point, *, bugs: tuple[str, ...] = ()) -> Outcome:
    """One point: strike there, recover, check."""
    within = LAGS if point.how == "stale" else math.inf
    with prepared(nursery, point.scene, point.kind, bugs, within=within) as trial:
        point.scene.act(trial)
        fired = _at_redis(trial, point) if point.side == "redis" else _at_crm(trial, point)
        point.scene.later(trial)
        evidence = trial.evidence()
        violations = check(evidence) if bugs else looked_into(evidence, str(point))
        return Outcome(str(point), fired, violations, writes_in(evidence))


_kept: dict[tuple[str, str], tuple[Path, float]] = {}
LAGS = 60.0  # seconds: what a CRM goes on showing for longer than two minutes is believed


def prepared(
    nursery: Nursery, scene: Scene, kind: str, bugs: tuple[str, ...] = (), *, within: float = math.inf
) -> Trial:
    """A trial in which `scene.prepare` has happened, at most `within` seconds ago: once for all of this process, and
    copied from then on."""
    if scene.prepare is nothing:
        return Trial(nursery, kind, bugs=bugs, **scene.options)
    place, made = _kept.get((scene.name, kind), (None, 0.0))
    if place is None or time.monotonic() - made > within:
        made = time.monotonic()
        with Trial(nursery, kind, **scene.options) as trial:
            scene.prepare(trial)
            place = Path(tempfile.mkdtemp(prefix="rvk", dir=trial.root.parent))
            atexit.register(shutil.rmtree, place, ignore_errors=True)
            trial.keep(place)
        _kept[scene.name, kind] = place, made
    return Trial(nursery, kind, bugs=bugs, kept=place, **scene.options)


def _at_redis(trial: Trial, point: Point) -> bool:
    return trial.struck(Strike(point.at, point.how))


def _at_crm(trial: Trial, point: Point) -> bool:
    trial.faults({"op": point.side, "nth": point.at, "fault": point.how, **WITH.get(point.how, {})})
    trial.note("struck", how=point.how, at=point.at)
    child = trial.up("--until-idle")
    child.wait()
    child.kill()
    trial.faults()
    trial.rest()
    return any(fact.get("fault") == point.how for fact in trial.evidence().crm)
