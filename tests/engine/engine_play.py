"""The engine by hand, without Redis: events in, the state they lead to."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from revops_lite.engine import Changes, Missing, State, decide
from revops_lite.engine.ids import run_id
from revops_lite.models import Event
from revops_lite.policy import Rulebook

LEAD = "lead:1"


class Answer(BaseModel):
    industry: str | None = None


class Play:
    """The engine by hand: events in, the state they lead to."""

    def __init__(self, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self.state = State()

    def send(self, event: Event, now: float = 1.0) -> Changes:
        while True:
            try:
                changes = decide(self.state, self.rulebook, event, now)
                break
            except Missing as missing:
                self.state.docs.update(dict.fromkeys(missing.keys))
        self.state.apply(changes)
        for report in self._reports(changes):
            self.send(report, now)
        return changes

    def _reports(self, changes: Changes) -> list[Event]:
        """A CRM that takes every call."""
        planned = [i for (kind, _), i in changes.docs.items() if kind == "intent" and i.state == "planned"]
        return [
            Event(f"{i.id}|{i.passes}|applied", "write.applied", i.record, "writer", 1.0, {"intent": i.id}, run=i.run)
            for i in planned
        ]

    def find(self, kind: type) -> list[Any]:
        return [value for value in self.state.docs.values() if isinstance(value, kind)]

    def start(
        self, workflow: str, values: dict[str, Any], event: str = "e1", record: str = LEAD, now: float = 1.0
    ) -> str:
        """Start a run on a record that the CRM holds with these values. Returns the run's id."""
        self.send(Event(event, "lead.created", record, "cli", now), now)
        run = run_id(event, workflow)
        found = {record: {"values": values, "created_at": 0.0, "updated_at": 0.0}}
        data = {"asked_at": now, "records": found, "related": {}}
        self.send(Event(f"{run}|loaded", "record.loaded", record, "reader", now, data, run=run), now)
        return run

    def answer(
        self, run: str, step: str, values: dict[str, Any], confidence: float = 0.95, now: float = 2.0
    ) -> Changes:
        """The step's agent proposes these values."""
        proposals = [{"values": values, "confidence": {"*": confidence}}]
        data = {"step": step, "attempt": 1, "outcome": "done", "proposals": proposals}
        record = self.state.docs["run", run].record
        return self.send(Event(f"{run}|{step}|1|finished", "step.finished", record, "host", now, data, run=run), now)

    def value(self, field: str, record: str = LEAD) -> Any:
        return self.state.docs["context", record].fields[field].value
