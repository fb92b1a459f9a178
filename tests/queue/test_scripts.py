"""Claim, finish, heartbeat, recover: at no moment is a job lost, and no result counts twice. Fake and real server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry

from revops_lite.engine.ids import agent_tag, job_id
from revops_lite.models import Job
from revops_lite.queue import names
from revops_lite.queue.jobs import AgentJob, decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.recovery import POISON_AFTER, Recovery
from revops_lite.queue.work import Answer, Claim, Ending, EventSink, WorkerCard, WorkQueue
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, decode_event, encode_event, seen_key

Put = Callable[..., Job]
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)


def take(
    work: WorkQueue, count: int = 10, worker: str = "n.1.1", token: str = "t1", now: float = 1000.0
) -> list[Claim]:
    return work.claim(worker, token, ["agents", "agents-isolated"], count, now)


def done(claim: Claim, outcome: str = "done") -> Ending:
    return Ending(claim, outcome == "done", step_finished(decode(claim.data), 1001.0, outcome=outcome), worked=0.5)


def events(redis: Redis) -> list[Any]:
    return [decode_event(fields[b"e"]) for _, fields in redis.xrange(EVENTS_KEY)]


def in_flight(redis: Redis) -> list[str]:
    return StartedJobRegistry("agents", connection=redis).get_job_ids(cleanup=False)


def test_jobs_are_claimed_oldest_first_and_stand_in_rqs_books(redis: Redis, work: WorkQueue, put: Put) -> None:
    for number in (1, 2, 3):
        put(number)
    claims = take(work, 2, now=time.time())
    assert [claim.job_id for claim in claims] == ["job-1", "job-2"]
    assert decode(claims[0].data).record == "lead:1"
    assert in_flight(redis) == ["job-1", "job-2"]
    assert redis.lrange("rq:queue:agents", 0, -1) == [b"job-3"]
    job = AgentJob.fetch("job-1", connection=redis)
    assert (job.is_started, job.worker_name) == (True, "n.1.1")
    assert job.get_executions()[0].worker_name == "n.1.1"


def test_the_same_claim_twice_returns_the_same_jobs(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1), put(2), put(3)
    first = take(work, 2)
    again = take(work, 2)
    assert sorted(again, key=lambda claim: claim.job_id) == first
    assert redis.llen("rq:queue:agents") == 1


def test_ids_without_a_readable_queued_job_are_dropped(redis: Redis, work: WorkQueue, put: Put) -> None:
    redis.rpush("rq:queue:agents", "no-such-job", "not-a-hash", "finished", b"\xff:\x00")
    redis.hset(b"rq:job:\xff:\x00", mapping={"data": "x", "status": "queued"})
    redis.set("rq:job:not-a-hash", "x")
    redis.hset("rq:job:finished", mapping={"data": "x", "status": "finished"})
    put(1)
    assert [claim.job_id for claim in take(work)] == ["job-1"]


def test_rqs_own_clean_up_never_takes_a_job_that_is_in_flight(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1)
    take(work)
    StartedJobRegistry("agents", connection=redis).cleanup(timestamp=9e9)
    assert in_flight(redis) == ["job-1"]


def test_a_finished_job_tells_it_once(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1)
    [claim] = take(work)
    assert work.finish("n.1.1", [done(claim)], 1001.0) == [Answer.DONE]
    assert work.finish("n.1.1", [done(claim)], 1001.0) == [Answer.AGAIN]
    assert [event.id for event in events(redis)] == ["run1|scoring|1|finished"]
    assert in_flight(redis) == []
    assert FinishedJobRegistry("agents", connection=redis).get_job_ids(cleanup=False) == ["job-1"]
    assert AgentJob.fetch("job-1", connection=redis).is_finished
    assert not redis.keys("rq:execution*")


def test_a_finished_job_keeps_no_record_values_in_redis(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1)
    work.finish("n.1.1", [done(take(work)[0])], 1001.0)
    assert AgentJob.fetch("job-1", connection=redis).kwargs == {}


def test_of_many_finished_jobs_the_newest_stay_and_each_that_failed(
    redis: Redis, work: WorkQueue, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revops_lite.queue.work.FINISHED_KEPT", 3)
    for number in range(1, 11):
        put(number)
        (claim,) = take(work, 1, token=f"t{number}", now=1000.0 + number)
        ending = done(claim) if number % 2 else done(claim, "failed")
        assert work.finish("n.1.1", [ending], 1000.0 + number) == [Answer.DONE]
        assert work.finish("n.1.1", [ending], 1000.0 + number) == [Answer.AGAIN]
    finished = FinishedJobRegistry("agents", connection=redis).get_job_ids(cleanup=False)
    assert finished == ["job-5", "job-7", "job-9"]
    assert len(FailedJobRegistry("agents", connection=redis).get_job_ids(cleanup=False)) == 5
    assert not redis.exists("rq:job:job-1", "rq:job:job-3")
    assert redis.exists("rq:job:job-2", "rq:job:job-5") == 2


def test_a_failed_job_stands_in_rqs_failed_registry_with_its_error(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1)
    [claim] = take(work)
    event = step_finished(decode(claim.data), 1001.0, outcome="failed", error="ValueError: no")
    work.finish("n.1.1", [Ending(claim, False, event, "ValueError: no")], 1001.0)
    assert FailedJobRegistry("agents", connection=redis).get_job_ids(cleanup=False) == ["job-1"]
    assert AgentJob.fetch("job-1", connection=redis)._exc_info == "ValueError: no"


def test_a_batch_of_endings_answers_each(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1), put(2)
    one, two = take(work)
    stranger = Claim("job-1", "other.1", "agents", one.data)
    answers = work.finish("n.1.1", [done(one), done(stranger), done(two)], 1001.0)
    assert answers == [Answer.DONE, Answer.LATE, Answer.DONE]
    assert len(events(redis)) == 2


def test_a_late_result_of_a_recovered_job_changes_nothing(
    redis: Redis, work: WorkQueue, recovery: Recovery, put: Put
) -> None:
    put(1)
    [old] = take(work)
    recovery.of_workers(["n.1.1"], 1001.0, blame=False)
    [new] = take(work, worker="n.1.2", token="t2")
    assert work.finish("n.1.1", [done(old)], 1002.0) == [Answer.LATE]
    assert events(redis) == []
    assert work.finish("n.1.2", [done(new)], 1003.0) == [Answer.DONE]
    assert len(events(redis)) == 1


def test_an_event_that_is_known_is_not_told_again(redis: Redis, work: WorkQueue, put: Put) -> None:
    job = put(1)
    work.finish("n.1.1", [done(take(work)[0])], 1001.0)
    put(1)
    work.finish("n.1.1", [done(take(work, token="t2")[0])], 1002.0)
    assert [event.run for event in events(redis)] == [job.run]


def test_recovered_jobs_go_to_the_front_in_their_old_order(
    redis: Redis, work: WorkQueue, recovery: Recovery, put: Put
) -> None:
    put(2), take(work, token="t1", now=1000.0)
    put(1), take(work, token="t2", now=1001.0)
    put(3)
    moved = recovery.of_workers(["n.1.1"], 1002.0, blame=False).moved
    assert sorted(moved) == [("job-1", "agents", "agents"), ("job-2", "agents", "agents")]
    assert redis.lrange("rq:queue:agents", 0, -1) == [b"job-2", b"job-1", b"job-3"]
    assert in_flight(redis) == []
    assert AgentJob.fetch("job-1", connection=redis).is_queued


def test_recovering_twice_moves_nothing_twice(redis: Redis, work: WorkQueue, recovery: Recovery, put: Put) -> None:
    put(1)
    take(work)
    assert recovery.of_workers(["n.1.1"], 1001.0, blame=True).moved
    assert not recovery.of_workers(["n.1.1"], 1001.0, blame=True).moved
    assert redis.llen("rq:queue:agents-isolated") == 1


def test_only_the_dead_hosts_jobs_are_recovered(work: WorkQueue, recovery: Recovery, put: Put) -> None:
    put(1), put(2)
    take(work, 1, "n.1.1", "t1")
    take(work, 1, "n.1.2", "t2")
    assert recovery.of_workers(["n.1.1"], 1001.0, blame=False).moved == (("job-1", "agents", "agents"),)
    assert recovery.of_node("other", 1001.0, blame=False).moved == ()
    assert recovery.of_node("n", 1001.0, blame=False).moved == (("job-2", "agents", "agents"),)


def test_a_job_that_three_hosts_died_of_while_it_was_alone_ends_as_crashed(
    redis: Redis, work: WorkQueue, recovery: Recovery, put: Put
) -> None:
    put(1)
    for death in range(POISON_AFTER + 1):
        [claim] = take(work, token=f"t{death}", now=1000.0 + death)
        assert claim.queue == ("agents-isolated" if death else "agents")  # the first time it was one of several
        found = recovery.of_workers(["n.1.1"], 1000.0 + death, blame=True)
    assert found.poison == ("job-1",)
    [event] = events(redis)
    assert (event.type, event.data["outcome"], event.run) == ("step.finished", "crashed", "run1")
    assert take(work, token="t9") == []
    assert recovery.of_workers(["n.1.1"], 1010.0, blame=True).poison == ()


def test_a_suspect_whose_host_died_goes_behind_the_others(
    redis: Redis, work: WorkQueue, recovery: Recovery, put: Put
) -> None:
    put(1), put(2)
    take(work)
    recovery.of_workers(["n.1.1"], 1001.0, blame=True)
    [first] = take(work, 1, token="t2")
    recovery.of_workers(["n.1.1"], 1002.0, blame=True)
    assert redis.lrange("rq:queue:agents-isolated", 0, -1)[-1] == first.job_id.encode()


def test_a_restart_without_blame_is_not_counted(work: WorkQueue, recovery: Recovery, put: Put) -> None:
    put(1)
    for restart in range(POISON_AFTER + 2):
        [claim] = take(work, token=f"t{restart}")
        assert (claim.queue, claim.recoveries) == ("agents", 0)
        recovery.of_node("n", 1000.0, blame=False)


def test_silence_of_30_seconds_is_death_and_a_heartbeat_prevents_it(
    work: WorkQueue, recovery: Recovery, put: Put
) -> None:
    put(1), put(2)
    alive, silent = take(work)
    card = WorkerCard("n.1.1", ("agents",), 1, "here", 900.0, {"version": "3", "python_version": "3"})
    assert work.heartbeat(card, [alive], 1025.0) == []
    assert recovery.of_silent(1031.0, blame=False).moved == (("job-2", "agents", "agents"),)
    assert work.heartbeat(card, [alive, silent], 1032.0) == [silent.execution]
    assert work.last_seen(["n.1.1", "nobody"]) == {"n.1.1": 1032.0}


def test_an_execution_that_has_run_out_is_recovered_all_the_same(
    redis: Redis, work: WorkQueue, recovery: Recovery, put: Put
) -> None:
    put(1)
    [claim] = take(work)
    redis.delete(names.execution(claim.job_id, claim.execution))
    assert recovery.of_silent(1031.0, blame=False).moved == (("job-1", "agents", "agents"),)


def test_signing_off_leaves_nothing_of_a_host(redis: Redis, work: WorkQueue) -> None:
    card = WorkerCard("n.1.1", ("agents",), 1, "here", 900.0, {"version": "3", "python_version": "3"})
    work.heartbeat(card, [], 1000.0)
    assert work.registered("n.") == ["n.1.1"]
    work.sign_off({"n.1.1": ["agents"]})
    assert redis.keys("*") == []


def test_every_key_has_a_lifetime_once_the_work_is_done(redis: Redis, work: WorkQueue, put: Put) -> None:
    for number in range(5):
        put(number)
    work.finish("n.1.1", [done(claim, "done" if index else "failed") for index, claim in enumerate(take(work))], 1001.0)
    endless = {key for key in redis.keys("*") if redis.ttl(key) == -1}
    assert endless == {b"rq:queues", EVENTS_KEY.encode()}


def test_scripts_survive_a_server_that_has_forgotten_them(redis: Redis, work: WorkQueue, put: Put) -> None:
    put(1)
    take(work)
    redis.script_flush()
    put(2)
    assert [claim.job_id for claim in take(work, token="t2")] == ["job-2"]


@pytest.mark.parametrize("queues", [["agents"], ["agents", "agents-b"]])
def test_waiting_and_in_flight_are_counted_over_queues(work: WorkQueue, put: Put, queues: list[str]) -> None:
    for number, queue in enumerate(queues):
        put(number, queue)
    assert work.waiting(queues) == len(queues)
    claimed = work.claim("n.1.1", "t1", queues, 10, 1000.0)
    assert {claim.queue for claim in claimed} == set(queues)
    assert (work.waiting(queues), work.in_flight(queues)) == (0, len(queues))


def test_jobs_of_an_agent_that_may_not_be_called_stay_in_their_place(redis: Redis, put: Put) -> None:
    """Its breaker is open: nobody claims them, the others go past them, and afterwards they come in their order."""
    work = WorkQueue(redis, SINK, "paused")
    jobs = [put(f"{tag}-{n}") for n, tag in enumerate(("bad", "good", "bad", "good"))]
    redis.sadd("paused", "bad")
    assert [claim.job_id for claim in take(work, 3)] == [jobs[1].id, jobs[3].id]
    assert take(work, 3, token="t2") == []
    assert redis.lrange(names.queue("agents"), 0, -1) == [jobs[0].id.encode(), jobs[2].id.encode()]
    redis.srem("paused", "bad")
    assert [claim.job_id for claim in take(work, 3, token="t3")] == [jobs[0].id, jobs[2].id]


@pytest.mark.parametrize("run", ["r" + "0" * 14, "r" + "0" * 14 + "." + "1" * 14], ids=["a record", "a group"])
def test_jobs_of_all_runs_of_an_agent_that_may_not_be_called_stay(redis: Redis, put: Put, run: str) -> None:
    work = WorkQueue(redis, SINK, "paused")
    job = put(id=job_id(run, "a", "s", 1))
    redis.sadd("paused", agent_tag("a"))
    assert take(work) == []
    assert redis.lrange(names.queue("agents"), 0, -1) == [job.id.encode()]
    redis.srem("paused", agent_tag("a"))
    assert [claim.job_id for claim in take(work, token="t2")] == [job.id]
