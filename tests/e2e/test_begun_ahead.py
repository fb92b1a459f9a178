"""What `up` begins before it has read its own libraries, the server and the first hosts, ends with it in any case."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from installation import Installation, until
from own_server import DURABLE, OwnServer
from revops_lite import config, fleet
from revops_lite.ahead import Ahead

AGENT = """
import os
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Out(BaseModel):
    host: int
    token: str
    other: str

@agent(writes=Out)
def work(lead: Snapshot) -> Proposal:
    seen = {name: os.environ.get(name, "") for name in ("TOKEN", "OTHER")}
    return Proposal(Out(host=os.getpid(), token=seen["TOKEN"], other=seen["OTHER"]))
"""
SLOW = "import time\nfrom pathlib import Path\nwhile not Path('go').exists():\n    time.sleep(0.01)\n"
# The server dies once, in the midst of the controller's start.
DEADLY = """
import os, signal
from pathlib import Path
from revops_lite.store.store import Store

real = Store.begin

def begin(self, *given):
    lead = real(self, *given)
    if not Path("died").exists():
        Path("died").touch()
        os.kill(self.redis.info("server")["process_id"], signal.SIGKILL)
    return lead

Store.begin = begin
"""


@pytest.fixture
def made(site: Installation) -> Installation:
    site.configure({"work": "work"}, {"new_lead": ["work"]}, processes=1)
    site.agent("work", AGENT)
    site.crm("lead", {"1": {"email": "a@b.example"}})
    return site


def test_the_host_that_was_started_ahead_does_the_work(made: Installation) -> None:
    config = (made.root / "config.toml").read_text()
    made.file("config.toml", config.replace("[agents.work]\n", '[agents.work]\nenv = ["TOKEN"]\n', 1))
    made.env |= {"TOKEN": "granted", "OTHER": "not granted"}
    made.agent("work", SLOW + AGENT)  # which `up` reads as well: it is held while its hosts are there already
    with made.up(ready=False) as up:
        until(up.hosts, "a host is started")
        early = up.hosts()
        (made.root / "go").touch()
        until(lambda: made.settled() == {"finished": 1})
        values = made.record("lead:1")["values"]
        assert up.hosts() == early == [values["host"]]
        assert (values["token"], values["other"]) == ("granted", "")


def test_a_start_that_fails_leaves_nothing_behind(made: Installation) -> None:
    made.agent("work", "raise RuntimeError('not today')\n")
    assert "not today" in made.revops("up", code=4).err
    assert made.processes() == []
    made.agent("work", AGENT)
    made.revops("up", "--until-idle")
    assert [run["state"] for run in made.run_list()] == ["finished"]


def test_a_host_that_cannot_be_started_takes_server_and_hosts_along(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.configure({"work": "work"}, {"new_lead": ["work"]}, processes=2)
    start, begun = fleet.start, list[subprocess.Popen[bytes]]()

    def only_one(*asked: Any) -> subprocess.Popen[bytes]:
        if begun:
            until(made.processes, "the server is started")
            raise BlockingIOError("no more processes")
        begun.append(start(*asked))
        return begun[0]

    monkeypatch.setattr(fleet, "start", only_one)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    with pytest.raises(BlockingIOError):
        Ahead(config.load(path, agents=False))
    assert made.processes() == []
    assert begun[0].returncode is not None


def test_where_no_host_can_be_started_it_is_said_in_words(made: Installation) -> None:
    made.configure({"work": "work"}, {"new_lead": ["work"]})
    made.file("var/logs", "a file where a folder should be")
    told = made.revops("up", "--until-idle", code=1).err
    assert "an agent host for queue 'agents' cannot be started" in told
    assert str(made.root / "var" / "logs") in told
    assert "Traceback" not in told
    assert made.processes() == []


def test_killed_while_it_starts_it_takes_all_of_it_along(made: Installation) -> None:
    made.agent("work", SLOW + AGENT)
    with made.up(ready=False) as up:
        until(lambda: up.hosts() and len(up.children()) > len(up.hosts()), "server and host are started")
        up.kill()
        until(lambda: not made.processes(), "nothing is left")


def test_a_server_that_dies_while_the_controller_takes_over_is_started_again(made: Installation) -> None:
    made.agent("work", DEADLY + AGENT)
    assert "trying again" in made.revops("up", "--until-idle").err
    assert (made.root / "died").exists()
    assert [run["state"] for run in made.run_list()] == ["finished"]


def test_a_second_up_is_refused_and_does_the_first_no_harm(made: Installation) -> None:
    with made.up() as up:
        until(lambda: made.settled() == {"finished": 1})
        before = sorted(up.children())
        assert str(up.pid) in made.revops("up", code=1).err
        assert sorted(up.children()) == before
        made.revops("emit", "lead.created", "lead:2", "--data", json.dumps({"email": "c@d.example"}), "--wait")


def test_a_server_of_ones_own_has_hosts_ahead_as_well(made: Installation, program: Path, tmp_path: Path) -> None:
    with OwnServer(tmp_path / "own", program, *DURABLE) as server:
        server.serve(made)
        made.revops("up", "--until-idle")
        assert [run["state"] for run in made.run_list()] == ["finished"]
        assert not (made.root / "var" / "redis").exists()


def test_without_hosts_none_is_started(made: Installation) -> None:
    made.configure({"work": "work"}, {"new_lead": ["work"]}, processes=0)
    made.agent("work", SLOW + AGENT)
    with made.up(ready=False) as up:
        until(up.children, "the server is started")
        assert up.hosts() == []
        (made.root / "go").touch()
        until(lambda: made.settled() == {"finished": 1})
        assert up.hosts() == []
