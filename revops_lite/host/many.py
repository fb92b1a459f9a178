"""A job with many records of a fan-out: one call after the other, each with its own time limit and outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from revops_lite.host.call import Outcome
from revops_lite.models import Job
from revops_lite.queue.outcomes import result
from revops_lite.values import replace

FULL = 800_000  # bytes of answers after which the rest of the records goes back: all answers travel in one event
OK = ("done", "skipped", "retry")


class Many:
    """What came of each record so far. Those that are not called go back, and come again in another job."""

    def __init__(self, job: Job, calls: list[dict[str, Any]]) -> None:
        self.job = job
        self.results: list[dict[str, Any]] = []
        self.worked = 0.0
        self._calls = calls
        self._frame = {name: job.snapshot[name] for name in ("now", "deadline", "settings")}
        self._in_a_row = 0
        self._size = 0

    def jobs(self) -> Iterator[Job]:
        """The calls that are still worth making: not after too many failures in a row, nor after too many bytes."""
        for call in self._calls:
            if self._in_a_row >= int(self.job.snapshot["stop_after"]) or self._size > FULL:
                return
            about = call["about"]
            yield replace(
                self.job,
                run=about["run"],
                step=about["step"],
                attempt=about["attempt"],
                record=about["record"],
                snapshot={**call, **self._frame},
            )

    def add(self, outcome: Outcome, elapsed: float) -> None:
        """The next call has come to this."""
        self.results.append(self._told(len(self.results), outcome, elapsed))
        failed = outcome.kind not in (*OK, "invalid")
        self._in_a_row = self._in_a_row + 1 if failed else 0
        self._size += outcome.size
        self.worked += elapsed

    def all(self, last: Outcome | None = None) -> list[dict[str, Any]]:
        """A result for every record; `last` is that of a call which does not come back."""
        found = list(self.results)
        if last is not None and len(found) < len(self._calls):
            found.append(self._told(len(found), last, self.job.timeout))
        return found + [{**call["about"], **result("returned")} for call in self._calls[len(found) :]]

    def _told(self, number: int, outcome: Outcome, elapsed: float) -> dict[str, Any]:
        about: Mapping[str, Any] = self._calls[number]["about"]
        ended = result(
            outcome.kind,
            error=outcome.error,
            proposals=outcome.proposals,
            problems=outcome.problems,
            after=outcome.after,
            elapsed_ms=elapsed * 1000,
            tries=outcome.tries,
        )
        return {**about, **ended}
