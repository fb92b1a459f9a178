"""A host in this process: whatever an agent does becomes an outcome, and the slot goes on to the next job."""

from __future__ import annotations

import json
import pickle
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from redis import Redis
from rq.job import Job as RqJob
from rq.queue import Queue
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from revops_lite.host import pool
from revops_lite.host.prints import agents_to_log
from revops_lite.models import Event, Job
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import WorkQueue

pytestmark = pytest.mark.real
Told = Callable[[], list[Event]]
Put = Callable[..., Job]


def test_a_job_becomes_a_step_finished_event(host: Any, put: Put, told: Told, until: Any) -> None:
    host()
    put(7)
    [event] = until(told)
    assert (event.id, event.type, event.subject, event.source) == (
        "run7|score|1|finished",
        "step.finished",
        "lead:7",
        "host",
    )
    assert event.data["outcome"] == "done"
    [proposal] = event.data["proposals"]
    assert (proposal["values"], proposal["confidence"], proposal["because"]) == ({"score": 7}, {"*": 0.9}, "counted")
    assert event.data["elapsed_ms"] > 0


def test_a_host_with_work_for_all_its_slots_does_each_job_once(host: Any, put: Put, told: Told, until: Any) -> None:
    for number in range(100):
        put(number)
    one = host(threads=8)
    until(lambda: len(told()) >= 100)
    assert one.stop()
    assert sorted(event.subject for event in told()) == sorted(f"lead:{number}" for number in range(100))


def test_several_queues_are_served(host: Any, put: Put, told: Told, until: Any) -> None:
    host(queues=("agents", "agents-b"))
    put(1)
    until(lambda: len(told()) == 1)
    put(2, queue="agents-b")
    until(lambda: len(told()) == 2)


