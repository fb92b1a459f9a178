"""`revops review` at a pseudo-terminal, by keys only, against a real `up`; the CRM's own file is the witness."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from installation import Installation, until
from seat import seat

pytestmark = pytest.mark.real

UNSURE = """
from pydantic import BaseModel, Field
from revops_lite import Proposal, Snapshot, agent

class Answer(BaseModel):
    industry: str | None = None
    numberofemployees: int | None = Field(default=None, ge=1)

@agent(writes=Answer)
def enrich(lead: Snapshot) -> Proposal:
    values = {"industry": lead.get("says") or f"said of {lead.id}"}
    if lead.get("size"):
        values["numberofemployees"] = int(lead["size"])
    return Proposal(values, confidence=0.5, because=lead.get("why") or "a guess")
"""


def waiting(site: Installation, *leads: str, **fields: str) -> None:
    """Items of reason `confidence`, one for each lead, of an agent that is never sure. Writes the files only."""
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", UNSURE)
    site.crm("lead", {lead: {"email": f"{lead}@b.example", **fields} for lead in leads})


def asked(site: Installation, number: int) -> None:
    until(lambda: site.settled() == {"finished": number}, "every run has ended", 60.0)


def industries(site: Installation) -> dict[str, Any]:
    return {lead: fields.get("industry") for lead, fields in site.crm_records("lead").items()}


def written(site: Installation, lead: str, value: Any) -> None:
    until(lambda: site.crm_record(f"lead:{lead}").get("industry") == value, f"{lead} has {value}")


# ---- decisions arrive as they were made --------------------------------------------------------------------------


def test_what_was_accepted_edited_and_rejected_arrives_exactly_so(site: Installation) -> None:
    waiting(site, "a", "b", "c", "d")
    with site.up():
        asked(site, 4)
        with seat(site, "--as", "ana") as ana:
            assert ana.wait() == "item"
            plan: dict[str, tuple[str, ...]] = {
                "lead:a": ("y",),
                "lead:b": ("e", "typed by hand"),
                "lead:c": ("r", "not our market"),
                "lead:d": ("s",),
            }
            for _ in plan:
                state = ana.decide(*plan[ana.record()])
            if state == "last":
                state = ana.decide("y")
            assert state == "over"
            assert ana.code == 0
            assert "1 accepted, 1 edited, 1 rejected, 1 skipped; 1 left" in ana.text
        written(site, "a", "said of a")
        written(site, "b", "typed by hand")
        until(lambda: site.settled(), "all is at rest")
    assert industries(site) == {"a": "said of a", "b": "typed by hand", "c": None, "d": None}
    decided = {item["record"]: item for item in site.reviews("--state", "all")}
    assert {record: item["state"] for record, item in decided.items()} == {
        "lead:a": "approved",
        "lead:b": "edited",
        "lead:c": "rejected",
        "lead:d": "pending",
    }
    assert decided["lead:c"]["note"] == "not our market"
    assert {item["decided_by"] for item in decided.values()} == {"ana", None}


def test_a_session_that_was_left_goes_on_where_it_stopped(site: Installation) -> None:
    waiting(site, "a", "b", "c")
    with site.up():
        asked(site, 3)
        with seat(site) as first:
            first.wait()
            done = first.record()
            first.decide("y")
            assert first.decide("q") == "over"
            assert "1 accepted, 0 edited, 0 rejected, 0 skipped; 2 left" in first.text
        with seat(site) as second:
            second.wait()
            assert "[1 of 2]" in second.shown
            seen = {second.record()}
            second.decide("s")
            seen.add(second.record())
            assert second.decide("s") == "over"
            assert "2 left" in second.text
        written(site, done.partition(":")[2], f"said of {done.partition(':')[2]}")
    assert seen == {"lead:a", "lead:b", "lead:c"} - {done}


def test_the_last_decision_can_be_taken_back_until_the_next_one(site: Installation) -> None:
    waiting(site, "a", "b")
    with site.up():
        asked(site, 2)
        with seat(site) as ana:
            ana.wait()
            first = ana.record()
            assert ana.decide("u") == "item"
            assert "nothing to take back" in ana.shown
            ana.decide("y")
            assert ana.record() != first
            ana.decide("u")
            assert ana.record() == first
            ana.decide("r", "on second thoughts")
            assert ana.decide("y") == "last"
            assert ana.decide("u") == "item"
            assert ana.record() != first
            assert ana.decide("r", "nor this") == "last"
            assert ana.decide("y") == "over"
        until(lambda: not site.reviews(), "all is decided")
        assert site.changes() == []
    decided = Counter(entry["record"] for entry in site.audit() if entry["what"] == "review.decided")
    assert decided == {"lead:a": 1, "lead:b": 1}


@pytest.mark.parametrize("how", ["ctrl-c", "hang-up", "sigterm"])
def test_however_a_session_is_ended_the_last_decision_is_sent(site: Installation, how: str) -> None:
    waiting(site, "a", "b")
    with site.up():
        asked(site, 2)
        with seat(site) as ana:
            ana.wait()
            lead = ana.record().partition(":")[2]
            ana.decide("y")
            if how == "ctrl-c":
                assert ana.decide("\x03") == "over"
                assert ana.code == 130
                assert "1 accepted" in ana.text
            else:
                os.kill(ana.tty.pid, signal.SIGHUP if how == "hang-up" else signal.SIGTERM)
                assert ana.wait() == "over"
        written(site, lead, f"said of {lead}")
        assert len(site.reviews()) == 1


def test_a_session_that_is_killed_loses_the_decision_in_its_hand_and_no_other(site: Installation) -> None:
    waiting(site, "a", "b", "c")
    with site.up():
        asked(site, 3)
        with seat(site) as ana:
            ana.wait()
            first = ana.record().partition(":")[2]
            ana.decide("y")
            second = ana.record()
            ana.decide("y")
            os.kill(ana.tty.pid, signal.SIGKILL)
            ana.wait()
        written(site, first, f"said of {first}")
        assert second in {item["record"] for item in site.reviews()}
        assert len(site.reviews()) == 2


# ---- every reason there is ---------------------------------------------------------------------------------------

# What the agent says follows from the record it is given; a file lets it succeed where it failed before.
CASES = """
import os
from pydantic import BaseModel, Field
from revops_lite import Proposal, Snapshot, agent

