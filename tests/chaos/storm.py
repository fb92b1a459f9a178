"""A storm: everything at once, drawn from a seed. Leads come, people edit, decide, hold, roll back, events come twice,
the CRM fails in every way, and all the while the controller, its hosts and Redis are killed.

Then the outside becomes quiet, the installation comes to rest, and the checker reads what is left. The same seed draws
the same storm; how its threads meet is the machine's.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from boundary_proxy import Strike
from checker import Violation, looked_into
from nursery import Child, Nursery
from revops_lite.models import Event
from sweep import KINDS, writes_in
from trial import Trial, until

LEADS = 12  # records that all the rest is about
STEP = 0.4  # seconds that a strike may take to come; then the next thing happens
BUDGET = 12
# Rates of a call's faults. An edit in the midst of a read and stale reads are the sweep's business.
RATES = {
    "write": {
        "error before": 0.04,
        "error after": 0.05,
        "reset before": 0.02,
        "reset after": 0.03,
        "half after": 0.02,
        "page after": 0.02,
        "hang after": 0.01,
        "unavailable": 0.06,
        "refused": 0.01,
        "late": 0.02,
    },
    "read": {"error before": 0.03, "unavailable": 0.04, "reset before": 0.02, "edit": 0.02},
    "changes": {"error before": 0.05, "unavailable": 0.05, "reset after": 0.03},
}
RETRY_AFTER = (0.05, 0.2, 0, -3, 1e-9, None)


@dataclass(slots=True)
class Weather:
    """What a storm did, and what the checker says of it."""

    seed: int
    kind: str
    events: int = 0
    writes: int = 0
    recovered: float = 0.0  # seconds, the longest from a kill to the next commit
    fired: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)


class Storm:
    def __init__(self, trial: Trial, seed: int, batch: int) -> None:
        self.trial, self.dice, self.batch = trial, random.Random(seed), batch
        self.weather = Weather(seed, trial.kind)
        self.number = 0
        self.up: Child | None = None
        self.held: set[str] = set()
        self.done: list[Event] = []
        self.killed_at: float | None = None

    def blow(self, steps: int) -> Weather:
        trial, dice = self.trial, self.dice
        self._faults()
        actions: list[tuple[Callable[[], None], int]] = [
            (self.kill_at_a_boundary, 30),
            (self.cut_a_connection, 10),
            (self.kill_redis, 8),
            (self.stop_and_go_on, 3),
            (self.new_lead, 12),
            (self.pings, 14),
            (self.again, 5),
            (self.edit, 10),
            (self.decide, 12),
            (self.hold_or_release, 5),
            (self.roll_back, 4),
        ]
        for number in range(LEADS):
            self.new_lead(number)
        for _ in range(steps):
            self._alive()
            (action,) = dice.choices([act for act, _ in actions], [weight for _, weight in actions])
            with contextlib.suppress(RedisError, OSError):
                action()
        self._calm()
        return self._look(trial)

    # ---- what strikes

    def kill_at_a_boundary(self) -> None:
        how = self.dice.choice(("kill before", "kill after", "kill after"))
        strike = Strike(self.dice.randint(1, 40), how)
        self._strike(strike)
        if strike.fired:
            self._killed()

    def cut_a_connection(self) -> None:
        how = self.dice.choice(("cut before", "reply lost", "half a reply"))
        self._strike(Strike(self.dice.randint(1, 20), how))

    def kill_redis(self) -> None:
        self.trial.redis.kill()
        self.weather.fired["kill redis"] += 1
        self.trial.redis.start()

    def stop_and_go_on(self) -> None:
        """A machine that sleeps for a moment."""
        if self.up is not None and self.up.wait(0) is None:
            self.up.signal(signal.SIGSTOP)
            self.weather.fired["stop"] += 1
            self._strike(Strike(10_000, "delay"))
            self.up.signal(signal.SIGCONT)

    # ---- what people and programs do

    def new_lead(self, number: int | None = None) -> None:
        self.number += 1
        name = f"lead:{self.number if number is None else number}"
        values: dict[str, Any] = {"name": self.dice.choice(("Ada", "Bob", "Cy", "fails", "Eve"))}
        if self.dice.random() < 0.3:
            values["unsure"] = "yes"
        if not self.trial.ask("knows", record=name):
            self.trial.create(name, values)
            self.weather.events += 1

    def pings(self) -> None:
        for _ in range(self.dice.randint(1, self.batch)):
            self.number += 1
            event = Event(f"ping-{self.number}", "lead.pinged", self._record(), "client", time.time(), {})
            self.trial.accept(event)
            self.done.append(event)
            self.weather.events += 1

    def again(self) -> None:
        """Events that have been accepted come once more, in another order."""
        for event in self.dice.sample(self.done, min(len(self.done), 10)):
            self.trial.push(event)
            self.weather.fired["duplicate"] += 1

    def edit(self) -> None:
        field = self.dice.choice(("industry", "grade", "tier", "name"))
        self.trial.edit(self._record(), **{field: f"pat {self.number} {self.dice.randint(0, 99)}"})
        self.weather.fired["edit"] += 1

    def decide(self) -> None:
        with self.trial.redis.client() as client:
            ids = [id_.decode() for id_ in client.zrange("revops:open:reviews", 0, -1)]
            if not ids:
                return
            item = json.loads(client.get(f"revops:review:{self.dice.choice(ids)}"))
        decision = self.dice.choice(("approve", "approve", "reject", "edit") if item["field"] else ("retry", "reject"))
        values = {item["field"]: f"pat {self.dice.randint(0, 99)}"} if decision == "edit" else {}
        for number in range(self.dice.choice((1, 1, 2))):  # two people at once
            data = {"review": item["id"], "decision": decision, "values": values, "by": f"pat{number}", "note": ""}
            self._told("review.decided", item["record"], data, run=item["run"])
        self.weather.fired["decision"] += 1

    def hold_or_release(self) -> None:
        record = self._record()
        if record in self.held:
            self.held.discard(record)
            self.trial.release(record)
        else:
            self.held.add(record)
            self.trial.hold(record)
        self.weather.fired["hold"] += 1

    def roll_back(self) -> None:
        record = self._record()
        with self.trial.redis.client() as client:
            keys = list(client.scan_iter("revops:write:*", count=1000))
            writes = [json.loads(raw) for raw in client.mget(keys) if raw] if keys else []
        ids = [write["id"] for write in writes if write["record"] == record and write["state"] == "applied"]
        if ids:
            self._told("rollback.requested", record, {"writes": ids, "by": "pat"})
            self.trial.note("rollback", writes=ids)
            self.weather.fired["rollback"] += 1

    # ---- inside

    def _record(self) -> str:
        return f"lead:{self.dice.randrange(LEADS)}"

    def _told(self, type_: str, record: str, data: dict[str, Any], run: str | None = None) -> None:
        self.number += 1
        self.trial.push(Event(f"storm-{self.number}", type_, record, "cli", time.time(), data, run=run))

    def _faults(self) -> None:
        plan: list[dict[str, Any]] = [{"seed": self.weather.seed}]
        for op, faults in RATES.items():
            for fault, rate in faults.items():
                one = {"op": op, "fault": fault, "rate": rate, "seconds": 0.2, "field": "industry", "value": "pat says"}
                plan.append({**one, "retry_after": self.dice.choice(RETRY_AFTER)})
        self.trial.faults(*plan)

    def _alive(self) -> None:
        if self.up is None or self.up.wait(0) is not None:
            self.up = self.trial.up()

    def _strike(self, strike: Strike) -> None:
        """Wait until it has struck, or for as long as a strike may take."""
        self.trial.proxy.begin(strike)
        end = time.monotonic() + STEP
        while not strike.fired and time.monotonic() < end:
            time.sleep(0.005)
        if strike.fired:
            self.trial.note("struck", how=strike.how, at=strike.at)
            self.weather.fired[strike.how] += 1
        self.trial.proxy.begin()

    def _killed(self) -> None:
        """The first progress after it: the next start has committed."""
        if self.up is not None:
            self.up.wait(5)
            self.up.kill()
        since = time.monotonic()
        self._alive()
        before = self._commits()
        with contextlib.suppress(AssertionError):
            until(lambda: self._commits() > before, "the next start commits", 10.0)
        self.weather.recovered = max(self.weather.recovered, time.monotonic() - since)

    def _goes_on(self, before: int) -> bool:
        """Whether anything was committed; where a start met no Redis and ended, the next one may be on its way."""
        self._alive()
        return self._commits() > before

    def _commits(self) -> int:
        with contextlib.suppress(RedisError), self.trial.redis.client() as client:
            return int(client.hget("revops:controller", "seq") or 0)
        return -1

    def _calm(self) -> None:
        """No more faults, no holds, nobody strikes: everything has to come to its end."""
        self.trial.faults()
        self.trial.proxy.begin()
        for record in sorted(self.held):
            self.trial.release(record)
        for record, values in self.trial.ask("state")["records"].items():
            if values.get("name") == "fails":
                self.trial.edit(record, name="mended")
        if self.up is not None:
            self.up.signal(signal.SIGTERM)
            self.up.wait(20)
            self.up.kill()
        self.trial.rest()

    def _look(self, trial: Trial) -> Weather:
        evidence = trial.evidence()
        self.weather.violations = looked_into(evidence, f"storm {self.weather.seed} {self.weather.kind}")
        self.weather.writes = writes_in(evidence)
        for fact in evidence.crm:
            if fact["kind"] == "call" and fact["fault"]:
                self.weather.fired[f"CRM {fact['op']}: {fact['fault']}"] += 1
        return self.weather


def storm(nursery: Nursery, seed: int, steps: int = 40, batch: int = 10) -> Weather:
    """One storm; `seed` also chooses the class of CRM, and whether agents have a process of their own."""
    processes = int(seed % 5 == 4)
    with Trial(nursery, KINDS[seed % 3], processes=processes, budget=BUDGET) as trial:
        return Storm(trial, seed, batch).blow(steps)


def server_kills(nursery: Nursery, seed: int, kills: int = 10) -> Weather:
    """Redis is killed again and again, each time with events just accepted and work under way; the rest lives."""
    with Trial(nursery, KINDS[seed % 3], budget=BUDGET) as trial:
        wind = Storm(trial, seed, 10)
        for number in range(LEADS):
            wind.new_lead(number)
        for _ in range(kills):
            wind._alive()
            before = wind._commits()
            wind.pings()
            until(lambda before=before: wind._goes_on(before), "something is committed")
            wind.kill_redis()
        wind._calm()
        return wind._look(trial)
