"""The tour: one event, eight stops (docs/design.md), in order. Read this first.

A lead comes into the CRM. The agent `enrich` proposes its industry, the agent `alert` tells the sales channel. Nothing
moves by itself here: every line is one move of one real part, on a real server.
"""

from __future__ import annotations

import pytest

from revops_lite.models import Event, Hold
from revops_lite.queue.work import Answer
from revops_lite.store import keys
from revops_lite.store.waiter import Waiter
from touring import LEAD, Tour

pytestmark = pytest.mark.real


def test_stop_1_an_event_arrives_once(tour: Tour) -> None:
    """Once `append` has returned, the event cannot be lost; the same id again is known."""
    assert tour.arrive() == "new"
    assert tour.arrive() == "known"
    assert tour.events() == ["lead.created"]


def test_stop_2_whoever_listens_is_told_and_whoever_did_not_listen_reads_on(tour: Tour) -> None:
    """Pub/sub carries, the stream remembers."""
    listener = tour.clients.pubsub()
    listener.subscribe(keys.CHANNEL)
    assert listener.get_message(timeout=5)
    tour.arrive()
    message = listener.get_message(timeout=5)
    assert message is not None
    assert b"lead.created" in message["data"]
    assert Waiter(tour.clients.blocking()).wait("0-0", seconds=5), "the event came before we looked, and is there"
    listener.close()


def test_stop_3_the_controller_decides_what_starts(tour: Tour) -> None:
    """A run per workflow that listens. It waits for its record from the CRM, then its first step gets a job."""
    tour.arrive()
    tour.decide()
    assert (tour.run().workflow, tour.run().state, tour.run().loaded) == ("new_lead", "running", False)
    tour.load()
    assert {name: step.state for name, step in tour.run().steps.items()} == {"enrich": "running", "alert": "pending"}


def test_stop_4_all_of_a_decision_is_committed_or_nothing(tour: Tour) -> None:
    """Killed before the commit, the event is decided again by the next controller; killed after it, it is not."""
    tour.arrive()
    killed = tour.controller
    tour.controller = tour.new_controller()
    tour.decide()
    tour.controller = tour.new_controller()
    tour.decide()
    assert tour.run().state == "running"
    assert not killed.caught_up()


def test_stop_5_a_host_runs_the_agent_on_the_snapshot_in_its_job(tour: Tour) -> None:
    """The report and the end of the job are one script: told once, however often."""
    tour.arrive()
    tour.decide()
    tour.load()
    assert tour.work() == [Answer.DONE]
    assert tour.work() == [], "nothing else is queued"
    assert tour.events() == ["lead.created", "record.loaded", "step.finished"]


def test_stop_6_the_proposal_is_checked_and_becomes_a_write(tour: Tour) -> None:
    """Sure enough: allowed, and planned. The CRM has not heard of it yet; the next agent already has its job."""
    tour.arrive()
    tour.decide()
    tour.load()
    tour.work()
    tour.decide()
    (write,) = tour.views.writes(lambda _: True, None)
    assert (write.field, write.before, write.after, write.state) == ("industry", "?", "software", "planned")
    assert write.rule == "confidence 0.95 reaches 0.80 (auto_write_confidence)"
    assert tour.in_the_crm() == "?"
    assert tour.run().steps["alert"].state == "running"


def test_stop_6_what_the_agent_is_not_sure_of_waits_for_a_person(tour: Tour) -> None:
    tour.arrive("Mystery Ltd")
    tour.decide()
    tour.load()
    tour.work()
    tour.decide()
    (item,) = tour.views.pending()
    assert (item.reason, item.proposed, item.confidence) == ("confidence", "unknown", 0.4)
    assert tour.context().fields["industry"].value == "?"
    assert tour.context().proposed["industry"].value == "unknown"


def test_stop_7_the_writer_calls_the_crm_once_and_reports(tour: Tour) -> None:
    """Before the call its before-image is on record; after it, its outcome."""
    tour.arrive()
    tour.decide()
    tour.load()
    tour.work()
    tour.decide()
    tour.write()
    assert tour.in_the_crm() == "software"
    assert tour.events()[-2:] == ["write.sending", "write.applied"]
    ours = [change for change in tour.crm.history(LEAD) if change["source"] == "revops"]
    assert [(change["before"], change["after"]) for change in ours] == [("?", "software")]


def test_stop_7_a_hold_placed_after_the_decision_still_stops_the_call(tour: Tour) -> None:
    tour.arrive()
    tour.decide()
    tour.load()
    tour.work()
    tour.decide()
    placed = Event("hold", "hold.placed", LEAD, "tour", tour.now, {"by": "legal", "reason": "case 7", "field": "*"})
    tour.store.hold(placed, Hold(LEAD, "*", "legal", "case 7", tour.now), "*")
    tour.write()
    assert tour.in_the_crm() == "?"
    assert [item.reason for item in tour.views.pending()] == ["held"]


def test_stop_8_the_run_ends_when_its_last_side_effect_is_confirmed(tour: Tour) -> None:
    tour.arrive()
    tour.decide()
    tour.load()
    tour.work()
    tour.decide()
    tour.work()
    tour.decide()
    assert {name: step.state for name, step in tour.run().steps.items()} == {"enrich": "done", "alert": "done"}
    assert tour.run().state == "waiting", "for the CRM and for the channel"
    tour.write()
    (notice,) = tour.outbox.due(tour.now, 10)
    assert (notice.to, notice.body) == ("sales", "Soft Inc. (software)")
    tour.store.append(
        [Event("sent", "notice.sent", notice.id, "tour", tour.now, {"notice": notice.id}, run=notice.run)]
    )
    tour.decide()
    assert tour.run().state == "finished"
    assert tour.run().effects == ()
    history = [(line.agent, line.outcome) for line in tour.context().history]
    assert history == [("enrich", "done"), ("alert", "done"), ("enrich", "write.applied")]
