"""`revops run watch`: one run until it ends or waits for a person; a bar for each step of a fan-out on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from revops_lite.cli import out
from revops_lite.models import Run, RunState
from revops_lite.rules import fanout
from revops_lite.store.views import Views

EVERY = 0.1  # seconds between two looks
TENTHS = 10  # lines that are written of a fan-out's step where there is no terminal


def follow(views: Views, prefix: str) -> None:
    """Raises NotFound."""
    run = views.run(prefix)
    looks = _looks(views, run)
    if run.over is not None and sys.stdout.isatty():
        _bars(looks)
    else:
        _lines(looks)


def _looks(views: Views, run: Run) -> Iterator[Run]:
    """The run as it stands, again and again, to its end or till a person has to act."""
    while True:
        yield run
        if run.finished_at or run.state is RunState.HELD:
            return
        time.sleep(EVERY)
        run = views.run(run.id)


def _lines(looks: Iterator[Run]) -> None:
    """A line for each change; of a fan-out, for each tenth of its records."""
    shown = ""
    for run in looks:
        key = f"{run.state:<9} " + "  ".join(f"{name}:{state}{_tenth(run, name)}" for name, state in _steps(run))
        if key != shown:
            out.say(f"{run.state:<9} " + "  ".join(f"{name}:{state}{_share(run, name)}" for name, state in _steps(run)))
            shown = key
        last = run
    if last.over is not None:
        counts = fanout.records(last.tally, last.expected)
        out.say(", ".join(f"{counts[name]} {name}" for name in counts))


def _steps(run: Run) -> list[tuple[str, str]]:
    return [(step.name, step.state) for step in run.steps.values()]


def progress(run: Run, step: str) -> tuple[int, int]:
    """How many of a fan-out's parts are through with a step, and of how many."""
    counts = run.tally.get(step, {})
    come = sum(counts.values())
    total = come if run.steps[step].gather else max(come, run.expected)
    return come - sum(counts.get(state, 0) for state in fanout.UNDER_WAY), total


def _tenth(run: Run, step: str) -> int:
    done, total = progress(run, step)
    return done * TENTHS // total if total else 0


def _share(run: Run, step: str) -> str:
    done, total = progress(run, step)
    return f" {done}/{total}" if total else ""


def _bars(looks: Iterator[Run]) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*text, TextColumn("{task.fields[state]}")) as bars:
        task_of = {}
        for run in looks:
            for step in run.steps.values():
                if step.name not in task_of:
                    task_of[step.name] = bars.add_task(step.name, total=None, state="")
                done, total = progress(run, step.name)
                bars.update(task_of[step.name], completed=done, total=total or None, state=step.state)
    counts = fanout.records(run.tally, run.expected)
    out.say(f"{run.state}: " + ", ".join(f"{counts[name]} {name}" for name in counts))