class Answer(BaseModel):
    industry: str | None = None
    numberofemployees: int | None = Field(default=None, ge=1)
    annualrevenue: int | None = None

@agent(writes=Answer)
def enrich(lead: Snapshot) -> Proposal | None:
    match lead.id:
        case "confidence":
            return Proposal({"industry": "guessed"}, confidence=0.5, because="the name sounds like it")
        case "sensitive":
            return Proposal({"annualrevenue": 5000000})
        case "checkpoint":
            return Proposal({"numberofemployees": -5})
        case "failure":
            if not os.path.exists("mended"):
                raise RuntimeError("no source answers")
            return Proposal({"industry": "found after all"})
        case "held" | "rollback" | "human_edit" | "write_failed" | "in_doubt":
            return Proposal({"industry": f"by the agent for {lead.id}"})
    return None
"""

SIDE = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Answer(BaseModel):
    industry: str | None = None

@agent(writes=Answer)
def say(lead: Snapshot) -> Proposal | None:
    return Proposal({"industry": "SIDE"}) if lead.id == "conflict" else None
"""

BUSY = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Answer(BaseModel):
    industry: str | None = None

@agent(writes=Answer)
def work(lead: Snapshot) -> Proposal | None:
    return Proposal({"industry": f"{lead.get('industry', '')}+"}) if lead.id == "budget" else None
"""

# A CRM as the world has them: it refuses, breaks off in the middle, and people edit in it at the same moment.
WORLD = """
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmRefused, CrmUnknown
from revops_lite.ports import CrmAbilities

class World:
    abilities = CrmAbilities(batch=1)

    def __init__(self, settings):
        self.crm = SqliteCrm(settings.crm.path, settings.crm.relations)

    def __getattr__(self, name):
        if name == "write_many":  # one call after the other
            raise AttributeError(name)
        return getattr(self.crm, name)

    def applied(self, record, write_id):
        return None

    def write(self, record, values, expected, write_id, actor):
        if not actor.startswith("review:"):
            if record == "lead:human_edit":
                self.crm.edit(record, {"industry": "by a person"}, "pat")
            if record == "lead:write_failed":
                raise CrmRefused("an admin rule refuses it")
            if record == "lead:in_doubt":
                self.crm.edit(record, {"industry": "half of it"}, "pat")
                raise CrmUnknown("the line broke")
        self.crm.write(record, values, expected, write_id, actor)
