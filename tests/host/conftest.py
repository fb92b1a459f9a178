"""Hosts on a real server, with agents of the worst kind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from enqueued import enqueue
from revops_lite.host import Host
from revops_lite.models import Event, Job
from revops_lite.queue.bell import Bell
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.work import EventSink, WorkQueue
from revops_lite.store.client import Clients
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, decode_event, encode_event, seen_key
from revops_lite.supervisor import Fleet, Supervisor

SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
AGENTS = """
import asyncio, ctypes, os, sys, time
from pydantic import BaseModel, Field
from revops_lite import Proposal, Retry, Skip, agent

class Score(BaseModel):
    score: int = Field(ge=0, le=100)

@agent(writes=Score)
def score(lead):
    return Proposal(Score(score=lead["n"]), confidence=0.9, because="counted")

@agent
def segfault(lead): ctypes.string_at(0)

@agent
def leave(lead): os._exit(0)

@agent
def loop(lead):
    while True: pass

@agent
def sleep(lead): time.sleep(60)

@agent
async def nap(lead): await asyncio.sleep(60)

@agent
def swallow(lead):
    while True:
        try:
            time.sleep(0)
            while True: time.sleep(0.001)
        except BaseException: pass

@agent
def wait_for_file(lead):
    while not os.path.exists(lead["file"]): time.sleep(0.01)

@agent
def system_exit(lead): sys.exit(3)

@agent
def interrupt(lead): raise KeyboardInterrupt

@agent
def chat(lead):
    print("hello from the agent")
    return Proposal(because=str(sorted(k for k in os.environ if "KEY" in k)))

@agent(writes=Score)
def mixed(lead):
    way = lead["way"]
    if way == "skip": raise Skip("not today")
    if way == "retry": raise Retry("later", after=7)
    if way == "invalid": return Proposal(Score(score=1000))
    if way == "fail": raise ValueError(lead["n"])
    if way == "exit": sys.exit(3)
    if way == "none": return None
    if way == "rubbish": return 42
    if way == "slow": time.sleep(0.1)
    if way == "large": return Proposal({"score": 1}, because="x" * 300_000)
    while way == "spin": pass
    while way == "nap": time.sleep(0.001)
    while way == "hang":
        try:
            while not os.path.exists(lead["file"]): time.sleep(0.001)
            break
        except BaseException: pass
    if way == "wait":
        open(lead["begun"], "w").close()
        while not os.path.exists(lead["file"]): time.sleep(0.001)
    return Proposal(Score(score=lead["n"]), because=f"{lead.now.isoformat()} {lead.settings['floor']}")

@agent
def leave_once(lead):
    if not os.path.exists(lead["file"]):
        open(lead["file"], "w").close()
        os.kill(os.getpid(), 9)
"""
ENTRIES = {name: f"hostile_agents:{name}" for name in re.findall(r"^(?:async )?def (\w+)", AGENTS, re.MULTILINE)}


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config folder whose agents misbehave."""
    folder = tmp_path_factory.mktemp("installation")
    (folder / "hostile_agents.py").write_text(AGENTS)
    (folder / "config.toml").write_text("")
    return folder


@pytest.fixture
def work(real_redis: Redis) -> WorkQueue:
    return WorkQueue(real_redis, SINK)


@pytest.fixture
def put(real_redis: Redis) -> Callable[..., Job]:
    def put(number: int, agent: str = "score", *, queue: str = "agents", timeout: float = 30.0, **values: Any) -> Job:
        snapshot = {"kind": "lead", "id": str(number), "values": {"n": number, **values}, "version": 1, "now": 1000.0}
        job = Job(f"job-{number}", queue, f"run{number}", agent, 1, agent, f"lead:{number}", timeout, 1, snapshot)
        enqueue(real_redis, job)
        return job

    return put


@pytest.fixture
def told(real_redis: Redis) -> Callable[[], list[Event]]:
    return lambda: [decode_event(fields[b"e"]) for _, fields in real_redis.xrange(EVENTS_KEY)]


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Wait for a condition; returns what it returned. The time limit only bounds a failure."""

    def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.01)
        pytest.fail(f"did not come true within {seconds} s")

    return until


@pytest.fixture
def host(work: WorkQueue, real_clients: Clients, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes and starts in-process hosts."""
    monkeypatch.syspath_prepend(str(root))
    made: list[tuple[Host, Bell]] = []

    def make(threads: int = 4, queues: tuple[str, ...] = ("agents",), **more: Any) -> Host:
        one = Host(work, name=f"n.1.{len(made)}", queues=queues, agents=ENTRIES, threads=threads, **more)
        bell = Bell(real_clients.pubsub(), [*queues, *more.get("isolated", ())], one.ring)
        one.start()
        bell.start()
        made.append((one, bell))
        return one

    yield make
    for one, bell in made:
        bell.stop()
        one.stop(0.1)


@pytest.fixture
def supervisor(
    work: WorkQueue, real_redis: Redis, real_clients: Clients, root: Path, tmp_path: Path
) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(processes: int = 1, threads: int = 4, env: tuple[str, ...] = ()) -> Supervisor:
        fleet = Fleet(
            config=root / "config.toml",
            url=real_clients.url,
            node="n",
            groups={"agents": env},
            agents=ENTRIES,
            processes=processes,
            threads=threads,
            logs=tmp_path / "logs",
        )
        package = str(Path(__file__).parents[2])
        environ = {**os.environ, "PYTHONPATH": package, "CRM_KEY": "secret", "GRANTED_KEY": "yes"}
        made.append(Supervisor(fleet, work, Recovery(real_redis, work), environ))
        return made[-1]

    yield make
    for one in made:
        one.stop(1.0)


@pytest.fixture(scope="session")
def ticking(until: Callable[..., Any]) -> Callable[..., Any]:
    """Wait for a condition while a supervisor does its rounds."""

    def ticking(supervisor: Supervisor, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        def round_() -> Any:
            supervisor.tick(time.time())
            return condition()

        return until(round_, seconds)

    return ticking
