"""A fan-out as its users drive it: watched, cancelled, tried again, reviewed, explained; and what kills hosts."""

from __future__ import annotations

from typing import Any

import pexpect
import pytest

from installation import Installation, until
from revops_lite.store.views import Views

pytestmark = pytest.mark.real

COUNT = 30

AGENTS = """
import os
from pathlib import Path
from pydantic import BaseModel, Field
from revops_lite import Flag, Notice, Proposal, Skip, agent


class Size(BaseModel):
    size: int = Field(ge=0)


class Count(BaseModel):
    deals: int


@agent(writes=Size)
def inspect(deal):
    way = deal.get("way")
    if way == "exit" and not Path("mended").exists():
        os._exit(1)
    if way == "fail" and not Path("mended").exists():
        raise ValueError("it cannot be read")
    if way == "wait":
        while not Path("go").exists():
            pass
    size = -1 if way == "poison" else 7
    return Proposal({"size": size}, confidence=0.5 if way == "unsure" else 0.95, because="it has been counted")


@agent(writes=Count)
def roll_up(deals):
    owner = deals.of.id
    names = ", ".join(sorted(deal.record for deal in deals))
    told = [Notice("file", f"{owner}: {len(deals)}", names, f"{owner}|{len(deals)}")]
    return Proposal({"deals": len(deals)}, because=f"{len(deals)} of {owner}", notices=told)
"""

REVIEW = """
over = { kind = "deal", where = { is_closed = false } }
include = ["owner"]
steps = [
  { agent = "inspect" },
  { agent = "by_owner", gather = "owner" },
  { name = "total", agent = "by_owner", gather = "all" },
]
"""


def deals(site: Installation, ways: dict[int, str], count: int = COUNT) -> None:
    site.agent("many", AGENTS)
    site.configure(
        {
            "inspect": 'entry = "agents.many:inspect"\ntimeout = "60s"\nbreaker = { failures = 50, cooldown = "1m" }',
            "by_owner": 'entry = "agents.many:roll_up"',
        },
        {"deal_review": REVIEW},
        threads=8,
    )
    site.crm("owner", {"ana": {"name": "Ana"}, "ben": {"name": "Ben"}})
    owners = ("ana", "ben")
    values = {
        n: {"is_closed": "false", "way": ways.get(n, "good"), "hubspot_owner_id": owners[n % 2]} for n in range(count)
    }
    site.crm("deal", {f"d{n:02}": one for n, one in values.items()})
    site.revops("up", "--until-idle")


def start(site: Installation) -> str:
    return str(site.revops("workflow", "start", "deal_review").out.split()[1])


def state(site: Installation, run: str) -> str:
    """ "" where it has not been started yet."""
    with site.redis() as client:
        found = Views(client).many("run", [run])[0]
    return str(found.state) if found else ""


def records(site: Installation, run: str) -> dict[str, int]:
    found: dict[str, int] = site.run(run)["records"]
    return found


def test_an_agent_that_kills_its_host_over_one_record_costs_that_record_alone(site: Installation) -> None:
    deals(site, {13: "exit"})
    run = start(site)
    with site.up() as up:
        until(lambda: state(site, run) == "finished", "the run ends", 90.0)
        assert records(site, run) == {"total": COUNT, "done": COUNT - 1, "failed": 1, "held": 0}
        (item,) = site.reviews()
        assert (item["record"], item["reason"], item["run"]) == ("deal:d13", "failure", run)
        assert "its host died" in item["problems"][0]
        sizes = {id_: one.get("size") for id_, one in site.crm_records("deal").items()}
        assert sizes == {f"d{n:02}": None if n == 13 else 7 for n in range(COUNT)}
        assert len(site.changes()) == COUNT - 1 + 2, "each value was written once, and each owner's count"
        (site.root / "mended").touch()
        site.revops("run", "retry", run)
        until(lambda: records(site, run)["done"] == COUNT, "the mended one is done")
        until(lambda: state(site, run) == "finished", "the run has ended")
        assert not site.reviews()
        assert up.stop() == 0
        assert "Traceback" not in up.err


def test_what_people_see_and_do_of_a_fan_out(site: Installation) -> None:
    deals(site, {3: "fail", 5: "poison", 7: "unsure"})
    run = start(site)
    with site.up():
        until(lambda: state(site, run) == "held", "one record waits")
        until(site.settled, "nothing moves")
        watched(site, run)
        listed(site, run)
        explained(site, run)
        tried(site)
        decided(site, run)


def watched(site: Installation, run: str) -> None:
    lines = site.revops("run", "watch", run).out.splitlines()
    assert lines == [
        "held      inspect:done 30/30  by_owner:done 2/2  total:done 1/1",
        "30 total, 28 done, 1 failed, 1 held",
    ]
    tty = terminal(site, "run", "watch", run)
    tty.expect(pexpect.EOF)
    assert "inspect" in tty.before
    assert "30/30" in tty.before
    assert "held: 30 total, 28 done, 1 failed, 1 held" in tty.before


