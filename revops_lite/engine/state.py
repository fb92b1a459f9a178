"""What the engine knows, what one decision changes, and the draft on which a decision is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from msgspec import Struct, field

from revops_lite.models import (
    AuditEntry,
    Breaker,
    Context,
    Event,
    Hold,
    Intent,
    IntentState,
    Job,
    Key,
    OutNotice,
    Page,
    Review,
    ReviewState,
    Run,
    Step,
    Touch,
    Write,
    WriteState,
)
from revops_lite.policy import Rulebook
from revops_lite.rules import fanout
from revops_lite.values import replace

HISTORY_KEPT = 100


class Missing(Exception):
    """The decision needs documents that are not in memory. Load them and decide again: deciding has no effects."""

    def __init__(self, *keys: Key) -> None:
        super().__init__(", ".join(map("|".join, keys)))
        self.keys = keys


class State(Struct):
    """The controller's working set. It is the only writer, so what is here is what Redis holds.

    `docs` maps a key to its value, or to None where Redis is known to hold nothing; keys that are absent have not
    been looked at. Breakers, holds and parked steps are few and always here as a whole.
    """

    docs: MutableMapping[Key, Any] = field(default_factory=dict)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    holds: dict[str, dict[str, Hold]] = field(default_factory=dict)  # record -> field or "*"
    parked: dict[str, dict[str, None]] = field(default_factory=dict)  # agent -> "run|step", oldest first
    waited: Mapping[str, float] = field(default_factory=dict)  # events of this batch that had to wait -> since when

    def apply(self, changes: Changes) -> None:
        """Fold a committed decision in."""
        self.docs.update(changes.docs)
        self.breakers.update(changes.breakers)
        for (record, name), hold in changes.holds.items():
            held = self.holds.setdefault(record, {})
            if hold is None:
                held.pop(name, None)
            else:
                held[name] = hold
            if not held:
                del self.holds[record]
        for key, (agent, there) in changes.parked.items():
            waiting = self.parked.setdefault(agent, {})
            waiting.pop(key, None)
            if there:
                waiting[key] = None
            elif not waiting:
                del self.parked[agent]


class Ahead(dict[Key, Any]):
    """Documents that run ahead of others, which stay as they are. Only `[]` and `in` see those behind."""

    def __init__(self, behind: Mapping[Key, Any]) -> None:
        super().__init__()
        self._behind = behind

    def __missing__(self, key: Key) -> Any:
        return self._behind[key]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._behind


class Changes(Struct):
    """One decision, or a batch of them, as data: everything here is committed together or not at all."""

    docs: dict[Key, Any] = field(default_factory=dict)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold | None] = field(default_factory=dict)
    gated: set[tuple[str, str]] = field(default_factory=set)  # of the holds, those that are at the gate already
    parked: dict[str, tuple[str, bool]] = field(default_factory=dict)  # "run|step" -> agent, parked or not
    timers: dict[str, float | None] = field(default_factory=dict)  # timer -> due, None: no more
    jobs: list[Job] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)  # queues whose unclaimed jobs come back: a breaker opened

    def add(self, later: Changes) -> None:
        """Put a later decision of the same batch on top."""
        self.docs.update(later.docs)
        self.breakers.update(later.breakers)
        self.holds.update(later.holds)
        self.gated = (self.gated - later.holds.keys()) | later.gated
        self.parked.update(later.parked)
        self.timers.update(later.timers)
        self.jobs += later.jobs
        self.events += later.events
        self.audit += later.audit
        self.drained += later.drained


class Call(Struct, frozen=True):
    """One agent call on one record of a fan-out."""

    part: Run
    step: Step
    snapshot: dict[str, Any]


class Draft:
    """One decision while it is being made: reads fall through to the state, writes stay here."""

    def __init__(self, state: State, rulebook: Rulebook, event: Event, now: float) -> None:
        self.state = state
        self.rulebook = rulebook
        self.event = event
        self.now = now
        self.changes = Changes()
        self.heard: dict[str, Any] = (
            event.data
        )  # the answer that is being taken in: one of many where they came together
        self.calls: list[Call] = []  # of agents on records of a fan-out; they go together, in jobs of several
        self.trials: dict[str, int] = {}  # places given to calls of agents that are not proven yet -> how many share it
        self.moved: dict[str, None] = {}  # fan-outs of which a part has moved: they are settled at the end
        self.closed: dict[str, Review] = {}  # items that this decision closes: at its end, who waits for them goes on

    # -- reading --

    def find(self, kind: str, id_: str) -> Any:
        """The document, or None where there is none. Raises Missing where nobody has looked yet."""
        key = (kind, id_)
        if key in self.changes.docs:
            return self.changes.docs[key]
        try:
            return self.state.docs[key]
        except KeyError:
            raise Missing(key) from None

    def need(self, kind: str, ids: Iterable[str]) -> None:
        """Ask for several documents at once, so that they are loaded in one go."""
        keys = [(kind, id_) for id_ in ids]
        absent = [key for key in keys if key not in self.changes.docs and key not in self.state.docs]
        if absent:
            raise Missing(*absent)

    def run(self, id_: str | None) -> Run | None:
        found: Run | None = self.find("run", id_) if id_ else None
        return found

    def context(self, record: str) -> Context:
        found: Context | None = self.find("context", record)
        return found or Context(record)

    def review(self, id_: str) -> Review | None:
        found: Review | None = self.find("review", id_)
        return found

    def write(self, id_: str) -> Write | None:
        found: Write | None = self.find("write", id_)
        return found

    def intent(self, id_: str) -> Intent | None:
        found: Intent | None = self.find("intent", id_)
        return found

    def notice(self, id_: str) -> OutNotice | None:
        found: OutNotice | None = self.find("notice", id_)
        return found

    def page(self, id_: str) -> Page:
        """One that is kept no longer is empty."""
        found: Page | None = self.find("page", id_)
        return found or Page(id_, id_.partition(".")[0], self.now, {}, {})

    def breaker(self, name: str) -> Breaker:
        return self.changes.breakers.get(name) or self.state.breakers.get(name) or Breaker(name)

    def holds(self, record: str) -> dict[str, Hold]:
        held = dict(self.state.holds.get(record, {}))
        for (of, name), hold in self.changes.holds.items():
            if of == record:
                if hold is None:
                    held.pop(name, None)
                else:
                    held[name] = hold
        return held

    def parked(self, agent: str) -> list[str]:
        waiting = dict(self.state.parked.get(agent, {}))
        for key, (of, there) in self.changes.parked.items():
            if of == agent:
                waiting.pop(key, None)
                if there:
                    waiting[key] = None
        return list(waiting)

    # -- writing --

    def put(self, value: Run | Page | Context | Write | Intent | Review | OutNotice) -> None:
        if isinstance(value, Context):
            self.changes.docs["context", value.record] = value
            return
        if isinstance(value, Review) and value.state is not ReviewState.PENDING:
            self.closed[value.id] = value
        if isinstance(value, Run) and value.part_of:
            self._count(value, value.part_of)
        self.changes.docs[_KINDS[type(value)], value.id] = value

    def _count(self, part: Run, whole: str) -> None:
        """The whole's tally follows each move of a part, so that nobody ever has to look at all of them."""
        moves = fanout.moves(self.find("run", part.id), part)
        run = self.run(whole) if moves else None
        if run is not None:
            self.changes.docs["run", whole] = replace(run, tally=fanout.tallied(run.tally, moves))
            self.moved[whole] = None

    def audit(self, what: str, who: str = "controller", **facts: Any) -> None:
        """One entry of the trail. The health figures are counted from these entries, and from nothing else."""
        run = self.run(facts.get("run"))
        flow = run.workflow if run else ""
        self.changes.audit.append(AuditEntry(at=self.now, what=what, who=who, workflow=flow, **facts))

    def timer(self, name: str, due: float | None) -> None:
        self.changes.timers[name] = due

    def touch(self, record: str, touch: Touch) -> None:
        """One more line in a record's history; the oldest go."""
        context = self.context(record)
        self.put(replace(context, history=(*context.history[-HISTORY_KEPT + 1 :], touch)))


def over(value: Any) -> bool:
    """Whether a document has come to its end: it changes no more, unless somebody asks for it."""
    match value:
        case Run():
            return value.finished_at is not None
        case Write():
            return value.state not in (WriteState.PLANNED, WriteState.SENDING)
        case Intent():
            return value.state not in (IntentState.PLANNED, IntentState.SENDING, IntentState.IN_DOUBT)
        case Review():
            return value.state is not ReviewState.PENDING
        case OutNotice():
            return value.state != "planned"
        case Page():
            return True
        case _:
            return False


_KINDS: dict[type, str] = {
    Run: "run",
    Page: "page",
    Write: "write",
    Intent: "intent",
    Review: "review",
    OutNotice: "notice",
}
