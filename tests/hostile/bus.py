"""A real controller on a fake Redis, with work of every kind under way, and bytes put into its stream behind its back.

bus = Bus(redis)
bus.put(b'{"id": ...}')           # one stream entry, whatever the bytes
bus.settle()                      # the controller takes all there is; raises what the controller raises
bus.check()                       # memory and Redis say the same, a successor can take over
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field

from revops_lite.controller import Controller
from revops_lite.engine.ids import run_id
from revops_lite.models import Event, Intent, OutNotice, Run
from revops_lite.policy import AgentPolicy, BreakerPolicy, Governance, Over, Rulebook, StepDef, WorkflowDef
from revops_lite.queue.drain import Drain
from revops_lite.queue.work import EventSink
from revops_lite.store import codec, keys
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views

NOW = 1_000_000.0
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
KINDS = ("run", "page", "write", "intent", "review", "notice")
ASKED = {"asked_at": NOW}


class Answer(BaseModel):
    industry: str | None = None
    size: int | None = Field(default=None, ge=1)


PATIENT = BreakerPolicy(failures=1_000_000, cooldown=60.0, cap=60.0)  # else hostile agents would only be parked
RULEBOOK = Rulebook(
    agents={
        name: AgentPolicy(name, f"agents.{name}:run", schema=Answer, breaker=PATIENT)
        for name in ("enrich", "inspect", "sum_up")
    },
    workflows={
        "flow": WorkflowDef("flow", ("lead.created",), (StepDef("enrich", "enrich"),), deadline=3600.0),
        "wide": WorkflowDef(
            "wide",
            (),
            (StepDef("inspect", "inspect"), StepDef("sum_up", "sum_up", ("inspect",), gather="all")),
            cron="0 6 * * *",
            over=Over("deal", {}),
        ),
    },
    governance=Governance(),
)


def event(id_: str, type_: str, subject: str, data: dict[str, Any], run: str | None = None, by: str = "cli") -> bytes:
    return encode_event(Event(id_, type_, subject, by, NOW, data, run=run))


def shown(**values: Any) -> dict[str, Any]:
    """A record as the CRM shows it."""
    return {"values": values, "created_at": 1.0, "updated_at": 1.0}


class Bus:
    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.now = NOW
        self._seen = ""
        self.store = Store(redis)
        self.controller = self.successor()
        self.loading, self.calling, self.written = (run_id(f"e{n}", "flow") for n in range(3))
        self.wide = run_id("w", "wide")
        self._work_under_way()
        docs = self.docs()
        self.intent = next(id_ for (kind, id_) in docs if kind == "intent")
        self.review = next(id_ for (kind, id_) in docs if kind == "review")
        self.notice = next(id_ for (kind, id_) in docs if kind == "notice")
        self.write = next(id_ for (kind, id_) in docs if kind == "write")

    def successor(self) -> Controller:
        made = Controller(self.store, Drain(self.redis, SINK), RULEBOOK, "host:1:a")
        made.take_over(self.now, force=True)
        return made

    def _work_under_way(self) -> None:
        """A run that waits for its record, one that waits for its agent, one with a call, a notice and a question
        under way, and a fan-out over two deals."""
        for number in range(3):
            self.put(event(f"e{number}", "lead.created", f"lead:{number}", {}))
        self.put(event("w", "workflow.started", "workflow:wide", {"workflow": "wide"}))
        self.settle()
        for number, run in ((1, self.calling), (2, self.written)):
            found = {"records": {f"lead:{number}": shown(industry="before")}, "related": {}, **ASKED}
            self.put(event(f"l{number}", "record.loaded", f"lead:{number}", found, run, "reader"))
        page = {"records": {"deal:1": shown(), "deal:2": shown()}, "seen": {}, "of": 2, **ASKED}
        page["related"] = {"deal:1": {}, "deal:2": {}}
        self.put(event("s", "records.swept", "workflow:wide", page, self.wide, "sweeper"))
        self.settle()
        said = {"values": {"industry": "after", "size": 3}, "confidence": {"industry": 0.9, "size": 0.2}}
        told = {"notices": [{"to": "ops", "subject": "s", "body": "b", "key": "k", "about": [], "report": ""}]}
        answer = {"step": "enrich", "attempt": 1, "outcome": "done", "proposals": [{**said, **told}]}
        self.put(event("a", "step.finished", "lead:2", answer, self.written, "host"))
        self.settle()

    # ---- moves

    def put(self, raw: bytes, field: str = "e") -> None:
        self.redis.xadd(EVENTS_KEY, {field: raw})

    def settle(self) -> None:
        while self.controller.step(self.now):
            pass
        assert self.controller.lead.cursor == self.store.last_event(), "the cursor moves past whatever there is"

    # ---- what there is

    def docs(self) -> dict[tuple[str, str], Any]:
        """Every document in Redis, read as a controller that starts now would read it."""
        found = {}
        for name in self.redis.scan_iter():
            _, kind, *rest = name.decode().split(":", 2)
            if kind in KINDS:
                found[kind, rest[0]] = codec.load(kind, self.redis.get(name))
        return found

    def told(self) -> list[str]:
        """What the audit says since this was asked last; of questions to people, the reason."""
        found = self.redis.xrange(keys.AUDIT, f"({self._seen}" if self._seen else "-")
        self._seen = found[-1][0].decode() if found else self._seen
        entries = [codec.load("audit", fields[b"a"]) for _, fields in found]
        return [entry.rule if entry.what == "review.asked" else entry.what for entry in entries]

    def check(self, *, holds: bool = True) -> None:
        """What the controller knows is what a successor reads, and everybody can read it.

        `holds`: not so where somebody forged the news of a hold. It is the gate that has to know of it first.
        """
        self.docs()
        known = {key: value for key, value in self.controller.state.docs.items() if value is not None}
        assert self.store.load(known) == known
        heir = self.successor()
        for part in ("breakers", "parked", *(["holds"] if holds else [])):
            assert getattr(heir.state, part) == getattr(self.controller.state, part)
        runs, intents, notices = heir.unfinished()
        assert all(isinstance(one, Run | Intent | OutNotice) for one in (*runs, *intents, *notices))
        views = Views(self.redis)
        views.runs(lambda _: True, None)
        views.pending()
        self.store.audit(1_000)
        self.controller = heir

    def still_works(self, number: int) -> None:
        """A good event starts its run, whatever came before it."""
        self.put(event(f"good{number}", "lead.created", f"lead:good{number}", {"industry": "x"}))
        self.settle()
        run = Views(self.redis).run(run_id(f"good{number}", "flow"))
        assert run.record == f"lead:good{number}"


def raw_event(text: dict[str, str]) -> bytes:
    """An event of JSON fragments, by attribute."""
    return ("{" + ", ".join(f"{json.dumps(name)}: {part}" for name, part in text.items()) + "}").encode()