def terminal(site: Installation, *words: str) -> Any:
    command = site.command(*words)
    env = {name: text for name, text in site.environment().items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    return pexpect.spawn(
        command[0], command[1:], cwd=str(site.root), env=env, dimensions=(40, 120), encoding="utf-8", timeout=30
    )


def listed(site: Installation, run: str) -> None:
    assert [one["id"] for one in site.run_list("--workflow", "deal_review")] == [run]
    view = site.run(run)
    assert view["steps"][2]["because"] == f"{COUNT} of deal_review"
    writes = site.writes("--run", run)
    assert {write["run"] for write in writes} == {run}
    assert len(writes) == len(view["writes"]) == COUNT - 2 + 2 + 1
    part = next(write["part"] for write in writes if write["record"] == "deal:d00")
    assert part.startswith(f"{run}.")
    alone = site.run(part[:-3])
    assert (alone["id"], alone["record"], [step["name"] for step in alone["steps"]]) == (part, "deal:d00", ["inspect"])
    assert [write["record"] for write in site.writes("--run", part)] == ["deal:d00"]
    assert "deal_review on deal:d00: finished" in site.revops("run", "view", part).out
    (held,) = site.reviews("--run", run, "--reason", "checkpoint")
    assert (held["run"], held["record"]) == (run, "deal:d05")


def explained(site: Installation, run: str) -> None:
    told = site.revops("explain", run).out
    for words in (
        "Workflow deal_review started on every deal with is_closed = false because of workflow.started",
        "The sweep found 30 records: 28 done, 1 failed, 1 held.",
        "inspect: ",
        "28 done",
        "by_owner: 2 done, gathered by owner.",
        f"total answered: {COUNT} of deal_review.",
        "deal:d03: inspect failed: ValueError: it cannot be read.",
        "deal:d05: inspect waits for a person: ",
        "The run is held.",
    ):
        assert words in told, told
    told = site.revops("explain", "deal:d01.size").out
    assert "deal:d01.size is 7: written by inspect (confidence 0.95)" in told
    assert "inspect said: it has been counted" in told
    told = site.revops("explain", "deal:d07.size").out
    assert "was withheld for a person: confidence 0.50 below 0.80" in told
    part = next(write["part"] for write in site.writes("--run", run) if write["record"] == "owner:ana")
    told = site.revops("explain", part).out
    assert f"This is the part of run {run} about owner:ana with 15 records." in told


def tried(site: Installation) -> None:
    before = len(site.changes())
    data = site.revops("agent", "try", "by_owner", "deal:d01", "--json").json()
    assert data["outcome"] == "done", data
    assert data["because"] == "1 of ben"
    assert [(write["record"], write["field"], write["after"]) for write in data["writes"]] == [
        ("owner:ben", "deals", 1)
    ]
    assert [(notice["subject"], notice["body"]) for notice in data["notices"]] == [("ben: 1", "deal:d01")]
    assert site.revops("agent", "try", "inspect", "deal:d01", "--json").json()["outcome"] == "done"
    assert "no deal:nobody" in site.revops("agent", "try", "by_owner", "deal:nobody", code=3).err
    assert len(site.changes()) == before


def decided(site: Installation, run: str) -> None:
    by_reason = {item["reason"]: item["id"] for item in site.reviews("--run", run)}
    site.revops("review", "approve", by_reason["confidence"])
    site.revops("review", "edit", by_reason["checkpoint"], "--set", "size=9")
    until(lambda: state(site, run) == "finished", "nobody waits any more")
    assert records(site, run) == {"total": COUNT, "done": COUNT - 1, "failed": 1, "held": 0}
    (site.root / "mended").touch()
    site.revops("run", "retry", run)
    until(lambda: records(site, run)["done"] == COUNT and state(site, run) == "finished", "all are done")
    sizes = {id_: one.get("size") for id_, one in site.crm_records("deal").items()}
    assert (sizes["d03"], sizes["d05"], sizes["d07"]) == (7, 9, 7)
    assert site.reviews("--run", run) == []
    assert "has not failed" in site.revops("run", "retry", run, code=5).err


def test_a_fan_out_is_watched_and_cancelled_while_it_works(site: Installation) -> None:
    deals(site, {4: "wait"})
    run = start(site)
    with site.up() as up:
        until(lambda: len(site.changes()) > 0 or state(site, run) == "running", "it works")
        tty = terminal(site, "run", "watch", run)
        tty.expect("inspect")
        site.revops("run", "cancel", run)
        tty.expect("cancelled: 30 total")
        tty.expect(pexpect.EOF)
        until(lambda: site.settled().get("cancelled") == 1, "nothing moves")
        with site.redis() as client:
            parts = Views(client).parts(Views(client).run(run))
        assert {str(part.state) for part in parts} <= {"cancelled", "finished"}
        assert len(parts) == COUNT
        (site.root / "go").touch()
        site.revops("run", "retry", run)
        until(lambda: state(site, run) == "finished", "all are done after all")
        assert records(site, run)["done"] == COUNT
        assert up.stop() == 0
        assert "Traceback" not in up.err


def test_a_held_record_may_be_rejected_or_tried_again(site: Installation) -> None:
    deals(site, {5: "poison", 6: "poison"}, count=8)
    run = start(site)
    with site.up():
        until(lambda: state(site, run) == "held", "two records wait")
        until(lambda: len(site.reviews("--run", run)) == 2, "both are asked about")
        first, second = sorted(site.reviews("--run", run), key=lambda item: str(item["record"]))
        site.revops("crm", "set", "deal:d05", "way=good")
        until(lambda: site.record("deal:d05")["values"]["way"] == "good", "it is known")
        site.revops("review", "retry", first["id"])
        site.revops("review", "reject", second["id"], "--note", "no")
        until(lambda: state(site, run) == "finished", "both are decided")
        assert records(site, run) == {"total": 8, "done": 8, "failed": 0, "held": 0}
        assert site.reviews("--run", run) == []
    assert site.crm_record("deal:d05")["size"] == 7
    assert "size" not in site.crm_record("deal:d06")
