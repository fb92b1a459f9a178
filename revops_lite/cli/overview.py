"""What is going on, and what a run of `up` came to: gathered once, shown as text or JSON."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from revops_lite.cli import metrics, out, shapes
from revops_lite.rules import fanout
from revops_lite.store.backlog import Backlog
from revops_lite.store.views import Views

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.models import Run, Write


HEALTH_OF = "24h"  # whose health figures close a run of `up`


def gather(installation: Installation) -> dict[str, Any]:
    """Controller, backlog, runs by state, what waits for people by reason, breakers, holds."""
    store = installation.store
    views = Views(installation.clients.commands, installation.archive)
    about = store.controller()
    kept = store.working_set()
    pending = views.pending()
    opened = [run for run in views.many("run", store.opened("runs")) if run]
    return {
        "controller": {
            "up": installation.controller_is_up(),
            "owner": about.get("owner", ""),
            "heartbeat": shapes.stamp(float(about["heartbeat"])) if "heartbeat" in about else None,
            "caught_up": store.all_decided(),
        },
        "runs_open": dict(Counter(run.state for run in opened)),
        "events_waiting": Backlog(installation.clients.commands).sizes(),
        "parked": {agent: len(keys) for agent, keys in kept.parked.items()},
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
            ("backlog", _counted(data["events_waiting"])),
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


class Flow(Struct):
    """What the runs of one workflow came to. They are looked at one by one: a hundred thousand are more than fit."""

    states: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    # ms, of finished runs: trigger (the CRM's time) to last side effect
    took: list[float] = field(default_factory=list)
    missed: int = 0

    def add(self, run: Run) -> None:
        self.states[run.state] += 1
        self.missed += run.deadline_missed
        if run.over:
            self.records.update(fanout.records(run.tally, run.expected))
        if run.finished_at and run.state == "finished":
            self.took.append((run.finished_at - run.trigger.time) * 1000)

    def shown(self) -> dict[str, Any]:
        took = self.took
        latency = {
            "count": len(took),
            **{f"p{round(q * 100)}": round(shapes.quantile(took, q)) for q in (0.5, 0.95, 0.99)},
            "slowest": round(max(took, default=0)),
            "deadline_missed": self.missed,
        }
        records = {name: number for name, number in self.records.items() if number > 0}
        return {"runs": dict(self.states), "records": records, "latency_ms": latency}


def summary(installation: Installation, since: float) -> dict[str, Any]:
    """What the runs since `since` came to: by state, by owner, latency, and what waits for a person."""
    views = Views(installation.clients.commands, installation.archive)
    flows: defaultdict[str, Flow] = defaultdict(Flow)
    states: Counter[str] = Counter()
    owners: Counter[str] = Counter()

    def run_seen(run: Run) -> bool:
        if (run.finished_at or time.time()) >= since:
            flows[run.workflow].add(run)
        return False

    def write_seen(write: Write) -> bool:
        if write.at >= since:
            states[write.state] += 1
            if write.field == "hubspot_owner_id" and write.state == "applied":
                owners[str(write.after)] += 1
        return False

    views.runs(run_seen, None)
    views.writes(write_seen, None)
    return {
        "workflows": {name: flow.shown() for name, flow in sorted(flows.items())},
        "routed": dict(owners.most_common()),
        "writes": dict(states),
        "health": metrics.gather(installation, HEALTH_OF, time.time()),
        "waiting": [
            {"reason": reason, "count": len(items), "example": items[0]}
            for reason, items in _by_reason(views.pending()).items()
        ],
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
