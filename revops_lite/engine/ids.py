"""Ids derived from their cause: deciding the same thing twice names the same thing."""

from __future__ import annotations

import re
from hashlib import blake2b

_JOB = re.compile(r"(r[0-9a-f]{14})(?:-([0-9a-f]{14}))?-a[0-9a-f]{8}-s[0-9a-f]{8}-\d+", re.ASCII)


def derived(prefix: str, *parts: str) -> str:
    """A letter and 14 hex digits (56 bits: a billion ids, and a clash is still improbable)."""
    text = "\x1f".join(parts)
    return prefix + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=7).hexdigest()


def run_id(event_id: str, workflow: str) -> str:
    return derived("r", event_id, workflow)


def part_id(run: str, *cause: str) -> str:
    """A part of a fan-out: its id begins with that of the whole, so that the whole's finds the parts'."""
    return f"{run}.{derived('', *cause)}"


def job_id(run: str, agent: str, step: str, attempt: int) -> str:
    """Letters, digits and '-' only, as RQ wants them: names are hashed, since TOML allows any.

    The part behind the run, which has two where a group is named, tells the agent, so that its unclaimed jobs can be
    found in a queue.
    """
    return f"{run.replace('.', '-')}-{agent_tag(agent)}-{derived('s', step)[:9]}-{attempt}"


def run_of(job: str) -> str | None:
    """The run that a job of one call is for, by its id alone; None for any other id."""
    found = _JOB.fullmatch(job)
    return None if found is None else ".".join(filter(None, found.groups()))


def agent_tag(agent: str) -> str:
    return derived("a", agent)[:9]


def write_id(run: str, step: str, turn: str, record: str, field: str) -> str:
    """`turn` is the step's attempt, or the review item that was approved."""
    return derived("w", run, step, turn, record, field)


def intent_id(*cause: str) -> str:
    return derived("i", *cause)


def review_id(*cause: str) -> str:
    return derived("q", *cause)


def notice_id(key: str) -> str:
    return derived("n", key)


def itself(workflow: str) -> str:
    """The subject of a workflow that is started without a record: itself. The kind `workflow` is no CRM's."""
    return f"workflow:{workflow}"


def is_workflow(subject: str) -> bool:
    return subject.startswith("workflow:")
