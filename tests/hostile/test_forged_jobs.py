"""Whoever can write into Redis can write RQ jobs. A real host calls none of them, lives, and goes on with good work."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from installation import Installation, until
from revops_lite.engine.ids import agent_tag
from revops_lite.queue import names
from revops_lite.queue.jobs import FUNCTION
from revops_lite.queue.scheduler import FUNCTION as SLOT
from revops_lite.queue.scheduler import CronScheduler

pytestmark = pytest.mark.real

AGENT = """
import os, time
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Grade(BaseModel):
    revops_grade: str

@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    while lead.get("wait") and not os.path.exists(lead["wait"]):
        time.sleep(0.01)
    return Proposal(Grade(revops_grade="A1"))
"""
GOOD = 5


class Spring:
    """Leaves the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def payloads(marker: Path) -> dict[str, bytes]:
    """The data of forged jobs, unpacked: RQ's two serializers, and neither."""
    touch = f"touch {marker}"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    calls = {
        "os_system": ("os.system", None, [touch], {}),
        "popen": ("subprocess.Popen", None, [touch], {"shell": True}),
        "call": ("subprocess.call", None, [["touch", str(marker)]], {}),
        "eval": ("builtins.eval", None, [code], {}),
        "exec": ("builtins.exec", None, [code], {}),
        "method": ("touch", f"pathlib.Path({str(marker)!r})", [], {}),
        "unknown": ("no.such.function", None, [], {}),
        "slot": (SLOT, None, [], {"workflow": "flow"}),
        "ours_bare": (FUNCTION, None, [], {}),
        "ours_positional": (FUNCTION, None, [touch], {}),
        "ours_rubbish": (FUNCTION, None, [], {"id": 1, "agent": touch, "snapshot": [], "timeout": "never"}),
        "ours_elsewhere": (FUNCTION, "os", [], {"id": "x"}),
    }
    made = {f"pickle-{name}": pickle.dumps((*call[:2], tuple(call[2]), call[3])) for name, call in calls.items()}
    made |= {f"json-{name}": json.dumps(call).encode() for name, call in calls.items()}
    made["pickle-spring"] = pickle.dumps(("os.getcwd", None, (Spring(marker),), {}))
    made["pickle-bare-spring"] = pickle.dumps(Spring(marker))
    made |= {"deep": b"[" * 100_000, "empty": b"", "nul": b"\x00" * 50, "not-text": b"\xff\xfe", "null": b"null"}
    return made


def forge(redis: Redis, marker: Path, queue: str) -> list[str]:
    """Every payload packed, torn and plain; hashes of wrong types. Returns the ids that a host has to refuse."""
    refused = []
    for name, data in payloads(marker).items():
        packed = zlib.compress(data)
        for way, bytes_ in {"packed": packed, "torn": packed[:-3], "plain": data}.items():
            id_ = f"forged-{name}-{way}"
            about = {"data": bytes_, "status": "queued", "origin": queue, "timeout": "-1", "created_at": "yesterday"}
            about |= {"success_callback_name": "os.system", "failure_callback_name": "os.abort", "result_ttl": "soon"}
            redis.hset(names.job(id_), mapping=about)
            redis.rpush(names.queue(queue), id_)
            refused.append(id_)
    return refused


def litter(redis: Redis, marker: Path, queue: str) -> None:
    """What is no job at all, where jobs and their books are expected; and a queue that nobody has configured."""
    redis.set(names.job("a-string"), "x")
    redis.rpush(names.job("a-list"), "x")
    redis.hset(names.job("no-data"), "status", "queued")
    redis.hset(names.job("odd-status"), mapping={"data": "x", "status": "\x00"})
    odd_ids = [b"\xff\xfe", b"", b"a:b", b"../../x", b"x" * 10_000, b"gone", b"a b\n"]
    redis.rpush(names.queue(queue), "a-string", "a-list", "no-data", "odd-status", *odd_ids)
    redis.sadd(names.QUEUES, names.queue("evil"), "no-queue-key", names.queue(""))
    redis.hset(names.job("evil-1"), mapping={"data": pickle.dumps(Spring(marker)), "status": "queued"})
    redis.rpush(names.queue("evil"), "evil-1")
    redis.zadd(names.started(queue), {"nobody:nothing": 1, "\x00": 2, "no-data:x.1": 3, "a-string:x.2": 4, ":": 5})
    redis.set(names.execution("no-data", "x.1"), "no hash")
    redis.hset(names.execution("a-string", "x.2"), mapping={"worker_name": "ghost", "last_heartbeat": "never"})
    redis.xadd("rq:results:evil-1", {"type": "1", "return_value": pickle.dumps(Spring(marker)), "created_at": "0"})
    redis.sadd(names.WORKERS, names.worker("ghost"), "no-worker-key", b"\xff\xfe")
    redis.hset(names.worker("ghost"), "last_heartbeat", "never")


def schedule(redis: Redis, marker: Path) -> None:
    """Entries for rq-scheduler that are long due: foreign functions, and crons of our own name."""
    for name, data in {"cron-forged": pickle.dumps(Spring(marker)), "cron-nightly": b"\xff", "stranger": b"x"}.items():
        about = {"data": data, "origin": "revops-cron", "rule": "[" * 1_000, "last_slot": "never"}
        redis.hset(names.job(name), mapping={**about, "success_callback_name": "os.system"})
        redis.zadd(CronScheduler.scheduled_jobs_key, {name: 1})
    redis.set(names.job("cron-string"), "no hash")
    redis.zadd(CronScheduler.scheduled_jobs_key, {"cron-string": 1, b"cron-\xff": 2})


