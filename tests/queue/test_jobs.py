"""A job is what RQ itself would have written, and nothing that somebody else wrote is ever called."""

from __future__ import annotations

import json
import pickle
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import str_to_date

from enqueued import fields_of
from revops_lite.errors import QueueError
from revops_lite.models import Job
from revops_lite.queue import names
from revops_lite.queue.jobs import (
    FAILURE_TTL,
    FUNCTION,
    RESULT_TTL,
    SMALL,
    AgentJob,
    JobSerializer,
    decode,
    describe,
    pack,
    run_step,
)
from revops_lite.values import replace

JOB = Job("a-1", "agents", "r1", "scoring", 1, "scoring", "lead:1", 12.5, 3, {"kind": "lead", "values": {"n": "Ä"}})


def test_the_hash_is_the_one_that_rq_writes(redis: Redis) -> None:
    ours = fields_of(JOB, 1000.25)
    theirs = AgentJob.create(
        FUNCTION,
        kwargs=decode_arguments(JOB),
        connection=redis,
        id=JOB.id,
        origin=JOB.queue,
        description=describe(JOB),
        timeout=13,
        result_ttl=RESULT_TTL,
        failure_ttl=FAILURE_TTL,
        status=JobStatus.QUEUED,
    )
    theirs.created_at = theirs.enqueued_at = str_to_date(str(ours["created_at"]).encode())
    theirs = {name: value for name, value in theirs.to_dict().items() if value != ""}
    assert ours.pop("data") == zlib.decompress(theirs.pop("data"))
    assert ours == theirs


def decode_arguments(job: Job) -> dict[str, Any]:
    return JobSerializer.loads(pack(job))[3]


def test_a_job_comes_back_as_it_was() -> None:
    assert decode(pack(JOB)) == JOB


def test_a_large_job_is_packed_and_comes_back_as_it_was() -> None:
    large = replace(JOB, snapshot={"values": {"notes": "all is well " * 1000}})
    assert len(pack(large)) < SMALL
    assert decode(pack(large)) == large


def test_rqs_own_tools_read_an_enqueued_job(redis: Redis, put: Any) -> None:
    job = put()
    queue = Queue("agents", connection=redis, job_class=AgentJob, serializer=JobSerializer)
    assert queue.count == 1
    read = queue.get_jobs()[0]
    assert (read.id, read.origin, read.func_name, read.kwargs["record"]) == ("job-1", "agents", FUNCTION, "lead:1")
    assert AgentJob.fetch(job.id, connection=redis).get_status() is JobStatus.QUEUED
    assert redis.ttl(names.job(job.id)) > 0


def test_a_job_is_never_performed_by_a_stock_worker(redis: Redis, put: Any) -> None:
    with pytest.raises(QueueError, match="agent host"):
        AgentJob.fetch(put().id, connection=redis).perform()
    with pytest.raises(QueueError):
        run_step()


class Trap:
    """Unpickling it would be seen."""

    sprung = False

    def __reduce__(self) -> Any:
        return (setattr, (Trap, "sprung", True))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps((FUNCTION, None, (Trap(),), {})),
        pickle.dumps(Trap()),
        json.dumps(["os.system", None, ["touch /tmp/owned"], {}]).encode(),
        json.dumps([FUNCTION, "an instance", [], {}]).encode(),
        json.dumps([FUNCTION, None, ["argument"], {}]).encode(),
        json.dumps([FUNCTION, None, [], {}]).encode(),
        json.dumps([FUNCTION, None, [], {"id": 1}]).encode(),
        b"[" * 100_000,
        b"",
        b"null",
        b"\xff\xfe",
    ],
)
def test_a_forged_job_is_refused(data: bytes) -> None:
    for forged in (data, zlib.compress(data), zlib.compress(data)[:-3]):
        with pytest.raises(QueueError, match="refused"):
            decode(forged)
    assert not Trap.sprung


def test_a_job_that_unpacks_to_gigabytes_is_refused() -> None:
    with pytest.raises(QueueError, match="too large"):
        decode(zlib.compress(b" " * 300_000_000, 1))


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_but_a_refusal(data: bytes) -> None:
    for forged in (data, zlib.compress(data)):
        with pytest.raises(QueueError):
            decode(forged)


def test_callbacks_and_foreign_functions_are_refused_by_the_job_class(redis: Redis) -> None:
    RqJob.create("os.getcwd", connection=redis, id="pickled", origin="agents").save()
    RqJob.create("os.getcwd", connection=redis, id="json", origin="agents", serializer=JSONSerializer).save()
    for forged in ("pickled", "json"):
        with pytest.raises(QueueError):
            AgentJob.fetch(forged, connection=redis).perform()
    redis.hset("rq:job:hooked", mapping={**fields_of(JOB, 1.0), "failure_callback_name": "os.abort"})
    with pytest.raises(QueueError, match="callbacks"):
        AgentJob.fetch("hooked", connection=redis)


def test_a_call_of_anything_else_cannot_even_be_written(redis: Redis) -> None:
    with pytest.raises(QueueError, match=r"os\.getcwd"):
        AgentJob.create("os.getcwd", connection=redis).save()


def test_half_a_character_in_a_snapshot_is_named_with_its_job() -> None:
    broken = Job("a-1", "agents", "r1", "s", 1, "scoring", "lead:1", 1.0, 1, {"values": {"name": "\ud800"}})
    with pytest.raises(QueueError, match=r"a-1 \(scoring on lead:1\)"):
        pack(broken)
