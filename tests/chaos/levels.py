"""The levels of `scripts/chaos`: which tasks, on how many processes, and the table of what came of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nursery import REPOSITORY, Nursery
from plants import PLANTS
from scenes import SCENES
from sweep import AT_REDIS, KINDS, points
from tasks import Result, run

WORKERS = 2
QUICK_BUGS = 3
PROGRESS = 500  # tasks from one line about them to the next


@dataclass(frozen=True, slots=True)
class Level:
    """How much of everything."""

    scenes: tuple[str, ...]
    hows: tuple[str, ...]  # at Redis
    storms: int
    steps: int
    batch: int
    servers: int  # tasks of ten kills each
    programs: int  # of the simulation and of each fuzz test
    bugs: int
    long: bool  # the suites of whole processes at their full size
    kills: int  # that have to fire at least
    events: int  # that have to be accepted at least


LEVELS = {
    "quick": Level(("leads",), ("kill before",), 6, 20, 10, 5, 200, QUICK_BUGS, False, 200, 400),
    "nightly": Level(tuple(SCENES), ("kill before",), 64, 40, 130, 50, 2_000, len(PLANTS), True, 1_500, 20_000),
    "release": Level(tuple(SCENES), AT_REDIS, 64, 40, 130, 50, 5_000, len(PLANTS), True, 1_500, 20_000),
}
# What is a test of pytest anyhow: its files, which grow with the level's programs or with REVOPS_LONG.
SUITES = {"simulation": ("tests/chaos/test_simulation.py", "tests/chaos/test_write_protocol.py")}
LONG_SUITES = {
    "bad input": ("tests/hostile",),
    "whole processes": (
        "tests/chaos/test_two_controllers.py",
        "tests/chaos/test_redis_killed_under_load.py",
        "tests/chaos/test_redis_slow_or_away.py",
        "tests/chaos/test_agents_that_misbehave.py",
        "tests/chaos/test_clock_jumps.py",
        "tests/chaos/test_a_hundred_thousand_events.py",
    ),
}


# ---- doing -----------------------------------------------------------------------------------------------------------

_nursery: Nursery | None = None


def _begin() -> None:
    global _nursery
    _nursery = Nursery()


def _do(task: str) -> Result:
    assert _nursery is not None
    try:
        return run(_nursery, task)
    except Exception as error:  # the harness itself gave up: that is no green run
        failed = Result(task, task.partition("|")[0])
        failed.violations = [f"the task itself failed: {type(error).__name__}: {error}"]
        failed.unexplained = 1
        return failed


class Runner:
    """Does tasks on several processes, tells of each that found something, and keeps all results."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.results: list[Result] = []
        self._pool = ProcessPoolExecutor(WORKERS, get_context("spawn"), _begin)
        self._started = time.monotonic()

    def all(self, tasks: Iterable[str]) -> list[Result]:
        found: list[Result] = []
        futures = [self._pool.submit(_do, task) for task in tasks]
        for future in as_completed(futures):
            result = future.result()
            self._tell(result)
            found.append(result)
            if len(found) % PROGRESS == 0:
                minutes = (time.monotonic() - self._started) / 60
                print(f"{len(found):,} of {len(futures):,} tasks, {minutes:.0f} min", file=sys.stderr, flush=True)
        self.results += found
        return found

    def close(self) -> None:
        self._pool.shutdown()

    def _tell(self, result: Result) -> None:
        missed = result.found is False
        if result.violations or missed:
            print(f"FOUND {result.task}" + ("  (the planted bug was not noticed)" if missed else ""))
            for violation in result.violations[:6]:
                print(f"      {violation[:600]}")
            print(f"      again: scripts/chaos repeat '{result.task}'", flush=True)


