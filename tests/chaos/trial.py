"""One installation under trial: its own Redis behind the proxy, its own fake CRM, agents that note their calls.

    with Trial(nursery, "keyed") as trial:
        trial.create("lead:1", {"name": "Ada"})
        trial.rest()                       # `revops up --until-idle`, undisturbed
        trial.evidence()                   # what the checker reads

What an outside party did and was promised (events that were accepted, edits of people) stands in `trial.jsonl` and in
the CRM's own log, so that the checker needs no word of the product for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis.exceptions import RedisError

from boundary_proxy import Proxy, Strike
from evidence import Evidence, gather
from nursery import REPOSITORY, Child, Nursery
from redis_process import RedisProcess
from revops_lite.models import Event, Hold
from revops_lite.store.store import Store

PATIENCE = 30.0
LOOK = 1.0  # seconds between two looks whether all that is left has to wait for an hour
HOURS = 3  # that a scene may have to wait
SOON = 120.0  # longer than any pause but the gate's
REST = 100.0  # the writer's pauses between two tries grow to a minute

CONFIG = """\
timezone = "Europe/Berlin"
[redis]
url = "unix://{redis}"
[crm]
adapter = "chaos_crm:{kind}"
poll = "100ms"
[notify]
default = "file"
[notify.channels.file]
kind = "file"
path = "notices.jsonl"
[workers]
processes = {processes}
threads = 4
[governance]
hold_field = "legal_hold"
max_writes_per_record_per_hour = {budget}
human_wins_for = "1h"
[agents.enrichment]
entry = "agents.work:enrich"
priority = 40
[agents.scoring]
entry = "agents.work:score"
[agents.alert]
entry = "agents.work:alert"
[agents.watch]
entry = "agents.work:watch"
breaker = {{ failures = 2, cooldown = "1s" }}
[workflows.new_lead]
on = "lead.created"
steps = [{{ agent = "enrichment" }}, {{ agent = "scoring" }}, {{ agent = "alert" }}]
[workflows.touched]
on = ["lead.updated", "lead.pinged"]
steps = [{{ agent = "watch" }}]
{extra}
"""

AGENTS = """
import json, os, threading, time
from pydantic import BaseModel
from revops_lite import Notice, Proposal, Snapshot, Skip, agent


class Found(BaseModel):
    industry: str
    size: int


class Grade(BaseModel):
    grade: str


class Tier(BaseModel):
    tier: str


def called(name, snapshot):
    line = json.dumps({"agent": name, "record": snapshot.record, "at": time.time()}) + "\\n"
    with open("calls.jsonl", "a") as calls:
        calls.write(line)


@agent(writes=Found)
def enrich(lead: Snapshot) -> Proposal:
    called("enrichment", lead)
    return Proposal(Found(industry="steel", size=len(str(lead.get("name", "")))), confidence=0.95)


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    called("scoring", lead)
    unsure = lead.get("unsure")
    return Proposal(Grade(grade=f"A{lead['size']}"), confidence=0.5 if unsure else 0.9)


@agent(writes=None)
def alert(lead: Snapshot) -> Proposal:
    called("alert", lead)
    notice = Notice(to="file", subject="A lead", body=str(lead.get("grade")), key=f"alert|{lead.record}")
    return Proposal(notices=[notice])


@agent(writes=Tier)
def watch(lead: Snapshot) -> Proposal:
    called("watch", lead)
    if lead.get("name") == "fails":
        raise RuntimeError("it fails")
    if not lead.get("size"):
        raise Skip("nothing known")
    return Proposal(Tier(tier=f"T{lead.get('name')}"), confidence=0.9)
