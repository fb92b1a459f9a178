"""How many examples a fuzz suite executes, from which seed, and the one line that tells what came of them.

    fuzz = Fuzz("config", examples=200)

    @fuzz
    @given(text=...)
    def test_something(text: str) -> None:
        fuzz.fired("refused")

    def test_something_counts() -> None:          # after it: the line is printed, a green run is not an empty one
        fuzz.told(least={"refused": 20, "accepted": 20})

REVOPS_CHAOS_PROGRAMS sets the examples of every suite, REVOPS_CHAOS_SEED the seed, REVOPS_CHAOS_REPORT a file to which
the line goes as JSON.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

SEED = int(os.environ.get("REVOPS_CHAOS_SEED", "20260717"))
PROGRAMS = os.environ.get("REVOPS_CHAOS_PROGRAMS")
CALM = (
    HealthCheck.too_slow,
    HealthCheck.function_scoped_fixture,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
)


class Fuzz:
    """The settings of one suite, and its counts. Used as a decorator above `given`."""

    def __init__(self, suite: str, examples: int) -> None:
        self.suite = f"fuzz {suite}"
        self.examples = int(PROGRAMS) if PROGRAMS else examples
        self.counts: Counter[str] = Counter()

    def __call__(self, test: Callable[..., Any]) -> Callable[..., Any]:
        calm = settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            suppress_health_check=CALM,
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            print_blob=True,
        )
        wrapped: Callable[..., Any] = seed(SEED)(calm(test))
        return wrapped

    def fired(self, what: str, count: int = 1) -> None:
        self.counts[what] += count

    def told(self, programs: int, least: Mapping[str, int]) -> None:
        """Print and report what fired. Fails where less fired than a run that is worth anything would have."""
        line = {"suite": self.suite, "programs": programs, "fired": dict(sorted(self.counts.items()))}
        line |= {"violations": 0, "seed": SEED}
        print(f"\n{json.dumps(line)}")
        if report := os.environ.get("REVOPS_CHAOS_REPORT"):
            with Path(report).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        scarce = {what: self.counts[what] for what, number in least.items() if self.counts[what] < number}
        assert not scarce, f"{self.suite}: too little fired: {scarce}, of {dict(self.counts)}"
