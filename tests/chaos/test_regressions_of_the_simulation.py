"""What programs of the simulation found, each as the few steps that it takes. All have failed before their mend."""

from __future__ import annotations

from typing import Any

import pytest

from revops_lite.models import Review, Write
from simulated_checks import a_rollback_restores_or_asks
from simulated_crm import KINDS
from simulated_play import Play, answer

LEAD = "lead:1"
kinds = pytest.mark.parametrize("kind", KINDS)


def seen(play: Play, **values: tuple[Any, float]) -> None:
    """A run of one step in which the agent answers this; what it may write goes out as soon as the writer moves."""
    play.submit("lead.seen", LEAD)
    play.world.decide()
    play.world.load()
    play.world.decide()
    play.work(answer(**values))
    play.world.decide()


def given_up(play: Play, fault: str) -> None:
    """A call of unknown outcome; when it is read back a person's value stands there."""
    seen(play, industry=("ours", 0.95))
    play.world.crm.faults.append(fault)
    play.world.write()
    play.edit(LEAD, industry="a person's")
    play.world.decide()
    play.world.now += 10.0
    play.world.write()
    play.world.decide()
    assert [item.reason for item in pending(play)] == ["in_doubt"]


def at_rest(play: Play) -> None:
    play.settle()
    assert play.objections() == []


def pending(play: Play) -> list[Review]:
    return play.world.views.pending()


def writes(play: Play) -> dict[str, Write]:
    """By what each says."""
    return {str(write.after): write for write in play.world.views.writes(lambda _: True, None)}


@pytest.fixture
def play(kind: str) -> Play:
    made = Play(kind)
    made.world.everything()
    made.work()
    made.settle()
    return made


@kinds
def test_calls_of_a_record_keep_their_order_when_the_clock_was_set_back(play: Play) -> None:
    """The first is in doubt; the second is decided at an earlier time of day, and then the process starts anew."""
    play.world.crm.faults.append("delayed")
    seen(play, score=("first", 0.95))
    play.world.write()
    play.world.skew = -2.0
    seen(play, score=("second", 0.95))
    assert {str(write.state) for write in writes(play).values()} == {"sending", "planned"}
    play.world.die()
    at_rest(play)
    assert [line.after for line in play.world.crm.log[2:]] == [{"score": "first"}, {"score": "second"}]
    assert pending(play) == []


@kinds
def test_what_is_taken_back_is_told_to_the_next_call_even_when_the_clock_was_set_back(play: Play) -> None:
    seen(play, score=("first", 0.95))
    play.world.skew = -2.0
    seen(play, score=("second", 0.95))
    play.world.crm.faults.append("refused")
    play.world.write()
    at_rest(play)
    assert play.world.crm.log[-1].after == {"score": "second"}
    assert [item.reason for item in pending(play)] == ["write_failed"]


@kinds
def test_a_rollback_under_way_can_be_rolled_back(play: Play) -> None:
    seen(play, industry=("ours", 0.95))
    play.settle()
    play.roll_back([writes(play)["ours"]])
    play.world.decide()
    play.roll_back([writes(play)["at first"]])
    at_rest(play)
    values = [line.after["industry"] for line in play.world.crm.log if line.record == LEAD]
    assert values == ["at first", "ours", "at first", "ours"]


@kinds
def test_a_record_that_the_crm_does_not_show_any_more_is_a_question_and_not_ours_alone(play: Play) -> None:
    """Otherwise its writes would be said to be applied, and never reach the CRM."""
    play.world.crm.faults.append("record gone")
    seen(play, industry=("ours", 0.95))
    assert [item.reason for item in pending(play)] == ["dead_letter"]
    assert writes(play) == {}
    at_rest(play)


@pytest.mark.parametrize("kind", ["keyed", "plain"])
def test_an_edit_that_our_call_replaced_is_put_before_a_person(play: Play) -> None:
    """Where the CRM does not compare, nobody can prevent it; the feed of changes tells of it afterwards."""
    crm = play.world.crm
    crm.before_call.append(lambda: play.edit(LEAD, industry="a person's"))
    seen(play, industry=("ours", 0.95))
    play.world.write()
    at_rest(play)
    assert crm.values(LEAD) == {"industry": "ours", "size": 1}
    (item,) = pending(play)
    assert (item.reason, item.current, item.proposed) == ("human_edit", "ours", "a person's")
    play.decide(item, "approve")
    at_rest(play)
    assert crm.values(LEAD) == {"industry": "a person's", "size": 1}
    assert pending(play) == []


@pytest.mark.parametrize("kind", ["keyed", "plain"])
def test_an_edit_that_our_call_replaced_is_told_of_also_where_our_clock_is_behind(play: Play) -> None:
    """By the times the edit came after our call; what stands in the CRM says that it did not."""
    play.world.skew = -2.0
    play.world.crm.before_call.append(lambda: play.edit(LEAD, industry="a person's"))
    seen(play, industry=("ours", 0.95))
    play.world.everything()
    (item,) = pending(play)
    assert (item.reason, item.current, item.proposed) == ("human_edit", "ours", "a person's")
    at_rest(play)


