"""A job with many records in a host: each record has its own time, its own outcome, and none is lost with another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from redis import Redis

from enqueued import enqueue
from revops_lite.models import Event, Job
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import WorkQueue

pytestmark = pytest.mark.real
Told = Callable[[], list[Event]]
PutMany = Callable[..., Job]


@pytest.fixture
def put_many(real_redis: Redis) -> PutMany:
    """A job of one agent for several records: each given as its values."""

    def put_many(
        *records: dict[str, Any], agent: str = "mixed", queue: str = "agents", timeout: float = 30.0, **frame: Any
    ) -> Job:
        each = [
            {
                "about": {"run": f"r1.p{n}", "record": f"lead:{n}", "page": "r1.p0", "step": "look", "attempt": n + 1},
                "kind": "lead",
                "id": str(n),
                "version": 1,
                "values": values,
            }
            for n, values in enumerate(records)
        ]
        snapshot = {"each": each, "now": 1000.0, "deadline": None, "settings": {"floor": 3}, "stop_after": 100, **frame}
        job = Job("job-many", queue, "r1.p0", "look", 1, agent, "lead:0", timeout, 1, snapshot)
        enqueue(real_redis, job)
        return job

    return put_many


def ways(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"way": name, "n": number, **more} for number, name in enumerate(names)]


def outcomes(event: Event) -> list[str]:
    return [result["outcome"] for result in event.data["results"]]


def test_each_record_has_its_own_outcome(host: Any, put_many: PutMany, told: Told, until: Any) -> None:
    host(threads=1)
    put_many(*ways("good", "skip", "retry", "invalid", "fail", "exit", "none", "rubbish", "good"))
    (event,) = until(told)
    assert (event.id, event.type, event.source, event.run) == ("job-many|finished", "step.finished", "host", "r1.p0")
    assert outcomes(event) == ["done", "skipped", "retry", "invalid", "failed", "failed", "done", "failed", "done"]
    results = event.data["results"]
    assert [result["record"] for result in results] == [f"lead:{n}" for n in range(9)]
    assert [result["attempt"] for result in results] == list(range(1, 10))
    assert {result["step"] for result in results} == {"look"}
    assert results[0]["proposals"][0]["values"] == {"score": 0}
    assert results[0]["proposals"][0]["because"] == "1970-01-01T00:16:40+00:00 3"  # the job's now and settings
    assert (results[1]["error"], results[2]["error"], results[2]["after"]) == ("not today", "later", 7.0)
    assert results[3]["problems"]
    assert (results[4]["error"], results[5]["error"]) == ("ValueError: 4", "SystemExit: 3")
    assert results[6]["proposals"] == []
    assert results[8]["proposals"][0]["values"] == {"score": 8}


@pytest.mark.parametrize("way", ["spin", "nap"])
def test_a_record_that_takes_too_long_is_stopped_and_the_others_are_answered(
    host: Any, put_many: PutMany, told: Told, until: Any, way: str
) -> None:
    one = host(threads=1)
    put_many(*ways("good", way, "good", way, "good"), timeout=0.2)
    (event,) = until(told)
    assert outcomes(event) == ["done", "timeout", "done", "timeout", "done"]
    assert event.data["results"][1]["error"] == "no answer within 0.2 s"
    assert one.abandoned == 0


def test_the_time_limit_is_that_of_a_record_and_not_of_the_job(
    host: Any, put_many: PutMany, told: Told, until: Any
) -> None:
    host(threads=1)
    put_many(*ways(*["slow"] * 6), timeout=0.5)  # a tenth of a second each
    (event,) = until(told)
    assert outcomes(event) == ["done"] * 6


def test_a_thread_that_does_not_react_is_given_up_in_the_middle_and_the_rest_goes_back(
    host: Any, put_many: PutMany, told: Told, until: Any, put: Any, tmp_path: Path, work: WorkQueue
) -> None:
    one = host(threads=1, recycle=False)
    put_many(*ways("good", "hang", "good", "good", file=str(tmp_path / "go")), timeout=0.2)
    (event,) = until(told)
    assert outcomes(event) == ["done", "timeout", "returned", "returned"]
    assert one.abandoned == 1
    put(7)  # its place is taken by another thread
    until(lambda: len(told()) == 2)
    (tmp_path / "go").touch()
    until(lambda: one.abandoned == 0)
    assert one.stop()
    assert len(told()) == 2, "what the given-up thread still brings is dropped, and it calls nobody any more"
    assert work.in_flight(["agents"]) == 0


def test_a_host_that_stops_brings_its_record_to_an_end_and_gives_the_rest_back(
    host: Any, put_many: PutMany, told: Told, until: Any, tmp_path: Path
) -> None:
    one = host(threads=1)
    put_many(*ways("good", "wait", "good", "good", file=str(tmp_path / "go"), begun=str(tmp_path / "begun")))
    until((tmp_path / "begun").exists)
    stopping = Thread(target=one.stop, args=(None,))
    stopping.start()
    until(one._stopping.is_set)
    (tmp_path / "go").touch()
    (event,) = until(told)
    stopping.join()
    assert outcomes(event) == ["done", "done", "returned", "returned"]
    assert {result["record"] for result in event.data["results"]} == {f"lead:{n}" for n in range(4)}


def test_after_too_many_failures_in_a_row_the_rest_goes_back(
    host: Any, put_many: PutMany, told: Told, until: Any
) -> None:
    host(threads=1)
    put_many(*ways("fail", "fail", "good", "fail", "exit", "spin", "good", "good"), stop_after=3, timeout=0.2)
    (event,) = until(told)
    assert outcomes(event) == ["failed", "failed", "done", "failed", "failed", "timeout", "returned", "returned"]


def test_an_invalid_answer_is_no_failure_of_the_agent(host: Any, put_many: PutMany, told: Told, until: Any) -> None:
    host(threads=1)
    put_many(*ways(*["invalid"] * 4, *["retry"] * 2, *["skip"] * 2), stop_after=2)
    (event,) = until(told)
    assert outcomes(event) == ["invalid"] * 4 + ["retry"] * 2 + ["skipped"] * 2


def test_answers_that_fill_the_event_send_the_rest_back(host: Any, put_many: PutMany, told: Told, until: Any) -> None:
    host(threads=1)
    put_many(*ways(*["large"] * 6))  # 300,000 bytes each
    (event,) = until(told)
    assert outcomes(event) == ["done"] * 3 + ["returned"] * 3


def test_an_agent_that_cannot_be_loaded_fails_records_till_it_is_enough(
    host: Any, put_many: PutMany, told: Told, until: Any
) -> None:
    host(threads=1)
    put_many(*ways("good", "good", "good"), agent="unheard_of", stop_after=2)
    (event,) = until(told)
    assert outcomes(event) == ["failed", "failed", "returned"]
    assert "'unheard_of' is not in this host's configuration" in event.data["results"][0]["error"]


def test_a_job_that_has_been_given_to_another_host_is_not_gone_on_with(
    host: Any, put_many: PutMany, told: Told, until: Any, tmp_path: Path, work: WorkQueue, real_redis: Redis
) -> None:
    first = host(threads=1)
    put_many(*ways("good", "wait", "good", file=str(tmp_path / "go"), begun=str(tmp_path / "begun")))
    until((tmp_path / "begun").exists)
    Recovery(real_redis, work).of_workers([first.name], 0.0, blame=True)
    host(queues=("agents-isolated",))
    (tmp_path / "go").touch()
    until(lambda: first.late == 1)
    until(lambda: sorted(event.type for event in told()) == ["step.finished", "step.late"])
    (event,) = [event for event in told() if event.type == "step.finished"]
    assert outcomes(event) == ["done"] * 3


def test_a_job_that_kills_its_hosts_ends_with_all_its_records_crashed_among_others(
    put_many: PutMany, told: Told, work: WorkQueue, real_redis: Redis
) -> None:
    """Nobody knows which of them it was: each goes on alone."""
    put_many(*ways("good", "good"))
    recovery, queue = Recovery(real_redis, work), "agents"
    for death in range(5):
        if told():
            break
        work.claim(f"n.1.{death}", f"token-{death}", (queue,), 1, 0.0)
        recovery.of_workers([f"n.1.{death}"], 0.0, blame=True)
        queue = "agents-isolated"
    (event,) = told()
    assert [(one["outcome"], one["others"], one["record"]) for one in event.data["results"]] == [
        ("crashed", True, "lead:0"),
        ("crashed", True, "lead:1"),
    ]
