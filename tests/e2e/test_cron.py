"""Workflows by the clock, with real processes. The line is a time of day half a day away from now, so no slot comes by
itself while a test runs; slots are missed by setting the schedule back, as if nothing had run since."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis import Redis

from installation import Installation, until
from revops_lite.config import load
from revops_lite.installation import Installation as Opened
from revops_lite.queue.scheduler import CronScheduler
from revops_lite.queue.work import EventSink
from revops_lite.rules.slots import last_slot
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key

pytestmark = pytest.mark.real

BERLIN = ZoneInfo("Europe/Berlin")
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
NIGHTLY = """
from pydantic import BaseModel
from revops_lite import Notice, Proposal, Snapshot, agent

class Swept(BaseModel):
    swept: str

@agent(writes=Swept)
def sweep(itself: Snapshot) -> Proposal:
    assert (itself.kind, itself.id) == ("workflow", itself["workflow"])
    slot = itself.get("slot", "by hand")
    return Proposal(Swept(swept=slot), notices=[Notice("file", "swept", slot, f"swept|{slot}")])
"""


def half_a_day_away() -> str:
    moment = datetime.now(BERLIN) + timedelta(hours=12)
    return f"{moment.minute} {moment.hour} * * *"


def configure(site: Installation, cron: str | None, missed: str = "latest", **more: Any) -> None:
    lines = f'cron = "{cron}"\nmissed = "{missed}"\nsteps = [{{ agent = "nightly" }}]'
    workflows = {"sweep": lines} if cron else {"other": ["nightly"]}
    site.configure({"nightly": "sweep"}, workflows, **more)
    site.agent("nightly", NIGHTLY)


def set_back(site: Installation, client: Redis, days: int) -> list[str]:
    """As if nothing had run for the last `days` slots. Returns them, oldest first, as events name them."""
    settings = load(site.root / "config.toml", agents=False)
    flows, zone = settings.rulebook.workflows, ZoneInfo(settings.timezone)
    slots, at = list[float](), time.time()
    for _ in range(days):
        slots.insert(0, last_slot(flows["sweep"].cron or "", zone, at))
        at = slots[0] - 1
    scheduler = CronScheduler(client, SINK, settings.timezone)
    scheduler.sync(flows, at)
    assert slots[0] in scheduler.slots("sweep"), "it waits for it, or has told it since"
    return [f"{datetime.fromtimestamp(slot, ZoneInfo('UTC')):%Y-%m-%dT%H:%M}:00.000Z" for slot in slots]


@contextmanager
def its_redis(site: Installation) -> Iterator[Redis]:
    """The embedded server while nothing runs."""
    with Opened(site.root / "config.toml", "cli") as opened:
        yield opened.clients.commands


def missed(site: Installation, days: int) -> list[str]:
    with its_redis(site) as client:
        return set_back(site, client, days)


def swept(site: Installation) -> list[str]:
    """The slots of finished runs, oldest first."""
    runs = site.run_list("--workflow", "sweep")
    assert {run["state"] for run in runs} <= {"finished"}
    return sorted(run["steps"][0]["values"]["swept"] for run in runs)


def workflow(site: Installation) -> dict[str, Any]:
    (found,) = site.revops("workflow", "list", "--json").items()
    return found


@pytest.mark.parametrize(("policy", "told"), [("latest", [-1]), ("all", [0, 1, 2]), ("skip", [])])
def test_down_over_three_slots_follows_the_policy_and_a_second_start_tells_none_again(
    site: Installation, policy: str, told: list[int]
) -> None:
    configure(site, half_a_day_away(), policy)
    slots = missed(site, 3)
    assert workflow(site)["next_slot"] == slots[0]
    before = time.time()
    for _ in range(2):
        site.revops("up", "--until-idle")
        assert swept(site) == [slots[number] for number in told]
    runs = site.run_list()
    for run in runs:
        assert (run["record"], run["trigger"]["type"]) == ("workflow:sweep", "cron.fired")
        assert datetime.fromisoformat(run["trigger"]["time"]).timestamp() >= before - 0.001  # not the slot's, days ago
    assert sorted(notice["body"] for notice in site.notices()) == swept(site)
    assert site.changes(source="") == []
    shown = workflow(site)
    assert shown["last_slot"] == (slots[-1] if told else None)
    assert datetime.fromisoformat(shown["next_slot"]).timestamp() > time.time()


def test_until_idle_waits_for_no_slot_to_come(site: Installation) -> None:
    configure(site, half_a_day_away())
    site.revops("up", "--until-idle")
    assert site.run_list() == []
    assert workflow(site)["last_slot"] is None


def comes_while_it_runs(site: Installation) -> str:
    with site.redis() as client:
        scheduler = CronScheduler(client, SINK, "Europe/Berlin")
        until(lambda: scheduler.slots("sweep")[1], "`up` has set its schedule")
        (slot,) = set_back(site, client, 1)
    until(lambda: workflow(site)["next_slot"] > slot, "the schedule has moved on")
    until(lambda: site.settled() == {"finished": 1})
    return slot


def test_a_slot_that_comes_while_up_runs_starts_its_run_once(site: Installation) -> None:
    configure(site, half_a_day_away())
    with site.up() as up:
        comes_while_it_runs(site)
        slot = comes_while_it_runs(site)  # the same again, as from a restored backup
        assert swept(site) == [slot]
        assert up.stop() == 0


def test_slots_go_on_after_redis_was_killed(site: Installation) -> None:
    configure(site, half_a_day_away(), durability="always")
    with site.up() as up:
        died = up.server()
        os.kill(died, signal.SIGKILL)
        until(lambda: [pid for pid in up.children() if pid not in (died, *up.hosts())], "another server")
        up.until_ready()
        slot = comes_while_it_runs(site)
        assert swept(site) == [slot]


# The embedded CRM's module, which `up` imports: it dies once, before or after its second slot is told.
DEADLY = """
import os, signal
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.queue import scheduler