def tasks_of(level: Level, runner: Runner) -> None:
    dice = random.Random(runner.seed)
    undisturbed = runner.all(f"scene|{name}|{kind}" for name in level.scenes for kind in KINDS)
    sweep = []
    for result in undisturbed:
        _, name, kind = result.task.split("|")
        hows = AT_REDIS if name == "leads" and len(level.scenes) > 1 else level.hows
        sweep += [
            f"sweep|{name}|{kind}|{point.side}|{point.at}|{point.how}"
            for point in points(SCENES[name], kind, Counter(result.boundaries), hows)
        ]
    rest = [f"storm|{runner.seed + number}|{level.steps}|{level.batch}" for number in range(level.storms)]
    rest += [f"server|{runner.seed + number}|10" for number in range(level.servers)]
    rest += [f"plant|{bug}" for bug in dice.sample(sorted(PLANTS), level.bugs)]
    runner.all(rest)  # the long ones first: two processes end at about the same time
    runner.all(sweep)


def pytest_suites(level: Level, seed: int) -> Iterator[tuple[str, bool, list[dict[str, Any]]]]:
    """Suite, whether it passed, and the figures that its tests told."""
    for name, files in {**SUITES, **(LONG_SUITES if level.long else {})}.items():
        there = [file for file in files if (REPOSITORY / file).exists()]
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.jsonl"
            sizes = {"REVOPS_CHAOS_PROGRAMS": str(level.programs), "REVOPS_CHAOS_SEED": str(seed)}
            sizes["REVOPS_CHAOS_UNSHRUNK"] = "1"  # a finding is told at once; making it small takes minutes
            env = {**os.environ, **sizes, "REVOPS_CHAOS_REPORT": str(report)}
            if level.long:
                env["REVOPS_LONG"] = "1"
            command = [sys.executable, "-m", "pytest", "-n", "1", *there]
            done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
            if done.returncode:
                print(f"FOUND in {name}:\n{done.stdout[-6000:]}", flush=True)
            told = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
            yield name, done.returncode == 0, told


# ---- telling ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    suite: str
    runs: int = 0
    events: int = 0
    writes: int = 0
    lost: int = 0
    doubled: int = 0
    unexplained: int = 0
    note: str = ""
    fired: Counter[str] = field(default_factory=Counter)

    def bound(self) -> str:
        """No more than this share of runs can be expected to fail where none of so many did (rule of three)."""
        bad = self.lost + self.doubled + self.unexplained
        return f"< {300 / self.runs:.2g} %" if self.runs and not bad else "-"


def rows_of(results: list[Result]) -> list[Row]:
    rows: dict[str, Row] = {}
    for result in results:
        row = rows.setdefault(result.suite, Row(result.suite))
        row.runs += 1
        row.events += result.events
        row.writes += result.writes
        row.lost += result.lost
        row.doubled += result.doubled
        row.unexplained += result.unexplained
        row.fired += result.fired
    for row in rows.values():
        if row.suite == "sweep":  # a point that did not fire shows nothing
            planned, row.runs = row.runs, sum(bool(one.fired.total()) for one in results if one.suite == row.suite)
            row.note = f"{row.runs:,} of {planned:,} points fired"
        mine = [result for result in results if result.suite == row.suite]
        if row.suite == "plant":
            row.note = f"{sum(bool(result.found) for result in mine)} of {len(mine)} found"
        if slowest := max(result.recovered for result in mine):
            row.note = f"first commit after a kill within {slowest:.1f} s"
    return list(rows.values())


def rows_told(name: str, passed: bool, told: list[dict[str, Any]]) -> list[Row]:
    rows: dict[str, Row] = {}
    for one in told:
        row = rows.setdefault(one["suite"], Row(one["suite"]))
        row.runs += int(one.get("programs", one.get("runs", 0)))
        row.writes += int(one.get("writes", 0))
        row.lost += int(one.get("lost", 0))
        row.doubled += int(one.get("duplicated", 0)) - int(one.get("reported", 0))
        row.unexplained += int(one.get("unexplained", one.get("violations", 0)))
        row.fired.update({what: int(number) for what, number in one.get("fired", {}).items()})
        row.note = str(one.get("note", row.note))
    if not passed:
        rows.setdefault(name, Row(name)).unexplained += 1
    return list(rows.values())


