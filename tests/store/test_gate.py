"""The gate before the CRM: every verdict it can give, and that what it lets through is on record and counted once."""

from __future__ import annotations

from typing import Any

import pytest

from revops_lite.engine import Changes, State
from revops_lite.models import Event, Intent, IntentState
from revops_lite.store import keys
from revops_lite.store.commit import commands
from revops_lite.store.store import Lead, Store
from revops_lite.values import replace
from store_nouns import event, hold, intent, put

NOW = 10_000.0
HOUR = 3600.0


def call(intent: Intent, number: int = 1) -> Event:
    return Event(f"{intent.id}|{number}|sending", "write.sending", intent.record, "writer", NOW, {"intent": intent.id})


class Gate:
    """Asks for one intent at a time, as the writer does."""

    def __init__(self, store: Store, lead: Lead) -> None:
        self.store = store
        self.lead = lead
        self.epoch = lead.epoch
        self.intent = intent(values={"a": 1, "b": 2})
        put(store, lead, self.intent)

    def ask(self, number: int = 1, now: float = NOW, budget: int = 20) -> tuple[str, list[str]]:
        (found,) = self.store.raw_intents([self.intent.id])
        assert found is not None
        raw, stored = found
        (verdict,) = self.store.gate(self.epoch, [(raw, stored, call(stored, number))], now, budget)
        return verdict

    def told(self) -> list[str]:
        return [entry.event.id for entry in self.store.read("0-0", 100) if entry.event]


@pytest.fixture
def gate(store: Store, lead: Lead) -> Gate:
    return Gate(store, lead)


def test_a_call_that_may_go_is_on_record_before_it_is_made(gate: Gate, store: Store) -> None:
    assert gate.ask() == ("go", [])
    (entry,) = store.read("0-0", 10)
    assert entry.event == call(gate.intent)
    assert store.call_under_way(gate.intent.record)


@pytest.mark.parametrize("state", ["sending", "in_doubt", "applied", "planned"])
def test_a_call_is_under_way_until_its_outcome_is_committed(gate: Gate, store: Store, state: str) -> None:
    gate.ask()
    before = State({("intent", gate.intent.id): gate.intent})
    told = replace(gate.intent, state=IntentState(state), tries=1, passes=1)
    store.commit(gate.lead, list(commands(before, Changes(docs={("intent", told.id): told}), 1.0)), None, 1.0)
    assert store.call_under_way(gate.intent.record) == (state in ("sending", "in_doubt"))


def test_the_same_call_twice_counts_once(gate: Gate, redis: Any) -> None:
    for _ in range(3):
        assert gate.ask(budget=1) == ("go", [])
    assert redis.zcard(keys.sent(gate.intent.record)) == 1
    assert len(gate.told()) == 1


def test_nothing_goes_out_for_a_controller_that_was_taken_over(gate: Gate, store: Store) -> None:
    store.begin("other", NOW, True)
    assert gate.ask() == ("fenced", [])
    assert gate.told() == []


def test_an_intent_that_changed_under_our_hands_does_not_go(gate: Gate, store: Store, lead: Lead) -> None:
    (found,) = store.raw_intents([gate.intent.id])
    assert found is not None
    put(store, lead, replace(gate.intent, passes=9))
    calls = [(found[0], found[1], call(gate.intent))]
    assert store.gate(gate.epoch, calls, NOW, 20) == [("changed", [])]
    gone = [(b"{}", replace(gate.intent, id="none"), call(gate.intent))]
    assert store.gate(gate.epoch, gone, NOW, 20) == [("changed", [])]
    assert gate.told() == []


def test_a_hold_on_the_record_stops_the_whole_call(gate: Gate, store: Store) -> None:
    store.hold(event("h", "hold.placed"), hold(), "*")
    assert gate.ask() == ("held", ["*"])
    store.hold(event("h2", "hold.released"), None, "*")
    assert gate.ask() == ("go", [])


def test_a_hold_on_fields_names_them(gate: Gate, store: Store) -> None:
    store.hold(event("h", "hold.placed"), hold(field="b"), "b")
    assert gate.ask() == ("held", ["b"])
    store.hold(event("h2", "hold.placed"), hold(field="a"), "a")
    verdict, fields = gate.ask()
    assert (verdict, sorted(fields)) == ("held", ["a", "b"])


def test_a_hold_elsewhere_stops_nothing(gate: Gate, store: Store) -> None:
    store.hold(event("h", "hold.placed"), hold(field="c"), "c")
    store.hold(event("h2", "hold.placed", "lead:2"), hold("lead:2"), "*")
    assert gate.ask() == ("go", [])


def test_the_budget_is_of_any_sliding_hour(gate: Gate) -> None:
    for number, at in enumerate((0.0, 1000.0, 2000.0)):
        assert gate.ask(number, NOW + at, budget=3) == ("go", [])
    verdict, (seconds,) = gate.ask(3, NOW + 3000.0, budget=3)
    assert (verdict, float(seconds)) == ("budget", 600.0)
    assert gate.ask(3, NOW + HOUR - 0.5, budget=3)[0] == "budget"
    assert gate.ask(3, NOW + HOUR + 0.5, budget=3) == ("go", [])
    assert gate.ask(4, NOW + HOUR + 1.0, budget=3)[0] == "budget"
    assert gate.ask(4, NOW + HOUR + 1000.5, budget=3) == ("go", [])


def test_what_the_budget_refused_is_neither_counted_nor_told(gate: Gate, redis: Any) -> None:
    gate.ask(0, budget=1)
    before = gate.told()
    for number in range(1, 5):
        assert gate.ask(number, budget=1)[0] == "budget"
    assert gate.told() == before
    assert redis.zcard(keys.sent(gate.intent.record)) == 1


def test_several_calls_are_answered_each_by_itself(store: Store, lead: Lead) -> None:
    intents = [intent(f"i{n}", record=f"lead:{n}") for n in range(3)]
    put(store, lead, *intents)
    store.hold(event("h", "hold.placed", "lead:1"), hold("lead:1"), "*")
    found: list[Any] = store.raw_intents([one.id for one in intents])
    answers = store.gate(lead.epoch, [(raw, one, call(one)) for raw, one in found], NOW, 20)
    assert answers == [("go", []), ("held", ["*"]), ("go", [])]
    assert store.gate(lead.epoch, [], NOW, 20) == []
    assert store.raw_intents([]) == []


@pytest.mark.parametrize("name", ["*", "a|*", "x y", "\r\n", "ü"])
def test_hostile_names_hold_only_what_they_name(store: Store, lead: Lead, name: str) -> None:
    held, free = intent("i1", values={name: 1}), intent("i2", values={"free": 1}, record="lead:2")
    put(store, lead, held, free)
    store.hold(event("h", "hold.placed"), hold(field=name), name)
    found: list[Any] = store.raw_intents(["i1", "i2"])
    answers = store.gate(lead.epoch, [(raw, one, call(one)) for raw, one in found], NOW, 20)
    assert answers == [("held", [name]), ("go", [])]
