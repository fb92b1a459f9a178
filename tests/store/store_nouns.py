"""Nouns to store: each with something in every attribute, so that a round trip shows what gets lost."""

from __future__ import annotations

from typing import Any

from revops_lite.engine.state import Changes, State
from revops_lite.models import (
    Breaker,
    BreakerState,
    Claimed,
    Context,
    Event,
    FieldValue,
    Hold,
    Intent,
    IntentState,
    OpenFlag,
    OpenRun,
    OutNotice,
    Proposed,
    Reason,
    Review,
    ReviewState,
    Run,
    RunState,
    Step,
    StepState,
    Touch,
    Trigger,
    Write,
    WriteState,
)
from revops_lite.store.commit import commands
from revops_lite.store.store import Lead, Store
from revops_lite.values import replace

LEAD = "lead:1"
HOSTILE = ("", " ", "|", "a|b", "*", "v:x", "\x00", "\r\n+OK\r\n", "{tag}", "ünï☃", "x" * 2000, "'; flushall; --")


def event(id_: str = "e1", type_: str = "lead.created", record: str = LEAD, **data: Any) -> Event:
    return Event(id_, type_, record, "cli", 1000.5, data, cause="e0", run="r1", hop=2)


def run(id_: str = "r1", state: RunState = RunState.RUNNING, at: float = 1.5, **more: Any) -> Run:
    step = Step(
        "score",
        "scoring",
        ("enrich",),
        True,
        True,
        StepState.DONE,
        2,
        1.0,
        2.0,
        3.0,
        {"*": 0.5},
        "why",
        {"a": [1, None]},
        ("p",),
        {LEAD: 4},
    )
    claims: dict[str, tuple[Claimed, ...]] = {"lead:1|a": (Claimed(1, "scoring", 3, 0.25, "score", None, "w1"),)}
    run = Run(id_, "flow", LEAD, Trigger("e1", "lead.created", "cli", 1.0), at, {"score": step}, state, claims=claims)
    return replace(
        run,
        include=("company",),
        related={"company": ("company:1",)},
        seed={"a": {"b": True}},
        deadline_at=9.0,
        effects=("i1",),
        reviews=("q1",),
        **more,
    )


def write(id_: str = "w1", state: WriteState = WriteState.PLANNED, at: float = 1.0, **more: Any) -> Write:
    write = Write(id_, LEAD, "industry", None, {"deep": ["ü", 1.5]}, "enrichment", 0.9, "r1", state, at)
    return replace(write, rule="rule", step="s", intent="i1", because="b", undoes=("w0",), undo="ana", **more)


def intent(id_: str = "i1", state: IntentState = IntentState.PLANNED, **more: Any) -> Intent:
    intent = Intent(id_, LEAD, "r1", "enrichment", 1.0, {"a": 1}, {"a": None}, {"a": "w1"}, state=state)
    return replace(intent, **{"tries": 1, "passes": 2, "due": 3.5, "settle_until": 4.5, "note": "n", **more})


def review(id_: str = "q1", state: ReviewState = ReviewState.PENDING, at: float = 1.0, **more: Any) -> Review:
    review = Review(id_, Reason.CONFLICT, LEAD, "r1", "enrichment", at, state=state)
    return replace(
        review,
        field="a",
        proposed=[1],
        confidence=0.1,
        problems=("p",),
        competing={"value": 2},
        output=({"values": {}},),
        **more,
    )


def notice(id_: str = "n1", state: str = "planned", **more: Any) -> OutNotice:
    return replace(OutNotice(id_, "key", "ops", "subject", "body", 1.0, "r1", state), tries=2, due=1.5, **more)


def context(record: str = LEAD, **more: Any) -> Context:
    context = Context(
        record,
        7,
        {"a": FieldValue({"x": None}, "enrichment", 0.9, 1.0, 7, "r1", 40, "w1", "w1")},
        {"b": Proposed(2, "scoring", 0.5, 1.0, "r1", "q1", "why")},
        {"stale": OpenFlag("stale", "high", "detail", "inspection", 1.0, "r1")},
        (Touch(1.0, "enrichment", "r1", "done", {"a": 1}, 0.5, "note"),),
        {"r1": OpenRun("flow", 9.0, 1.0)},
        (1.0, 2.0),
        ("i1",),
        True,
        {"ana|stale": 3.0},
        True,
    )
    return replace(context, **more)


def breaker(name: str = "scoring", state: BreakerState = BreakerState.OPEN) -> Breaker:
    return Breaker(name, state, (1.0, 2.0), 2.0, 302.0, 300.0, "down", "r1|score", True, True, ("r2|score",))


def hold(record: str = LEAD, field: str = "*", at: float = 1.0, until: float | None = None) -> Hold:
    return Hold(record, field, "ana", "case 7", at, until)


def docs(*values: Any) -> dict[tuple[str, str], Any]:
    """Documents as a decision has them."""
    kinds = {Run: "run", Write: "write", Intent: "intent", Review: "review", OutNotice: "notice", Context: "context"}
    return {(kinds[type(v)], v.record if isinstance(v, Context) else v.id): v for v in values}


def put(store: Store, lead: Lead, *values: Any, before: State | None = None, now: float = 1001.0, **more: Any) -> None:
    """Commit these documents, and what else a decision may change."""
    changes = Changes(docs=docs(*values), **more)
    store.commit(lead, list(commands(before or State(), changes, now)), None, now)