@pytest.mark.parametrize("kind", ["compare", "plain"])
def test_a_stale_read_is_no_news_also_where_our_clock_is_behind(play: Play) -> None:
    """Our write's echo has the CRM's own time, and what the CRM shows is compared with that."""
    play.edit(LEAD, size=2)
    play.world.everything()
    play.world.now += 3.0
    play.world.skew = -60.0
    seen(play, industry=("first", 0.95))
    play.world.everything()
    seen(play, industry=("second", 0.95))
    play.world.crm.faults.append("read stale")
    play.world.write()
    at_rest(play)
    assert play.world.crm.values(LEAD) == {"industry": "second", "size": 2}
    assert pending(play) == []


@pytest.mark.parametrize("kind", ["keyed", "plain"])
def test_an_edit_that_was_replaced_two_calls_ago_is_put_before_a_person(play: Play) -> None:
    crm = play.world.crm
    crm.before_call.append(lambda: play.edit(LEAD, industry="a person's"))
    seen(play, industry=("first", 0.95))
    play.world.write()
    play.world.now += 30.0
    seen(play, industry=("second", 0.95))
    play.world.write()
    at_rest(play)
    assert [(item.current, item.proposed) for item in pending(play)] == [("second", "a person's")]


@kinds
def test_an_edit_that_our_call_knew_of_is_no_question(play: Play) -> None:
    seen(play, industry=("ours", 0.95))
    play.settle()
    play.world.now += 30.0
    play.edit(LEAD, industry="a person's")
    at_rest(play)
    assert pending(play) == []


@kinds
def test_one_of_our_values_says_that_the_call_in_doubt_had_arrived(play: Play) -> None:
    seen(play, industry=("ours", 0.95), score=("ours", 0.95))
    play.world.crm.faults.append("unknown after")
    play.world.write()
    play.edit(LEAD, industry="a person's")
    at_rest(play)
    assert {str(write.state) for write in writes(play).values()} == {"applied"}
    assert pending(play) == []
    assert play.world.views.context(LEAD).fields["industry"].value == "a person's"


@pytest.mark.parametrize("kind", ["compare", "plain"])
def test_a_call_given_up_in_doubt_comes_back_as_ours_and_not_as_news(play: Play) -> None:
    """It had arrived, and a person's edit after it; the feed, late, tells of both."""
    given_up(play, "unknown after")
    play.world.poll()
    play.world.decide()
    ignored = play.world.views.audit(lambda entry: entry.what == "event.ignored" and entry.record == LEAD, None)
    assert [entry.rule for entry in ignored][:2] == ["no workflow on lead.updated", "our own write came back"]
    at_rest(play)


@pytest.mark.parametrize("kind", ["compare", "plain"])
def test_a_call_given_up_in_doubt_that_arrives_after_all_is_told_of(play: Play) -> None:
    """A CRM that compares refuses it then."""
    given_up(play, "late")
    play.settle()
    late = play.world.views.audit(lambda entry: entry.what == "write.late" and entry.record == LEAD, None)
    told = [(entry.field, play.world.crm.values(LEAD)["industry"]) for entry in late]
    assert told == ([("industry", "ours")] if play.world.crm.kind == "plain" else [])
    at_rest(play)


@kinds
def test_an_edit_after_the_look_of_a_call_that_a_hold_stops_is_news(play: Play) -> None:
    """That the call was stopped is heard of later than it happened; meanwhile somebody has asked the CRM."""
    seen(play, score=("ours", 0.95))
    play.hold(LEAD)
    play.world.write()
    play.edit(LEAD, score="a person's")
    play.world.poll()
    play.world.decide()
    assert play.world.views.context(LEAD).fields["score"].value == "a person's"
    at_rest(play)


@kinds
def test_an_edit_under_a_call_that_a_hold_stops_is_known_at_once(play: Play) -> None:
    """The writer has seen it: what is taken back is not the value that the decision was made on."""
    seen(play, score=("ours", 0.95))
    play.edit(LEAD, score="a person's", legal_hold=True)
    at_rest(play)
    context = play.world.views.context(LEAD)
    assert context is not None
    assert (context.fields["score"].value, context.fields["score"].writer) == ("a person's", "person")
    assert [(item.reason, item.current, item.proposed) for item in pending(play)] == [("held", "a person's", "ours")]


@kinds
def test_who_is_told_to_stop_before_it_has_caught_up_lets_nobody_act(play: Play) -> None:
    seen(play, industry=("software", 0.95))
    assert play.world.store.opened("intents"), "a call is planned"
    process = play.world.build()
    play.world._take_over(process)
    process.orchestrator.stop()
    assert not process.orchestrator._catch_up()
    process.writer.tick(play.world.clock())
    assert process.writer.idle()
    at_rest(play)


@kinds
def test_writes_that_lead_back_to_the_first_value_are_rolled_back_without_a_call(play: Play) -> None:
    for value in ("one", "two", "at first"):
        seen(play, industry=(value, 0.95))
        play.settle()
    called = len(play.world.crm.calls)
    play.roll_back(list(writes(play).values()))
    at_rest(play)
    assert {str(write.state) for write in writes(play).values()} == {"rolled_back"}
    assert len(play.world.crm.calls) == called
    play.said.rollbacks[0].pop()
    [objection] = a_rollback_restores_or_asks(play.facts())
    assert "nothing went out" in objection, "those that do not lead back are no such chain"
