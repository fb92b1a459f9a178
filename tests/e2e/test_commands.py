"""The command line as people and programs use it: exit codes, shapes, shortened ids, and `up` from start to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation, until

SURE_AND_UNSURE = """
from pydantic import BaseModel
from revops_lite import Flag, Proposal, Snapshot, agent

class Firmographics(BaseModel):
    industry: str
    numberofemployees: int

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    values = Firmographics(industry="software", numberofemployees=120)
    confidence = {"industry": 0.95, "*": 0.5}
    return Proposal(values, confidence, "the registry says so", flags=[Flag("thin", "low", "one source only")])
"""

WAITING = """
import time
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Out(BaseModel):
    done: str

@agent(writes=Out)
def work(lead: Snapshot) -> Proposal:
    Path("began").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return Proposal(Out(done="yes"))
"""

RUN = "id workflow trigger record state started_at finished_at elapsed_ms deadline_ms steps writes reviews"
STEP = "name agent state attempt started_at finished_at elapsed_ms confidence because values problems"
WRITE = "id record field before after agent confidence run state at"
REVIEW = "id reason record field agent run current proposed confidence because problems created_at state"
RECORD = "record version values fields flags holds proposed history"

READING = [  # commands that only read; {run}, {review} and {write} stand for ids
    "run list",
    "run view {run}",
    "run watch {run}",
    "review list",
    "review view {review}",
    "record view lead:1",
    "record view lead:1 --history",
    "hold list",
    "hold list lead:1",
    "write list",
    "write list --agent enrichment --state withheld",
    "explain {run}",
    "explain lead:1.industry",
    "explain lead:1.numberofemployees",
    "breaker list",
    "breaker list enrichment",
    "agent list",
    "agent list --limit 1",
    "agent try enrichment lead:1",
    "workflow list",
    "workflow list --limit 1",
    "workflow view new_lead",
    "audit list",
    "status",
    "crm view lead:1",
    "crm export --kind lead",
    "tail --no-follow",
    "check",
]
WITHOUT_JSON = ("run watch", "crm export")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Installation]:
    """Three leads that have run to their end, each with one value written and one withheld. Tests only read it."""
    del program
    site = Installation(tmp_path_factory.mktemp("town"))
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", SURE_AND_UNSURE)
    site.crm("lead", {str(n): {"name": f"Lead {n}"} for n in range(1, 4)})
    site.revops("up", "--until-idle")
    yield site
    site.end()


def filled(town: Installation) -> list[list[str]]:
    """The reading commands with ids that exist."""
    (run,) = town.run_list("--record", "lead:1")
    ids = {"run": run["id"], "review": run["reviews"][0]["id"], "write": run["writes"][0]["id"]}
    return [command.format(**ids).split() for command in READING]


# ---- shapes ------------------------------------------------------------------------------------------------------


def test_every_key_that_other_programs_read_is_there(town: Installation) -> None:
    run, *_ = runs = town.run_list()
    assert len(runs) == 3
    assert set(run) >= set(RUN.split())
    assert (run["state"], run["workflow"], run["trigger"]["type"]) == ("finished", "new_lead", "lead.created")
    assert set(run["steps"][0]) >= set(STEP.split())
    assert run["steps"][0]["values"] == {"industry": "software", "numberofemployees": 120}
    assert run["steps"][0]["confidence"] == 0.5
    for write in run["writes"]:
        assert set(write) >= set(WRITE.split())
    assert {write["field"]: write["state"] for write in run["writes"]} == {
        "industry": "applied",
        "numberofemployees": "withheld",
    }
    (item,) = run["reviews"]
    assert set(item) >= set(REVIEW.split())
    assert (item["reason"], item["state"], item["proposed"], item["current"]) == ("confidence", "pending", 120, None)
    for time_of in (run["started_at"], run["finished_at"], write["at"], item["created_at"]):
        assert time_of.endswith("Z")
    assert isinstance(run["elapsed_ms"], int)

    assert town.revops("run", "view", run["id"], "--json").json() == {"schema": 1, **run}
    assert town.revops("review", "view", item["id"], "--json").json() == {"schema": 1, **item}
    assert {write["id"] for write in town.writes("--run", run["id"])} == {write["id"] for write in run["writes"]}

    record = town.record(run["record"])
    assert set(record) >= set(RECORD.split())
    assert record["values"]["industry"] == "software"
    assert set(record["fields"]["industry"]) >= {"value", "agent", "confidence", "run", "at"}
    assert record["fields"]["industry"]["agent"] == "enrichment"
    assert record["proposed"]["numberofemployees"]["value"] == 120
    assert [flag["code"] for flag in record["flags"]] == ["thin"]
    assert record["history"][0]["agent"] == "enrichment"


def test_lists_take_a_limit_and_ids_may_be_shortened(town: Installation) -> None:
    runs = town.run_list()
    run = runs[0]["id"]
    length = next(n for n in range(1, 15) if sum(one["id"].startswith(run[:n]) for one in runs) == 1)
    two, plain, writes, reviews, audit, short, ambiguous, none, filtered = town.many(
        [
            ["run", "list", "--json", "--limit", "2"],
            ["run", "list", "--limit", "2"],
            ["write", "list", "--json", "--limit", "1"],
            ["review", "list", "--json", "--limit", "1"],
            ["audit", "list", "--json", "--limit", "1"],
            ["run", "view", run[:length], "--json"],
            ["run", "view", "r"],
            ["run", "list", "--json", "--state", "failed"],
            ["run", "list", "--json", "--workflow", "new_lead", "--agent", "enrichment", "--since", "1h"],
        ]
    )
    assert [one["id"] for one in two.items()] == [one["id"] for one in runs[:2]]
    assert len(plain.out.splitlines()) == 3  # with its heading
    assert len(writes.items()) == len(reviews.items()) == len(audit.items()) == 1
    assert short.json()["id"] == run
    assert ambiguous.code == 2
    assert "3" in ambiguous.err
    assert none.items() == []
    assert len(filtered.items()) == 3


def test_reading_commands_work_while_nothing_runs_and_while_up_runs(town: Installation) -> None:
    commands = filled(town)
    as_json = [[*words, "--json"] for words in commands if not " ".join(words).startswith(WITHOUT_JSON)]
    quiet = town.many(commands)
    with town.up():
        busy = town.many([*commands, *as_json])
    for done in [*quiet, *busy]:
        assert done.code == 0, done
        assert done.out or done.err, done.words
    for done in busy[len(commands) :]:
        for line in done.out.splitlines():
            assert json.loads(line)["schema"] == 1, done.words


# ---- exit codes, and errors that help ----------------------------------------------------------------------------

BAD = [  # words, exit code, what the message has to name
    ("nonsense", 2, "nonsense"),
    ("run", 2, ""),
    ("run view", 2, "RUN"),
    ("run view r0000000000000", 3, "r0000000000000"),
    ("run list --limit none", 2, "--limit"),
    ("run list --limit 0", 2, "--limit"),
    ("run list --since yesterday", 2, "--since"),
    ("run list --state ended", 2, "cancelled"),
    ("write list --state done", 2, "applied"),
    ("review list --state open", 2, "pending"),
    ("review list --reason unsure", 2, "confidence"),
    ("review approve --all --reason unsure", 2, "confidence"),
    ("breaker list nobody", 3, "nobody"),
    ("run retry {run}", 5, "has not failed"),
    ("run cancel {run}", 5, "has ended"),
    ("emit", 2, "lead.created"),
    ("emit lead.created", 2, "RECORD"),
    ("emit lead.created no-kind", 2, "no-kind"),
    ("emit Lead.Created! lead:1", 2, "Lead.Created!"),
    ("emit step.finished lead:1", 2, "step.finished"),
    ("emit lead.created lead:1 --data [1]", 2, "--data"),
    ("emit lead.created lead:1 --data {{", 2, "--data"),
    ("emit lead.created lead:1 --data @missing.json", 2, "missing.json"),
    ("emit lead.created lead:1 --data @var", 2, "var"),
    ("emit --file missing.jsonl", 2, "missing.jsonl"),
    ("emit --file var/crm.sqlite3", 2, "var/crm.sqlite3"),
    ("emit lead.created lead:1 --file x.jsonl", 2, "--file"),
    ("review view qx0", 3, "qx0"),  # no beginning of an id: those are hex
    ("review approve", 2, "--all"),
    ("review edit {review}", 2, "--set"),
    ("review edit {review} --set nothing", 2, "nothing"),
    ("review reject {review}", 2, "--note"),
    ("record view lead:99", 3, "lead:99"),
    ("explain lead:1.nothing", 3, "lead:1.nothing"),
    ("explain r0000000000000", 3, "r0000000000000"),
    ("hold add lead:1", 2, "--reason"),
    ("hold add lead:1 --reason x --until never", 2, "never"),
    ("hold release lead:1", 3, "lead:1"),
    ("breaker open nobody", 3, "nobody"),
    ("agent try nobody lead:1", 3, "nobody"),
    ("agent try enrichment lead:99", 3, "lead:99"),
    ("workflow view nothing", 3, "nothing"),
    ("workflow start new_lead", 2, "lead:42"),
    ("crm view lead:99", 3, "lead:99"),
    ("crm set lead:99 a=b", 3, "--create"),
    ("crm set lead:1 nonsense", 2, "nonsense"),
    ("crm import missing.csv --kind lead --id id", 3, "missing.csv"),
    ("crm import lead.csv --kind lead --id no_such_column", 2, "no_such_column"),
    ("crm import var --kind lead --id id", 2, "var"),
    ("crm export --kind lead -o nowhere/leads.csv", 2, "nowhere/leads.csv"),
    ("--config elsewhere.toml status", 4, "elsewhere.toml"),
    ("--config var status", 4, "var"),
    ("--config lead.csv status", 4, "lead.csv"),
    ("worker", 4, "redis.url"),
    ("init .", 5, "config.toml"),
]


def test_what_is_wrong_is_said_with_its_exit_code_and_never_as_a_traceback(town: Installation) -> None:
    (run,) = town.run_list("--record", "lead:1")
    ids = {"run": run["id"], "review": run["reviews"][0]["id"]}
    table = [(words.format(**ids).split(), code, named) for words, code, named in BAD]
    with town.up():
        ended = town.many([words for words, _, _ in table])
    wrong = [
        (code, done)
        for (_, code, named), done in zip(table, ended, strict=True)
        if done.code != code or named not in done.err or "Traceback" in done.err or not (done.err + done.out).strip()
    ]
    assert not wrong, "\n\n".join(f"wanted {code}: {done}" for code, done in wrong)
    assert town.writes("--state", "withheld")  # none of it changed anything


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("timezone = 'Mars/Olympus'", "timezone"),
        ("timezone = 'UTC'\n[crm]\nadaptor = 'sqlite'", "adaptor"),
        ("timezone = 'UTC'\n[workflows.x]\non = 'a.b'\nsteps = [{ agent = 'nobody' }]", "nobody"),
        ("timezone = 'UTC'\n[agents.x]\nentry = 'agents.missing:x'", "agents.missing"),
        ("timezone = 'UTC'\n[redis\n", "config.toml:2"),
        ("timezone = 'UTC'\n[redis]\nurl = 'redis://127.0.0.1:1/0'", "127.0.0.1"),
        ("timezone = 'UTC'\n[redis]\nurl = 'env:NO_SUCH_VARIABLE'", "NO_SUCH_VARIABLE"),
    ],
)
def test_up_refuses_what_is_not_right_before_anything_starts(site: Installation, text: str, named: str) -> None:
    site.file("config.toml", text)
    done = site.revops("up", "--until-idle", code=None)
    assert done.code == (1 if named == "127.0.0.1" else 4), done
    assert named in done.err
    assert site.processes() == []


def test_check_tells_every_finding_and_exits_6(site: Installation) -> None:
    site.file("config.toml", "timezone = 'Mars/Olympus'\n[agents.x]\nentry = 'agents.missing:x'\n")
    done = site.revops("check", code=6)
    assert "Mars/Olympus" in done.out + done.err
    assert "agents.missing" in done.out + done.err
    findings = site.revops("check", "--json", code=6).items()
    assert len(findings) >= 2


# ---- `up` --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)])
def test_up_stops_when_told_even_while_agents_work_and_goes_on_where_it_was(
    site: Installation, number: int, processes: int
) -> None:
    site.configure({"slow": "work"}, {"new_lead": ["slow"]}, adapter="none", processes=processes)
    site.agent("slow", WAITING)
    with site.up() as up:
        site.revops("emit", "lead.created", "lead:1")
        until(lambda: (site.root / "began").exists())
        told = time.monotonic()
        up.signal(number, group=number == signal.SIGINT)  # Ctrl-C reaches the agent hosts as well
        assert up.wait() == 0
        assert time.monotonic() - told < 10
        assert "Traceback" not in up.err
        until(lambda: site.processes() == [], "nothing is left behind")
    (site.root / "go").touch()
    site.revops("up", "--until-idle")
    (run,) = site.run_list()
    assert (run["state"], run["steps"][0]["state"]) == ("finished", "done")


@pytest.fixture(params=["a full disk", "a pipe that nobody reads"])
def unwritable(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "a full disk":
        number = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, number = os.pipe()
        os.close(reading)
    yield number
    os.close(number)


def test_up_goes_on_where_nobody_can_be_shown_what_happens(site: Installation, unwritable: int) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", SURE_AND_UNSURE)
    site.crm("lead", {"1": {"name": "Ada"}})
    up = site.command("up", "--until-idle")
    ended = subprocess.run(
        up, cwd=site.root, env=site.environment(), stdout=subprocess.PIPE, stderr=unwritable, timeout=60
    )
    assert ended.returncode == 0
    assert b"1 runs" in ended.stdout
    assert [run["state"] for run in site.run_list()] == ["finished"]


def test_a_second_up_is_refused_and_the_first_goes_on(site: Installation) -> None:
    site.configure({"slow": "work"}, {"new_lead": ["slow"]}, adapter="none")
    site.agent("slow", WAITING)
    (site.root / "go").touch()
    with site.up() as up:
        refused = site.revops("up", code=1)
        assert str(up.pid) in refused.err
        assert refused.err.count("\n") < 5
        site.revops("emit", "lead.created", "lead:1", "--wait")
        assert site.states() == {"lead:1": "finished"}


def test_an_installation_is_driven_from_any_folder(town: Installation, tmp_path: Path) -> None:
    config = str(town.root / "config.toml")
    listed = town.revops("--config", config, "run", "list", "--json", cwd=tmp_path)
    assert len(listed.items()) == 3
    town.revops("--config", config, "up", "--until-idle", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_cancelled_and_tried_again(site: Installation) -> None:
    site.configure({"slow": "work"}, {"new_lead": ["slow"]}, adapter="none")
    site.agent("slow", WAITING)
    with site.up():
        site.revops("emit", "lead.created", "lead:1")
        until(lambda: (site.root / "began").exists())
        (run,) = site.run_list()
        assert run["state"] == "running"
        site.revops("run", "cancel", run["id"])
        assert site.states() == {"lead:1": "cancelled"}
        (site.root / "go").touch()
        until(lambda: site.audit("--what", "step.late"), "the late answer is told and dropped")
        assert "done" not in site.record("lead:1")["values"]
        site.revops("run", "retry", run["id"])
        until(lambda: site.states() == {"lead:1": "finished"})
        assert site.record("lead:1")["values"]["done"] == "yes"


def test_a_hold_keeps_a_value_out_of_the_crm_until_it_is_released_and_approved(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", SURE_AND_UNSURE)
    site.revops("hold", "add", "lead:1", "--reason", "litigation", "--as", "ada")
    site.crm("lead", {"1": {"name": "Ada"}})
    with site.up():
        until(lambda: site.settled() == {"finished": 1})
        assert site.changes() == []
        (hold,) = site.revops("hold", "list", "--json").items()
        assert (hold["record"], hold["field"], hold["by"], hold["reason"]) == ("lead:1", None, "ada", "litigation")
        items = {item["field"]: item for item in site.reviews("--reason", "held")}
        held = items["industry"]
        refused = site.revops("review", "approve", held["id"], code=5)
        assert "litigation" in refused.err
        site.revops("hold", "release", "lead:1", "--reason", "settled")
        site.revops("review", "approve", held["id"], "--as", "grace")
        until(lambda: site.crm_record("lead:1").get("industry") == "software")
        again = site.revops("review", "approve", held["id"], code=5)
        assert "grace" in again.err
    (change,) = site.changes()
    assert change["field"] == "industry"


def test_a_workflow_started_in_shadow_writes_nothing(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": 'on = "by.hand"\nsteps = [{ agent = "enrichment" }]'})
    site.agent("enrichment", SURE_AND_UNSURE)
    site.crm("lead", {"1": {"name": "Ada"}})
    started = site.revops("workflow", "start", "new_lead", "lead:1", "--shadow").out.split()[1]
    site.revops("up", "--until-idle")
    run = site.run(started)
    assert (run["state"], run["trigger"]["source"], run["shadow"]) == ("finished", "cli", True)
    assert {write["state"] for write in run["writes"]} == {"shadow"}
    assert site.changes() == []
