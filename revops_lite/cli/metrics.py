"""`revops metrics`: the five health figures over a window, and how much was counted for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict

from revops_lite.cli import out, shapes
from revops_lite.cli.options import Json, Workflow, state
from revops_lite.errors import NotFound, UsageError

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.rules.health import Health, Rate

LONGEST = 30 * 86_400  # seconds: the counts are kept a little longer


def metrics(
    context: typer.Context,
    window: Annotated[str, typer.Option("--window", help="how far back, such as 1h, 24h, 7d; at most 30d")] = "24h",
    workflow: Workflow = None,
    as_json: Json = False,
) -> None:
    """The health figures: latency, checkpoint passes, conflicts, uptime, human intervention."""
    _seconds(window)  # a mistake here is told before anything is opened
    with state(context).open() as installation:
        data = gather(installation, window, time.time(), workflow)
    if as_json:
        out.put_json(data)
    else:
        show(data)


def _seconds(window: str) -> float:
    from revops_lite.config.durations import seconds

    try:
        length = seconds(window)
    except ValueError as error:
        raise UsageError(f"--window: {error}") from None
    if not 0 < length <= LONGEST:
        raise UsageError(f"--window {window}: more than nothing and at most 30d; older counts are not kept")
    return length


def gather(installation: Installation, window: str, now: float, workflow: str | None = None) -> dict[str, Any]:
    """The JSON shape. Raises UsageError for a window that is none, NotFound for a workflow that is neither configured
    nor counted, BusError without Redis."""
    from revops_lite.rules.health import figures
    from revops_lite.store.metrics import read, since

    start = since(_seconds(window), now)
    tallies = read(installation.clients.commands, start, now, workflow)
    health = figures(tallies, workflow)
    rulebook = installation.settings.rulebook
    if workflow and workflow not in rulebook.workflows and not tallies.processed:
        raise NotFound(f"there is no workflow {workflow!r}; `revops workflow list` shows them")
    flows = [workflow] if workflow else sorted({*rulebook.workflows, *health.latency})
    steps = [step.agent for flow in flows if flow in rulebook.workflows for step in rulebook.workflows[flow].steps]
    return {
        "window": window,
        "from": shapes.stamp(start),
        "to": shapes.stamp(now),
        "workflow": workflow,
        "end_to_end_latency_ms": {flow: _latency(health, flow) for flow in flows},
        "checkpoint_pass_rate": health.checkpoint.value,
        "conflict_rate": health.conflicts.value,
        "uptime": health.uptime.value,
        "human_intervention_rate": health.intervention.value,
        "agents": _agents(installation, health, {*steps, *(rulebook.agents if not workflow else ())}),
        "counted": {
            "handoffs": _counted(health.checkpoint, "passed"),
            "proposals": _counted(health.conflicts, "conflicts"),
            "minutes": _counted(health.uptime, "up"),
            "records": _counted(health.intervention, "reviewed"),
        },
    }


def _latency(health: Health, flow: str) -> dict[str, Any]:
    from revops_lite.rules.health import Latency

    return asdict(health.latency.get(flow) or Latency(0, None, None, None, 0))


def _agents(installation: Installation, health: Health, names: set[str]) -> dict[str, Any]:
    from revops_lite.rules.health import Calls

    breakers = installation.store.breakers()
    return {
        name: {
            **asdict(health.agents.get(name) or Calls(0, 0, None)),
            "breaker": str(breakers[name].state) if name in breakers else "closed",
        }
        for name in sorted({*names, *health.agents})
    }


def _counted(rate: Rate, part: str) -> dict[str, int]:
    return {"all": rate.whole, part: rate.part}


# ---- for people --------------------------------------------------------------------------------------------------


def show(data: dict[str, Any]) -> None:
    of = f" of workflow {data['workflow']}" if data["workflow"] else ""
    out.say(f"health{of}, {data['from']} to {data['to']}")
    out.say()
    rates = [(name, percent(data[key]), share(data, what, part), means) for name, key, what, part, means in RATES]
    out.table(("FIGURE", "VALUE", "COUNTED", "MEANS"), rates)
    out.say()
    flows = [
        (name, flow["count"], *(duration(flow[q]) for q in ("p50", "p95", "p99")), flow["deadline_missed"])
        for name, flow in data["end_to_end_latency_ms"].items()
    ]
    out.table(("END TO END", "FINISHED", "P50", "P95", "P99", "LATE"), flows, "no workflows")
    out.say("from the trigger to the last confirmed side effect; LATE: missed its deadline")
    out.say()
    agents = [
        (name, calls["runs"], calls["failures"], duration(calls["p95_ms"]), calls["breaker"])
        for name, calls in data["agents"].items()
    ]
    out.table(("AGENT", "RUNS", "FAILURES", "P95", "BREAKER"), agents, "no agents")


RATES = (
    ("checkpoint pass rate", "checkpoint_pass_rate", "handoffs", "passed", "answers that went on without a person"),
    ("conflict rate", "conflict_rate", "proposals", "conflicts", "proposed values that met another one"),
    ("uptime", "uptime", "minutes", "up", "minutes in which controller and Redis both lived"),
    ("human intervention rate", "human_intervention_rate", "records", "reviewed", "records a person is asked about"),
)


def closing(data: dict[str, Any]) -> list[str]:
    """The figures in five lines, for the end of `up --until-idle`."""
    flows = data["end_to_end_latency_ms"].items()
    late = sum(flow["deadline_missed"] for _, flow in flows)
    p95 = ", ".join(f"{name} {duration(flow['p95'])}" for name, flow in flows if flow["count"]) or "-"
    rates = [
        f"{name.ljust(23)}  {percent(data[key]).rjust(7)}  {share(data, what, part)}"
        for name, key, what, part, _ in RATES
    ]
    return [f"{'end-to-end latency, p95'}  {p95}; {late} late", *rates]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.4g} %"


def share(data: dict[str, Any], what: str, part: str) -> str:
    """ "58 of 60 records"."""
    counted = data["counted"][what]
    return f"{counted[part]} of {counted['all']} {what}"


def duration(milliseconds: float | None) -> str:
    """ "340 ms", "2.1 s", "4.0 min", "3.2 h"."""
    if milliseconds is None:
        return "-"
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if milliseconds >= size:
            return f"{milliseconds / size:.1f} {unit}"
    return f"{milliseconds:.0f} ms"
