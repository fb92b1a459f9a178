"""Cron on rq-scheduler's data model: its sorted set of jobs by time, its job hashes, its `get_jobs`.

What differs is how a schedule moves. rq-scheduler takes a job out, enqueues it, and puts it back: killed in between,
the cron is lost, and two schedulers need a lock. Here a slot is told by one script that moves the schedule from the
slot that was read to the next one; whoever comes second finds it moved. So any number may tick at once, and nothing
has to be cleaned up after one that was killed.

| key                        | type | lifetime            | what it is                                              |
|----------------------------|------|---------------------|---------------------------------------------------------|
| rq-scheduler's schedule    | zset | permanent           | job id -> next slot (epoch seconds)                     |
| the job's hash             | hash | 400 d past its slot | RQ's fields, `rule` and `last_slot`                     |
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from msgspec import Struct
from pydantic_core import from_json, to_json
from redis import Redis
from rq.job import Job as RqJob
from rq_scheduler import Scheduler

from revops_lite.engine.ids import itself
from revops_lite.errors import QueueError
from revops_lite.models import Event
from revops_lite.policy import WorkflowDef
from revops_lite.queue import names
from revops_lite.queue.jobs import QUEUED_TTL, JobSerializer, stamp
from revops_lite.queue.script import LuaScript, bus_errors
from revops_lite.queue.work import EventSink
from revops_lite.rules.slots import LATE_AFTER, Firing, firings, next_slot
from revops_lite.times import stamp as iso

log = logging.getLogger("revops.cron")

FUNCTION = "revops_lite.queue.scheduler.tell_slot"
ORIGIN = "revops-cron"  # the queue that the jobs name; nothing is ever put there
PREFIX = "cron-"
TOLD = 1

_WORKFLOW = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)


def tell_slot(**_arguments: Any) -> None:
    """What a stock RQ worker would call. Raises QueueError: a slot is told by the scheduler itself."""
    raise QueueError("a cron slot is told by revops-lite's scheduler, not by an RQ worker")


class CronJob(RqJob):
    """A schedule as RQ's tools see it: `meta` has `cron_string` and `timezone`, `kwargs` the workflow."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        del serializer  # whatever the caller believes: pickle is never loaded
        super().__init__(id, connection=connection, serializer=JobSerializer)

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        if raw_data.get(b"origin") != ORIGIN.encode():
            raise QueueError(f"refused job {self._id}: it is no cron job of revops-lite")
        found = super().restore(raw_data)
        # Not kept as RQ's `meta`: stock tools would read that with pickle, and fail.
        self.meta = from_json(raw_data[b"rule"])
        return found

    def _deserialize_data(self) -> None:
        function, _, _, arguments = JobSerializer.loads(self.data)
        if function != FUNCTION:
            raise QueueError(f"refused job {self._id}: it calls {function!r}; only {FUNCTION} is allowed")
        self._func_name, self._instance, self._args, self._kwargs = FUNCTION, None, (), arguments

    @property
    def func(self) -> Any:
        _ = self.func_name  # refuses what is not ours
        return tell_slot


class _Standing(Struct, frozen=True):
    """How a schedule stands in Redis; all None where there is none. Times in epoch seconds."""

    planned: float | None
    rule: bytes | None
    last: float | None


