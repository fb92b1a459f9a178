"""What agent hosts do with the queue: claim, finish, say that they live, wait. Each change is one atomic script.

In flight means: a "job:execution" in RQ's started registry of its queue. It is put there by CLAIM and taken out by
FINISH or RECOVER, whichever comes first; the other one finds it gone and changes nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

from msgspec import Struct
from redis import Redis

from revops_lite.models import Event
from revops_lite.queue import names
from revops_lite.queue.jobs import FAILURE_TTL, FINISHED_KEPT, RESULT_TTL, SPENT, stamp
from revops_lite.queue.script import LuaScript, bus_errors

EXECUTION_TTL = 3600  # seconds; refreshed by each heartbeat
WORKER_TTL = 90


class EventSink(Struct, frozen=True):
    """Where `step.finished` goes: stream, channel, the key that remembers an event's id, and how it is written."""

    stream: str
    channel: str
    seen: Callable[[str], str]
    seen_ttl: int  # seconds
    encode: Callable[[Event], bytes]


class Claim(Struct, frozen=True):
    """A job that a host has in flight. `data` is what `jobs.decode` reads; `recoveries`: hosts it is suspected for."""

    job_id: str
    execution: str
    queue: str
    data: bytes
    recoveries: int = 0


class Ending(Struct, frozen=True):
    """How a claimed job ended: `ok` for RQ's books, the event (None where nobody is to hear of it), the error text."""

    claim: Claim
    ok: bool
    event: Event | None
    error: str = ""
    worked: float = 0.0  # seconds


class Answer(IntEnum):
    """What FINISH did with one ending."""

    LATE = 0  # the claim is gone: the job was recovered, this result does not count
    DONE = 1
    AGAIN = 2  # it had been ended by this very claim before: a reply was lost


class WorkerCard(Struct, frozen=True):
    """How a host shows itself to RQ's tools. `born` in epoch seconds."""

    name: str
    queues: tuple[str, ...]
    pid: int
    hostname: str
    born: float
    versions: Mapping[str, str]  # "version" (RQ) and "python_version"

    def words(self) -> list[str]:
        about = {
            "birth": stamp(self.born),
            "queues": ",".join(self.queues),
            "pid": str(self.pid),
            "hostname": self.hostname,
            "ip_address": "local",
            **self.versions,
        }
        return [word for pair in about.items() for word in pair]


class WorkQueue:
    """RQ's data as agent hosts use it. Every method may raise BusError and may be repeated after one."""

    def __init__(self, client: Redis, sink: EventSink, paused: str = "") -> None:
        """`paused` is the key of the set of agent tags (a part of a job's id) that nobody may call now."""
        self._client = client
        self._paused = paused
        self._sink = sink
        self._claim = LuaScript(client, "claim")
        self._finish = LuaScript(client, "finish")
        self._heartbeat = LuaScript(client, "heartbeat")

    def claim(self, worker: str, token: str, queues: Sequence[str], count: int, now: float) -> list[Claim]:
        """Up to `count` jobs, in flight from here on. The same `token` again returns the same jobs."""
        keys = [names.worker(worker), names.worker_executions(worker), self._paused]
        for queue in queues:
            keys += [names.queue(queue), names.started(queue)]
        prefixes = (names.job(""), names.execution("", "")[:-1], names.executions(""))
        args = [token, count, repr(now), stamp(now), EXECUTION_TTL, worker, *prefixes, *queues]
        return [
            Claim(job.decode(), execution.decode(), queue.decode(), data, recoveries)
            for job, execution, queue, data, recoveries in self._claim(keys, args)
        ]

    def finish(self, worker: str, endings: Sequence[Ending], now: float) -> list[Answer]:
        """End jobs and tell it, in one script; one answer per ending. Raises EventRefused for an event too large."""
        if not endings:
            return []
        sink = self._sink
        keys = [sink.stream, names.worker(worker), names.worker_executions(worker)]
        args: list[Any] = [sink.channel, repr(now), stamp(now), SPENT, FINISHED_KEPT, names.job("")]
        for ending in endings:
            claim = ending.claim
            keys += [
                names.started(claim.queue),
                names.finished(claim.queue) if ending.ok else names.failed(claim.queue),
                names.job(claim.job_id),
                names.execution(claim.job_id, claim.execution),
                names.executions(claim.job_id),
            ]
            args += [
                claim.job_id,
                claim.execution,
                "finished" if ending.ok else "failed",
                RESULT_TTL if ending.ok else FAILURE_TTL,
                sink.encode(ending.event) if ending.event else b"",
                zlib.compress(ending.error.encode("utf-8", "replace")) if ending.error else b"",
                f"{ending.worked:.6f}",
            ]
        return [Answer(code) for code in self._finish(keys, args)]

    def tell(self, event: Event) -> None:
        """Publish an event that no job's end carries. Told twice after a lost reply, which harms nobody."""
        raw = self._sink.encode(event)
        with bus_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.xadd(self._sink.stream, {"e": raw})
            pipe.publish(self._sink.channel, raw)
            pipe.execute()

    def heartbeat(self, card: WorkerCard, claims: Sequence[Claim], now: float) -> list[str]:
        """Show the host and its jobs as alive; the first one registers it. Returns the execution ids it has lost."""
        shown_in = [names.WORKERS, *(names.workers_of(queue) for queue in card.queues)]
        words = card.words()
        keys = [names.worker(card.name), names.worker_executions(card.name), *shown_in]
        args: list[Any] = [repr(now), stamp(now), EXECUTION_TTL, WORKER_TTL, len(shown_in), len(words), *words]
        for claim in claims:
            keys += [
                names.execution(claim.job_id, claim.execution),
                names.started(claim.queue),
                names.executions(claim.job_id),
            ]
            args += [claim.job_id, claim.execution, names.job(claim.job_id)]
        return [execution.decode() for execution in self._heartbeat(keys, args)]

    def waiting(self, queues: Sequence[str]) -> int:
        """How many jobs wait in these queues."""
        with bus_errors(), self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(names.queue(queue))
            return sum(pipe.execute())

    def in_flight(self, queues: Sequence[str]) -> int:
        """How many jobs of these queues are claimed and not ended."""
        with bus_errors(), self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.zcard(names.started(queue))
            return sum(pipe.execute())

    def last_seen(self, workers: Sequence[str]) -> dict[str, float]:
        """When each host last said that it lives (epoch seconds); those never heard of are left out."""
        with bus_errors(), self._client.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.hget(names.worker(worker), "last_heartbeat")
            found = pipe.execute()
        return {
            worker: datetime.fromisoformat(at.decode().replace("Z", "+00:00")).timestamp()
            for worker, at in zip(workers, found, strict=True)
            if at
        }

    def registered(self, beginning: str) -> list[str]:
        """Names of the hosts in RQ's books that begin so."""
        with bus_errors():
            keys = self._client.smembers(names.WORKERS)
        found = [
            key.decode("utf-8", "replace").removeprefix(names.worker("")) for key in keys if isinstance(key, bytes)
        ]
        return sorted(name for name in found if name.startswith(beginning))

    def sign_off(self, workers: Mapping[str, Sequence[str]]) -> None:
        """Take hosts (name -> queues) out of RQ's books."""
        with bus_errors(), self._client.pipeline(transaction=True) as pipe:
            for worker, queues in workers.items():
                key = names.worker(worker)
                pipe.srem(names.WORKERS, key)
                for queue in queues:
                    pipe.srem(names.workers_of(queue), key)
                pipe.delete(key, names.worker_executions(worker))
            pipe.execute()
