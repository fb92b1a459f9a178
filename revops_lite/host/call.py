"""One call of one agent: its snapshot in, an outcome out. Only `Overtime` ever leaves this module as an exception."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import tenacity
from pydantic import ValidationError

from revops_lite.agentapi import Retry, Skip
from revops_lite.errors import AgentError
from revops_lite.host.forks import only_here
from revops_lite.host.proposals import NotAnAnswer, normalise, one_line, schema_problems
from revops_lite.host.snapshots import rebuild
from revops_lite.models import Job
from revops_lite.registry import AgentSpec

log = logging.getLogger(__name__)

BACKOFF = tenacity.wait_exponential(multiplier=0.2, max=10.0) + tenacity.wait_random(0.0, 0.2)
TRACE = 20_000  # characters of a traceback in the log
MAX_AFTER = 30 * 86400.0
# Known by name, so that nobody has to install them.
TRANSIENT = {"httpx.TransportError", "requests.exceptions.ConnectionError", "requests.exceptions.Timeout"}


class Overtime(BaseException):
    """The step has had its time. A BaseException, so that an agent's `except Exception` does not swallow it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step: done | skipped | retry | invalid | failed | timeout | crashed.

    `proposals` are JSON-ready, `after` is in seconds (retry only), `tries` counts the calls of the agent.
    """

    kind: str
    proposals: tuple[dict[str, Any], ...] = ()
    error: str = ""
    problems: tuple[str, ...] = ()
    after: float | None = None
    tries: int = 1
    size: int = field(default=0, compare=False)  # of the proposals as JSON, in bytes


def call(job: Job, load: Callable[[str], AgentSpec]) -> Outcome:
    """Call the job's agent, again on transient errors (`job.attempts` tries within `job.timeout` seconds)."""
    end = time.monotonic() + job.timeout
    tries = _Tries()
    spec: AgentSpec | None = None
    try:
        with only_here():
            spec = load(job.agent)
            returned = _with_retries(job, spec, end, tries)
        output = normalise(returned, len(job.snapshot.get("many", ())))
    except Overtime:
        raise
    except BaseException as error:  # SystemExit, KeyboardInterrupt, ...: an agent's way out is its failure, not ours
        return _failure(job, error, spec, tries.count)
    kind = "invalid" if output.problems else "done"
    return Outcome(kind, tuple(output.proposals), problems=tuple(output.problems), tries=tries.count, size=output.size)


class _Tries:
    """Counts the calls of one step, for whoever tells about it afterwards."""

    def __init__(self) -> None:
        self.count = 0


def _with_retries(job: Job, spec: AgentSpec, end: float, tries: _Tries) -> Any:
    """Most calls need no second one: what counts tries is made where the first has failed, and told of that."""
    failed: list[Exception] = []
    try:
        return _once(job, spec, end, tries)
    except Exception as error:
        if not is_transient(error):
            raise
        failed.append(error)

    def turn() -> Any:
        if failed:
            raise failed.pop()
        return _once(job, spec, end, tries)

    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        stop=tenacity.stop_after_attempt(max(1, job.attempts)) | tenacity.stop_before_delay(end - time.monotonic()),
        wait=BACKOFF,
        reraise=True,
    )
    return again(turn)


def _once(job: Job, spec: AgentSpec, end: float, tries: _Tries) -> Any:
    tries.count += 1
    returned = spec.call(rebuild(job.snapshot))
    if inspect.iscoroutine(returned):
        return asyncio.run(_awaited(returned, end))
    return returned


async def _awaited(coroutine: Coroutine[Any, Any, Any], end: float) -> Any:
    """An event loop that sleeps cannot be interrupted from outside, so the step's end is set inside."""
    limit = asyncio.timeout(end - time.monotonic())
    try:
        async with limit:
            return await coroutine
    except TimeoutError:
        if limit.expired():
            raise Overtime from None
        raise


def _failure(job: Job, error: BaseException, spec: AgentSpec | None, tries: int) -> Outcome:
    match error:
        case Skip():
            return Outcome("skipped", error=one_line(error), tries=tries)
        case Retry():
            return Outcome("retry", error=one_line(error), after=_after(error.after), tries=tries)
        case ValidationError() if spec is not None and spec.writes and error.title == _title(spec.writes):
            return Outcome("invalid", problems=tuple(schema_problems(error)), tries=tries)
        case NotAnAnswer() | AgentError():
            return Outcome("failed", error=one_line(error), tries=max(1, tries))
        case _:
            log.error("%s on %s failed\n%s", job.agent, one_line(job.record), _trace(error))
            return Outcome("failed", error=explain(error), tries=max(1, tries))


def _trace(error: BaseException) -> str:
    """How it failed, for the log; an error may carry megabytes, its beginning and its end say enough."""
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= TRACE else f"{text[: TRACE // 2]}\n…\n{text[-TRACE // 2 :]}"


def _title(model: type[Any]) -> str:
    return str(model.model_config.get("title") or model.__name__)


def explain(error: BaseException) -> str:
    """An exception in one line: "TypeName: text"."""
    text = one_line(error)
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _after(given: Any) -> float:
    if not isinstance(given, int | float) or (isinstance(given, float) and not math.isfinite(given)):
        return 5.0
    return float(min(max(given, 0), MAX_AFTER))  # compared first: not every int fits into a float


def is_transient(error: BaseException) -> bool:
    """Whether a second call may well succeed: connections and timeouts, or an exception that says `transient`."""
    if isinstance(error, Skip | Retry | Overtime) or not isinstance(error, Exception):
        return False
    if isinstance(error, ConnectionError | TimeoutError) or getattr(error, "transient", False) is True:
        return True
    return any(f"{kind.__module__}.{kind.__qualname__}" in TRANSIENT for kind in type(error).__mro__)
