"""What reviewers type, into a command or at the prompt: a decision, or a refusal in words; an item is decided once."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import fakeredis
import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import Answer, Bus
from fuzzed import SEED, Fuzz
from installation import Installation, until
from revops_lite.cli import deciding
from revops_lite.cli.options import assignments
from revops_lite.errors import EventRefused, UsageError
from revops_lite.models import Review
from revops_lite.store.views import Views
from rubbish import READABLE, UNREADABLE
from seat import seat

FUZZ = Fuzz("review decisions", 60)
WORDS = st.text(st.characters(codec="utf-8"), max_size=10)
VALUES = st.sampled_from([*READABLE, *UNREADABLE]) | WORDS
NAMES = st.sampled_from(["size", "size", "size", "industry", "amount", "", "__class__", "a.b"]) | WORDS
UNSURE = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Said(BaseModel):
    industry: str | None = None

@agent(writes=Said)
def guess(lead: Snapshot) -> Proposal:
    return Proposal(Said(industry=f"of {lead.id}"), confidence=0.5)
"""


@FUZZ
@given(
    words=st.lists(st.tuples(NAMES, VALUES).map("=".join) | WORDS, max_size=2),
    sound=st.none() | st.integers(-1, 3),
    decisions=st.lists(
        st.sampled_from(["approve", "edit", "edit", "edit", "reject", "retry", "x"]), min_size=1, max_size=3
    ),
    note=WORDS,
    by=WORDS,
)
def test_decisions_from_the_command_line(
    words: list[str], sound: int | None, decisions: list[str], note: str, by: str
) -> None:
    bus = Bus(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2))))
    try:
        values = assignments(words if sound is None else [f"size={sound}"])
    except UsageError:
        FUZZ.fired("refused")
        return
    item: Review = Views(bus.redis).review(bus.review)
    bus.told()
    for decision in decisions:
        try:
            bus.store.append([deciding.event(item, decision, values, note, by)])
        except EventRefused:
            FUZZ.fired("refused")
        bus.settle()
    after = Views(bus.redis).review(bus.review)
    FUZZ.fired(str(after.state))
    said = Counter(bus.told())
    assert said["review.decided"] == (after.state != "pending"), "once, or not at all"
    checked(bus, after)


def checked(bus: Bus, after: Review) -> None:
    """What was decided is a value that the agent's own schema accepts, or nothing has changed."""
    context = Views(bus.redis).context(after.record)
    assert context is not None
    assert context.fields.keys() <= Answer.model_fields.keys()
    if after.state == "edited":
        Answer.model_validate({"size": context.fields["size"].value}, strict=True)
    else:
        assert ("size" in context.fields) == (after.state == "approved")
    bus.check()


def test_decisions_are_counted() -> None:
    FUZZ.told(FUZZ.examples, {"refused": 5, "pending": 3, "edited": 3})


# ---- keys at the prompt ------------------------------------------------------------------------------------------

KEYS = [
    b"y",
    b"e",
    b"r",
    b"s",
    b"h",
    b"u",
    b"a",
    b"A",
    b"d",
    b"?",
    b"j",
    b"k",
    b"\x1b[A",
    b"\x1b",
    b"\r",
    b"\t",
    b"\x00",
]
KEYS += [
    "🦊".encode(),
    "\u202e".encode(),
    b"\x7f",
    b"\x15",
    b"x" * 5_000,
    b"[" * 300,
    b"{{7*7}}\r",
    b"%s%n\r",
]


@pytest.mark.real
@pytest.mark.skipif(not os.environ.get("REVOPS_LONG"), reason="REVOPS_LONG=1 types at the prompt, too")
def test_any_keys_at_the_prompt_leave_no_trace_of_a_crash_and_decide_each_item_once(site: Installation) -> None:
    chosen = random.Random(SEED)
    site.configure({"guesser": "guess"}, {"flow": ["guesser"]})
    site.agent("guesser", UNSURE)
    site.crm("lead", {f"lead-{n}": {"email": "a@b.example"} for n in range(12)})
    pressed = 0
    with site.up():
        until(lambda: site.settled() == {"finished": 12}, "every run has ended")
        for _ in range(3):
            with seat(site) as someone:
                if someone.wait() != "over":
                    pressed += typed(someone, chosen)
                left(someone)
        until(lambda: site.settled(), "all is at rest")
        items = site.reviews("--state", "all")
        decided = site.audit("--what", "review.decided", "--limit", "1000")
        assert pressed >= 20
        assert any(item["state"] != "pending" for item in items), "keys do decide"
        assert len(decided) == sum(item["state"] in ("approved", "edited", "rejected") for item in items)


def typed(someone: Any, chosen: random.Random) -> int:
    """One key or paste after the other, whatever is asked for; how many they were."""
    pressed = 0
    for _ in range(12):
        os.write(someone.tty.child_fd, chosen.choice(KEYS))
        pressed += 1
        if someone.tty.expect([r"\] ", r": ", pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 2:
            break
        someone.all.append(str(someone.tty.before))
    return pressed


def left(someone: Any) -> None:
    """Ctrl-C until it is over, as a person who has had enough."""

    def over() -> bool:
        if someone.tty.isalive():
            someone.tty.sendintr()
            someone.tty.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=0.5)
            someone.all.append(str(someone.tty.before))
        return not someone.tty.isalive()

    until(over, "the session can be left")
    assert "Traceback" not in someone.text, someone.text[-3_000:]
