"""Moves of everybody around one simulated installation, and the notes of what they did. A program is some of these.

play = Play("plain")
play.submit("lead.created", "lead:1")
play.work(answer(industry=("v1", 0.95)))
play.world.crm.faults.append("unknown after")
play.settle()
assert play.objections() == []
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from revops_lite.errors import BusError, Fenced
from revops_lite.models import Review, Write
from revops_lite.queue.jobs import decode
from revops_lite.queue.work import Answer, Claim
from simulated import BUDGET, RULEBOOK, SURE, World
from simulated_checks import violations
from simulated_facts import Facts, Said, collect
from simulated_redis import Crash

RECORDS = ("lead:1", "lead:2")  # what the CRM holds at the start
STRANGER = "lead:9"  # what it does not hold
LISTENING = {type_: [w.name for w in RULEBOOK.workflows.values() if type_ in w.on] for type_ in
             ("lead.created", "lead.seen", "lead.tried")}  # fmt: skip
ROUNDS = 400  # of settling, after which something is said never to come to rest

Ended = dict[str, Any]


def answer(**values: tuple[Any, float]) -> Ended:
    """An agent's answer: field=(value, confidence)."""
    proposal = {
        "values": {name: value for name, (value, _) in values.items()},
        "confidence": {name: sure for name, (_, sure) in values.items()},
        "because": "simulated",
    }
    return {"outcome": "done", "proposals": [proposal] if values else []}


class Play:
    """A world with people, agents and a CRM in it; `said` is what they would testify."""

    def __init__(self, kind: str) -> None:
        self.world = World(kind)
        self.said = Said()
        self.fired: Counter[str] = self.world.fired
        self.by_hand: set[str] = set()  # agents whose breaker was opened
        for record in RECORDS:
            self.world.crm.create(record, {"industry": "at first", "size": 1})

    # ---- events

    def submit(self, type_: str, record: str, data: dict[str, Any] | None = None, id_: str = "") -> str:
        id_ = id_ or f"event-{self.world.number()}"
        verdict = self.world.send(type_, record, data or {}, id_)
        if verdict == "new":
            self.said.accepted.append({"id": id_, "type": type_, "record": record})
        return verdict

    # ---- agents and their hosts

    def claim(self, host: str = "host", count: int = 4) -> list[Claim]:
        return self.world.claim(host, count)

    def finish(self, host: str, claim: Claim, ended: Ended) -> Answer:
        """The answer counts if the claim still stands; the model remembers which did."""
        got = self.world.finish(host, claim, **ended)
        if claim in self.world.claims.get(host, []):
            self.world.claims[host].remove(claim)
        notes = self.said.proposed if got is Answer.DONE else self.said.late
        job = decode(claim.data)
        for proposal in ended.get("proposals", ()):
            for name, value in proposal["values"].items():
                sure = proposal["confidence"][name]
                notes.append(
                    {"record": job.record, "field": name, "value": value, "confidence": sure, "agent": job.agent}
                )
        if got is Answer.LATE:
            self.fired["late answer"] += 1
        return got

    def work(self, ended: Ended | None = None, host: str = "host") -> None:
        for claim in self.claim(host):
            self.finish(host, claim, ended or answer())

    def lose_host(self, host: str = "host") -> None:
        if self.world.claims.get(host):
            self.fired["host lost with calls in flight"] += 1
        self.world.lose_host(host)

    # ---- people

    def edit(self, record: str, **values: Any) -> None:
        self.world.crm.edit(record, values)

    def decide(self, item: Review, decision: str, **values: Any) -> None:
        if decision == "approve" and item.field:
            self._approved(item.record, {item.field: item.proposed})
        if decision == "edit":
            self._approved(item.record, values)
        data = {"review": item.id, "decision": decision, "by": "rita", "values": values}
        self.world.send("review.decided", item.record, data)

    def _approved(self, record: str, values: dict[str, Any]) -> None:
        self.said.approved += [{"record": record, "field": n, "value": v} for n, v in values.items()]

    def hold(self, record: str, name: str = "*") -> None:
        at_once = self.world.hold(record, name, placed=True)
        since = len(self.world.crm.calls) if at_once else None
        self.said.holds.append({"record": record, "field": name, "since": since, "until": None})

    def release(self, record: str, name: str = "*") -> None:
        self.world.hold(record, name, placed=False)
        for hold in self.said.holds:
            if (hold["record"], hold["field"]) == (record, name) and hold["until"] is None:
                hold["until"] = len(self.world.crm.calls)

    def watch_holds(self) -> None:
        """A hold that found a call under way is in force once that call's outcome is on record."""
        for hold in self.said.holds:
            if hold["since"] is None and not self.world.store.call_under_way(hold["record"]):
                hold["since"] = len(self.world.crm.calls)

    def roll_back(self, writes: list[Write]) -> None:
        ids = [write.id for write in writes]
        self.said.rollbacks.append(ids)
        self.world.send("rollback.requested", writes[0].record, {"writes": ids, "by": "rita"})

    def break_(self, agent: str, opened: bool) -> None:
        (self.by_hand.add if opened else self.by_hand.discard)(agent)
        type_ = "breaker.opened" if opened else "breaker.reset"
        self.world.send(type_, f"agent:{agent}", {"agent": agent, "by": "rita"})

    # ---- two at once

    def another_takes_over(self) -> None:
        """The process is not dead but held up; another takes its place. What the first does then must not count."""
        old = self.world.process
        if old is None:
            return
        self.world.process = None
        self.world.start()
        self.fired["taken over"] += 1
        calls = len(self.world.crm.calls)
        acts: tuple[Callable[[float], object], ...] = (old.writer.tick, old.controller.step)
        for act in acts:
            try:
                act(self.world.clock())
            except (Fenced, BusError, Crash):
                self.fired["fenced"] += 1
        assert len(self.world.crm.calls) == calls, "a controller that was taken over has called the CRM"

    # ---- the end

    def settle(self) -> None:
        """No more faults: let everything come to rest that does so by itself."""
        world = self.world
        for several in (world.crm.faults, world.crm.between, world.crm.before_call, world.channel_faults):
            several.clear()
        world.boundaries.clear()
        world.skew = 0.0
        for agent in list(self.by_hand):
            self.break_(agent, opened=False)
        for _ in range(ROUNDS):
            moved = self._round()
            due = self._next_due()
            if due is None and not moved:
                return
            if not moved:
                world.now = max(world.now + 0.5, due or 0.0)
        raise AssertionError("it does not come to rest")

    def _round(self) -> bool:
        world, before = self.world, self._progress()
        world.everything()
        for host, claims in list(world.claims.items()):
            for claim in list(claims):
                self.finish(host, claim, answer())
        self.work()
        world.everything()
        self.watch_holds()
        return self._progress() != before

    def _progress(self) -> tuple[Any, ...]:
        world = self.world
        return (world.redis.xlen("revops:events"), world.redis.xlen("revops:audit"), len(world.crm.log))

    def _next_due(self) -> float | None:
        process = self.world.start()
        dues = [
            process.controller.next_timer,
            process.writer.next_due(),
            process.loader.next_due(),
            process.outbox.next_due(),
            *(one.due for one in self.world.crm._coming),
        ]
        return min((due for due in dues if due is not None), default=None)

    def facts(self) -> Facts:
        return collect(self.world, self.said, BUDGET, SURE, LISTENING)

    def objections(self) -> list[str]:
        return violations(self.facts())
