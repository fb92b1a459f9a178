"""The digest of what waits: once in each window, to the channel that the configuration names, and never empty."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from revops_lite.digest import Digest, subject, text
from revops_lite.engine.decide import HANDLERS
from revops_lite.errors import BusError
from revops_lite.models import Event, OutNotice, Reason, Review
from revops_lite.policy import Rulebook
from revops_lite.values import replace

sys.path.append(str(Path(__file__).resolve().parents[1] / "engine"))

if TYPE_CHECKING:
    from installation import Installation

DAY = 86_400.0
ITEM = Review("q1", Reason.CONFIDENCE, "lead:42", "r1", "enrichment", 0.0, field="industry", proposed="secret steel")


class Desk:
    """What waits, and what was sent."""

    def __init__(self, *items: Review) -> None:
        self.items = list(items)
        self.sent: list[Event] = []
        self.digest = Digest("sales", DAY, lambda: self.items, self.sent.append)


def test_what_waits_is_told_once_in_each_window() -> None:
    desk = Desk(ITEM)
    for now in (10 * DAY + 5, 10 * DAY + 6, 11 * DAY - 1, 11 * DAY, 11 * DAY + 3):
        desk.digest.tick(now)
    assert [event.data["window"] for event in desk.sent] == ["1970-01-11T00:00:00.000Z", "1970-01-12T00:00:00.000Z"]
    assert {(event.type, event.data["to"]) for event in desk.sent} == {("digest.due", "sales")}
    assert desk.digest.next_due() == 12 * DAY


def test_a_restart_sends_the_same_event_which_is_known_by_then() -> None:
    ids = set()
    for _ in range(2):
        desk = Desk(ITEM)
        desk.digest.tick(10 * DAY + 5)
        ids |= {event.id for event in desk.sent}
    assert len(ids) == 1


def test_nothing_is_told_where_nothing_waits() -> None:
    desk = Desk()
    desk.digest.tick(10 * DAY)
    assert desk.sent == []


def test_a_digest_that_could_not_be_sent_is_tried_again() -> None:
    desk = Desk(ITEM)

    def fail(_: Event) -> None:
        raise BusError

    broken = Digest("sales", DAY, lambda: desk.items, fail)
    with pytest.raises(BusError):
        broken.tick(DAY)
    with pytest.raises(BusError):
        broken.tick(DAY + 1)


def test_it_names_what_waits_by_kind_and_no_value_of_it() -> None:
    step = replace(ITEM, field=None, reason=Reason.FAILURE, step="scoring", agent="scoring", created_at=-3 * DAY)
    told = text([ITEM, replace(ITEM, id="q2", record="lead:43"), step], now=DAY)
    assert told.splitlines() == [
        "    2  confidence   lead.industry by enrichment",
        "    1  failure      lead (scoring) by scoring",
        "The oldest has waited 4 days. Decide them with `revops review`.",
    ]
    assert "steel" not in told
    assert (subject(1), subject(2)) == ("1 item waits for review", "2 items wait for review")


def test_many_kinds_are_summed_up() -> None:
    told = text([replace(ITEM, field=f"f{n}") for n in range(20)], now=0.0).splitlines()
    assert len(told) == 14
    assert told[-2] == "    8  of 8 other kinds"


def test_the_engine_makes_one_notice_of_it_however_often_it_comes() -> None:
    from engine_play import Play

    play = Play(Rulebook({}, {}))
    data = {"window": "w1", "to": "sales", "subject": "2 items wait", "text": "…"}
    for n, window in enumerate(("w1", "w1", "w2")):
        play.send(Event(f"e{n}", "digest.due", "review:pending", "digest", 1.0, data | {"window": window}))
    found = play.find(OutNotice)
    assert [(notice.to, notice.subject, notice.body) for notice in found] == [("sales", "2 items wait", "…")] * 2
    assert "digest.due" in HANDLERS


UNSURE = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Answer(BaseModel):
    industry: str | None = None

@agent(writes=Answer)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal(Answer(industry="steel"), confidence=0.5)
"""


@pytest.mark.real
def test_up_tells_the_channel_what_waits(site: Installation) -> None:
    from installation import until

    site.configure(
        {"enrichment": "enrich"},
        {"new_lead": ["enrichment"]},
        extra='[review]\ndigest = "file"\ndigest_every = "1s"\n',
    )
    site.agent("enrichment", UNSURE)
    site.crm("lead", {"a": {"email": "a@b.example"}, "b": {"email": "b@b.example"}})
    with site.up():
        until(lambda: any(n["subject"] == "2 items wait for review" for n in site.notices()), "a digest of both")
        told = next(n for n in site.notices() if n["subject"] == "2 items wait for review")
        assert told["to"] == "file"
        assert "2  confidence   lead.industry by enrichment" in told["body"]
        site.revops("review", "reject", "--all", "--note", "no")
        assert not site.reviews()


def test_a_digest_to_a_channel_that_is_not_there_is_refused_with_the_mend(tmp_path: Path) -> None:
    from revops_lite.config import examine

    path = tmp_path / "config.toml"
    path.write_text('timezone = "UTC"\n[review]\ndigest = "sale"\n[notify.channels.sales]\nkind = "console"\n')
    (finding,) = examine(path).findings
    assert (finding.key, finding.line) == ("review.digest", 3)
    assert "sales" in str(finding)
