"""One agent call as an RQ job: written as RQ 3 itself would, read with an allow-list of exactly one function.

RQ's serializers execute any callable that somebody writes into Redis (pickle while it loads, JSON by name). Here the
data is JSON and the only function name that is accepted is `FUNCTION`; it is never called, the agent host reads
the job's arguments and calls the configured agent.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec
from pydantic_core import from_json, to_json
from rq.job import Job as RqJob

from revops_lite.errors import QueueError
from revops_lite.models import Job
from revops_lite.queue import names

FUNCTION = "revops_lite.queue.jobs.run_step"
RESULT_TTL = 3600  # seconds a finished job stays visible, at most
FINISHED_KEPT = 1000  # finished jobs of a queue; beyond these the oldest go before their time
FAILURE_TTL = 7 * 86400
QUEUED_TTL = 400 * 86400  # longer than any outage: a waiting job must outlive it, and yet no key lives for ever
SMALL = 4096  # bytes of a job's data that are not packed: RQ reads both, and packing takes longer than all else
OWN = ("data", "description", "timeout")  # of a job's hash: what is not the same for all jobs of a batch
MAX_BYTES = 256 * 1024 * 1024  # of one job's data, unpacked

_CALLABLES = (b"success_callback_name", b"failure_callback_name", b"stopped_callback_name", b"webhooks")
_PAYLOAD = msgspec.json.Decoder(tuple[Literal["revops_lite.queue.jobs.run_step"], None, tuple[()], Job])
_ENCODER = msgspec.json.Encoder()


def run_step(**_arguments: Any) -> None:
    """What a stock RQ worker would call. Raises QueueError: a step runs in an agent host only."""
    raise QueueError("a step runs in an agent host of revops-lite, not in a stock RQ worker")


@lru_cache(maxsize=8)  # a batch has one time
def stamp(at: float) -> str:
    """A time (epoch seconds) as RQ writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def pack(job: Job) -> bytes:
    """The job's data field. Raises QueueError where the snapshot cannot be JSON."""
    try:
        text = _ENCODER.encode((FUNCTION, None, (), job))
    except (ValueError, TypeError, RecursionError) as error:
        raise QueueError(f"job {job.id} ({job.agent} on {job.record}): its snapshot is not JSON: {error}") from error
    return text if len(text) <= SMALL else zlib.compress(text, 1)


# What stays of a finished job's data: RQ's tools can still read it, the record's values are gone.
SPENT = zlib.compress(to_json((FUNCTION, None, (), {})))


def enqueue_commands(jobs: Sequence[Job], now: float) -> Iterator[tuple[Any, ...]]:
    """Commands, with HSETS of the commit script among them, that put jobs at the end of their queues, and tell it on
    the queues' channels. `now` in epoch seconds. The hash of a job has, of what `rq.job.Job.to_dict` writes, all that
    is not empty."""
    at = stamp(now)
    always = {"created_at": at, "enqueued_at": at, "result_ttl": RESULT_TTL, "failure_ttl": FAILURE_TTL}
    for queue in dict.fromkeys(job.queue for job in jobs):
        mine = [job for job in jobs if job.queue == queue]
        shared = [word for pair in (always | {"origin": queue, "status": "queued"}).items() for word in pair]
        each = [word for job in mine for word in (names.job(job.id), *_own(job))]
        yield ("HSETS", QUEUED_TTL, len(OWN), *OWN, len(shared) // 2, *shared, *each)
        yield ("SADD", names.QUEUES, names.queue(queue))
        yield ("PUBLISH", names.queue(queue), queue)
        for job in mine:
            yield ("RPUSH", names.queue(queue), job.id)


def _own(job: Job) -> tuple[bytes, str, int]:
    return pack(job), describe(job), max(1, math.ceil(job.timeout))


def describe(job: Job) -> str:
    """The line that RQ's tools show: printable, at most 160 characters."""
    text = f"{job.agent} on {job.record} ({job.run}, {job.step}, attempt {job.attempt})"
    if text.isprintable():
        return text[:160]
    return "".join(letter if letter.isprintable() else "?" for letter in text[:160])


def decode(data: bytes) -> Job:
    """The job behind a hash's data field. Raises QueueError for anything that `pack` has not made."""
    return _read(_unpack(data))


def _unpack(data: bytes) -> bytes:
    if data[:1] == b"[":
        return data
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise QueueError("refused a job: its data is not packed as revops-lite packs it") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise QueueError("refused a job: its data is cut off or too large")
    return text


def _read(text: bytes) -> Job:
    try:
        return _PAYLOAD.decode(text)[3]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise QueueError(f"refused a job: it is not a call of {FUNCTION} ({error})") from error


class JobSerializer:
    """RQ's serializer protocol: JSON in and out, and nothing else. A call of any other function is not written."""

    @staticmethod
    def dumps(value: Any, /) -> bytes:
        if isinstance(value, tuple) and value[0] != FUNCTION:
            raise QueueError(f"refused to write a job that calls {value[0]!r}; only {FUNCTION} is allowed")
        return to_json(value)

    @staticmethod
    def loads(data: bytes, /) -> Any:
        return from_json(data, allow_inf_nan=False)


class AgentJob(RqJob):
    """RQ's job, for its tools and ours: readable, but only as a call of `FUNCTION`, without callbacks or hooks."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        del serializer  # whatever the caller believes: pickle is never loaded
        super().__init__(id, connection=connection, serializer=JobSerializer)

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        if any(raw_data.get(name) for name in _CALLABLES):
            raise QueueError(f"refused job {self._id}: it names callbacks or hooks")
        return super().restore(raw_data)

    def _deserialize_data(self) -> None:
        if self.data == zlib.decompress(SPENT):
            arguments: dict[str, Any] = {}
        else:
            _read(self.data)
            arguments = JobSerializer.loads(self.data)[3]
        self._func_name, self._instance, self._args, self._kwargs = FUNCTION, None, (), arguments

    @property
    def func(self) -> Any:
        _ = self.func_name  # refuses what is not ours
        return run_step
