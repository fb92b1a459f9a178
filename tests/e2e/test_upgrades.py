"""Runs in flight are carried over an upgrade: over nothing changed, another workflow, another agent, other rules.

Each test starts from the same kill (`upgrade_stage.py` says which run is where), changes something, and looks at every
run. The sentences of docs/upgrades.md are shown here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from installation import Installation, Up, until
from revops_lite.models import Review, Run
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from upgrade_stage import FLOWS, Frozen, configure, intents, runs, send, write_work

pytestmark = pytest.mark.real
slow = pytest.mark.skipif(not os.environ.get("REVOPS_LONG"), reason="takes long; REVOPS_LONG=1 runs it")

ENDED = ("finished", "failed", "cancelled")
LEADS = ("lead:running", "lead:held", "lead:retry", "lead:doubt")
DEALS = ("deal:d1", "deal:d2", "deal:d3")
WAITING = (*LEADS, "lead:parked", *DEALS)


@pytest.fixture(scope="module")
def frozen(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frozen]:
    del program
    place = tmp_path_factory.mktemp("upgrades")
    site = Installation(place / "site")
    try:
        yield Frozen(site, place / "copy")
    finally:
        site.end()


@pytest.fixture
def site(frozen: Frozen) -> Iterator[Installation]:
    yield frozen.thaw()
    frozen.site.end()


@contextmanager
def upgraded(site: Installation, *, decide: bool = True, reset: bool = True) -> Iterator[tuple[Up, dict[str, Run]]]:
    """`up` after the change, once nothing moves any more; the held value is approved, the breaker reset."""
    with site.up() as up:
        words = [["breaker", "reset", "fragile"]] if reset else []
        words += [["review", "approve", pending(site)["lead:held", "confidence"].id]] if decide else []
        assert [done.code for done in site.many(words)] == [0] * len(words)
        waits = () if decide else ("lead:held",)
        until(lambda: _quiet(site, waits), "every run has ended or waits for a person", patience=60)
        yield up, runs(site)


def _quiet(site: Installation, held: tuple[str, ...]) -> bool:
    found = runs(site)
    still = [run for run in found.values() if run.state not in ENDED and run.state != "held"]
    return not still and not intents(site) and all(found[record].state == "held" for record in held)


def pending(site: Installation) -> dict[tuple[str, str], Review]:
    """(record, reason) -> what waits for a person."""
    with site.redis() as client:
        return {(item.record, str(item.reason)): item for item in Views(client).pending()}


def written(site: Installation, record: str) -> dict[str, Any]:
    """field -> value of our writes; each may have been written only once."""
    changes = site.changes(record)
    assert len({change["field"] for change in changes}) == len(changes), changes
    return {change["field"]: change["after"] for change in changes}


def steps(run: Run) -> dict[str, str]:
    return {name: str(step.state) for name, step in run.steps.items()}


def calls(site: Installation, code: str) -> list[str]:
    """Which records that code of the agent `work` was called for."""
    lines = [line.split() for line in (site.root / "calls").read_text().splitlines()]
    return [record for record, by, _ in lines if by == code]


def test_with_nothing_changed_every_run_goes_on_where_it_was(site: Installation) -> None:
    before = calls(site, "old")
    assert sorted({*before}) == sorted([*LEADS, "deal:d1", "deal:d2"])
    with upgraded(site) as (_, found):
        assert {record: str(found[record].state) for record in WAITING} == dict.fromkeys(WAITING, "finished")
        assert found["workflow:sweep"].state == "finished"
        for record in (*LEADS, *DEALS):
            assert written(site, record) == {"industry": "old", "stage": "closed"}
        assert written(site, "lead:parked") == {"checked": "yes", "stage": "closed"}
        after = calls(site, "old")[len(before) :]
        assert sorted(after) == sorted(["lead:running", "lead:retry", *DEALS])  # only what had not answered
        assert found["lead:running"].steps["work"].attempt == 1


def test_a_changed_workflow_is_for_runs_that_start_later(site: Installation) -> None:
    new = 'steps = [{ agent = "work", wait_for_review = true }, { agent = "extra" }]'
    configure(
        site, flows={"new_lead": f'on = "lead.sent"\n{new}', "sweep": FLOWS["sweep"], "checking": FLOWS["checking"]}
    )
    with upgraded(site) as (_, found):
        for record in LEADS:
            assert steps(found[record]) == {"work": "done", "closing": "done"}
            assert written(site, record) == {"industry": "old", "stage": "closed"}
        send(site, "lead.sent", "later")
        until(lambda: written(site, "lead:later") == {"industry": "old", "extra": "closed"})


@slow
def test_runs_of_a_workflow_that_is_gone_still_end_and_no_new_one_starts(site: Installation) -> None:
    configure(site, flows={"other": 'on = "lead.other"\nsteps = [{ agent = "work" }]'})
    with upgraded(site) as (_, found):
        assert {record: str(found[record].state) for record in WAITING} == dict.fromkeys(WAITING, "finished")
        send(site, "lead.sent", "later")
        until(lambda: [entry for entry in audit(site) if entry.what == "event.ignored"])
        assert "lead:later" not in runs(site)


def test_an_agents_new_code_is_called_with_the_snapshot_of_before(site: Installation) -> None:
    write_work(site, "new")
    site.revops("crm", "set", "lead:running", "size=2")
    with upgraded(site) as (_, found):
        assert {str(found[record].state) for record in WAITING} == {"finished"}
        assert sorted(calls(site, "new")) == sorted(["lead:running", "lead:retry", *DEALS])
        assert "lead:running new size=1" in (site.root / "calls").read_text()  # the snapshot of before the upgrade
        assert written(site, "lead:running")["industry"] == "new"
        assert written(site, "lead:retry")["industry"] == "new"
        assert written(site, "lead:doubt")["industry"] == "old"  # decided before, and written as decided
        assert written(site, "lead:held")["industry"] == "old"  # what the person saw


@slow
def test_a_stricter_schema_checks_answers_and_edits_of_today_but_not_what_was_approved(site: Installation) -> None:
    write_work(site, "old", 'Literal["new"]')
    with upgraded(site) as (_, found):
        for record in ("lead:running", "lead:retry", *DEALS):
            assert found[record].steps["work"].state == "quarantined"
            item = pending(site)[record, "checkpoint"]
            assert "Input should be 'new'" in item.problems[0]
        assert written(site, "lead:held")["industry"] == "old"
        assert written(site, "lead:doubt")["industry"] == "old"
        item = pending(site)["lead:running", "checkpoint"]
        assert "Input should be 'new'" in site.revops("review", "edit", item.id, "--set", "industry=older", code=5).err
        site.revops("review", "edit", item.id, "--set", "industry=new")
        until(lambda: written(site, "lead:running") == {"industry": "new", "stage": "closed"})


@slow
def test_steps_of_an_agent_that_is_gone_fail_until_it_is_put_back(site: Installation) -> None:
    configure(site, without="work", flows={"checking": FLOWS["checking"]})
    gone = ("lead:running", "lead:retry", *DEALS)
    with upgraded(site) as (up, found):
        for record in gone:
            assert found[record].state == "failed"
            assert pending(site)[record, "failure"].problems == ("agent 'work' is no longer configured",)
        assert steps(found["lead:retry"]) == {"work": "failed", "closing": "skipped"}
        assert found["workflow:sweep"].state == "failed"
        for record in ("lead:held", "lead:doubt"):  # it had answered: what it proposed is decided and written
            assert written(site, record) == {"industry": "old", "stage": "closed"}
        up.stop()
    configure(site)
    with site.up():
        site.revops("review", "retry", "--all", "--reason", "failure", "--agent", "work")
        until(lambda: all(runs(site)[record].state == "finished" for record in gone))
        assert written(site, "lead:retry") == {"industry": "old", "stage": "closed"}


@slow
def test_steps_parked_for_an_agent_that_is_gone_fail_at_once(site: Installation) -> None:
    configure(site, without="fragile", flows={"new_lead": FLOWS["new_lead"], "sweep": FLOWS["sweep"]})
    with upgraded(site, reset=False) as (_, found):
        assert steps(found["lead:parked"]) == {"fragile": "failed", "closing": "skipped"}
        assert pending(site)["lead:parked", "failure"].problems == ("agent 'fragile' is no longer configured",)
        with site.redis() as client:
            assert Store(client).working_set().parked == {}


@slow
@pytest.mark.parametrize("change", ["threshold", "off", "hold"])
def test_todays_rules_hold_for_what_is_decided_today(site: Installation, change: str) -> None:
    RULES[change](site)


def _threshold(site: Installation) -> None:
    """A lower one: what waits for a person goes on waiting."""
    configure(site, extra="[governance]\nauto_write_confidence = 0.2\n")
    with upgraded(site, decide=False) as (_, found):
        assert found["lead:held"].state == "held"
        assert written(site, "lead:held") == {}


def _off(site: Installation) -> None:
    """Answers of today are not written; what was planned before still is."""
    configure(site, extra='[governance]\nmode = "off"\n')
    with upgraded(site, decide=False) as (_, found):
        assert found["lead:running"].state == "finished"
        assert written(site, "lead:running") == {}
        assert written(site, "lead:doubt") == {"industry": "old", "stage": "closed"}


def _hold(site: Installation) -> None:
    """An approval does not bypass it."""
    site.revops("hold", "add", "lead:held", "--reason", "court")
    with site.up():
        item = pending(site)["lead:held", "confidence"]
        told = site.revops("review", "approve", item.id, code=5).err
        assert "lead:held is on hold (court); release the hold first" in told
        assert written(site, "lead:held") == {}


RULES: dict[str, Callable[[Installation], None]] = {"threshold": _threshold, "off": _off, "hold": _hold}


def audit(site: Installation) -> list[Any]:
    with site.redis() as client:
        return Store(client).audit(1000)
