"""Flags and what people are told of them: one flag and one notice, whoever finds it; news when it comes back."""

from __future__ import annotations

from typing import Any

from engine_play import LEAD, Answer, Play
from revops_lite.engine.ids import run_id
from revops_lite.models import Event, OutNotice
from revops_lite.policy import AgentPolicy, FieldPolicy, Governance, Rulebook, StepDef, WorkflowDef

FLAG = {"code": "missing_roles", "severity": "medium", "detail": "no decision maker"}


def game(governance: Governance | None = None) -> Play:
    agents = {name: AgentPolicy(name, f"agents.{name}:run", schema=Answer) for name in ("inspection", "alert")}
    flows = {name: WorkflowDef(name, (f"{name}.asked",), (StepDef(name, name),)) for name in ("inspection", "alert")}
    return Play(Rulebook(agents=agents, workflows=flows, governance=governance or Governance()))


def finds(play: Play, agent: str, number: int, **proposal: Any) -> None:
    """One run of the agent's own workflow, in which it answers with this proposal."""
    now = float(number)
    event = f"{agent}{number}"
    play.send(Event(event, f"{agent}.asked", LEAD, "cli", now), now)
    run = run_id(event, agent)
    found = {LEAD: {"values": {"industry": "bakery"}, "created_at": 0.0, "updated_at": 0.0}}
    data = {"asked_at": now, "records": found, "related": {}}
    play.send(Event(f"{run}|loaded", "record.loaded", LEAD, "reader", now, data, run=run), now)
    answer = {"step": agent, "attempt": 1, "outcome": "done", "proposals": [{"values": {}, **proposal}]}
    play.send(Event(f"{run}|finished", "step.finished", LEAD, "host", now, answer, run=run), now)


def notice(agent: str, to: str = "owner") -> dict[str, Any]:
    text = f"{agent} has found it"
    return {"to": to, "subject": text, "body": text, "key": f"{agent}|missing", "about": ["missing_roles"]}


def flags(play: Play) -> dict[str, Any]:
    found: dict[str, Any] = play.state.docs["context", LEAD].flags
    return found


def told(play: Play) -> list[str]:
    return [item.subject for item in play.find(OutNotice)]


def test_two_agents_finding_the_same_are_one_flag_and_one_notice() -> None:
    play = game()
    finds(play, "inspection", 1, flags=[FLAG], notices=[notice("inspection")])
    finds(play, "alert", 2, flags=[FLAG], notices=[notice("alert")])
    assert list(flags(play)) == ["missing_roles"]
    assert flags(play)["missing_roles"].agent == "inspection"
    assert told(play) == ["inspection has found it"]


def test_another_reader_is_told_too() -> None:
    play = game()
    finds(play, "inspection", 1, flags=[FLAG], notices=[notice("inspection")])
    finds(play, "alert", 2, flags=[FLAG], notices=[notice("alert", to="managers")])
    assert told(play) == ["inspection has found it", "alert has found it"]


def test_a_flag_that_clears_and_comes_back_is_told_again() -> None:
    play = game()
    finds(play, "inspection", 1, flags=[FLAG], notices=[notice("inspection")])
    finds(play, "alert", 2, clears=["missing_roles"])
    assert not flags(play)
    finds(play, "inspection", 3, flags=[FLAG], notices=[notice("inspection")])
    assert told(play) == ["inspection has found it"] * 2


def test_a_finding_that_got_worse_is_told_again() -> None:
    play = game()
    finds(play, "inspection", 1, flags=[FLAG], notices=[notice("inspection")])
    finds(play, "inspection", 2, flags=[{**FLAG, "severity": "high"}], notices=[notice("inspection")])
    assert flags(play)["missing_roles"].severity == "high"
    assert told(play) == ["inspection has found it"] * 2


def test_a_notice_about_a_flag_that_is_not_open_goes_to_nobody() -> None:
    play = game()
    finds(play, "alert", 1, notices=[notice("alert")])
    assert told(play) == []


def test_a_key_is_sent_once_whoever_says_it() -> None:
    play = game()
    same = {"to": "owner", "subject": "hello", "body": "hello", "key": "one"}
    finds(play, "inspection", 1, notices=[same])
    finds(play, "alert", 2, notices=[same])
    assert told(play) == ["hello"]


def test_a_notice_goes_out_without_the_values_of_sensitive_fields() -> None:
    said = {**notice("inspection"), "subject": "Now software", "body": "industry: software (it was bakery)"}
    said["about"] = []
    for sensitive, subject, body in (
        (False, "Now software", "industry: software (it was bakery)"),
        (True, "Now •••", "industry: ••• (it was •••)"),
    ):
        play = game(Governance(fields={"lead.industry": FieldPolicy(sensitive=sensitive)}))
        finds(play, "inspection", 1, values={"industry": "software"}, notices=[said])
        (sent,) = play.find(OutNotice)
        assert (sent.subject, sent.body) == (subject, body)
