"""Workload W for revops-lite and its peers, one after the other, several rounds, medians.

    scripts/bench [--rounds 3] [--quick] [--only NAME[,NAME]] [--growth 10000] [--json FILE] [--write]
    scripts/bench --from FILE [--write]      the tables of what was measured before

W: `lead.created` with a record of 15 fields, then enrich, score, route, alert: four agents that return 2 to 4 fields at
once, with every step's output durable before the next starts. Each measurement is a program of its own (drive.py), on
data of its own in build/bench, and everybody takes turns: what disturbs the machine for a while disturbs all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import page
import report
from variants import BY_NAME, GROWING, VARIANTS, Variant

from revops_lite.server.program import binary, inspect

PEERS = ROOT / "build" / "peers" / "bin" / "python"
FOLDER = ROOT / "build" / "bench"
PAUSE, SLOTS = 0.05, 64
SOCKET_LIMIT = 100  # bytes that the path of a socket may have, with some to spare


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    many: int = 1000
    alone: int = 100
    waiting: int = 960  # workflows of agents that take 50 ms
    growth: int = 10_000
    patience: float = 12.0


QUICK = Sizes(many=200, alone=20, waiting=192, growth=1000, patience=4.0)


def main() -> None:
    options = arguments()
    found = json.loads(options.source.read_text("utf-8")) if options.source else measured(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(report.text(found)))
    if options.write:
        page.write(found, ROOT / "docs")


def arguments() -> argparse.Namespace:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=3)
    given.add_argument("--only", default="", help=", ".join(variant.name for variant in VARIANTS))
    given.add_argument("--quick", action="store_true", help="small sizes, to see whether everything runs")
    given.add_argument(
        "--growth", type=int, help="workflows queued at once (10,000; with --quick 1,000); 0: not measured"
    )
    given.add_argument("--json", type=Path, help="keep every figure here")
    given.add_argument("--from", type=Path, dest="source", help="measure nothing, take what --json has kept")
    given.add_argument("--write", action="store_true", help="put tables and plot into docs/")
    options = given.parse_args()
    if unknown := [name for name in filter(None, options.only.split(",")) if name not in BY_NAME]:
        given.error(f"--only: {', '.join(unknown)} takes no part; these do: {', '.join(BY_NAME)}")
    named = [BY_NAME[name] for name in filter(None, options.only.split(","))]
    if not PEERS.exists() and not all(variant.own_environment for variant in named):
        given.error("the peers are not installed. Mend: scripts/bench --peers")
    return options


# ---- the rounds


def measured(options: argparse.Namespace) -> dict[str, Any]:
    sizes = QUICK if options.quick else Sizes()
    growth = sizes.growth if options.growth is None else options.growth
    chosen = [BY_NAME[name] for name in options.only.split(",")] if options.only else list(default())
    rounds: list[dict[str, Any]] = []
    began = time.monotonic()
    for number in range(options.rounds):
        rounds.append({})
        for variant in chosen:
            if number == 0 or not variant.once:
                rounds[-1][variant.name] = take(variant, sizes, f"round {number + 1}")
    grown = None
    if growth and (not options.only or GROWING in options.only.split(",")):
        task = of_w(BY_NAME[GROWING], sizes) | {"growth": growth}
        grown = {"name": GROWING} | drive(BY_NAME[GROWING], task, f"growth to {growth:,}")
    return {
        "machine": machine(),
        "versions": versions(),
        "sizes": asdict(sizes) | {"growth": growth},
        "quick": options.quick,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "rounds": rounds,
        "growth": grown,
    }


def default() -> Iterator[Variant]:
    for variant in VARIANTS:
        if not variant.asked and (variant.own_environment or PEERS.exists()):
            yield variant
    if not PEERS.exists():
        print("bench: no peers; `scripts/bench --peers` installs them", file=sys.stderr)


def take(variant: Variant, sizes: Sizes, when: str) -> dict[str, Any]:
    """All that is measured of it in one round."""
    found = drive(variant, of_w(variant, sizes), when)
    if variant.slots:
        task = of_w(variant, sizes) | {"slots": SLOTS, "pause": PAUSE, "many": sizes.waiting, "alone": 0}
        found["waiting"] = drive(variant, task, f"{when}, agents of 50 ms")
    return found


def of_w(variant: Variant, sizes: Sizes) -> dict[str, Any]:
    about = {"peer": variant.peer, "durability": variant.durability, "detail": variant.detail}
    return about | {"many": sizes.many, "alone": sizes.alone, "patience": sizes.patience}


def drive(variant: Variant, task: dict[str, Any], when: str) -> dict[str, Any]:
    """One measurement. What fails is said and left out; the others go on."""
    began = time.monotonic()
    python = sys.executable if variant.own_environment else str(PEERS)
    folder = FOLDER / "data"
    if len(str(folder)) > SOCKET_LIMIT:
        raise SystemExit(f"bench: {folder} is too long for a socket. Mend: let the checkout have a shorter path")
    asked = json.dumps(task | {"server": str(binary()), "folder": str(folder)})
    ended, out, err = run([python, str(HERE / "drive.py"), asked], 120 + 0.1 * task.get("growth", 0))
    lines = out.splitlines()
    said = f"{variant.name:<24} {when:<28} {time.monotonic() - began:5.1f} s"
    if ended != 0 or not lines:
        print(f"{said}  failed: {err.strip().splitlines()[-1:] or ended}", file=sys.stderr, flush=True)
        return {"failed": err[-2000:]}
    found: dict[str, Any] = json.loads(lines[-1])
    print(f"{said}  {report.short(found)}", file=sys.stderr, flush=True)
    return found


def run(command: Sequence[str], patience: float) -> tuple[int | str, str, str]:
    """In a process group of its own, which has ended when this returns."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=HERE, start_new_session=True) as child:
        try:
            out, err = child.communicate(timeout=patience)
            return child.returncode, out, err
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)
            out, err = child.communicate()
            return "time out", out, f"not within {patience:.0f} s\n"
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


# ---- what it was measured on


def machine() -> str:
    told = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = told[0].partition(":")[2].strip() if told else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release().partition('-')[0]}"
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, {system}, {time.strftime('%B %Y')}"


def versions() -> dict[str, str]:
    server = inspect(binary())
    found = {"Python": platform.python_version(), server.name: ".".join(map(str, server.version))}
    own = ("revops-lite", "redis", "hiredis", "pydantic")
    theirs = ("dramatiq", "huey", "rq", "celery", "langgraph", "langgraph-checkpoint-sqlite", "dbos", "prefect")
    return found | versions_in(sys.executable, own) | (versions_in(str(PEERS), theirs) if PEERS.exists() else {})


def versions_in(python: str, names: Sequence[str]) -> dict[str, str]:
    code = "import json, sys, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found: dict[str, str] = json.loads(subprocess.check_output([python, "-c", code, *names], text=True))
    return found


if __name__ == "__main__":
    main()
