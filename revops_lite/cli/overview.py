"""What is going on, and what a run of `up` came to: gathered once, shown as text or JSON."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revops_lite.cli import metrics, out, shapes
from revops_lite.rules import fanout
from revops_lite.store.views import Views

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.models import Run


HEALTH_OF = "24h"  # whose health figures close a run of `up`


def gather(installation: Installation) -> dict[str, Any]:
    """Controller, backlog, runs by state, what waits for people by reason, breakers, holds."""
    store = installation.store
    views = Views(installation.clients.commands)
    about = store.controller()
    kept = store.working_set()
    pending = views.pending()
    opened = [run for run in views.many("run", store.opened("runs")) if run]
    return {
        "controller": {
            "up": installation.controller_is_up(),
            "owner": about.get("owner", ""),
            "heartbeat": shapes.stamp(float(about["heartbeat"])) if "heartbeat" in about else None,
            "caught_up": about.get("cursor", "0-0") == store.last_event(),
        },
        "runs_open": dict(Counter(run.state for run in opened)),
        "parked": {agent: len(keys) for agent, keys in kept.parked.items() if keys},
        "side_effects": store.counted("loads", "intents", "notices"),
        "reviews_pending": dict(Counter(item.reason for item in pending)),
        "breakers": [shapes.breaker(breaker) for breaker in kept.breakers.values()],
        "holds": [shapes.hold(hold) for held in kept.holds.values() for hold in held.values()],
        "weak": installation.weaknesses(),
    }


def show(data: dict[str, Any]) -> None:
    controller = data["controller"]
    state = f"up ({controller['owner']})" if controller["up"] else "not running: start it with `revops up`"
    out.pairs(
        [
            ("controller", state),
            ("open runs", _counted(data["runs_open"])),
            ("parked", _counted(data["parked"])),
            ("under way", _counted(data["side_effects"])),
            ("for a person", _counted(data["reviews_pending"])),
            ("holds", len(data["holds"])),
            ("breakers", _counted({b["agent"]: b["state"] for b in data["breakers"] if b["state"] != "closed"})),
        ]
    )
    for weakness in data["weak"]:
        out.say(f"warning: {weakness}")


def _counted(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items()) if number) or "none"


# ---- the closing lines of `up --until-idle` ----------------------------------------------------------------------


def summary(installation: Installation, since: float) -> dict[str, Any]:
    """What the runs since `since` came to: by state, by owner, latency, and what waits for a person."""
    views = Views(installation.clients.commands)
    runs = views.runs(lambda run: (run.finished_at or time.time()) >= since, None)
    flows: dict[str, Any] = {}
    for name in sorted({run.workflow for run in runs}):
        mine = [run for run in runs if run.workflow == name]
        flows[name] = {
            "runs": dict(Counter(run.state for run in mine)),
            "records": dict(
                sum((Counter(fanout.records(run.tally, run.expected)) for run in mine if run.over), Counter())
            ),
            "latency_ms": _latency(mine),
        }
    writes = views.writes(lambda write: write.at >= since, None)
    owners = Counter(str(w.after) for w in writes if w.field == "hubspot_owner_id" and w.state == "applied")
    pending = views.pending()
    return {
        "workflows": flows,
        "routed": dict(owners.most_common()),
        "writes": dict(Counter(write.state for write in writes)),
        "health": metrics.gather(installation, HEALTH_OF, time.time()),
        "waiting": [
            {"reason": reason, "count": len(items), "example": items[0]}
            for reason, items in _by_reason(pending).items()
        ],
    }


def _latency(runs: list[Run]) -> dict[str, Any]:
    """From the trigger (the CRM's own time) to the last confirmed side effect, of finished runs."""
    took = [(run.finished_at - run.trigger.time) * 1000 for run in runs if run.finished_at and run.state == "finished"]
    return {
        "count": len(took),
        **{f"p{round(q * 100)}": round(shapes.quantile(took, q)) for q in (0.5, 0.95, 0.99)},
        "slowest": round(max(took, default=0)),
        "deadline_missed": sum(run.deadline_missed for run in runs),
    }


def _by_reason(pending: list[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for item in pending:
        groups.setdefault(str(item.reason), []).append(item)
    return groups


def next_commands(installation: Installation, data: dict[str, Any]) -> list[tuple[str, str]]:
    """What to type next, as it has to be typed from here."""
    path = installation.settings.path
    program = "revops" if shutil.which("revops") else os.path.relpath(sys.argv[0])
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    revops = program if path == here / "config.toml" else f"{program} -c {shown}"
    commands = [(f"{revops} run list", "every run, with its steps")]
    if data["waiting"]:
        item = data["waiting"][0]["example"]
        where = f"{item.record}.{item.field}" if item.field else item.run
        commands += [
            (f"{revops} review list", "what waits for a person, and why"),
            (f"{revops} review approve {item.id}", "write it in your name (or edit, reject)"),
            (f"{revops} explain {where}", "the whole story in sentences"),
        ]
    return [*commands, (f"{revops} up", "keep it running")]


def show_summary(data: dict[str, Any], following: list[tuple[str, str]]) -> None:
    for name, flow in data["workflows"].items():
        took = flow["latency_ms"]
        out.say(f"{name}: {sum(flow['runs'].values())} runs, {_counted(flow['runs'])}")
        if flow["records"]:
            out.say("  records: " + ", ".join(f"{number} {name}" for name, number in flow["records"].items()))
        out.say(
            f"  trigger to last side effect: p50 {took['p50']} ms, p95 {took['p95']} ms, p99 {took['p99']} ms, "
            f"slowest {took['slowest']} ms ({took['count']} finished, {took['deadline_missed']} late)"
        )
    out.say(f"writes: {_counted(data['writes'])}")
    out.say(f"health, {data['health']['from']} to now (`revops metrics` tells more):")
    for line in metrics.closing(data["health"]):
        out.say(f"  {line}")
    if data["routed"]:
        out.say("routed:")
        for owner, count in data["routed"].items():
            out.say(f"  {count:>4}  {owner}")
    out.say("waiting for a person:" if data["waiting"] else "nothing waits for a person")
    for group in data["waiting"]:
        item = group["example"]
        what = f"{item.record}.{item.field}" if item.field else f"{item.record} ({item.step or 'event'})"
        why = shapes.short("; ".join(item.problems), 90)
        out.say(f"  {group['count']:>4}  {group['reason']:<12} e.g. {item.id}  {what}: {why}")
    out.say("next:")
    wide = max(len(command) for command, _ in following)
    for command, why in following:
        out.say(f"  {command.ljust(wide)}  # {why}")
