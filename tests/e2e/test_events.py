"""Events as their senders see them: accepted once, whoever sends; seen by whoever listens; none vanishes silently."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from installation import Installation, until
from revops_lite import Client
from revops_lite.store import keys

ECHO = """
from pydantic import BaseModel
from revops_lite import Proposal, Skip, Snapshot, agent

class Greeting(BaseModel):
    greeting: str

@agent(writes=Greeting)
def greet(lead: Snapshot) -> Proposal:
    if not lead.get("name"):
        raise Skip("nobody to greet")
    return Proposal(Greeting(greeting=f"Hello {lead['name']}"), because="manners")
"""

SENDERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from revops_lite import Client

with Client.from_config("config.toml") as client, ThreadPoolExecutor(25) as threads:
    print(sum(threads.map(lambda _: client.emit("lead.created", "lead:lead-1", id="the-only-one"), range(25))))
"""


@pytest.fixture
def greeting(site: Installation) -> Installation:
    site.configure({"greeter": "greet"}, {"welcome": ["greeter"]})
    site.agent("greeter", ECHO)
    return site


def stream(client: Any) -> list[bytes]:
    """Every event in the stream, as it was sent."""
    return [fields[b"e"] for _, fields in client.xrange(keys.EVENTS)]


def test_an_event_sent_a_hundred_times_at_once_starts_one_run(greeting: Installation) -> None:
    greeting.crm("lead", {"lead-1": {"name": "Ada"}})
    with greeting.up():
        senders = [
            subprocess.Popen(
                [sys.executable, "-c", SENDERS],
                cwd=greeting.root,
                env=greeting.environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        counts = [int(sender.communicate(timeout=60)[0]) for sender in senders]
        assert sum(counts) == 1
        known = greeting.revops("emit", "lead.created", "lead:lead-1", "--id", "the-only-one")
        assert "known" in known.out
        refused = greeting.revops("emit", "lead.created", "lead:lead-2", "--id", "the-only-one", code=2)
        assert "the-only-one" in refused.err
        until(greeting.settled)
        emitted = [run["trigger"]["id"] for run in greeting.run_list() if run["trigger"]["source"] != "crm"]
        assert emitted == ["the-only-one"]
        with greeting.redis() as client:
            bodies = stream(client)
        assert sum(b"the-only-one" in body and b'"lead.created"' in body for body in bodies) == 1


def test_what_cannot_be_handled_ends_where_it_can_be_found(greeting: Installation) -> None:
    with greeting.up() as up:
        with greeting.redis() as client:
            client.xadd(keys.EVENTS, {"e": b"\xff\xfe not an event {{{"})
            client.xadd(keys.EVENTS, {"something": "else"})
            client.xadd(keys.EVENTS, {"e": json.dumps({"id": "half", "type": "lead.created"})})
        greeting.revops("emit", "lead.created", "lead:nowhere")
        greeting.revops("emit", "moon.rises", "lead:lead-1", "--id", "unheard")
        until(lambda: greeting.settled())
        letters = greeting.reviews("--reason", "dead_letter")
        assert len(letters) == 4
        assert all(letter["problems"] for letter in letters)
        (unknown,) = [letter for letter in letters if letter["record"] == "lead:nowhere"]
        assert "lead:nowhere" in unknown["problems"][0]
        (run,) = greeting.run_list()
        assert (run["state"], run["reviews"][0]["id"]) == ("failed", unknown["id"])
        (ignored,) = greeting.audit("--what", "event.ignored")
        assert "moon.rises" in ignored["rule"]

        greeting.revops("emit", "lead.created", "lead:after", "--data", '{"name": "Ada"}', "--wait")
        assert greeting.states()["lead:after"] == "finished"
        assert up.alive()
    assert "Traceback" not in up.err


def test_a_dead_letter_goes_on_once_its_record_is_there(greeting: Installation) -> None:
    with greeting.up():
        greeting.revops("emit", "lead.created", "lead:early", "--wait")
        (letter,) = greeting.reviews()
        greeting.revops("crm", "set", "lead:early", "name=Ada", "--create")
        until(lambda: greeting.settled())
        greeting.revops("review", "retry", letter["id"])
        until(lambda: greeting.settled().get("finished", 0) == 2)  # by its creation in the CRM, and by the letter
        assert greeting.reviews() == []


def test_whoever_subscribes_sees_each_event_once_and_in_order(greeting: Installation) -> None:
    with greeting.up(), greeting.redis() as client:
        listener: Any = client.pubsub()  # type: ignore[no-untyped-call]
        listener.subscribe("revops:events")
        until(lambda: (listener.get_message(timeout=5) or {}).get("type") == "subscribe")
        lines = [{"type": "lead.created", "record": f"lead:{n}", "data": {"name": f"N{n}"}} for n in range(5)]
        greeting.file("events.jsonl", "\n".join(map(json.dumps, lines)))
        greeting.revops("emit", "--file", "events.jsonl", "--wait")
        until(greeting.settled)
        sent = stream(client)
        heard: list[bytes] = []
        while len(heard) < len(sent) and (message := listener.get_message(timeout=5)):
            heard.append(message["data"])
        listener.close()
    assert heard == sent
    types = [json.loads(body)["type"] for body in heard]
    assert types.count("lead.created") == types.count("greeter.complete") == 5


def test_emit_waits_and_shows_the_runs_it_started(greeting: Installation) -> None:
    with greeting.up():
        done = greeting.revops("emit", "lead.created", "lead:7", "--data", '{"name": "Ada"}', "--wait", "--json")
        (sent,) = done.items()
        assert sent["status"] == "new"
        (run,) = sent["runs"]
        assert (run["record"], run["state"]) == ("lead:7", "finished")
        assert run["steps"][0]["values"] == {"greeting": "Hello Ada"}
        data = greeting.file("ada.json", '{"name": "Grace"}')
        told = greeting.revops("emit", "lead.created", "lead:8", "--data", f"@{data}", "--wait")
        assert "finished" in told.out


def test_a_file_of_events_answers_for_each_of_its_lines(greeting: Installation) -> None:
    names = ["Ada", "Line\u2028separator", "Grace"]
    lines = [{"type": "lead.created", "record": f"lead:{n}", "data": {"name": name}} for n, name in enumerate(names)]
    text = "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    greeting.file("events.jsonl", f"\ufeff{text}\r\n")  # as a spreadsheet's export begins
    with greeting.up():
        sent = greeting.revops("emit", "--file", "events.jsonl", "--wait", "--json").items()
    assert [[run["record"] for run in one["runs"]] for one in sent] == [["lead:0"], ["lead:1"], ["lead:2"]]
    assert [one["runs"][0]["steps"][0]["values"]["greeting"] for one in sent] == [f"Hello {name}" for name in names]


def test_emit_does_not_wait_for_a_workflow_that_the_running_up_does_not_know(greeting: Installation) -> None:
    with greeting.up():
        greeting.configure({"greeter": "greet"}, {"welcome": ["greeter"], "added": ["greeter"]})
        done = greeting.revops("emit", "lead.created", "lead:1", "--data", '{"name": "Ada"}', "--wait", "--json")
    assert [run["workflow"] for run in done.items()[0]["runs"]] == ["welcome"]
    assert "another configuration" in done.err


def test_what_is_sent_while_nothing_runs_is_handled_once_up_runs(greeting: Installation) -> None:
    lines = [{"type": "lead.created", "record": f"lead:{n}", "data": {"name": "A"}, "id": f"e{n}"} for n in range(20)]
    file = greeting.file("events.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    assert "20 accepted" in greeting.revops("emit", "--file", str(file)).out
    assert "20 known" in greeting.revops("emit", "--file", "-", stdin=file.read_text("utf-8")).out
    with Client.from_config(greeting.root / "config.toml") as client:
        assert client.emit("lead.created", "lead:client", data={"name": "B"}, id="from-a-program")
        assert not client.emit("lead.created", "lead:client", data={"name": "B"}, id="from-a-program")
    refused = greeting.revops("emit", "lead.created", "lead:x", "--wait", code=5)
    assert "revops up" in refused.err
    greeting.revops("up", "--until-idle")
    runs = greeting.run_list()
    assert {run["record"]: run["state"] for run in runs} == {
        **{f"lead:{n}": "finished" for n in range(20)},
        "lead:client": "finished",
        "lead:x": "failed",
    }


def test_a_file_with_a_bad_line_is_refused_whole(greeting: Installation) -> None:
    good = '{"type": "lead.created", "record": "lead:1"}'
    greeting.file("events.jsonl", f"{good}\n{{nonsense\n")
    refused = greeting.revops("emit", "--file", "events.jsonl", code=2)
    assert "events.jsonl:2" in refused.err
    greeting.file("events.jsonl", f'{good}\n{good}\n{{"type": "lead.created", "record": "no kind"}}\n')
    assert "events.jsonl:3" in greeting.revops("emit", "--file", "events.jsonl", code=2).err
    assert greeting.revops("tail", "--no-follow", "--json").out == ""


@pytest.mark.parametrize("processes", [1, 0])
def test_without_a_crm_the_events_data_are_the_first_values(site: Installation, processes: int) -> None:
    site.configure({"greeter": "greet"}, {"welcome": ["greeter"]}, adapter="none", processes=processes)
    site.agent("greeter", ECHO)
    with site.up():
        site.revops("emit", "lead.created", "lead:1", "--data", '{"name": "Ada", "city": "Oslo"}', "--wait")
        record = site.record("lead:1")
        assert record["values"] == {"name": "Ada", "city": "Oslo", "greeting": "Hello Ada"}
        assert record["fields"]["name"]["agent"] == "event"
        assert record["fields"]["greeting"]["agent"] == "greeter"
        assert not site.crm_path.exists()


def test_rq_s_own_program_shows_our_queue(greeting: Installation) -> None:
    with greeting.up():
        greeting.revops("emit", "lead.created", "lead:1", "--data", '{"name": "Ada"}', "--wait")
        shown = subprocess.run(
            [str(Path(sys.executable).parent / "rq"), "info", "-u", greeting.address],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert shown.returncode == 0, shown.stderr
        assert "agents" in shown.stdout
        assert "1 queues" in shown.stdout
        assert "1 workers" in shown.stdout
        assert "Traceback" not in shown.stderr


def test_our_own_writes_coming_back_from_the_crm_start_nothing(site: Installation) -> None:
    lines = 'on = ["lead.created", "lead.updated"]\nsteps = [{ agent = "greeter" }]'
    site.configure({"greeter": "greet"}, {"welcome": lines})
    site.agent("greeter", ECHO)
    site.crm("lead", {"1": {"name": "Ada"}})
    with site.up():
        until(lambda: site.settled() == {"finished": 1})
        site.revops("crm", "set", "lead:1", "name=Grace")
        until(lambda: site.settled() == {"finished": 2})
        # What we wrote comes back from the CRM before this edit does: it has started nothing by then.
        site.revops("crm", "set", "lead:1", "name=Ida")
        until(lambda: site.settled() == {"finished": 3})
        runs = site.run_list()
    assert [run["trigger"]["type"] for run in runs] == ["lead.updated", "lead.updated", "lead.created"]
    assert len(site.changes("lead:1")) == 3


def test_the_shape_on_the_bus_is_the_shape_in_the_stream(greeting: Installation) -> None:
    """What `tail --json` prints is what the stream holds, one object a line."""
    greeting.revops("emit", "lead.created", "lead:1", "--data", '{"name": "Ada"}', "--id", "e1")
    (line,) = greeting.revops("tail", "--no-follow", "--json").out.splitlines()
    told = json.loads(line)
    assert (told["schema"], told["id"], told["type"], told["record"]) == (1, "e1", "lead.created", "lead:1")
    assert told["data"] == {"name": "Ada"}