@pytest.mark.parametrize(
    ("agent", "error"),
    [("system_exit", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt")],
)
def test_an_agent_that_wants_to_end_the_process_only_fails(
    host: Any, put: Put, told: Told, until: Any, agent: str, error: str
) -> None:
    host(threads=1)
    put(1, agent)
    put(2)
    until(lambda: len(told()) == 2)
    assert (told()[0].data["outcome"], told()[0].data["error"]) == ("failed", error)
    assert told()[1].data["outcome"] == "done"


@pytest.mark.parametrize("agent", ["loop", "sleep", "nap", "swallow"])
def test_an_agent_that_never_returns_times_out_and_its_slot_goes_on(
    host: Any, put: Put, told: Told, until: Any, agent: str, work: WorkQueue
) -> None:
    one = host(threads=1, recycle=False)
    put(1, agent, timeout=0.1)
    put(2)
    until(lambda: len(told()) == 2)
    assert [event.data["outcome"] for event in told()] == ["timeout", "done"]
    assert told()[0].data["error"] == "no answer within 0.1 s"
    assert one.abandoned == (1 if agent in ("sleep", "swallow") else 0)
    until(lambda: work.in_flight(["agents"]) == 0)


def test_a_host_with_too_many_hanging_agents_wants_to_be_replaced(host: Any, put: Put, told: Told, until: Any) -> None:
    one = host(threads=5)
    for number in range(5):
        put(number, "sleep", timeout=0.1)
    until(lambda: one.exhausted)
    until(lambda: len(told()) == 5)
    put(9)
    assert one.stop(0.1)
    assert len(told()) == 5


def test_a_slot_that_cannot_be_replaced_is_lost_and_timeouts_go_on(
    host: Any, put: Put, told: Told, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine gives no more threads."""
    for number in range(2):
        put(number, "sleep", timeout=0.5 + number / 10)
    one = host(threads=2)
    start, refused = one._thread, []

    def none_at_first(*given: Any) -> Any:
        if not refused:
            refused.append(given)
            raise RuntimeError("can't start new thread")
        return start(*given)

    monkeypatch.setattr(one, "_thread", none_at_first)
    until(lambda: len(told()) == 2)
    assert [event.data["outcome"] for event in told()] == ["timeout", "timeout"]
    assert refused
    assert one.exhausted
    assert one.stop(None)


def test_forged_jobs_are_refused_and_executed_by_nobody(
    host: Any, put: Put, told: Told, until: Any, real_redis: Redis, tmp_path: Path
) -> None:
    victim = tmp_path / "owned"
    Queue("agents", connection=real_redis).enqueue("pathlib.Path.touch", victim)
    Queue("agents", connection=real_redis, serializer=JSONSerializer).enqueue("os.mkdir", str(victim))
    evil = zlib.compress(pickle.dumps(Evil(str(victim))))
    real_redis.hset("rq:job:evil", mapping={"data": evil, "status": "queued"})
    real_redis.rpush("rq:queue:agents", "evil", "garbage")
    put(1)
    host()
    until(lambda: sorted(event.type for event in told()) == ["job.refused"] * 3 + ["step.finished"])
    failed = FailedJobRegistry("agents", connection=real_redis)
    until(lambda: len(failed.get_job_ids(cleanup=False)) == 3)
    assert not victim.exists()
    assert [event.subject for event in told() if event.type == "step.finished"] == ["lead:1"]
    assert "refused a job" in str(RqJob.fetch("evil", connection=real_redis)._exc_info)


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


def test_an_agent_that_is_not_configured_fails_with_the_mend(host: Any, put: Put, told: Told, until: Any) -> None:
    host()
    put(1, "unheard_of")
    [event] = until(told)
    assert event.data["outcome"] == "failed"
    assert "'unheard_of' is not in this host's configuration" in event.data["error"]


def test_a_job_in_flight_goes_on_elsewhere_and_its_late_result_is_dropped(
    host: Any, put: Put, told: Told, until: Any, work: WorkQueue, real_redis: Redis, tmp_path: Path
) -> None:
    first = host(threads=1)
    put(1, "wait_for_file", file=str(tmp_path / "go"))
    until(lambda: first.in_flight == 1)
    moved = Recovery(real_redis, work).of_workers([first.name], 0.0, blame=True).moved
    assert moved == (("job-1", "agents", "agents-isolated"),)
    host(queues=("agents-isolated",))
    (tmp_path / "go").touch()
    until(lambda: first.late == 1)
    until(lambda: sorted(event.type for event in told()) == ["step.finished", "step.late"])
    assert work.in_flight(["agents", "agents-isolated"]) == 0


def test_a_suspect_runs_alone(host: Any, put: Put, told: Told, until: Any, tmp_path: Path) -> None:
    put(1, "wait_for_file", file=str(tmp_path / "first"))
    one = host(threads=4, isolated=("agents-isolated",))
    until(lambda: one.in_flight == 1)
    put(2, "wait_for_file", queue="agents-isolated", file=str(tmp_path / "second"))
    put(3, "wait_for_file", queue="agents-isolated", file=str(tmp_path / "second"))
    (tmp_path / "first").touch()
    until(lambda: len(told()) == 1)
    until(lambda: one.in_flight == 1)
    put(4)
    (tmp_path / "second").touch()
    until(lambda: len(told()) == 4)
    assert [event.subject for event in told()] == ["lead:1", "lead:2", "lead:3", "lead:4"]


def test_stopping_waits_for_what_runs(host: Any, put: Put, told: Told, until: Any, tmp_path: Path) -> None:
    one = host()
    put(1, "wait_for_file", file=str(tmp_path / "go"))
    until(lambda: one.in_flight == 1)
    assert not one.stop(0.05)
    assert told() == []
    (tmp_path / "go").touch()


def test_a_host_that_is_to_be_replaced_says_that_it_lives_until_its_calls_have_ended(
    host: Any, put: Put, told: Told, until: Any, work: WorkQueue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be killed as silent, and its calls with it."""
    monkeypatch.setattr(pool, "PULSE", 0.01)
    one = host()
    put(1, "wait_for_file", file=str(tmp_path / "go"))
    until(lambda: one.in_flight == 1)
    stopping = Thread(target=one.stop, args=(None,))
    stopping.start()
    until(one._stopping.is_set)
    for _ in range(3):  # the first may have been on its way
        seen = work.last_seen([one.name])
        until(lambda before=seen: work.last_seen([one.name]) != before)
    (tmp_path / "go").touch()
    stopping.join()
    assert [event.data["outcome"] for event in told()] == ["done"]
    assert work.registered("n.") == [], "it has signed off, and no heartbeat came behind that"


def test_a_host_of_which_a_slot_breaks_waits_for_nothing_and_the_job_goes_on_elsewhere(
    host: Any, put: Put, told: Told, until: Any, work: WorkQueue, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "step_finished", broken)
        one = host()
        put(1)
        until(lambda: one.exhausted)
        assert one.stop(None)
    assert told() == []
    moved = Recovery(real_redis, work).of_workers([one.name], 0.0, blame=True).moved
    assert moved == (("job-1", "agents", "agents-isolated"),)


def test_prints_of_agents_go_to_the_log(
    host: Any, put: Put, told: Told, until: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with agents_to_log():
        host()
        put(1, "chat")
        until(told)
        print("ours")
    assert capsys.readouterr().out == "ours\n"
    assert "chat: hello from the agent" in caplog.text


def test_a_host_shows_itself_to_rq(host: Any, put: Put, told: Told, until: Any, real_redis: Redis) -> None:
    one = host()
    put(1)
    until(told)
    key = f"rq:worker:{one.name}"
    until(lambda: real_redis.hget(key, "successful_job_count") == b"1")
    assert real_redis.smembers("rq:workers") == {key.encode()}
    assert one.stop()
    assert not real_redis.exists(key)
    assert json.dumps(sorted(real_redis.smembers("rq:workers"))) == "[]"


def test_a_queue_that_holds_only_what_may_not_be_claimed_is_asked_with_a_breath(
    host: Any, work: WorkQueue, put: Put, told: Told, until: Any, real_redis: Redis
) -> None:
    """Work of an agent whose breaker is open, which nobody takes out of the queue."""
    work._paused = "paused"
    real_redis.sadd("paused", "tag")
    real_redis.rpush("rq:queue:agents", "r1-tag-s1-1")
    put(2)
    one = host()
    until(told)
    before, begun = one._claims_made, time.monotonic()
    until(lambda: one._claims_made > before + 2)
    assert time.monotonic() - begun > pool.IDLE
    put(3)
    until(lambda: len(told()) == 2)


def test_a_job_of_which_nobody_tells_is_found_all_the_same(
    host: Any, put: Put, told: Told, until: Any, real_redis: Redis
) -> None:
    """The message that it has come was lost."""
    host()
    put(1)
    until(told)
    real_redis.rpush("rq:queue:agents", put(2, queue="elsewhere").id)
    until(lambda: len(told()) == 2)


@pytest.mark.parametrize("ahead", [0, 2])
def test_jobs_are_claimed_ahead_of_the_slots_while_calls_end(
    host: Any, put: Put, told: Told, until: Any, real_redis: Redis, tmp_path: Path, ahead: int
) -> None:
    def release(*numbers: int) -> None:
        for number in numbers:
            (tmp_path / f"{number}").touch()

    for number in range(14):
        put(number, "wait_for_file", file=str(tmp_path / f"{number}"))
    one = host(threads=4, ahead=ahead)
    until(lambda: one.in_flight == 4)  # nothing has ended yet
    for number in range(3):
        release(number)
        until(lambda done=number + 1: len(told()) == done and one.in_flight == 4 + min(1, ahead))
    release(3, 4, 5, 6)
    until(lambda: len(told()) == 7 and one.in_flight >= 4)
    assert one.in_flight <= 4 + ahead
    assert real_redis.llen("rq:queue:agents") >= 14 - 7 - 4 - ahead
    release(*range(7, 14))
    until(lambda: len(told()) == 14)
    assert one.stop()
    assert sorted(event.subject for event in told()) == sorted(f"lead:{number}" for number in range(14))


@pytest.mark.parametrize(
    ("queues", "more"),
    [(("agents", "agents"), {"threads": 1}), (("agents", "agents-isolated"), {"isolated": ("agents-isolated",)})],
    ids=["one slot", "a suspect in this very process"],
)
def test_who_is_called_alone_waits_until_the_last_ending_has_been_reported(
    host: Any,
    put: Callable[..., Job],
    told: Callable[[], list[Event]],
    work: WorkQueue,
    until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    queues: tuple[str, str],
    more: dict[str, Any],
) -> None:
    """It may be the one that kills its host, and whoever is in flight there then is a suspect."""
    asked, go_on, looks = threading.Event(), threading.Event(), threading.Semaphore(0)
    finish, claim = work.finish, pool.Host._claim

    def held_up(*words: Any) -> Any:
        asked.set()
        assert go_on.wait(30)
        return finish(*words)

    def looked(one: pool.Host) -> Any:
        claimed = claim(one)
        looks.release()
        return claimed

    monkeypatch.setattr(work, "finish", held_up)
    monkeypatch.setattr(pool.Host, "_claim", looked)
    put(1, queue=queues[0])
    one = host(**more)
    assert asked.wait(30)
    put(2, queue=queues[1])
    while looks.acquire(blocking=False):
        pass
    for _ in range(3):  # it has looked, and seen the second one
        one.ring(queues[1])
        assert looks.acquire(timeout=30)
    assert (work.waiting([queues[1]]), one.in_flight) == (1, 1)
    go_on.set()
    until(lambda: len(told()) == 2)