real, fired = scheduler.CronScheduler._fire_one, 0

def fire_one(self, *given):
    global fired
    fired += 1
    for point in ("before", "after"):
        if point == "after":
            answer = real(self, *given)
        if fired == 2 and os.path.exists(point):
            os.unlink(point)
            os.kill(os.getpid(), signal.SIGKILL)
    return answer

scheduler.CronScheduler._fire_one = fire_one

def crm(settings):
    return SqliteCrm(settings.crm.path, settings.crm.relations)
"""


@pytest.mark.parametrize("point", ["before", "after"])
def test_killed_while_it_tells_slots_each_has_one_run(site: Installation, point: str) -> None:
    site.file("deadly.py", DEADLY)
    site.env["PYTHONPATH"] = str(site.root)
    configure(site, half_a_day_away(), "all", adapter="deadly:crm", durability="always")
    slots = missed(site, 4)
    site.file(point, "")
    with site.up(ready=False) as up:
        assert up.wait() == -signal.SIGKILL
    assert not Path(site.root / point).exists()
    site.revops("up", "--until-idle")
    assert swept(site) == slots
    assert len(site.notices()) == len(slots)


def test_another_line_waits_for_its_own_slot_and_the_missed_ones_of_the_old_are_dropped(site: Installation) -> None:
    configure(site, half_a_day_away(), "all")
    missed(site, 3)
    minute, hour, *_ = half_a_day_away().split()
    changed = f"{minute} {(int(hour) + 1) % 24} * * *"
    configure(site, changed, "all")
    expected = workflow(site)["next_slot"]  # by the file: Redis holds another line
    assert datetime.fromisoformat(expected).astimezone(BERLIN).hour == (int(hour) + 1) % 24
    site.revops("up", "--until-idle")
    assert site.run_list() == []
    assert workflow(site)["next_slot"] == expected


@pytest.mark.parametrize("then", ["an event's workflow", "none at all"])
def test_a_workflow_that_is_gone_is_told_no_more(site: Installation, then: str) -> None:
    line = half_a_day_away()
    configure(site, line, "all")
    missed(site, 3)
    configure(site, None)
    if then == "none at all":
        site.configure({"nightly": "sweep"}, {})
    site.revops("up", "--until-idle")
    assert site.run_list() == []
    configure(site, line, "all")
    site.revops("up", "--until-idle")  # back again: it waits for the first slot from now on
    assert site.run_list() == []
    assert datetime.fromisoformat(workflow(site)["next_slot"]).timestamp() > time.time()


# ---- commands ----------------------------------------------------------------------------------------------------


def test_a_start_by_hand_needs_no_record(site: Installation) -> None:
    configure(site, half_a_day_away())
    with site.up():
        done = site.revops("workflow", "start", "sweep", "--wait")
        shadow = site.revops("workflow", "start", "sweep", "--shadow", "--wait")
        assert "finished" in done.out
        assert "finished" in shadow.out
        run = site.run(done.out.split()[1])
        assert site.revops("agent", "try", "nightly", "workflow:sweep", "--json").json()["outcome"] == "done"
    assert (run["record"], run["state"], run["trigger"]["source"]) == ("workflow:sweep", "finished", "cli")
    assert [write["state"] for write in run["writes"]] == ["applied"]
    assert site.changes(source="") == []


def test_what_takes_a_record_and_what_takes_none_is_told_with_the_mend(site: Installation) -> None:
    every = 'over = { kind = "deal" }\ncron = "@daily"\nsteps = [{ agent = "nightly" }]'
    site.configure({"nightly": "sweep"}, {"welcome": ["nightly"], "deals": every})
    site.agent("nightly", NIGHTLY)
    none = site.revops("workflow", "start", "welcome", code=2)
    assert "revops workflow start welcome lead:42" in none.err
    one = site.revops("workflow", "start", "deals", "deal:1", code=2)
    assert "leave deal:1 out: revops workflow start deals" in one.err
    assert "starts once `revops up` runs" in site.revops("workflow", "start", "deals").out
    assert "start `revops up`" in site.revops("workflow", "start", "deals", "--wait", code=5).err


def test_next_and_last_slot_are_shown_in_the_zone_of_the_file(site: Installation) -> None:
    line = half_a_day_away()
    configure(site, line)
    minute, hour, *_ = line.split()
    clock = f"{int(hour):02}:{int(minute):02} CE"
    (row,) = site.revops("workflow", "list").out.splitlines()[1:]
    assert clock in row
    assert "missed" not in row
    missed(site, 2)
    assert "(missed)" in site.revops("workflow", "list").out
    site.revops("up", "--until-idle")
    (row,) = site.revops("workflow", "list").out.splitlines()[1:]
    assert row.count(clock) == 2
    shown = site.revops("workflow", "view", "sweep").out
    assert f"cron {line}" in shown
    assert clock in shown.partition("next")[2]
    assert clock in shown.partition("last")[2]
    both = site.revops("workflow", "view", "sweep", "--json").json()
    assert (both["next_slot"], both["last_slot"]) == (workflow(site)["next_slot"], workflow(site)["last_slot"])


def test_definitions_are_shown_without_redis(site: Installation) -> None:
    configure(site, half_a_day_away())
    path = site.root / "config.toml"
    path.write_text(path.read_text().replace("[redis]", '[redis]\nurl = "unix:///nowhere/redis.sock"'))
    shown = site.revops("workflow", "list", "--json")
    assert shown.items()[0]["next_slot"]
    assert "slots are those of the file alone" in shown.err
    configure(site, None)
    path.write_text(path.read_text().replace("[redis]", '[redis]\nurl = "unix:///nowhere/redis.sock"'))
    quiet = site.revops("workflow", "list", "--json")
    assert (quiet.items()[0]["next_slot"], quiet.items()[0]["last_slot"], quiet.err) == (None, None, "")
