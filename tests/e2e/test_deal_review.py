"""The deal review over a whole CRM: no deal twice, none missing, one bad one apart; also when it is killed on the way.

REVOPS_LONG=1 reviews 10,000 open deals with 50,000 related records, else 400 with 2,000.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest

from installation import REPOSITORY, Installation, Up, until
from revops_lite.models import Context, Run
from revops_lite.rules import fanout
from revops_lite.store.store import Store
from revops_lite.store.views import Views

sys.path.append(str(REPOSITORY / "scripts" / "benchmarks"))
from review_crm import INCLUDE, fill

pytestmark = pytest.mark.real

LONG = bool(os.environ.get("REVOPS_LONG"))
DEALS = 10_000 if LONG else 400
CLOSED = 400
KILLS = 6 if LONG else 3
PATIENCE = 600.0 if LONG else 90.0
POISONED = "deal:d123"

# Strict on purpose: it cannot take what somebody typed into the amount of one deal.
SIZING = """
from pydantic import BaseModel, Field
from revops_lite import Proposal, Snapshot, agent


class Size(BaseModel):
    revops_deal_size: int = Field(ge=0)


@agent(writes=Size)
def size(deal: Snapshot) -> Proposal:
    return Proposal({"revops_deal_size": int(float(deal.get("amount") or 0))}, confidence=0.9)
"""

# Names every deal it is given, so that a test can see who was in which group.
SUMMARY = """
from pydantic import BaseModel
from revops_lite import Proposal, agent


class Summary(BaseModel):
    revops_deals: int


@agent(writes=Summary)
def count(deals):
    return Proposal({"revops_deals": len(deals)}, confidence=0.9)
"""

WORKFLOW = """
over = {{ kind = "deal", where = {{ is_closed = false }} }}
include = {include}
extract = {{ closed_deals = {{ kind = "deal", where = {{ is_closed = true }} }} }}
steps = [
  {{ agent = "deal_inspection" }},
  {{ agent = "sizing" }},
  {{ agent = "by_owner", gather = "owner" }},
  {{ agent = "all_deals", gather = "all" }},
]
"""


def review(site: Installation) -> str:
    """An installation with the review, its CRM filled, the review asked for. Returns the run's id."""
    site.starter_agents()
    site.agent("sizing", SIZING)
    site.agent("summary", SUMMARY)
    site.configure(
        agents={
            "deal_inspection": 'entry = "agents.deal_inspection:inspect"\nconfidence = 0.5\n'
            'settings = { closed_deals = "var/extracts/closed_deals.csv" }',
            "sizing": "size",
            "by_owner": 'entry = "agents.summary:count"',
            "all_deals": 'entry = "agents.summary:count"',
        },
        workflows={"deal_review": WORKFLOW.format(include=INCLUDE)},
        threads=8,
    )
    fill(site.crm_path, DEALS, CLOSED, datetime.now(UTC))
    site.revops("crm", "set", POISONED, "amount=-1")
    site.revops("up", "--until-idle", timeout=PATIENCE)  # the import's own events are another matter
    said = site.revops("workflow", "start", "deal_review").out
    return said.split()[1]


def check_books(site: Installation, run_id: str) -> None:
    with site.redis() as client:
        views, store = Views(client), Store(client)
        run = views.run(run_id)
        parts = views.parts(run)
        contexts = store.load(("context", f"deal:d{number}") for number in range(DEALS))
    assert {name: str(step.state) for name, step in run.steps.items()} == dict.fromkeys(run.steps, "done")
    assert fanout.records(run.tally) == {"total": DEALS, "done": DEALS - 1, "failed": 0, "held": 1}
    check_parts(parts)
    for name, context in contexts.items():
        assert isinstance(context, Context), name
        answers = [touch for touch in context.history if (touch.agent, touch.outcome) == ("deal_inspection", "done")]
        assert len(answers) == 1, name[1]
    by_field = Counter((row["kind"], row["id"], row["field"]) for row in site.changes())
    assert set(by_field.values()) == {1}, "a field was written twice"
    sizes = [key for key in by_field if key[2] == "revops_deal_size"]
    assert len(sizes) == DEALS - 1
    (item,) = site.reviews("--state", "pending")
    assert (item["record"], item["reason"], item["run"]) == (POISONED, "checkpoint", run_id)


def check_parts(parts: list[Run]) -> None:
    """Each open deal has one part, each owner one group, and the whole is one group more."""
    records = Counter(part.record for part in parts if not part.members)
    assert records == Counter(f"deal:d{number}" for number in range(DEALS))
    groups = [part for part in parts if part.members]
    members = Counter(record for part in groups for record in part.members)
    assert set(members.values()) == {2}
    assert len(members) == DEALS
    assert sum(part.record == "workflow:deal_review" for part in groups) == 1


def is_over(site: Installation, run_id: str) -> bool:
    with site.redis() as client:
        run = Views(client).run(run_id)
    return run.loaded and not fanout.open_(run.tally) and run.steps["all_deals"].state == "done"


def killing_moments(site: Installation, seed: int) -> list[int]:
    """Numbers of audit entries, spread over what a review of so many deals makes at least."""
    dice, start = random.Random(seed), site.audited()
    return sorted(start + dice.randrange(DEALS // 10, DEALS * 8) for _ in range(KILLS))


def test_every_open_deal_is_reviewed_once_and_a_bad_one_waits_for_a_person(site: Installation) -> None:
    run = review(site)
    done = site.revops("up", "--until-idle", timeout=PATIENCE)
    assert f"records: {DEALS} total, {DEALS - 1} done, 1 held" in done.out
    with site.up():
        check_books(site, run)
        item = site.reviews("--state", "pending")[0]["id"]
        site.revops("review", "edit", item, "--set", "revops_deal_size=7")
        until(lambda: site.run(run)["state"] == "finished", "the last deal is done", PATIENCE)
    assert site.run(run)["records"]["done"] == DEALS
    assert (site.root / "var" / "extracts" / "closed_deals.csv").read_text(encoding="utf-8").count("\n") == CLOSED + 1
    assert site.crm_record(POISONED)["revops_deal_size"] == 7


def test_killed_in_the_middle_it_goes_on_where_it_was(site: Installation) -> None:
    run = review(site)
    with site.up() as up:
        moments = killing_moments(site, seed=5)
        up.kill()
    for moment in moments:
        with site.up() as up:
            until(lambda moment=moment: site.audited() >= moment or is_over(site, run), "so much is done", PATIENCE)
            up.kill()
    with site.up() as up:
        kill_a_host(up)
        until(lambda: is_over(site, run), "the review is over", PATIENCE)
        check_books(site, run)
        assert up.stop() == 0
        assert "Traceback" not in up.err


def kill_a_host(up: Up) -> None:
    (host, *_) = until(up.hosts, "a host lives")
    os.kill(host, signal.SIGKILL)
    until(lambda: host not in up.hosts(), "the killed host is gone")


def test_a_rollback_of_the_whole_puts_every_value_back(site: Installation) -> None:
    run = review(site)
    site.revops("up", "--until-idle", timeout=PATIENCE)
    before = {name: fields.get("revops_risk_level") for name, fields in site.crm_records("deal").items()}
    assert sum(level is not None for level in before.values()) == DEALS
    with site.up():
        site.revops("rollback", "--run", run, "--yes", timeout=PATIENCE)
    after = site.crm_records("deal")
    assert not [name for name, fields in after.items() if "revops_risk_level" in fields or "revops_deal_size" in fields]