"""
# What the checker holds the evidence against; it is written down here and nowhere taken from the product.
SPEC: dict[str, Any] = {
    "workflows": {"new_lead": ["lead.created"], "touched": ["lead.updated", "lead.pinged"]},
    "declared": {"enrichment": ["industry", "size"], "scoring": ["grade"], "alert": [], "watch": ["tier"]},
    "threshold": 0.8,
    "hold_field": "legal_hold",
}


class Trial:
    """`kind`: keyed, compare or plain. Everything of it is gone when the block ends."""

    def __init__(
        self,
        nursery: Nursery,
        kind: str,
        *,
        processes: int = 0,
        budget: int = 20,
        extra: str = "",
        durability: str = "always",
        bugs: Sequence[str] = (),
        kept: Path | None = None,
    ) -> None:
        shm = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(prefix="rv", dir=shm if shm.is_dir() else None))
        self.nursery, self.kind, self.bugs = nursery, kind, list(bugs)
        self.spec = {**SPEC, "kind": kind, "budget": budget}
        self.children: list[Child] = []
        self.clock = 0.0
        if kept is not None:
            shutil.copytree(kept, self.root, dirs_exist_ok=True)
        self._write_files(kind, processes, budget, extra)
        self.redis = RedisProcess(self.root / "r", durability)
        self.redis.start()
        self.proxy = Proxy(self.root / "p.sock", self.redis.socket, Labels())
        self.crm = nursery.script(
            self.root, Path(__file__).with_name("fake_crm.py"), str(self.root), kind, out="crm.out"
        )
        self._await_crm()

    def _write_files(self, kind: str, processes: int, budget: int, extra: str) -> None:
        (self.root / "agents").mkdir(exist_ok=True)
        (self.root / "agents" / "work.py").write_text(AGENTS)
        text = CONFIG.format(
            redis=self.root / "p.sock", kind=kind.title(), processes=processes, budget=budget, extra=extra
        )
        (self.root / "config.toml").write_text(text)

    # ---- the outside

    def ask(self, op: str, **words: Any) -> Any:
        """Something of the fake CRM that people or the test do."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.connect(str(self.root / "crm.sock"))
            line.sendall(json.dumps({"op": op, **words}).encode() + b"\n")
            return json.loads(line.makefile("rb").readline())

    def create(self, record: str, values: dict[str, Any]) -> None:
        """A record comes into the CRM; the poller will tell."""
        self.ask("create", record=record, values=values)

    def edit(self, record: str, **values: Any) -> None:
        """A person changes it there."""
        self.ask("edit", record=record, values=values, actor="pat")

    def faults(self, *plan: dict[str, Any]) -> None:
        (self.root / "faults.tmp").write_text(json.dumps(plan))
        (self.root / "faults.tmp").rename(self.root / "faults.json")

    def emit(self, id_: str, type_: str, record: str, data: dict[str, Any] | None = None) -> None:
        """An event is sent, past the proxy; once it is accepted it is written down."""
        self.accept(Event(id_, type_, record, "client", time.time(), data or {}))

    def accept(self, event: Event) -> None:
        with self.redis.client() as client:
            Store(client).append([event])
        self.note("accepted", id=event.id, type=event.type, record=event.subject)

    def push(self, event: Event) -> None:
        """An event of the product's own, told by somebody who should not, or again."""
        with self.redis.client() as client:
            Store(client).append([event])

    def jobs_left(self) -> bool:
        with self.redis.client() as client:
            return bool(client.llen("rq:queue:agents") or client.zcard("rq:wip:agents"))

    def runs_started(self) -> int:
        with self.redis.client() as client:
            return int(client.zcard("revops:index:runs"))

    def shift_clock(self, days: float) -> None:
        """The product's next processes, and the CRM, live so much later."""
        self.clock += days * 86_400
        self.ask("shift", seconds=days * 86_400)

    def note(self, what: str, **facts: Any) -> None:
        with (self.root / "trial.jsonl").open("a") as file:
            file.write(json.dumps({"what": what, "at": time.time(), **facts}) + "\n")

    def hold(self, record: str) -> None:
        """A legal hold; written down once it is in force."""
        self._held(record, Hold(record, "*", "pat", "a trial", time.time()))
        if not self._under_way(record):
            self.note("held", record=record)

    def release(self, record: str) -> None:
        self.note("released", record=record)
        self._held(record, None)

    def _under_way(self, record: str) -> bool:
        """A call that passed the gate before: the hold does not claim to be in force while its end is unknown."""
        with self.redis.client() as client:
            return bool(client.hexists("revops:calling", record))

    def _held(self, record: str, hold: Hold | None) -> None:
        type_ = "hold.placed" if hold else "hold.released"
        data = {"field": "*", "by": "pat", "reason": "a trial", "until": None}
        with self.redis.client() as client:
            event = Event(f"{type_}|{record}|{time.time()}", type_, record, "cli", time.time(), data)
            Store(client).hold(event, hold, "*")

    def roll_back(self, *which: str) -> None:
        """Ask for it as a user does, and write down which writes it is about."""
        done = self.revops("rollback", *which, "--yes", "--json", bugs=(), out="rollback.json")
        done.wait()
        with self.redis.client() as client:
            asked = [json.loads(fields[b"e"]) for _, fields in client.xrange("revops:events")]
        for event in asked:
            if event["type"] == "rollback.requested":
                self.note("rollback", writes=event["data"]["writes"])

    # ---- the product

    def up(
        self,
        *words: str,
        strikes: Sequence[Strike] = (),
        bugs: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        self.proxy.begin(*strikes)
        return self.revops("up", "--no-web", *words, bugs=bugs, env=env)

    def revops(
        self,
        *words: str,
        bugs: Sequence[str] | None = None,
        out: str = "out",
        env: Mapping[str, str] | None = None,
    ) -> Child:
        planted = self.bugs if bugs is None else bugs
        child = self.nursery.fork(self.root, words, bugs=planted, out=out, clock=self.clock, env=env)
        self.children.append(child)
        return child

    def rest(self, patience: float = REST) -> bool:
        """Let it work until nothing is left to do. False where it does not come to rest: a finding of its own."""
        for hours in range(HOURS + 1):
            code = self._ended(self.up("--until-idle"), patience)
            if code is not None or hours == HOURS or not self._waits_for_the_hour():
                break
            self.shift_clock(days=1 / 24)
        if code != 0:
            self.note("restless", code=code, said=self.children[-1].said()[-2000:])
        return code == 0

    def struck(self, strike: Strike, patience: float = PATIENCE) -> bool:
        """Work with one strike on the way, then to rest. Whether the strike fired."""
        self.note("struck", how=strike.how, at=strike.at, label=strike.label)
        self._ended(self.up("--until-idle", strikes=[strike]), patience)
        self.rest(patience)
        return strike.fired

    def _ended(self, child: Child, patience: float) -> int | None:
        """The exit code of one that ends by itself; None where it was killed as it did not, or had only to wait."""
        deadline = time.monotonic() + patience
        while child.wait(LOOK) is None and time.monotonic() < deadline and not self._waits_for_the_hour():
            pass
        code = child.code
        child.kill()
        return code

    def _waits_for_the_hour(self) -> bool:
        """Nothing moves, and the calls left are of records that have had theirs for this hour, one of them for a second
        time after a fault: the gate makes them wait, as is promised."""
        with self.redis.client() as client, contextlib.suppress(RedisError):
            left = [client.zcard(f"revops:open:{kind}") for kind in ("loads", "notices")]
            left += [client.exists("revops:waiting"), not Store(client).all_decided()]
            intents = client.zrange("revops:open:intents", 0, -1)
            if any(left) or not intents or client.zcard("rq:wip:agents") or client.llen("rq:queue:agents"):
                return False
            found = [json.loads(client.get(b"revops:intent:" + id_) or b"{}") for id_ in intents]
            return all(intent.get("due", 0.0) > time.time() + self.clock + SOON for intent in found)
        return False

    # ---- what is left

    def evidence(self) -> Evidence:
        """Of an installation at rest."""
        with self.redis.client() as client:
            return gather(self.root, client, self.spec, (self.crm.pid,))

    def keep(self, place: Path) -> None:
        """Copy everything that another trial needs to go on from here (`kept`)."""
        self.ask("keep")
        self.proxy.close()
        self.redis.stop()
        sockets = shutil.ignore_patterns("*.sock", "crm.out")
        shutil.copytree(self.root, place, ignore=sockets, dirs_exist_ok=True)

    def close(self) -> None:
        for child in [*self.children, self.crm]:
            child.kill()
        self.proxy.close()
        self.redis.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_crm(self) -> None:
        until(lambda: self.ask("state"), "the fake CRM answers")


def by_hand(trial: Trial, workflow: str) -> None:
    """`workflow start`."""
    trial.revops("workflow", "start", workflow, bugs=()).wait()


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until `condition()` is true; what cannot be asked yet is not."""
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.003)  # between two questions


class Labels:
    """Names commands: a script's name, or the command with its key and short words. A script that a bug has changed
    keeps its name."""

    def __init__(self) -> None:
        folders = (REPOSITORY / "revops_lite" / part / "scripts" for part in ("store", "queue"))
        self._titles = {f.read_bytes().partition(b"\n")[0]: f.stem for folder in folders for f in folder.glob("*.lua")}
        self._digests: dict[bytes, str] = {}

    def __call__(self, words: list[bytes]) -> str:
        name = words[0].upper().decode("latin-1")
        if name == "SCRIPT" and len(words) > 2:
            digest = hashlib.sha1(words[2]).hexdigest().encode()
            self._digests[digest] = self._titles.get(words[2].partition(b"\n")[0], "script")
        if name == "EVALSHA":
            return self._digests.get(words[1], "script")
        return " ".join([name, *(word.decode("latin-1") for word in words[1:12] if len(word) <= 60)])