class CronScheduler(Scheduler):  # type: ignore[misc]  # rq-scheduler has no types
    """`sync` once at start, then `tick` from one thread. Every method but `next_due` may raise BusError."""

    def __init__(self, client: Redis, sink: EventSink, zone: str) -> None:
        """`zone` is the IANA name of the time zone that cron lines speak of."""
        super().__init__(queue_name=ORIGIN, connection=client, job_class=CronJob)
        self.redis = client
        self.sink = sink
        self.zone = ZoneInfo(zone)
        self._crons: dict[str, WorkflowDef] = {}
        self._due: dict[str, float] = {}
        self._fire = LuaScript(client, "fire")
        self._plan = LuaScript(client, "plan")

    # -- the three verbs --

    def sync(self, workflows: Mapping[str, WorkflowDef], now: float) -> None:
        """Make the schedules those of `workflows` (the ones with `cron`); others of ours are removed.

        A schedule whose line and zone are the same keeps the slot it waits for, a missed one included. A new or
        changed one waits for the first slot after `now`. Raises ConfigError for a line that is none.
        """
        crons = {name: flow for name, flow in workflows.items() if flow.cron is not None}
        firsts = {name: next_slot(flow.cron or "", self.zone, now) for name, flow in crons.items()}
        for name in firsts:
            _job_id(name)
        self._crons = crons
        self._remove_all_but(crons)
        for name, standing in _standings(self.redis, list(crons)).items():
            same = standing.rule == _rule(crons[name], self.zone)
            missed = same and standing.planned is not None and standing.planned <= now
            if not missed and (not same or standing.planned != firsts[name]):
                self._set(crons[name], standing, firsts[name], now)
        self._due = self._ours(_standings(self.redis, list(crons)))

    def tick(self, now: float) -> int:
        """Tell every slot that is due. Returns how many were told by this call; other schedulers' do not count."""
        standings = _standings(self.redis, list(self._crons))
        told = 0
        for name, standing in standings.items():
            flow = self._crons[name]
            if standing.rule == _rule(flow, self.zone) and self._astray(standing, now):
                self._set(flow, standing, next_slot(flow.cron or "", self.zone, now), now)
        self._due = self._ours(standings)
        for name, planned in list(self._due.items()):
            flow = self._crons[name]
            told += self._move(flow, planned, now, firings(flow.cron or "", self.zone, planned, now, flow.missed))
        return told

    def next_due(self) -> float | None:
        """The next slot of all, as far as the last `sync` or `tick` saw; None where nothing is scheduled."""
        return min(self._due.values(), default=None)

    def slots(self, workflow: str) -> tuple[float | None, float | None]:
        """The last slot that was told and the one it waits for (epoch seconds), by what Redis holds.

        None for what there is not. A slot in the past is one that was missed while nothing ran.
        """
        standing = _standings(self.redis, [workflow])[workflow]
        return standing.last, standing.planned

    # -- how they do it --

    def _move(self, flow: WorkflowDef, planned: float, now: float, moves: Sequence[Firing]) -> int:
        told = 0
        for move in moves:
            answer = self._fire_one(flow, planned, now, move)
            if not answer:  # somebody else was first; the next tick sees how it stands
                self._due.pop(flow.name, None)
                break
            if move.slot is None:
                log.warning("%s: missed slots are skipped, next is %s", flow.name, iso(move.next))
            told += answer == TOLD
            planned = self._due[flow.name] = move.next
        return told

    def _fire_one(self, flow: WorkflowDef, planned: float, now: float, move: Firing) -> int:
        event = None if move.slot is None else slot_event(flow.name, move.slot, now)
        keys = [
            self.scheduled_jobs_key,
            _job_key(flow.name),
            self.sink.stream,
            self.sink.seen(event.id if event else ""),
        ]
        args = [
            _job_id(flow.name),
            repr(planned),
            _rule(flow, self.zone),
            repr(move.next),
            _expiry(move.next),
            "" if move.slot is None else repr(move.slot),
            self.sink.encode(event) if event else "",
            self.sink.channel,
            self.sink.seen_ttl,
        ]
        return int(self._fire(keys, args))

    def _set(self, flow: WorkflowDef, seen: _Standing, slot: float, now: float) -> None:
        about = {
            "created_at": stamp(now),
            "data": zlib.compress(to_json((FUNCTION, None, (), {"workflow": flow.name}))),
            "origin": ORIGIN,
            "description": f"cron {flow.cron} ({self.zone.key}) starts {flow.name}",
            "status": "scheduled",
            "result_ttl": -1,
            "rule": _rule(flow, self.zone),
        }
        was = "" if seen.planned is None else repr(seen.planned)
        args = [_job_id(flow.name), was, seen.rule or b"", repr(slot), _expiry(slot)]
        fields = [part for pair in about.items() for part in pair]
        self._plan([self.scheduled_jobs_key, _job_key(flow.name)], [*args, *fields])

    def _remove_all_but(self, wanted: Mapping[str, Any]) -> None:
        keep = {_job_id(name) for name in wanted}
        with bus_errors():
            members = self.redis.zrange(self.scheduled_jobs_key, 0, -1)
            there = [id_.decode("utf-8", "replace") for id_ in members if isinstance(id_, bytes)]
            others = [id_ for id_ in there if id_.startswith(PREFIX) and id_ not in keep]
            with self.redis.pipeline(transaction=False) as pipe:
                for id_ in others:
                    pipe.hget(names.job(id_), "origin")
                origins = pipe.execute(raise_on_error=False)  # somebody else's job need not be a hash
            for id_, origin in zip(others, origins, strict=True):
                if origin == ORIGIN.encode():
                    with self.redis.pipeline(transaction=True) as pipe:
                        pipe.zrem(self.scheduled_jobs_key, id_)
                        pipe.delete(names.job(id_))
                        pipe.execute()

    def _ours(self, standings: Mapping[str, _Standing]) -> dict[str, float]:
        """The slots waited for, without the schedules that another configuration has taken over."""
        return {
            name: standing.planned
            for name, standing in standings.items()
            if standing.planned is not None and standing.rule == _rule(self._crons[name], self.zone)
        }

    def _astray(self, standing: _Standing, now: float) -> bool:
        """Whether a schedule lost its place: taken out by a stock scheduler, or moved on by a clock that ran ahead."""
        return standing.planned is None or (standing.last is not None and standing.planned > now < standing.last)

    # -- rq-scheduler's own way to put and to fire jobs: not safe, so closed --

    def cron(self, *_arguments: Any, **_options: Any) -> NoReturn:
        self._create_job()

    def _create_job(self, *_arguments: Any, **_options: Any) -> NoReturn:
        raise QueueError("cron jobs come from the configuration; write cron = … in [workflows.NAME]")

    def enqueue_job(self, job: RqJob) -> NoReturn:
        raise QueueError(f"job {job.id} is not enqueued; revops-lite tells its slots itself")