def table(rows: list[Row]) -> str:
    lines = [
        "| suite | runs | events | CRM writes | lost | doubled | unexplained | bound | |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        figures = (row.runs, row.events, row.writes, row.lost, row.doubled, row.unexplained)
        cells = " | ".join(f"{figure:,}" for figure in figures)
        lines.append(f"| {row.suite} | {cells} | {row.bound()} | {row.note} |")
    return "\n".join(lines)


def fired_table(rows: list[Row]) -> str:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.fired)
    lines = ["| fault | fired |", "|---|---:|"]
    lines += [f"| {what} | {number:,} |" for what, number in sorted(total.items()) if number]
    return "\n".join(lines)


def versions() -> str:
    from revops_lite.server.program import choose

    server = choose()
    packages = ", ".join(f"{name} {version(name)}" for name in ("redis", "rq", "pydantic", "hypothesis"))
    return (
        f"Python {platform.python_version()}, {server.name} {'.'.join(map(str, server.version))}, {packages}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def kills_of(rows: list[Row]) -> int:
    return sum(number for row in rows for what, number in row.fired.items() if "kill" in what)


def report(level: str, seed: int, rows: list[Row], seconds: float) -> str:
    kills = kills_of(rows)
    return "\n\n".join(
        [
            f"`scripts/chaos {level} --seed {seed}`, {time.strftime('%Y-%m-%d')}, {seconds / 60:.0f} min. {versions()}",
            table(rows),
            f"Faults that fired, {kills:,} of them kills:",
            fired_table(rows),
        ]
    )


def write_into(page: Path, level: str, text: str) -> None:
    """Between the page's marks for this level."""
    begin, end = f"<!-- {level}: begin -->", f"<!-- {level}: end -->"
    head, _, rest = page.read_text("utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}", "utf-8")


# ---- the command -----------------------------------------------------------------------------------------------------


def level_of(name: str, seed: int, hours: float) -> tuple[list[Row], float]:
    started = time.monotonic()
    level = LEVELS[name]
    rows: list[Row] = []

    def suites() -> None:
        for suite, passed, told in pytest_suites(level, seed):
            rows.extend(rows_told(suite, passed, told))

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(suites)
        runner = Runner(seed)
        tasks_of(level, runner)
        beside.result()
    while name == "release" and time.monotonic() - started < hours * 3600:
        first = seed + len(runner.results)
        runner.all(f"storm|{first + number}|{level.steps}|{level.batch}" for number in range(20))
    runner.close()
    return rows_of(runner.results) + rows, time.monotonic() - started


def repeat(task: str) -> int:
    with Nursery() as nursery:
        result = run(nursery, task)
    print("\n".join(result.violations) or "nothing found")
    print(f"{result.task}: fired {dict(result.fired)}, {result.writes} writes, {result.seconds:.1f} s")
    return 6 if result.violations or result.found is False else 0


def main() -> int:
    words = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    words.add_argument("level", choices=[*LEVELS, "repeat"])
    words.add_argument("task", nargs="?", help="of repeat: the line that a level printed")
    words.add_argument("--seed", type=int, default=int(time.time()) // 86_400)
    words.add_argument("--hours", type=float, default=8.0, help="of release: how long storms go on")
    words.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    asked = words.parse_args()
    if asked.level == "repeat":
        return repeat(asked.task or "")
    rows, seconds = level_of(asked.level, asked.seed, asked.hours)
    text = report(asked.level, asked.seed, rows, seconds)
    print(text)
    if asked.write:
        write_into(REPOSITORY / "docs" / "reliability.md", asked.level, text)
    bad = sum(row.lost + row.doubled + row.unexplained for row in rows)
    missed = [row for row in rows if row.suite == "plant" and row.note.split(" ")[0] != str(row.runs)]
    empty = [row.suite for row in rows if row.suite in ("sweep", "storm", "server") and row.writes < row.runs]
    if empty:
        print(f"too few writes to mean anything in {', '.join(empty)}")
    level, events = LEVELS[asked.level], sum(row.events for row in rows)
    few = kills_of(rows) < level.kills or events < level.events
    if few:
        print(f"too few to mean anything: {kills_of(rows)} kills of {level.kills}, {events} events of {level.events}")
    return 6 if bad or missed or empty or few else 0


if __name__ == "__main__":
    sys.exit(main())