def installed(site: Installation, **more: Any) -> None:
    site.agent("scoring", AGENT)
    flow = 'on = "lead.created"\nsteps = [{ agent = "scoring" }]'
    nightly = 'cron = "0 3 1 1 *"\nover = { kind = "deal" }\nsteps = [{ agent = "scoring" }]'
    breaker = 'entry = "agents.scoring:score"\nbreaker = { failures = 3, cooldown = "1h" }'
    site.configure({"scoring": breaker}, {"flow": flow, "nightly": nightly}, **more)


def status(redis: Redis, ids: list[str]) -> set[bytes]:
    with redis.pipeline() as pipe:
        for id_ in ids:
            pipe.hget(names.job(id_), "status")
        return set(pipe.execute())


def queue_of(redis: Redis) -> str:
    """The queue that the hosts of this installation serve."""
    (found,) = {
        key.decode().removeprefix("rq:workers:")
        for key in redis.scan_iter("rq:workers:*")
        if not key.endswith(b"-isolated")
    }
    return found


def slot(redis: Redis, job: str) -> float:
    """When a schedule fires next; 0 where it is not among them."""
    return float(redis.zscore(CronScheduler.scheduled_jobs_key, job) or 0)


def test_forged_jobs_are_refused_and_told_and_good_ones_go_on(site: Installation) -> None:
    marker = site.root / "marker"
    installed(site)
    site.crm("lead", {"lead-0": {"email": "a@b.example"}})
    with site.up() as up, site.redis() as redis:
        until(lambda: site.settled() == {"finished": 1}, "work is done")
        hosts = up.hosts()
        queue = queue_of(redis)
        litter(redis, marker, queue)
        refused = forge(redis, marker, queue)
        schedule(redis, marker)
        site.crm("lead", {f"lead-{n}": {"email": "a@b.example"} for n in range(1, GOOD)})
        until(lambda: site.settled() == {"finished": GOOD}, "good work goes on")
        until(lambda: status(redis, refused) == {b"failed"}, "every forged job has been refused")
        assert up.hosts() == hosts
        told = {entry["note"].partition(":")[0] for entry in site.audit("--what", "job.refused", "--limit", "1000")}
        assert told == set(refused)
        assert redis.hget(names.job("evil-1"), "status") == b"queued"
        assert up.stop() == 0
        assert "Traceback" not in up.err
    assert not marker.exists()
    with site.up() as again, site.redis() as redis:  # also what was left of it, at a start that recovers
        until(lambda: slot(redis, "cron-nightly") > 1 and not slot(redis, "cron-forged"), "the schedule is put right")
        site.crm("lead", {"lead-again": {"email": "a@b.example"}})
        until(lambda: site.settled() == {"finished": GOOD + 1}, "good work goes on")
        assert again.stop() == 0
        assert "Traceback" not in again.err
    assert not marker.exists()
    logs = b"".join(path.read_bytes() for path in (site.root / "var" / "logs").glob("*"))
    assert b"refused a job" in logs


def test_a_job_that_was_tampered_with_fails_its_step_and_no_run_waits_for_ever(site: Installation) -> None:
    """Jobs of ours that wait behind a busy place: one is emptied, one made a pickle, one torn."""
    marker, gate = site.root / "marker", site.root / "gate"
    installed(site, threads=1)
    site.crm("lead", {f"lead-{n}": {"wait": str(gate)} for n in range(4)})
    with site.up() as up, site.redis() as redis:
        queue = until(lambda: redis.exists(names.WORKERS) and queue_of(redis), "a host is there")
        until(lambda: redis.llen(names.queue(queue)) == 2, "two wait, since an unproven agent has three places")
        first, second = (id_.decode() for id_ in redis.lrange(names.queue(queue), 0, -1))
        redis.hset(names.job(first), "data", pickle.dumps(Spring(marker)))
        redis.hset(names.job(second), "data", redis.hget(names.job(second), "data")[:-9])
        gate.touch()
        until(lambda: site.settled() == {"finished": 2, "failed": 2}, "no run waits for ever")
        assert {item["reason"] for item in site.reviews()} == {"failure"}
        assert up.stop() == 0
    assert not marker.exists()


def test_a_breaker_opens_over_forged_jobs_that_bear_its_agents_tag(site: Installation) -> None:
    """Opening it takes unclaimed jobs of the agent back: those that are none are left alone."""
    marker = site.root / "marker"
    installed(site)
    with site.up() as up, site.redis() as redis:
        queue = until(lambda: redis.exists(names.WORKERS) and queue_of(redis), "a host is there")
        site.revops("breaker", "open", "scoring")
        until(lambda: redis.smembers("revops:paused"), "it is open")
        tag = agent_tag("scoring")
        redis.hset(names.job(f"r1-{tag}-s1-1"), mapping={"data": pickle.dumps(Spring(marker)), "status": "queued"})
        redis.set(names.job(f"r2-{tag}-s1-1"), "no hash")
        redis.rpush(names.queue(queue), f"r1-{tag}-s1-1", f"r2-{tag}-s1-1", b"\xff-%s-\xfe" % tag.encode())
        beat = redis.hget("revops:controller", "seq")
        site.revops("emit", "lead.created", "lead:x", "--data", '{"email": "x"}')
        until(lambda: int(redis.hget("revops:controller", "seq")) > int(beat) + 2, "the controller goes on")
        assert up.alive()
        site.revops("breaker", "reset", "scoring")
        until(lambda: site.settled() == {"finished": 1}, "the step that waited goes on")
        assert up.stop() == 0
        assert "Traceback" not in up.err
    assert not marker.exists()
