"""Hosts as real processes: whatever kills one, each job ends once, and the guilty one is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from revops_lite.models import Event, Job
from revops_lite.queue import names
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import WorkQueue
from revops_lite.service import Service
from revops_lite.store.client import Clients

pytestmark = pytest.mark.real
Told = Callable[[], list[Event]]
Put = Callable[..., Job]


def outcomes(told: Told) -> dict[str, str]:
    return {event.subject: event.data["outcome"] for event in told()}


@pytest.mark.parametrize("agent", ["segfault", "leave"])
def test_an_agent_that_kills_its_host_is_blamed_and_the_others_pass(
    supervisor: Any, put: Put, told: Told, ticking: Any, agent: str
) -> None:
    for number in range(8):
        put(number, agent if number == 3 else "score")
    ticking(supervisor(threads=4), lambda: len(told()) == 8)
    expected = {f"lead:{number}": "done" for number in range(8)} | {"lead:3": "crashed"}
    assert outcomes(told) == expected
    assert len(told()) == 8


def test_a_job_whose_host_died_by_accident_is_done_in_the_end(
    supervisor: Any, put: Put, told: Told, ticking: Any, tmp_path: Path
) -> None:
    put(1, "leave_once", file=str(tmp_path / "was here"))
    ticking(supervisor(), lambda: outcomes(told) == {"lead:1": "done"})


def test_a_killed_host_with_16_jobs_in_flight_loses_none_and_none_counts_twice(
    supervisor: Any, put: Put, told: Told, ticking: Any, work: WorkQueue, tmp_path: Path
) -> None:
    gate = str(tmp_path / "go")
    for number in range(16):
        put(number, "wait_for_file", file=gate)
    hosts = supervisor(threads=16)
    ticking(hosts, lambda: work.in_flight(["agents"]) == 16)
    [pid] = hosts.pids().values()
    os.kill(pid, signal.SIGKILL)
    Path(gate).touch()
    ticking(hosts, lambda: len(told()) >= 16)
    ticking(hosts, lambda: work.in_flight(["agents", "agents-isolated"]) == 0)
    assert Counter(event.subject for event in told()) == Counter(f"lead:{number}" for number in range(16))
    assert set(outcomes(told).values()) == {"done"}


def test_a_host_sees_no_variable_but_those_it_was_granted(supervisor: Any, put: Put, told: Told, ticking: Any) -> None:
    put(1, "chat")
    ticking(supervisor(env=("GRANTED_KEY",)), told)
    assert told()[0].data["proposals"][0]["because"] == "['GRANTED_KEY']"


def test_prints_and_crashes_stand_in_the_hosts_log(
    supervisor: Any, put: Put, told: Told, ticking: Any, tmp_path: Path
) -> None:
    put(1, "chat")
    put(2, "segfault")
    ticking(supervisor(threads=1), lambda: len(told()) == 2)
    assert "hello from the agent" in (tmp_path / "logs" / "agents.log").read_text()
    assert "Segmentation fault" in (tmp_path / "logs" / "agents.log").read_text()


def test_a_host_that_cannot_be_started_is_tried_again_until_it_can(
    supervisor: Any, put: Put, told: Told, ticking: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(1, "score")
    logs = tmp_path / "logs"
    logs.write_text("a file where a folder should be")
    hosts = supervisor()
    ticking(hosts, lambda: caplog.text.count("cannot be started") >= 2)
    assert hosts.pids() == {}
    logs.unlink()
    ticking(hosts, told)
    assert outcomes(told) == {"lead:1": "done"}


def test_a_log_that_has_grown_too_long_is_emptied_into_another_while_its_host_lives(
    supervisor: Any, put: Put, told: Told, ticking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revops_lite.supervisor.LOG_BYTES", 2_000)
    monkeypatch.setattr("revops_lite.supervisor.LOOK", 0.0)
    log, older = tmp_path / "logs" / "agents.log", tmp_path / "logs" / "agents.log.1"
    hosts = supervisor()
    before = ticking(hosts, hosts.pids)
    for number in range(200):
        put(number, "chat")
    ticking(hosts, lambda: older.exists() and len(told()) == 200)
    assert older.read_text().count("hello from the agent") > 10
    hosts.tick(time.time())
    put(200, "chat")
    ticking(hosts, lambda: len(told()) == 201)
    assert hosts.pids() == before
    assert 2_000 <= older.stat().st_size < 4_000  # a line may come while it is written
    assert log.stat().st_size < 4_000
    lines = (older.read_text() + log.read_text()).splitlines()
    assert lines[-1].endswith("chat: hello from the agent")


def test_a_host_full_of_hanging_agents_is_replaced(supervisor: Any, put: Put, told: Told, ticking: Any) -> None:
    hosts = supervisor(threads=5)
    for number in range(5):
        put(number, "sleep", timeout=0.1)
    ticking(hosts, lambda: len(told()) == 5)
    first = hosts.pids()
    ticking(hosts, lambda: hosts.pids() and hosts.pids() != first)
    put(9)
    ticking(hosts, lambda: len(told()) == 6)
    assert set(outcomes(told).values()) == {"timeout", "done"}


def test_a_stopped_hosts_work_waits_for_the_next_start(
    supervisor: Any, put: Put, told: Told, ticking: Any, work: WorkQueue, tmp_path: Path
) -> None:
    put(1, "wait_for_file", file=str(tmp_path / "go"))
    hosts = supervisor()
    ticking(hosts, lambda: work.in_flight(["agents"]) == 1)
    hosts.stop(0.1)
    assert hosts.pids() == {}
    (tmp_path / "go").touch()
    again = supervisor()
    assert again.recover_all_local(time.time()).moved == (("job-1", "agents", "agents"),)
    assert work.registered("n.") == []
    ticking(again, lambda: outcomes(told) == {"lead:1": "done"})


def test_hosts_end_in_good_order_in_the_thread_that_has_started_them(
    supervisor: Any, put: Put, told: Told, until: Any, work: WorkQueue, real_redis: Redis, tmp_path: Path
) -> None:
    """The kernel kills them as soon as that thread has ended."""

    def bells() -> int:
        return real_redis.pubsub_numsub(names.queue("agents"))[0][1]

    put(1, "wait_for_file", file=str(tmp_path / "go"))
    hosts = supervisor()
    service = Service("hosts", lambda now: hosts.tick(now) or 0, at_end=hosts.stop)
    service.start()
    until(lambda: work.in_flight(["agents"]) == 1 and bells() == 1)
    service.ask_to_stop()
    until(lambda: bells() == 0)  # the host has been told, and waits for its call
    (tmp_path / "go").touch()
    service.stop(30.0)
    assert hosts.pids() == {}
    assert outcomes(told) == {"lead:1": "done"}
    assert work.registered("n.") == []
    assert (tmp_path / "logs" / "agents.log").read_text().rstrip().endswith(" ends")


def test_a_host_that_stops_reporting_is_killed_and_its_job_goes_on(
    supervisor: Any, put: Put, told: Told, ticking: Any, work: WorkQueue, until: Any, tmp_path: Path
) -> None:
    put(1, "wait_for_file", file=str(tmp_path / "go"))
    hosts = supervisor()
    ticking(hosts, lambda: work.in_flight(["agents"]) == 1)
    [(name, pid)] = hosts.pids().items()
    until(lambda: work.last_seen([name]))
    os.kill(pid, signal.SIGSTOP)
    began = time.time()
    for second in range(0, 80, 5):  # silent for 30 s, trusted after 35 s
        hosts.tick(began + second)
        assert second > 30 or name in hosts.pids()
    assert name not in hosts.pids()
    (tmp_path / "go").touch()
    ticking(hosts, lambda: outcomes(told) == {"lead:1": "done"})


def test_a_clock_that_jumps_makes_nobody_a_suspect(
    supervisor: Any, put: Put, told: Told, ticking: Any, work: WorkQueue, tmp_path: Path
) -> None:
    put(1, "wait_for_file", file=str(tmp_path / "go"))
    hosts = supervisor()
    ticking(hosts, lambda: work.in_flight(["agents"]) == 1)
    alive = hosts.pids()
    for jump in (86_400.0, 0.0, -86_400.0):
        hosts.tick(time.time() + jump)
    assert hosts.pids() == alive
    assert work.in_flight(["agents"]) == 1
    (tmp_path / "go").touch()
    ticking(hosts, lambda: outcomes(told) == {"lead:1": "done"})


def test_a_silent_job_of_another_machine_goes_on_here(
    supervisor: Any, put: Put, told: Told, ticking: Any, work: WorkQueue
) -> None:
    put(1)
    began = time.time()
    assert work.claim("far.1.1", "t", ["agents"], 1, began)
    hosts = supervisor(processes=1)
    for second in range(0, 50, 5):
        hosts.tick(began + second)
    ticking(hosts, lambda: outcomes(told) == {"lead:1": "done"})


def test_rq_info_shows_our_queues_and_workers(
    supervisor: Any, put: Put, ticking: Any, work: WorkQueue, real_clients: Clients, tmp_path: Path
) -> None:
    for number in range(3):
        put(number, "wait_for_file", file=str(tmp_path / "go"))
    hosts = supervisor(threads=2)
    ticking(hosts, lambda: work.in_flight(["agents"]) == 2)
    [name] = hosts.pids()
    ticking(hosts, lambda: work.last_seen([name]))
    program = Path(sys.executable).with_name("rq")
    command = [program, "info", "--raw", "--url", real_clients.url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    (tmp_path / "go").touch()
    assert "queue agents 1, 2 executing, 0 finished, 0 failed" in shown
    assert f"worker {name} " in shown
    assert " busy agents." in shown


def test_a_host_dies_with_the_process_that_started_it(
    root: Path, real_clients: Clients, real_redis: Redis, until: Any, work: WorkQueue, put: Put, tmp_path: Path
) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    package = str(Path(__file__).parents[2])
    command = [sys.executable, str(program), real_clients.url, str(root), str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": package})
    assert parent.stdout is not None
    with parent, parent.stdout:
        put(1, "wait_for_file", file=str(tmp_path / "go"))
        pid = int(parent.stdout.readline())
        until(lambda: work.in_flight(["agents"]) == 1)
        parent.kill()
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1])
    assert Recovery(real_redis, work).of_node("n", time.time(), blame=False).moved


PARENT = """
import sys, time
from pathlib import Path
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import EventSink, WorkQueue
from revops_lite.store.client import Clients
from revops_lite.supervisor import Fleet, Supervisor

url, root, logs = sys.argv[1:]
redis = Clients(url).commands
work = WorkQueue(redis, EventSink("", "", str, 1, lambda event: b""))
agents = {"wait_for_file": "hostile_agents:wait_for_file"}
fleet = Fleet(Path(root) / "config.toml", url, "n", {"agents": ()}, agents, 1, 1, Path(logs))
supervisor = Supervisor(fleet, work, Recovery(redis, work))
supervisor.tick(time.time())
print(*supervisor.pids().values(), flush=True)
time.sleep(60)
"""


def test_a_host_started_by_hand_says_how_it_is_started() -> None:
    package = str(Path(__file__).parents[2])
    for line in ("", "{}", "[1]"):
        done = subprocess.run(
            [sys.executable, "-m", "revops_lite.host"],
            input=line,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": package},
        )
        assert done.returncode == 1
        assert "`revops up` starts it" in done.stderr
        assert "Traceback" not in done.stderr