"""

FLOW = """
on = "lead.created"
steps = [
  { agent = "enrichment" },
  { agent = "left", after = [] },
  { agent = "right", after = [] },
  { agent = "busy", name = "busy1", after = [] },
  { agent = "busy", name = "busy2" },
  { agent = "busy", name = "busy3" },
  { agent = "busy", name = "busy4" },
]
"""

EVERY = {
    "lead:confidence": ("y",),
    "lead:conflict": ("a",),
    "lead:sensitive": ("e", "81000000"),
    "lead:held": ("r", "under a legal hold"),
    "lead:budget": ("r", "it talks too much"),
    "lead:human_edit": ("y",),
    "lead:write_failed": ("e", '"text in quotes"'),
    "lead:in_doubt": ("y",),
    "lead:rollback": ("r", "the person is right"),
    "lead:checkpoint": ("e", "numberofemployees=12", ""),
    "lead:failure": ("t",),
    "lead:nowhere": ("r", "no such lead"),
}


def every_reason(site: Installation) -> None:
    """The files of an installation in which one item of every reason comes to be."""
    flows = {"new_lead": FLOW}
    agents = {
        "enrichment": 'entry = "agents.enrichment:enrich"\nattempts = 1',
        "left": "say",
        "right": "say",
        "busy": "work",
    }
    extra = (
        '[governance]\nmax_writes_per_record_per_hour = 3\n[governance.fields."lead.annualrevenue"]\nsensitive = true\n'
    )
    site.configure(agents, flows, poll="1h", extra=extra)
    for name, source in {
        "enrichment": CASES,
        "left": SIDE.replace("SIDE", "left"),
        "right": SIDE.replace("SIDE", "right"),
        "busy": BUSY,
    }.items():
        site.agent(name, source)
    leads = [record.partition(":")[2] for record in EVERY if record != "lead:nowhere"]
    site.crm("lead", {lead: {"email": f"{lead}@b.example"} for lead in leads})
    site.file("odd_crm.py", WORLD)
    site.env["PYTHONPATH"] = os.pathsep.join([str(site.root), site.environment()["PYTHONPATH"]])
    site.configure(agents, flows, poll="1h", extra=extra, adapter="odd_crm:World")


def reasons(site: Installation) -> dict[str, str]:
    return {item["record"]: item["reason"] for item in site.reviews()}


def test_an_item_of_every_reason_is_decided_by_keys_alone(site: Installation) -> None:
    every_reason(site)
    site.revops("hold", "add", "lead:held", "--reason", "case 7")
    with site.up():
        until(lambda: site.crm_record("lead:rollback").get("industry"), "what is to be rolled back")
        site.revops("emit", "lead.created", "lead:nowhere")
        with_reason = {record: record.partition(":")[2] for record in EVERY} | {"lead:nowhere": "dead_letter"}
        del with_reason["lead:rollback"]
        until(lambda: reasons(site) == with_reason, "an item of every reason but rollback", 60.0)
        until(lambda: site.settled(), "all is at rest")
        _edited_by_a_person(site, "lead:rollback", "by a person")
        site.revops("rollback", "--record", "lead:rollback", "--yes", code=None)
        until(lambda: reasons(site) == with_reason | {"lead:rollback": "rollback"}, "an item of every reason")
        site.file("mended", "")
        proposed = {item["record"]: item["proposed"] for item in site.reviews()}
        with seat(site, "--as", "ana") as ana:
            state = ana.wait()
            shown = []
            while state == "item":
                shown.append(ana.record())
                state = ana.decide(*EVERY[ana.record()])
            assert state == "last"
            assert ana.decide("y") == "over", ana.shown
            assert sorted(shown) == sorted(EVERY)
            assert "4 accepted, 3 edited, 4 rejected, 1 retried, 0 skipped; 0 left" in ana.text
        until(lambda: site.crm_record("lead:failure").get("industry") == "found after all", "the retried step")
        until(lambda: site.crm_record("lead:in_doubt").get("industry") == proposed["lead:in_doubt"], "the last one")
        until(lambda: set(site.settled()) <= {"finished", "failed"} and site.settled(), "all is at rest")
    now = site.crm_records("lead")
    assert {lead: fields.get("industry") for lead, fields in now.items()} == {
        "confidence": "guessed",
        "conflict": proposed["lead:conflict"],
        "sensitive": None,
        "held": None,
        "budget": "+++",
        "human_edit": "by the agent for human_edit",
        "write_failed": "text in quotes",
        "in_doubt": "by the agent for in_doubt",
        "rollback": "by a person",
        "checkpoint": None,
        "failure": "found after all",
    }
    assert now["sensitive"]["annualrevenue"] == 81000000
    assert now["checkpoint"]["numberofemployees"] == 12


def _edited_by_a_person(site: Installation, record: str, value: str) -> None:
    from revops_lite.crm.sqlite import SqliteCrm

    crm = SqliteCrm(site.crm_path, {})
    try:
        crm.edit(record, {"industry": value}, "pat")
    finally:
        crm.close()


# ---- more than one reviewer --------------------------------------------------------------------------------------


def test_the_second_of_two_reviewers_is_told_who_was_first(site: Installation) -> None:
    waiting(site, "a")
    with site.up():
        asked(site, 1)
        with seat(site, "--as", "ana") as ana, seat(site, "--as", "ben") as ben:
            ana.wait()
            ben.wait()
            assert ana.decide("r", "no") == "last"
            assert ana.decide("y") == "over"
            assert ben.decide("y") == "last"
            assert ben.decide("y") == "over"
            assert "lead:a.industry: was rejected by ana at " in ben.text
            assert "the first decision stands" in ben.text
            assert "0 accepted, 0 edited, 0 rejected, 0 skipped; 0 left" in ben.text
    assert site.changes() == []


def test_an_item_that_somebody_else_has_decided_is_passed_over_with_a_word(site: Installation) -> None:
    waiting(site, "a", "b")
    with site.up():
        asked(site, 2)
        with seat(site, "--as", "ana") as ana:
            ana.wait()
            other = ({"lead:a", "lead:b"} - {ana.record()}).pop()
            site.revops("review", "reject", "--all", "--record", other, "--note", "no", "--as", "ben")
            assert ana.decide("s") == "over"
            assert f"{other}.industry: was rejected by ben at " in ana.text


def test_who_accepts_all_after_somebody_has_rejected_all_is_told_of_each(site: Installation) -> None:
    leads = [f"l{n}" for n in range(20)]
    waiting(site, *leads)
    with site.up():
        asked(site, 20)
        with seat(site, "--as", "ana") as ana:
            ana.wait()
            ana.key("A")
            ana.tty.expect(r"Accept all 20 of enrichment for lead\.industry \(20 confidence\)\? \[y,n\] ")
            assert ana.decide("y") == "last"
            site.revops("review", "reject", "--all", "--note", "no", "--as", "ben")
            assert ana.decide("y") == "over"
        assert ana.text.count("was rejected by ben at ") == 20
    assert site.changes() == []


def test_two_who_decide_the_same_200_items_at_once_decide_each_of_them_once(site: Installation) -> None:
    """Two processes, item after item in the same order."""
    waiting(site, *(f"l{n}" for n in range(200)))
    with site.up():
        asked(site, 200)
        ids = [item["id"] for item in site.reviews()]
        commands = (
            [["review", "approve", id_, "--as", "ana"] for id_ in ids],
            [["review", "reject", id_, "--note", "no", "--as", "ben"] for id_ in ids],
        )
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(site.many, commands))
        until(lambda: not site.reviews(), "all is decided")
        until(lambda: site.settled(), "all is at rest")
    state = {item["record"]: (item["state"], item["decided_by"]) for item in site.reviews("--state", "all")}
    assert set(state.values()) <= {("approved", "ana"), ("rejected", "ben")}
    accepted = Counter(record for record, (word, _) in state.items() if word == "approved")
    assert Counter(f"lead:{row['id']}" for row in site.changes()) == accepted
    entries = site.audit()
    decided = Counter(entry["record"] for entry in entries if entry["what"] == "review.decided")
    assert decided == Counter(dict.fromkeys(state, 1))
    assert len(state) == 200
    assert Counter(command.code for several in done for command in several) == {0: 200, 5: 200}
    told = [command.err for several in done for command in several if command.code == 5]
    assert all("the first decision stands" in text for text in told)


# ---- refusals, holds, changed values -----------------------------------------------------------------------------


def test_a_held_record_stays_unwritten_and_its_items_go_on_waiting(site: Installation) -> None:
    waiting(site, "a", size="7")
    with site.up():
        asked(site, 1)
        with seat(site, "--as", "ana") as ana:
            ana.wait()
            ana.decide("h", "case 7")
            assert "lead:a is on hold" in ana.shown
            assert "on hold    the record, by ana: case 7" in ana.shown
            assert ana.decide("y") == "last"
            assert ana.decide("y") == "item"
            assert "not carried out: lead:a is on hold (case 7); release the hold first" in ana.shown
            assert ana.decide("q") == "over"
            assert "0 accepted, 0 edited, 0 rejected, 1 skipped; 2 left" in ana.text
        assert [hold["reason"] for hold in site.revops("hold", "list", "--json").items()] == ["case 7"]
    assert site.changes() == []


def test_an_edit_that_the_schema_refuses_is_offered_again_with_the_reason(site: Installation) -> None:
    waiting(site, "a", size="7")
    with site.up():
        asked(site, 1)
        with seat(site, "--field", "numberofemployees") as ana:
            ana.wait()
            assert ana.decide("e", "-3") == "last"
            assert ana.decide("y") == "item"
            assert "not carried out: numberofemployees" in ana.shown
            assert ana.decide("e", "3") == "last"
            assert ana.decide("y") == "over"
        until(lambda: site.crm_record("lead:a").get("numberofemployees") == 3, "the second edit")


def test_an_edit_that_no_event_can_carry_is_offered_again(site: Installation) -> None:
    waiting(site, "a")
    with site.up():
        asked(site, 1)
        with seat(site) as ana:
            ana.wait()
            assert ana.decide("e", '"\\ud800"') == "last"
            assert ana.decide("y") == "item"
            assert "the decision was not sent" in ana.shown
            assert ana.decide("e", "said of a") == "item"
            assert "y accepts it" in ana.shown
            assert ana.decide("e", "") == "item"
            assert ana.decide("e", "1e999") == "item"
            assert "too large" in ana.shown
            ana.decide("q")
        assert len(site.reviews()) == 1


def test_a_value_that_has_changed_since_comes_back_with_what_stands_now(site: Installation) -> None:
    waiting(site, "a")
    with site.up():
        asked(site, 1)
        with seat(site) as ana:
            ana.wait()
            assert "current    (none)" in ana.shown
            site.revops("crm", "set", "lead:a", "industry=from a person")
            until(lambda: site.record("lead:a")["values"].get("industry") == "from a person", "the poller has seen it")
            assert ana.decide("y") == "last"
            assert ana.decide("y") == "item"
            assert "its value has changed since" in ana.shown
            assert "current    from a person" in ana.shown
            assert ana.decide("y") == "last"
            assert ana.decide("y") == "over"
        written(site, "a", "said of a")


def test_all_of_an_agent_and_field_are_accepted_together_after_a_question(site: Installation) -> None:
    waiting(site, "a", "b", "c", size="7")
    with site.up():
        asked(site, 3)
        with seat(site) as ana:
            ana.wait()
            while "numberofemployees" in ana.shown.rsplit("] confidence", 1)[-1].splitlines()[1]:
                ana.decide("s")
            ana.key("A")
            ana.tty.expect(r"Accept all 3 of enrichment for lead\.industry \(3 confidence\)\? \[y,n\] ")
            assert ana.decide("n") == "item"
            ana.key("A")
            ana.tty.expect(r"\? \[y,n\] ")
            state = ana.decide("y")
            while state == "item":
                state = ana.decide("s")
            assert "Send the last 3 decisions?" in ana.after
            assert ana.decide("y") == "over"
            assert "3 accepted, 0 edited, 0 rejected, 3 skipped; 3 left" in ana.text
        for lead in "abc":
            written(site, lead, f"said of {lead}")


# ---- terminals ---------------------------------------------------------------------------------------------------


def test_without_a_terminal_it_names_the_command_that_needs_none(site: Installation) -> None:
    waiting(site)
    done = site.revops("review", code=2)
    assert "revops review list" in done.err
    assert "behind the verb" in site.revops("review", "--agent", "x", "list", code=2).err


def test_a_terminal_without_single_keys_takes_lines(site: Installation) -> None:
    waiting(site, "a", "b")
    with site.up():
        asked(site, 2)
        with seat(site, term="dumb") as ana:
            ana.wait()
            lead = ana.record().partition(":")[2]
            ana.decide("y\n")
            assert ana.decide("\n") == "item"
            assert ana.decide("q\n") == "over"
            assert "1 accepted" in ana.text
            assert "\x1b" not in ana.text
        written(site, lead, f"said of {lead}")


def test_what_is_pasted_decides_nothing(site: Installation) -> None:
    waiting(site, "a")
    with site.up():
        asked(site, 1)
        with seat(site) as ana:
            ana.wait()
            assert ana.decide("yyyyy") == "item"
            assert "is no key here" in ana.shown
            assert ana.decide("\x1b[A") == "item"
            assert ana.decide("\x04") == "over"
            assert "1 left" in ana.text
        assert len(site.reviews()) == 1


def test_nothing_a_stranger_wrote_reaches_the_terminal_as_it_is(site: Installation) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202eetaripxe\nAccept? [y] "
    waiting(site, "a", says=evil, why=evil)
    with site.up():
        asked(site, 1)
        with seat(site) as ana:
            ana.wait()
            ana.decide("v")
            ana.decide("?")
            assert "\\x1b]0;owned" in ana.text
            assert not {"\x1b", "\x07", "\u202e"} & set(ana.text)
            lines = ana.text.replace("\r", "").split("\n")
            assert max(map(len, lines)) <= 80
            assert sum(line.startswith("Accept?") for line in lines) == 3
            ana.decide("q")


def test_colours_are_a_decoration_that_can_be_turned_off(site: Installation) -> None:
    waiting(site, "a")
    with site.up():
        asked(site, 1)
        site.env["NO_COLOR"] = ""
        for words, coloured in (((), True), (("--no-color",), False)):
            with seat(site, *words) as ana:
                ana.tty.expect("q\\] ")
                assert ("\x1b[1m" in ana.tty.before) is coloured
                assert "lead:a.industry" in ana.tty.before


# ---- without `up` ------------------------------------------------------------------------------------------------


def test_without_up_decisions_are_accepted_and_carried_out_once_it_runs(site: Installation) -> None:
    waiting(site, "a", "b", "c")
    with site.up() as up:
        asked(site, 3)
        up.stop()
    with seat(site) as ana:
        ana.wait()
        first = ana.record().partition(":")[2]
        ana.decide("y")
        ana.decide("r", "no")
        assert ana.decide("q") == "over"
        assert ana.text.count("`revops up` does not run") == 1
        assert "1 accepted, 0 edited, 1 rejected, 0 skipped; 1 left" in ana.text
        assert "2 decision(s) wait for `revops up` to carry them out" in ana.text
    with seat(site) as again:
        again.wait()
        assert "[1 of 1]" in again.shown
        with site.up():  # it starts while somebody sits before an item
            written(site, first, f"said of {first}")
            third = again.record().partition(":")[2]
            assert again.decide("y") == "last"
            assert again.decide("y") == "over"
            assert "does not run" not in again.text
            written(site, third, f"said of {third}")


def test_what_stands_against_a_session_is_said_and_nothing_else(site: Installation) -> None:
    site.file("config.toml", "timezone = 5")
    with seat(site) as ana:
        assert ana.wait() == "over"
        assert ana.code == 4
        assert "nothing waits" not in ana.text
        assert "timezone" in ana.text


def test_where_nothing_waits_the_session_ends_at_once(site: Installation) -> None:
    waiting(site)
    with seat(site) as ana:
        assert ana.wait() == "over"
        assert ana.code == 0
        assert "nothing waits for a person" in ana.text
