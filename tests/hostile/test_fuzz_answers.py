"""Whatever an agent returns or raises: its step is done, failed or quarantined; nothing undeclared becomes a value."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import ASKED, RULEBOOK, Answer, Bus, event, shown
from fuzzed import Fuzz
from revops_lite import Flag, Notice, Proposal, Report, Retry, Skip
from revops_lite.engine.ids import run_id
from revops_lite.host.call import call
from revops_lite.models import Job, Run
from revops_lite.queue.outcomes import step_finished
from revops_lite.registry import AgentSpec
from revops_lite.store.events import encode_event
from revops_lite.store.views import Views
from rubbish import MAKERS, Liar, objects

FUZZ = Fuzz("agents' answers", 80)
ENDS = {"done", "failed", "quarantined", "skipped", "pending"}
DECLARED = set(Answer.model_fields) | {"before"}
numbers = count()


class LyingError(Exception):
    """Cannot say what it is about."""

    __str__ = __repr__ = Liar._lie


class Odd(BaseException):
    pass


def raising(error: BaseException) -> Callable[[], Any]:
    def leave() -> Any:
        raise error

    return leave


LEAVING = [
    LyingError(),
    Odd("odd"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    MemoryError(),
    RecursionError(),
]
sound_values = st.fixed_dictionaries({}, optional={"industry": st.text(max_size=9), "size": st.integers(1, 9)})
rows = st.dictionaries(st.sampled_from(["industry", "size", "amount", "__class__", "", "a.b"]) | objects.filter(
    lambda value: type(value) in (str, int, float, bool, bytes, Liar)), objects, max_size=3)  # fmt: skip
models = st.builds(Answer.model_construct, industry=objects, size=objects)
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "values": sound_values | rows | models | objects,
    "confidence": st.floats(0, 1) | objects | st.dictionaries(st.sampled_from(["*", "industry", "x"]), objects),
    "because": st.text(max_size=9) | objects,
    "target": st.sampled_from(["lead:elsewhere", "lead:", "x", "deal:1"]) | objects,
    "flags": st.lists(st.builds(Flag, objects, objects, objects) | objects, max_size=2) | objects,
    "clears": st.lists(objects, max_size=2) | objects,
    "notices": st.lists(st.builds(Notice, objects, objects, objects, objects, objects, objects), max_size=2) | objects,
    "reports": st.lists(st.builds(Report, objects, objects) | objects, max_size=2) | objects,
}
GOOD: dict[str, Any] = {"values": {"industry": "software", "size": 3}, "confidence": 0.9, "because": "counted"}


@st.composite
def proposals(draw: Any) -> Proposal:
    """A good proposal with one or two of its parts replaced, so that a fault is seen and not hidden by the next."""
    parts = draw(st.lists(st.sampled_from(sorted(PARTS)), max_size=2))
    return Proposal(**{**GOOD, **{name: draw(PARTS[name]) for name in parts}})


answers = st.one_of(
    proposals().map(lambda one: lambda: one),
    st.lists(proposals() | objects, max_size=3).map(lambda several: lambda: several),
    objects.map(lambda value: lambda: value),
    st.sampled_from(LEAVING).map(raising),
    st.builds(Retry, objects, objects).map(raising),
    objects.map(Skip).map(raising),
)


@pytest.fixture(scope="module")
def bus() -> Bus:
    return Bus(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2))))


def ask(bus: Bus, agent: Callable[[], Any]) -> Run:
    """One lead, one run, one call of this agent, as the host makes it; what becomes of the run."""
    number = f"a{next(numbers)}"
    run = run_id(number, "flow")
    bus.put(event(number, "lead.created", f"lead:{number}", {}))
    bus.settle()
    found = {"records": {f"lead:{number}": shown(before="x")}, "related": {}, **ASKED}
    bus.put(event(f"{number}l", "record.loaded", f"lead:{number}", found, run, "reader"))
    bus.settle()
    snapshot = {"kind": "lead", "id": number, "values": {}, "version": 1, "now": bus.now}
    job = Job(number, "agents", run, "enrich", 1, "enrich", f"lead:{number}", 5.0, 1, snapshot)
    spec = AgentSpec(lambda _: agent(), Answer, "")
    outcome = call(job, lambda _: spec)
    told = step_finished(
        job,
        bus.now,
        outcome=outcome.kind,
        error=outcome.error,
        proposals=outcome.proposals,
        problems=outcome.problems,
        after=outcome.after,
    )
    bus.put(encode_event(told))
    bus.settle()
    return Views(bus.redis).run(run)


def check(bus: Bus, run: Run) -> None:
    step = run.steps["enrich"]
    assert step.state in ENDS
    if step.state in ("failed", "quarantined"):
        assert step.problems
        assert all(len(problem) < 2_000 and problem.isprintable() for problem in step.problems)
    context = Views(bus.redis).context(run.record)
    assert context is not None
    assert context.fields.keys() <= DECLARED
    values = {name: context.fields[name].value for name in Answer.model_fields if name in context.fields}
    Answer.model_validate(values, strict=True)
    if step.state != "done":
        assert not values
    FUZZ.fired(str(step.state))


@FUZZ
@given(agent=answers)
def test_any_answer_ends_the_step_in_good_order(bus: Bus, agent: Callable[[], Any]) -> None:
    check(bus, ask(bus, agent))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("where", ["returned", "values", "field", "confidence", "other field", "listed"])
def test_each_kind_of_rubbish_at_each_place(bus: Bus, name: str, where: str) -> None:
    value = MAKERS[name]()
    answer = {
        "returned": lambda: value,
        "values": lambda: Proposal(value),
        "field": lambda: Proposal({"size": value}),
        "confidence": lambda: Proposal({"size": 3}, confidence=value),
        "other field": lambda: Proposal({"size": 3, "amount": value}),
        "listed": lambda: [Proposal({"size": 3}), value],
    }[where]
    run = ask(bus, answer)
    check(bus, run)
    harmless = {"field": {"none", "number"}, "confidence": {"number"}, "returned": {"none"}}
    harmless["other field"], harmless["values"] = {"none"}, set()
    if name not in harmless.get(where, set()):
        assert run.steps["enrich"].state in ("failed", "quarantined"), (name, where)


def test_the_controller_is_whole_after_all_of_it(bus: Bus) -> None:
    bus.check()
    bus.still_works(1)
    least = {"done": 5, "failed": 10, "quarantined": 10}
    FUZZ.told(FUZZ.examples, least)
    assert RULEBOOK.agents["enrich"].schema is Answer