def slot_event(workflow: str, slot: float, now: float) -> Event:
    """`cron.fired`, with an id made of workflow and slot. Its time, from which latency and deadline count, is the
    slot's; for a missed one `now`: that the machine was off says nothing about how fast the workflow is."""
    at = iso(slot)
    data = {"workflow": workflow, "slot": at}
    time = slot if now - slot <= LATE_AFTER else now
    return Event(f"cron|{workflow}|{at}", "cron.fired", itself(workflow), "cron", time, data)


def outlook(
    client: Redis | None, zone: str, flows: Sequence[WorkflowDef], now: float
) -> dict[str, tuple[float | None, float | None]]:
    """workflow -> its last and its next slot by a configuration, in force or not. Raises BusError.

    Where Redis holds no schedule for a workflow, or one for another line, the first slot after `now` comes next;
    without `client` that is so for all. Workflows without `cron` have neither slot.
    """
    where = ZoneInfo(zone)
    crons = [flow for flow in flows if flow.cron is not None]
    standings = _standings(client, [flow.name for flow in crons]) if client else {}
    found: dict[str, tuple[float | None, float | None]] = {flow.name: (None, None) for flow in flows}
    for flow in crons:
        standing = standings.get(flow.name, _Standing(None, None, None))
        waits = standing.planned is not None and standing.rule == _rule(flow, where)
        found[flow.name] = standing.last, standing.planned if waits else next_slot(flow.cron or "", where, now)
    return found


def _standings(client: Redis, workflows: Sequence[str]) -> dict[str, _Standing]:
    with bus_errors(), client.pipeline(transaction=True) as pipe:
        for name in workflows:
            pipe.zscore(CronScheduler.scheduled_jobs_key, _job_id(name))
            pipe.hmget(_job_key(name), "rule", "last_slot")
        found = pipe.execute() if workflows else []
    rows = zip(workflows, found[::2], found[1::2], strict=True)
    return {name: _Standing(at, rule, _time(last)) for name, at, (rule, last) in rows}


def _time(said: bytes | None) -> float | None:
    """A time as we keep it; None for what somebody else has put there."""
    try:
        time = float(said or "nan")
    except ValueError:
        return None
    return time if isfinite(time) else None


def _rule(flow: WorkflowDef, zone: ZoneInfo) -> bytes:
    return to_json({"cron_string": " ".join((flow.cron or "").split()), "timezone": zone.key})


def _job_id(workflow: str) -> str:
    if not _WORKFLOW.fullmatch(workflow):
        raise QueueError(f"workflow {workflow!r} cannot be scheduled; name it with letters, digits, - and _")
    return PREFIX + workflow


def _job_key(workflow: str) -> str:
    return names.job(_job_id(workflow))


def _expiry(slot: float) -> int:
    return int(slot) + QUEUED_TTL
