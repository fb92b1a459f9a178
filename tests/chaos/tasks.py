"""What a level is made of: tasks, each a line of text that says all it takes to do it again.

| task                                  | is                                                                 |
|---------------------------------------|--------------------------------------------------------------------|
| `sweep|SCENE|CLASS|SIDE|N|HOW`        | one point of a sweep                                               |
| `scene|SCENE|CLASS`                   | the scene, undisturbed                                             |
| `storm|SEED|STEPS|BATCH`              | everything at once                                                 |
| `server|SEED|KILLS`                   | Redis killed again and again, everything acknowledged still there  |
| `plant|BUG`                           | a planted bug: found with it, clean without it                     |

Its `Result` counts what fired, not what was planned.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from check_traces import FELL
from checker import Violation
from nursery import Nursery
from plants import PLANTS, play
from scenes import SCENES
from storm import server_kills, storm
from sweep import Point, count, strike

LOST = ("I1", "I3")
DOUBLED = ("I2", "I4", "I9", "I16")


@dataclass(slots=True)
class Result:
    task: str
    suite: str
    seconds: float = 0.0
    events: int = 0
    writes: int = 0
    recovered: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    unexplained: int = 0
    found: bool | None = None  # of a planted bug
    boundaries: dict[str, int] = field(default_factory=dict)  # of a scene, for its sweep

    def judge(self, violations: list[Violation]) -> Result:
        self.violations = [str(one) for one in violations]
        self.lost = sum(one.invariant in LOST for one in violations)
        self.doubled = sum(one.invariant in DOUBLED for one in violations)
        self.unexplained = len(violations) - self.lost - self.doubled
        return self


def run(nursery: Nursery, task: str) -> Result:
    """Do one task. Raises ValueError for a line that is none."""
    started = time.monotonic()
    kind, *words = task.split("|")
    result = Result(task, kind)
    match kind, words:
        case "sweep", [scene, crm, side, at, how]:
            outcome = strike(nursery, Point(SCENES[scene], crm, side, int(at), how))
            result.writes = outcome.writes
            result.fired[how if side == "redis" else f"CRM {side}: {how}"] += outcome.fired
            result.judge(outcome.violations)
        case "scene", [scene, crm]:
            found, outcome = count(nursery, SCENES[scene], crm)
            result.writes, result.boundaries = outcome.writes, dict(found)
            result.judge(outcome.violations)
        case "storm" | "server", [seed, *sizes]:
            blow = storm if kind == "storm" else server_kills
            weather = blow(nursery, int(seed), *map(int, sizes))
            result.events, result.writes = weather.events, weather.writes
            result.fired, result.recovered = weather.fired, weather.recovered
            result.judge(weather.violations)
        case "plant", [bug]:
            clean, planted = play(nursery, bug, False), play(nursery, bug, True)
            # One with which the program only falls over is not the bug that was meant.
            result.found = any(one.invariant in PLANTS[bug].found and FELL not in str(one) for one in planted)
            result.fired["planted"] += 1
            result.judge(clean)
        case _:
            raise ValueError(f"{task!r} is no task; see the table on top of {__file__}")
    result.seconds = time.monotonic() - started
    return result
