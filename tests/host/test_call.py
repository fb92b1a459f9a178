"""Every way an agent can answer, and what the controller hears of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pydantic_core import to_json

from revops_lite import Flag, Gathered, Notice, Proposal, Report, Retry, Skip, Snapshot, agent
from revops_lite.errors import AgentError
from revops_lite.host import call as calling
from revops_lite.host.call import Outcome
from revops_lite.host.proposals import MAX_BYTES, one_line
from revops_lite.host.snapshots import rebuild
from revops_lite.models import Job, Touch
from revops_lite.registry import ATTRIBUTE, AgentSpec


class Colour(Enum):
    RED = "red"


class Out(BaseModel):
    size: int | None = Field(default=None, ge=1)
    colour: Colour | None = None
    founded: date | None = None
    share: float | None = None


def ask(
    returned: Any = None, *, raises: BaseException | None = None, attempts: int = 1, timeout: float = 30
) -> Outcome:
    @agent(writes=Out)
    def answer(_record: Snapshot) -> Any:
        if raises is not None:
            raise raises
        return returned() if callable(returned) else returned

    return ask_agent(answer, attempts=attempts, timeout=timeout)


def ask_agent(function: Callable[..., Any], *, attempts: int = 1, timeout: float = 30) -> Outcome:
    job = Job("j", "agents", "r", "s", 1, "a", "lead:1", timeout, attempts, {"kind": "lead", "id": "1", "values": {}})
    spec: AgentSpec = getattr(function, ATTRIBUTE)
    return calling.call(job, lambda _name: spec)


def test_nothing_to_propose() -> None:
    assert ask(None) == Outcome("done")


def test_a_model_is_proposed_without_what_is_none() -> None:
    outcome = ask(Proposal(Out(colour=Colour.RED, founded=date(1999, 12, 31)), confidence={"colour": 1, "*": 0.5}))
    assert outcome.kind == "done"
    assert outcome.proposals[0]["values"] == {"colour": "red", "founded": "1999-12-31"}
    assert outcome.proposals[0]["confidence"] == {"colour": 1.0, "*": 0.5}


def test_a_mapping_becomes_json() -> None:
    values = {"colour": Colour.RED, "amount": Decimal("10.50"), "at": datetime(2026, 1, 2, tzinfo=UTC), "n": [1, None]}
    assert ask(Proposal(values)).proposals[0]["values"] == {
        "colour": "red",
        "amount": "10.50",
        "at": "2026-01-02T00:00:00Z",
        "n": [1, None],
    }


def test_everything_beside_values_travels_too() -> None:
    proposal = Proposal(
        target="deal:7",
        flags=[Flag("stale", "high", "14 d")],
        clears=("old",),
        notices=[Notice("owner", "Hello", "text", "k1", about=("stale",))],
        reports=[Report("week", "<p>")],
    )
    [plain] = ask([proposal]).proposals
    assert plain["target"] == "deal:7"
    assert plain["flags"] == [{"code": "stale", "severity": "high", "detail": "14 d"}]
    assert plain["clears"] == ["old"]
    assert plain["notices"] == [
        {"to": "owner", "subject": "Hello", "body": "text", "key": "k1", "about": ["stale"], "report": ""}
    ]
    assert plain["reports"] == [{"name": "week", "html": "<p>"}]


def cyclic() -> dict[str, Any]:
    knot: dict[str, Any] = {}
    knot["self"] = knot
    return knot


def deep(levels: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(levels):
        nest = [nest]
    return nest


class Nasty:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("proposal", "problem"),
    [
        (Proposal({"share": math.nan}), "share: nan is not a number"),
        (Proposal(Out(share=math.inf)), "share: inf is not a number"),
        (Proposal({"a": {"b": [1.0, -math.inf]}}), "a.b.1: -inf is not a number"),
        (Proposal(cyclic()), "Circular reference"),
        (Proposal({"a": deep(40)}), "nested deeper than 32"),
        (Proposal({"a": deep(100_000)}), "not JSON"),
        (Proposal({"a": "\ud800"}), "surrogate"),
        (Proposal({"\ud800": 1}), "a field's name is plain text"),
        (Proposal({"a": {"\udfff": 1}}), "surrogate"),
        (Proposal({3: 1}), "a field's name is plain text"),
        (Proposal({"a": 10**5000}), "bits"),
        (Proposal({"a": object()}), "not JSON"),
        (Proposal({"a": Nasty()}), "not JSON"),
        (Proposal({"a": "x" * MAX_BYTES}), "bytes; at most"),
        (Proposal(["not", "a", "mapping"]), "a pydantic model or a mapping is wanted, not a list"),
        (Proposal({}, confidence=1.2), "confidence: a number from 0 to 1 is wanted (got 1.2)"),
        (Proposal({}, confidence=math.nan), "confidence: a number from 0 to 1 is wanted (got nan)"),
        (Proposal({}, confidence={"a": -0.1}), "confidence of a:"),
        (Proposal({}, confidence=True), "confidence:"),
        (Proposal({}, confidence="high"), "confidence:"),  # type: ignore[arg-type]
        (Proposal({}, target="seven"), "target: write it as 'kind:id'"),
        (Proposal({}, because=None), "because: text is wanted"),  # type: ignore[arg-type]
        (Proposal({}, flags=[Flag("a", "awful")]), "low, medium or high"),
        (Proposal({}, flags=["a"]), "flags: a Flag is wanted, not a str"),  # type: ignore[list-item]
        (Proposal({}, clears="code"), "clears: a list is wanted"),
        (Proposal({}, notices=[Notice("a", "b", 3, "k")]), "notices.body: text is wanted"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_that_is_not_sound_json_is_invalid(proposal: Proposal, problem: str) -> None:
    outcome = ask(proposal)
    assert outcome.kind == "invalid"
    assert any(problem in line for line in outcome.problems), outcome.problems
    to_json(outcome.proposals)


def test_the_sound_part_of_an_invalid_answer_is_kept_for_the_reviewer() -> None:
    outcome = ask(Proposal({"good": 1, "bad": math.nan}))
    assert outcome.proposals[0]["values"] == {"good": 1}


def test_a_problem_names_which_of_several_proposals_it_is_about() -> None:
    assert ask([Proposal({"a": 1}), Proposal({"a": math.nan})]).problems == ("[1] a: nan is not a number",)


@pytest.mark.parametrize("returned", ["text", 7, {"score": 1}, [1], (Proposal(), None), (x for x in ()), Out()])
def test_anything_but_proposals_fails_clearly(returned: Any) -> None:
    outcome = ask(returned)
    assert outcome.kind == "failed"
    assert "an agent returns a Proposal, a list of them, or None" in outcome.error


@given(st.recursive(st.none() | st.floats() | st.text(st.characters()) | st.integers() | st.binary(), st.lists))
def test_whatever_stands_in_a_proposal_something_writable_comes_out(value: Any) -> None:
    outcome = ask(Proposal({"field": value}, because=value, confidence=value))
    assert b"NaN" not in to_json(outcome.proposals, inf_nan_mode="constants").replace(b'"NaN', b"")
    to_json(outcome.problems)


def test_the_agents_own_model_refusing_is_invalid_with_each_problem() -> None:
    outcome = ask(lambda: Proposal(Out(size=-1, share="much")))  # type: ignore[arg-type]
    assert outcome.kind == "invalid"
    assert outcome.problems[0] == "size: Input should be greater than or equal to 1 (got -1)"
    assert len(outcome.problems) == 2


def test_another_model_refusing_is_a_failure() -> None:
    class Reply(BaseModel):
        status: int

    outcome = ask(lambda: Reply(status="many"))  # type: ignore[arg-type]
    assert outcome.kind == "failed"
    assert outcome.error.startswith("ValidationError: 1 validation error for Reply")


def test_skip_and_retry_are_outcomes() -> None:
    assert ask(raises=Skip("already\nowned")) == Outcome("skipped", error="already owned")
    assert ask(raises=Retry("index lags", after=30)) == Outcome("retry", error="index lags", after=30.0)
    assert ask(raises=Retry("soon", after=math.nan)).after == 5.0
    assert ask(raises=Retry("soon", after=-math.inf)).after == 5.0
    assert ask(raises=Retry("never", after=-1)).after == 0.0
    assert ask(raises=Retry("never", after=-(10**400))).after == 0.0
    assert ask(raises=Retry("later", after=10**400)).after == calling.MAX_AFTER


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), BaseException("x"), Nasty])
def test_whatever_an_agent_raises_is_its_failure(error: Any) -> None:
    outcome = ask(lambda: (_ for _ in ()).throw(error)) if error is Nasty else ask(raises=error)
    assert outcome.kind == "failed"
    assert outcome.error


def test_an_error_is_one_clean_short_line() -> None:
    outcome = ask(raises=ValueError("a\nb\x1b[31m\u202e" + "c" * 10_000))
    assert outcome.error.startswith("ValueError: a b [31m ccc")
    assert len(outcome.error) == 500
    assert outcome.error.isprintable()


def test_transient_errors_are_tried_again_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "BACKOFF", lambda _state: 0.0)
    for error in (ConnectionResetError(), TimeoutError(), httpx.ReadTimeout("slow"), marked(), requests_error()):
        assert ask(raises=error, attempts=3).tries == 3
    assert ask(raises=ValueError("wrong"), attempts=3).tries == 1
    assert ask(raises=Skip("no"), attempts=3).tries == 1


def marked() -> Exception:
    error = RuntimeError("busy")
    error.transient = True  # type: ignore[attr-defined]
    return error


def requests_error() -> Exception:
    return type("ConnectionError", (OSError,), {"__module__": "requests.exceptions"})("gone")


def test_a_second_try_that_succeeds_is_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "BACKOFF", lambda _state: 0.0)
    answers: list[Any] = [ConnectionError(), Proposal({"size": 1})]

    def flaky() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    outcome = ask(flaky, attempts=3)
    assert (outcome.kind, outcome.tries) == ("done", 2)


def test_no_try_begins_after_the_steps_time() -> None:
    assert ask(raises=ConnectionError(), attempts=100, timeout=0.05).tries == 1


def test_async_agents_are_awaited() -> None:
    @agent
    async def later(_record: Snapshot) -> Proposal:
        await asyncio.sleep(0)
        return Proposal({"a": 1})

    assert ask_agent(later).proposals[0]["values"] == {"a": 1}


def test_an_agent_that_cannot_be_loaded_fails_with_the_reason() -> None:
    def load(_name: str) -> AgentSpec:
        raise AgentError("agents.x:y: the module does not import")

    job = Job("j", "agents", "r", "s", 1, "a", "lead:1", 1.0, 1, {})
    assert calling.call(job, load).error == "agents.x:y: the module does not import"


def test_a_snapshot_is_rebuilt_whole() -> None:
    company = {"kind": "company", "id": "7", "values": {"name": "Acme"}, "version": 3}
    snapshot = rebuild(
        {
            "kind": "lead",
            "id": "1",
            "values": {"email": "a@b.c"},
            "version": 4,
            "now": 1000.5,
            "deadline": 2000,
            "related": {"company": [company]},
            "flags": [{"code": "stale", "severity": "high", "detail": "14 d"}],
            "history": [{"at": 1.0, "agent": "scoring", "run": "r", "outcome": "done", "fields": {"a": 1}}],
            "settings": {"min_sources": 1},
        }
    )
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.record, snapshot["email"], snapshot.get("none", 5)) == ("lead:1", "a@b.c", 5)
    assert snapshot.now == datetime(1970, 1, 1, 0, 16, 40, 500_000, tzinfo=UTC)
    assert snapshot.deadline == datetime(1970, 1, 1, 0, 33, 20, tzinfo=UTC)
    assert snapshot.related["company"][0].record == "company:7"
    assert snapshot.related["company"][0].now == snapshot.now
    assert snapshot.flags == (Flag("stale", "high", "14 d"),)
    assert snapshot.history == (Touch(1.0, "scoring", "r", "done", {"a": 1}),)
    assert snapshot.settings == {"min_sources": 1}


def test_a_gather_job_gives_a_list() -> None:
    owner = {"kind": "owner", "id": "ana", "values": {"name": "Ana"}, "now": 86_400.0, "settings": {"top": 5}}
    many = rebuild({**owner, "many": [{"kind": "deal", "id": str(n), "values": {}} for n in range(3)]})
    assert isinstance(many, list)
    assert isinstance(many, Gathered)
    assert [one.id for one in many] == ["0", "1", "2"]
    assert (many.of.record, many.of["name"], many.settings) == ("owner:ana", "Ana", {"top": 5})
    assert {one.now for one in many} == {many.now}


@given(st.text(st.characters()))
def test_one_line_is_always_one_printable_line(text: str) -> None:
    assert one_line(text, 50).isprintable()
    assert len(one_line(text, 50)) <= 50
