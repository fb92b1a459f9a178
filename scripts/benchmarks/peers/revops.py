"""revops-lite, as `revops up` starts it: governance, checkpoints, audit and context are on, the server is embedded.

`detail` says how: "PROCESSES CRM", as "0 none" or "1 sqlite". With "none" an event brings the record's values; with
"sqlite" the leads stand in the CRM's file, and every value that an agent proposes is written there.
"""

from __future__ import annotations

import csv
import json
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from lead import STEPS
from redis import Redis
from redis.exceptions import RedisError

from peers import HERE, Base, Place, installed
from revops_lite import Client
from revops_lite.installation import Installation, make_event
from revops_lite.server.folder import socket_path
from revops_lite.store import keys

THREADS = 16
BATCH = 500
CONFIG = """\
timezone = "Europe/Berlin"
[redis]
durability = "{durability}"
[crm]
adapter = "{crm}"
[notify]
default = "console"
[workers]
processes = {processes}
threads = {threads}
{agents}
[workflows.new_lead]
on = "{event}"
steps = [{steps}]
"""
AGENT = """\
[agents.{step}]
entry = "agents.w:{step}"
settings = {{ pause = {pause} }}
"""
AGENTS = '''\
"""The four agents of W: what they return is checked against a model each, and decided field by field."""

from pydantic import BaseModel

from agents.lead import call
from revops_lite import Proposal, Snapshot, agent


class Enriched(BaseModel):
    industry: str
    revenue: int
    region: str


class Scored(BaseModel):
    score: int
    grade: str


class Routed(BaseModel):
    owner: str
    queue: str
    sla: str
    segment: str


class Alerted(BaseModel):
    alerted: str
    alert: str


def proposal(step: str, lead: Snapshot) -> Proposal:
    values = call(step, dict(lead.values), lead.settings["pause"])
    return Proposal(values, confidence=0.95, because="the record says so")
'''
FUNCTION = """

@agent(writes={model})
def {step}(lead: Snapshot) -> Proposal:
    return proposal("{step}", lead)
"""
MODELS = ("Enriched", "Scored", "Routed", "Alerted")


class Peer(Base):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        processes, self.crm = place.detail.split()
        self.processes_beside = int(processes)
        # The poller reports leads that it finds in the CRM. W shall begin when it is submitted: an event of its own.
        self.event = "lead.created" if self.crm == "none" else "lead.submitted"

    # ---- its files

    def prepare(self, leads: Sequence[dict[str, Any]]) -> None:
        site = self.place.folder
        (site / "agents").mkdir()
        shutil.copy(HERE / "lead.py", site / "agents" / "lead.py")
        functions = (FUNCTION.format(model=model, step=step) for model, step in zip(MODELS, STEPS, strict=True))
        (site / "agents" / "w.py").write_text(AGENTS + "".join(functions), encoding="utf-8")
        (site / "config.toml").write_text(self._config(), encoding="utf-8")
        if self.crm != "none":
            with (site / "leads.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.DictWriter(file, list(leads[0]))
                rows.writeheader()
                rows.writerows(leads)
            self.revops("crm", "import", "leads.csv", "--kind", "lead", "--id", "id")
            self.revops("up", "--until-idle")  # the poller's own report of the import is no part of W

    def _config(self) -> str:
        return CONFIG.format(
            durability=self.place.durability,
            crm=self.crm,
            event=self.event,
            processes=self.processes_beside,
            threads=self.place.slots or THREADS,
            agents="".join(AGENT.format(step=step, pause=float(self.place.pause)) for step in STEPS),
            steps=", ".join(f'{{ agent = "{step}" }}' for step in STEPS),
        )

    def revops(self, *words: str) -> str:
        site = self.place.folder
        command = [installed("revops"), *words]
        done = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise RuntimeError(f"revops {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    # ---- its processes

    def cold(self, first: dict[str, Any]) -> float:
        """Somebody has emitted an event; then the command is given."""
        self.revops("emit", self.event, f"lead:{first['id']}", "--data", json.dumps(fields(first)))
        began = time.perf_counter()
        self.start()
        self.wait(1)
        took = time.perf_counter() - began
        self.site = Installation(self.place.folder / "config.toml", "cli")
        self.client = Client(self.site)
        return took

    def start(self) -> None:
        self.spawn("revops", "up", "--no-web", cwd=self.place.folder, log="up.log")
        self.bus: Any = Redis(unix_socket_path=str(socket_path(self.place.folder.resolve() / "var" / "redis")))
        self.seen = "0-0"
        while not self._answers():
            time.sleep(0.005)

    def _answers(self) -> bool:
        if self.children[0].poll() is not None:
            raise RuntimeError((self.place.folder / "up.log").read_text(encoding="utf-8")[-2000:])
        try:
            return bool(self.bus.ping())
        except (RedisError, OSError):
            return False

    def redis(self) -> Any:
        return self.bus

    def stop(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        super().stop()

    # ---- W

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        for one in leads:
            self.client.emit(self.event, f"lead:{one['id']}", fields(one))
            self.own_trips += 1

    def submit_in_batches(self, leads: Sequence[dict[str, Any]]) -> None:
        """As `revops emit --file` does, without the start of a program."""
        events = [make_event(self.event, f"lead:{one['id']}", fields(one), None, "cli") for one in leads]
        for start in range(0, len(events), BATCH):
            self.site.store.append(events[start : start + BATCH])

    def wait(self, count: int) -> None:
        if count == 1:
            self._finished_next()
            return
        while not self._all_ended():
            time.sleep(0.005)

    def _finished_next(self) -> None:
        """Block on the audit trail until it says that a run has finished."""
        while True:
            self.looked()
            for _, entries in self.bus.xread({keys.AUDIT: self.seen}, block=60_000):
                self.seen = entries[-1][0]
                if any(b'"run.finished"' in raw for _, body in entries for raw in body.values()):
                    return

    def _all_ended(self) -> bool:
        """Whether no run or call to the CRM is under way any more, and every event has been decided."""
        self.looked(commands=2)
        look = self.bus.pipeline(transaction=False)
        if any(look.zcard(keys.open_("runs")).zcard(keys.open_("intents")).execute()):
            return False
        self.looked(commands=4)
        look.hget(keys.CONTROLLER, "cursor").exists(keys.WAITING)
        cursor, waits, newest, said = look.xrevrange(keys.EVENTS, count=1).xrevrange(keys.AUDIT, count=1).execute()
        if waits or newest[0][0] != cursor:
            return False
        self.seen = said[0][0]
        return True

    # ---- its commands

    def commands(self) -> dict[str, float]:
        """Seconds that they take, the median of five."""
        return {"help_s": self._timed("--help"), "run_list_s": self._timed("run", "list")}

    def _timed(self, *words: str) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            self.revops(*words)
            took.append(time.perf_counter() - began)
        return round(statistics.median(took), 3)


def fields(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "id"}
