"""Leads that two agents work on, and the books of it: runs, steps, writes and the CRM's own table of changes."""

from __future__ import annotations

from collections import Counter

from installation import Installation, until

ENRICHMENT = """
import time
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Found(BaseModel):
    industry: str
    numberofemployees: int


@agent(writes=Found)
def enrich(lead: Snapshot) -> Proposal:
    time.sleep(PAUSE)
    number = int(lead["number"])
    return Proposal(Found(industry=f"industry {number % 7}", numberofemployees=number + 1))
"""

SCORING = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Grade(BaseModel):
    revops_grade: str


@agent(writes=Grade)
def score(lead: Snapshot) -> Proposal:
    return Proposal(Grade(revops_grade=f"A{lead['numberofemployees'] % 4}"))
"""

STEPS = ("enrichment", "scoring")
FIELDS = ("industry", "numberofemployees", "revops_grade")


def leads(site: Installation, count: int, *, pause: float = 0.02, processes: int = 1, extra: str = "") -> None:
    """An installation with so many leads that nobody has worked on; an agent takes `pause` seconds for one."""
    site.agent("enrichment", ENRICHMENT.replace("PAUSE", str(pause)))
    site.agent("scoring", SCORING)
    site.configure(
        {"enrichment": "enrich", "scoring": "score"},
        {"new_lead": STEPS},
        processes=processes,
        threads=4,
        durability="always",
        extra=extra,
    )
    site.crm("lead", {f"lead-{n}": {"number": n} for n in range(count)})


def ended(site: Installation, count: int) -> bool:
    return site.settled() == {"finished": count}


def until_ended(site: Installation, count: int, patience: float = 60.0) -> None:
    until(lambda: ended(site, count), "all runs have ended", patience)


def check_books(site: Installation, count: int, workflow: str = "new_lead") -> int:
    """While `up` runs and all has ended: nothing is missing, nothing was done twice. Returns the number of writes."""
    with site.redis() as client:
        views = site.views(client)
        runs = views.runs(lambda run: run.workflow == workflow, None)
        writes = views.writes(lambda _: True, None)
    audit = site.audit("--workflow", workflow)
    assert Counter((run.record, str(run.state)) for run in runs) == {
        (f"lead:lead-{n}", "finished"): 1 for n in range(count)
    }
    done = Counter((entry["run"], entry["who"]) for entry in audit if entry["what"] == "step.done")
    assert done == {(run.id, step): 1 for run in runs for step in STEPS}
    assert Counter(entry["run"] for entry in audit if entry["what"] == "run.started") == {run.id: 1 for run in runs}
    rows = Counter((row["id"], row["field"]) for row in site.changes())
    assert rows == {(f"lead-{n}", field): 1 for n in range(count) for field in FIELDS}
    assert Counter((write.record, write.field, str(write.state)) for write in writes) == {
        (f"lead:{id_}", field, "applied"): 1 for id_, field in rows
    }
    return len(rows)
