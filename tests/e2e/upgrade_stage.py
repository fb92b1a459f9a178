"""An installation that was killed with a run in every state there is, to be started again with something changed.

| record        | where it is                                                                      |
|---------------|----------------------------------------------------------------------------------|
| lead:running  | its agent is being called                                                        |
| lead:held     | a value waits for a person, and the run with it                                  |
| lead:retry    | its agent has asked for another try                                              |
| lead:doubt    | one call to the CRM is under way (the file is locked), the next write is planned |
| lead:parked   | waits for an open breaker                                                        |
| deal:d1…d3    | one fan-out: its first step is done and written, its second is being called      |
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from installation import Installation, until
from revops_lite.models import Event, Intent, Run
from revops_lite.store import keys
from revops_lite.store.store import Store
from revops_lite.store.views import Views

WORK = """
import time
from pathlib import Path
from typing import Literal
from pydantic import BaseModel
from revops_lite import Proposal, Retry, Snapshot, agent


class Out(BaseModel):
    industry: SCHEMA


@agent(writes=Out)
def work(lead: Snapshot) -> Proposal:
    with open("calls", "a") as calls:
        calls.write(f"{lead.record} CODE size={lead['size']}\\\\n")
    while lead.id in ("running", "d2") and not Path("go").exists():
        time.sleep(0.02)
    if lead.id == "retry" and not Path("go").exists():
        raise Retry("not yet", after=5)
    return Proposal(Out(industry="VALUE"), confidence=0.3 if lead.id == "held" else 0.95)
""".replace("\\\\n", "\\n")

FRAGILE = """
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Out(BaseModel):
    checked: str


@agent(writes=Out)
def check(lead: Snapshot) -> Proposal:
    if not Path("go").exists():
        raise RuntimeError("the service is away")
    return Proposal(Out(checked="yes"))
"""

CLOSING = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Out(BaseModel):
    FIELD: str


@agent(writes=Out)
def close(lead: Snapshot) -> Proposal:
    return Proposal(Out(FIELD="closed"))
"""

AGENTS = {
    "work": 'entry = "agents.work:work"\ntimeout = "10m"',
    "fragile": 'entry = "agents.fragile:check"\nattempts = 1\nbreaker = { failures = 1, cooldown = "1h" }',
    "closing": "close",
    "extra": "close",
}
FLOWS = {
    "new_lead": 'on = "lead.sent"\nsteps = [{ agent = "work", wait_for_review = true }, { agent = "closing" }]',
    "checking": 'on = "lead.doubted"\nsteps = [{ agent = "fragile" }, { agent = "closing" }]',
    "sweep": 'over = { kind = "deal" }\nsteps = [{ agent = "closing" }, { agent = "work" }]',
}
LEADS = ("running", "held", "retry", "doubt", "broken", "parked", "later")


def configure(site: Installation, without: str = "", flows: dict[str, str] | None = None, extra: str = "") -> None:
    """config.toml as it was, but for an agent left out, other workflows, more tables."""
    agents = {name: entry for name, entry in AGENTS.items() if name != without}
    site.configure(agents, FLOWS if flows is None else flows, extra=extra, poll="10s", threads=8)


def write_work(site: Installation, value: str = "old", schema: str = "str") -> None:
    """agents/work.py: which value it proposes, and what its schema takes."""
    site.agent("work", WORK.replace("VALUE", value).replace("CODE", value).replace("SCHEMA", schema))


def send(site: Installation, type_: str, record: str) -> None:
    event = Event(f"{type_}|{record}", type_, f"lead:{record}", "cli", time.time(), {})
    with site.redis() as client:
        Store(client).append([event])


def runs(site: Installation) -> dict[str, Run]:
    """record -> its run; of the fan-out, its parts too."""
    with site.redis() as client:
        kinds: Any = client
        ids = [name.decode().rpartition(":")[2] for name in kinds.scan_iter(keys.doc("run", "*"))]
        return {run.record: run for run in Views(client).many("run", ids) if run is not None}


def intents(site: Installation) -> list[Intent]:
    with site.redis() as client:
        found = Store(client).load(("intent", id_) for id_ in Store(client).opened("intents"))
    return [intent for intent in found.values() if intent is not None]


def prepare(site: Installation) -> None:
    """Bring everything where the table says, and kill it."""
    configure(site)
    write_work(site)
    site.agent("fragile", FRAGILE)
    site.agent("closing", CLOSING.replace("FIELD", "stage"))
    site.agent("extra", CLOSING.replace("FIELD", "extra"))
    site.crm("lead", {name: {"size": 1} for name in LEADS})
    site.crm("deal", {f"d{number}": {"size": 1} for number in (1, 2, 3)})
    with site.up() as up:
        for name in ("running", "held"):
            send(site, "lead.sent", name)
        send(site, "lead.doubted", "broken")
        until(lambda: _state(site, "lead:broken") == "failed")
        send(site, "lead.doubted", "parked")
        site.revops("workflow", "start", "sweep")
        until(lambda: _step(site, "lead:parked", "fragile") == "parked")
        until(lambda: _state(site, "lead:held") == "held")
        until(lambda: "deal:d2" in (site.root / "calls").read_text())
        until(lambda: len([each for each in site.changes() if each["kind"] == "deal"]) == 3)
        with closing(sqlite3.connect(site.crm_path, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            send(site, "lead.sent", "doubt")
            send(site, "lead.sent", "retry")
            until(lambda: sorted(str(each.state) for each in intents(site)) == ["planned", "sending"])
            until(lambda: _waits_for_retry(site))
            up.kill()
            site.end()
            lock.execute("ROLLBACK")


def _state(site: Installation, record: str) -> str:
    run = runs(site).get(record)
    return str(run.state) if run else ""


def _step(site: Installation, record: str, step: str) -> str:
    run = runs(site).get(record)
    return str(run.steps[step].state) if run else ""


def _waits_for_retry(site: Installation) -> bool:
    run = runs(site).get("lead:retry")
    return run is not None and run.steps["work"].due is not None


class Frozen:
    """What `prepare` left, put back in its place as often as one likes: hosts know their installation by its path."""

    def __init__(self, site: Installation, copy: Path) -> None:
        self.site = site
        self._copy = copy
        prepare(site)
        shutil.copytree(site.root, copy, ignore=shutil.ignore_patterns("*.sock", "__pycache__"))

    def thaw(self) -> Installation:
        self.site.end()
        shutil.rmtree(self.site.root)
        shutil.copytree(self._copy, self.site.root)
        self.site.file("go", "")  # from now on no agent waits any more
        self.site.ups.clear()
        return self.site
