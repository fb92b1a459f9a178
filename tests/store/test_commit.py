"""A commit: all or nothing, once, and only by the controller that leads."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ResponseError

from revops_lite.engine.state import Changes, State
from revops_lite.errors import AnotherController, Fenced
from revops_lite.models import AuditEntry, BreakerState
from revops_lite.store import keys
from revops_lite.store.commit import commands
from revops_lite.store.store import SILENT_AFTER, Lead, Store
from revops_lite.values import replace
from store_nouns import breaker, context, event, hold, put, run

NOW = 1000.0


def position(lead: Lead) -> tuple[int, int, str]:
    return lead.epoch, lead.seq, lead.cursor


# ---- taking over


def test_the_first_controller_starts_at_the_beginning(store: Store) -> None:
    assert position(store.begin("a", NOW, False)) == (1, 0, "0-0")
    about = store.controller()
    assert (about["owner"], about["heartbeat"]) == ("a", "1000.0")


def test_a_second_controller_is_refused_while_the_first_shows_life(store: Store, lead: Lead) -> None:
    with pytest.raises(AnotherController, match=r"works on this Redis: host:1:a$"):
        store.begin("host:2:b", NOW + SILENT_AFTER - 0.1, False)
    store.commit(lead, [], None, NOW + 100)
    with pytest.raises(AnotherController):
        store.begin("host:2:b", NOW + 100 + SILENT_AFTER - 0.1, False)


def test_a_silent_controller_is_taken_over_where_it_had_got_to(store: Store, lead: Lead) -> None:
    store.commit(lead, [], "5-0", NOW)
    assert position(store.begin("host:2:b", NOW + SILENT_AFTER, False)) == (2, 1, "5-0")


@pytest.mark.parametrize(("owner", "force"), [("host:2:b", True), ("host:1:a", False)])
def test_a_lock_or_the_same_owner_takes_over_at_once(store: Store, lead: Lead, owner: str, force: bool) -> None:
    assert store.begin(owner, NOW, force).epoch == lead.epoch + 1


def test_after_signing_off_nobody_has_to_wait(store: Store, lead: Lead) -> None:
    store.resign(lead, NOW)
    assert store.begin("host:2:b", NOW, False).epoch == 2


def test_whoever_was_taken_over_cannot_sign_the_next_one_off(store: Store, lead: Lead) -> None:
    store.begin("host:2:b", NOW, True)
    with pytest.raises(Fenced):
        store.resign(lead, NOW)
    assert store.controller()["owner"] == "host:2:b"


# ---- committing


def test_a_commit_moves_the_cursor_and_the_heartbeat_with_its_commands(store: Store, lead: Lead, redis: Any) -> None:
    store.commit(lead, [("SET", "k", "v", "EX", 60)], "7-1", NOW + 5)
    assert position(lead) == (1, 1, "7-1")
    assert redis.get("k") == b"v"
    about = store.controller()
    assert (about["seq"], about["cursor"], float(about["heartbeat"])) == ("1", "7-1", NOW + 5)


def test_a_fenced_commit_does_nothing_at_all(store: Store, lead: Lead, redis: Any) -> None:
    newer = store.begin("host:2:b", NOW, True)
    before = store.controller()
    with pytest.raises(Fenced, match="another controller has taken over"):
        store.commit(lead, [("SET", "k", "v", "EX", 60)], "9-9", NOW + 1)
    assert redis.get("k") is None
    assert store.controller() == before
    store.commit(newer, [], None, NOW + 2)


def test_the_same_commit_twice_happens_once(store: Store, lead: Lead, redis: Any) -> None:
    again = replace(lead)
    for claim in (lead, again):
        store.commit(claim, [("INCR", "n"), ("EXPIRE", "n", 60)], "3-0", NOW)
    assert redis.get("n") == b"1"
    assert position(lead) == position(again) == (1, 1, "3-0")


def test_a_commit_that_lags_behind_is_refused(store: Store, lead: Lead) -> None:
    old = replace(lead)
    store.commit(lead, [], None, NOW)
    store.commit(lead, [], None, NOW)
    with pytest.raises(Fenced, match="commit 2"):
        store.commit(old, [], None, NOW)


def test_a_commit_whose_reply_was_lost_is_run_again_and_counts_once(
    store: Store, lead: Lead, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = store._commit._wire._received
    answers: list[object] = []

    def lost_once() -> Any:
        answers.extend(received())
        if len(answers) == 1:
            raise LostConnection("reset by peer")
        return answers[-1:]

    store.commit(lead, [], None, NOW)  # the server knows the script
    monkeypatch.setattr(store._commit._wire, "_received", lost_once)
    store.commit(lead, [("INCR", "n"), ("EXPIRE", "n", 60)], "3-0", NOW)
    assert (answers, redis.get("n"), position(lead)) == ([b"3-0", b""], b"1", (1, 2, "3-0"))


def test_a_commit_that_could_not_be_sent_is_sent_again(
    store: Store, lead: Lead, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise LostConnection("broken pipe")

    with monkeypatch.context() as patched:
        patched.setattr(store._commit._wire, "_send", refused)
        end = store.begin_commit(lead, [("INCR", "n"), ("EXPIRE", "n", 60)], "3-0", NOW)
    end()
    assert (redis.get("n"), position(lead)) == (b"1", (1, 1, "3-0"))


def test_a_commit_is_sent_before_it_is_waited_for(store: Store, lead: Lead, redis: Any) -> None:
    store.commit(lead, [], None, NOW)  # the server knows the script
    end = store.begin_commit(lead, [("INCR", "n"), ("EXPIRE", "n", 60)], "3-0", NOW)
    assert position(lead) == (1, 1, "0-0")
    end()
    assert (redis.get("n"), position(lead)) == (b"1", (1, 2, "3-0"))


def told(store: Store, lead: Lead, cursor: str, *, quiet: bool) -> list[str]:
    """What is left to be read after a commit that tells an event of its own."""
    changes = Changes(events=[event("ours")])
    store.commit(lead, list(commands(State(), changes, NOW)), cursor, NOW, quiet)
    assert store.controller()["cursor"] == lead.cursor
    return [entry.event.id for entry in store.read(lead.cursor, 10) if entry.event]


def test_events_about_which_nothing_is_to_be_decided_are_not_read_back(store: Store, lead: Lead) -> None:
    store.append([event("first")])
    assert told(store, lead, store.last_event(), quiet=True) == []


def test_events_that_count_are_read_back(store: Store, lead: Lead) -> None:
    store.append([event("first")])
    assert told(store, lead, store.last_event(), quiet=False) == ["ours"]


def test_what_others_told_before_our_own_events_is_not_passed_over(store: Store, lead: Lead) -> None:
    store.append([event("first")])
    read = store.last_event()
    store.append([event("theirs")])
    assert told(store, lead, read, quiet=True) == ["theirs", "ours"]


def test_a_decision_is_visible_as_a_whole(store: Store, lead: Lead) -> None:
    changes = Changes(
        breakers={"scoring": breaker()},
        holds={("lead:1", "*"): hold()},
        parked={"r1|score": ("scoring", True)},
        timers={"deadline|r1": NOW + 5.0},
        events=[event("follow")],
        audit=[AuditEntry(1.0, "run.started", "cli", "lead:1", "r1", "a", None, {"x": 1}, "rule", "note")],
    )
    changes.docs["run", "r1"] = run()
    store.commit(lead, list(commands(State(), changes, NOW)), "1-0", NOW)
    state = store.working_set()
    assert state.breakers == {"scoring": breaker()}
    assert state.holds == {"lead:1": {"*": hold()}}
    assert state.parked == {"scoring": {"r1|score": None}}
    assert (store.next_timer(), store.due_timers(NOW + 5.0, 10)) == (NOW + 5.0, [("deadline|r1", NOW + 5.0)])
    assert [entry.event for entry in store.read("0-0", 10)] == [event("follow")]
    assert store.audit(10) == changes.audit
    assert store.load([("run", "r1")]) == {("run", "r1"): run()}


def test_our_own_follow_up_events_are_never_too_large(store: Store, lead: Lead) -> None:
    """A batch that could not be committed would be decided again and again, for ever."""
    big = event("follow", text="x" * 1_200_000)
    put(store, lead, events=[big])
    (entry,) = store.read("0-0", 1)
    assert entry.event == big


# ---- timers, parked steps, breakers, holds


def test_timers_come_in_their_order_and_go(store: Store, lead: Lead) -> None:
    one, two, three, nine = (NOW + seconds for seconds in (10.0, 20.0, 30.0, 90.0))
    put(store, lead, timers={"b": two, "a": one, "c": three})
    assert store.due_timers(two, 10) == [("a", one), ("b", two)]
    assert store.due_timers(two, 1) == [("a", one)]
    put(store, lead, timers={"a": None, "b": nine})
    assert store.due_timers(NOW + 99.0, 10) == [("c", three), ("b", nine)]
    assert store.next_timer() == three


def test_what_is_to_come_at_once_comes_by_a_clock_that_was_set_back(store: Store, lead: Lead) -> None:
    put(store, lead, timers={"first": NOW - 1.0, "later": NOW + 5.0})
    put(store, lead, timers={"second": NOW})
    due = store.due_timers(NOW - 900.0, 10)
    assert [name for name, _ in due] == ["first", "second"], "in their order"
    assert len({at for _, at in due}) == 2, "each time of its own: what follows from it is named by it"


def test_a_parked_step_goes_when_it_starts(store: Store, lead: Lead) -> None:
    put(store, lead, parked={"r1|a|b": ("scoring", True), "r2|a": ("scoring", True)})
    put(store, lead, parked={"r1|a|b": ("scoring", False)})
    assert store.working_set().parked == {"scoring": {"r2|a": None}}


def test_claims_are_told_which_agents_are_paused(store: Store, lead: Lead, redis: Any) -> None:
    put(store, lead, breakers={"scoring": breaker()})
    assert redis.scard(keys.PAUSED) == 1
    probing = breaker(state=BreakerState.HALF_OPEN)
    put(store, lead, breakers={"scoring": probing}, before=State(breakers={"scoring": breaker()}))
    assert redis.scard(keys.PAUSED) == 0
    assert store.breakers() == {"scoring": probing}


def test_a_hold_is_at_the_gate_before_the_controller_has_heard_of_it(store: Store, lead: Lead) -> None:
    placed = event("h1", "hold.placed", field="*")
    store.hold(placed, hold(at=7.0), "*")
    store.hold(placed, hold(at=7.0), "*")
    assert store.working_set().holds == {"lead:1": {"*": hold(at=placed.time)}}
    assert [entry.event for entry in store.read("0-0", 10)] == [placed]
    store.hold(event("h2", "hold.released", field="*"), None, "*")
    assert store.working_set().holds == {}
    del lead


def test_a_repeated_release_does_not_take_a_later_hold_away(store: Store) -> None:
    store.hold(event("h1", "hold.placed"), hold(), "*")
    store.hold(event("h2", "hold.released"), None, "*")
    store.hold(event("h3", "hold.placed"), hold(), "*")
    store.hold(event("h2", "hold.released"), None, "*")
    assert store.working_set().holds != {}


def test_hearing_of_a_release_does_not_open_the_gate_for_a_hold_placed_since(store: Store, lead: Lead) -> None:
    store.hold(event("h1", "hold.placed"), hold(), "*")
    store.hold(event("h2", "hold.released"), None, "*")
    store.hold(event("h3", "hold.placed"), hold(), "*")
    known = State(holds={"lead:1": {"*": hold(at=1000.5)}})
    put(store, lead, holds={("lead:1", "*"): None}, gated={("lead:1", "*")}, before=known)
    assert "lead:1" in store.working_set().holds


def test_an_end_date_takes_away_only_the_hold_it_belongs_to(store: Store, lead: Lead) -> None:
    short, longer = hold(until=5.0), hold(until=500.0)
    put(store, lead, holds={("lead:1", "*"): short, ("lead:2", "*"): replace(short, record="lead:2")})
    store.hold(event("h1", "hold.placed"), longer, "*")
    known = State(holds={"lead:1": {"*": short}, "lead:2": {"*": replace(short, record="lead:2")}})
    put(store, lead, holds={("lead:1", "*"): None, ("lead:2", "*"): None}, before=known)
    assert store.working_set().holds == {"lead:1": {"*": replace(longer, at=1000.5)}}


def test_the_hold_field_does_not_replace_a_persons_hold(store: Store, lead: Lead) -> None:
    store.hold(event("h1", "hold.placed"), hold(), "*")
    put(store, lead, holds={("lead:1", "*"): replace(hold(), by="crm")})
    assert store.working_set().holds["lead:1"]["*"].by == "ana"


# ---- size


def test_a_record_of_twenty_thousand_fields_can_be_committed_and_emptied(store: Store, lead: Lead) -> None:
    """Lua cannot unpack a command of that many words."""
    value = context().fields["a"]
    wide = context(fields={f"f{n}": replace(value, pending=None) for n in range(20_000)})
    put(store, lead, wide)
    assert store.load([("context", "lead:1")])["context", "lead:1"] == wide
    empty = replace(wide, fields={})
    put(store, lead, empty, before=State(docs={("context", "lead:1"): wide}))
    assert store.load([("context", "lead:1")])["context", "lead:1"] == empty


def test_an_error_of_ours_is_not_taken_for_a_fence(store: Store, lead: Lead) -> None:
    with pytest.raises(ResponseError):
        store.commit(lead, [("NOSUCHCOMMAND",)], None, NOW)
