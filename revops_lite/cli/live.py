"""What `up` shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from revops_lite.clean import clean
from revops_lite.models import Review, ReviewState, Run, RunState, StepState
from revops_lite.rules import fanout

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from revops_lite.engine import Changes

REFRESH = 4  # times a second
RECENT = 8
UNSHOWN = suppress(OSError, ValueError)  # a full disk, a pipe that nobody reads, a stream that has been closed


class Lines:
    """One plain line for each run that ends, each item for a person, each opened breaker."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def committed(self, changes: Changes) -> None:
        """Called after each commit, from the controller's thread, which goes on where nothing can be shown."""
        lines = [f"{time.strftime('%H:%M:%S')} {line}\n" for line in told(changes)]
        with UNSHOWN:
            self.stream.write("".join(lines))
            self.stream.flush()


class Table(Lines):
    """The same, above a table of what runs."""

    def __init__(self, console: Console) -> None:
        super().__init__(cast(TextIO, _Above(console)))
        self._console = console
        self._lock = threading.Lock()
        self._open: dict[str, Run] = {}
        self._ended: Counter[str] = Counter()
        self._reviews: dict[str, Review] = {}
        self._recent: deque[str] = deque(maxlen=RECENT)

    def committed(self, changes: Changes) -> None:
        with self._lock:
            for value in changes.docs.values():
                if isinstance(value, Run):
                    self._run(value)
                elif isinstance(value, Review) and value.state is ReviewState.PENDING:
                    self._reviews[value.id] = value
                elif isinstance(value, Review):
                    self._reviews.pop(value.id, None)
            self._recent.extend(told(changes))

    def _run(self, run: Run) -> None:
        if run.part_of:
            return
        if run.finished_at is None:
            self._open[run.id] = run
        elif self._open.pop(run.id, None):
            self._ended[run.state] += 1

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        with self._lock:
            runs, ended, waiting = list(self._open.values()), dict(self._ended), len(self._reviews)
            recent = list(self._recent)
        steps: dict[str, Counter[str]] = {}
        for run in runs:
            for name, counts in _counts(run):
                steps.setdefault(f"{run.workflow} / {name}", Counter()).update(counts)
        grid = Grid(box=None, pad_edge=False)
        for name in ("step", "waiting", "running", "parked", "quarantined", "done"):
            grid.add_column(name, justify="left" if name == "step" else "right")
        for name, counts in sorted(steps.items()):
            shown = (StepState.PENDING, StepState.RUNNING, StepState.PARKED, StepState.QUARANTINED, StepState.DONE)
            grid.add_row(clean(name), *(str(counts[state] or "") for state in shown))
        states = Counter(run.state for run in runs)
        head = f"open {len(runs)} (held {states[RunState.HELD]})  ended {sum(ended.values())}  for a person {waiting}"
        return Group(Text(head), grid, *(Text(line, overflow="ellipsis", no_wrap=True) for line in recent))


def _counts(run: Run) -> list[tuple[str, dict[str, int]]]:
    """Each step's name and its states; of a fan-out, those of its parts."""
    return [(step.name, run.tally.get(step.name) or {step.state: 1}) for step in run.steps.values()]


def told(changes: Changes) -> list[str]:
    """What of a commit is worth a line."""
    lines = []
    newest = max((entry.at for entry in changes.audit), default=0.0)
    for value in changes.docs.values():
        if isinstance(value, Run) and value.part_of is None and value.finished_at == newest:
            took = (value.finished_at - value.trigger.time) * 1000
            lines.append(f"run {value.id} {value.workflow} {_about(value)}: {value.state} after {took:.0f} ms")
        elif isinstance(value, Review) and value.state is ReviewState.PENDING:
            what = value.field or value.step or "event"
            lines.append(f"review {value.id} {value.record}.{what}: {value.reason}: {'; '.join(value.problems)}")
    lines += [f"breaker {b.name}: {b.state} {b.reason}" for b in changes.breakers.values() if b.state != "closed"]
    return [clean(line)[:300] for line in lines]


def _about(run: Run) -> str:
    if run.over is None:
        return run.record
    counts = fanout.records(run.tally, run.expected)
    return f"{counts['total']} records" + "".join(f", {counts[k]} {k}" for k in ("failed", "held") if counts[k])


class _Above:
    """A stream whose lines appear above the live table."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        if text.strip():
            self._console.print(text.rstrip("\n"), markup=False, highlight=False)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


class _Unfailing:
    """A stream on which what cannot be written is not written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with UNSHOWN:
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with UNSHOWN:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _drop_unwritten(stream: TextIO) -> None:
    """What a stream still holds and cannot get rid of would make an exit code of its own."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with UNSHOWN, open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def watching(stream: TextIO) -> Iterator[Lines]:
    """A live table where `stream` is a terminal, else plain lines. What is said beside them is no reason to stop."""
    if not stream.isatty():
        try:
            with redirect_stderr(cast(TextIO, _Unfailing(stream))):
                yield Lines(stream)
        finally:
            _drop_unwritten(stream)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    table = Table(console)
    import logging

    from rich.logging import RichHandler

    root = logging.getLogger()
    before: Any = root.handlers[:]
    root.handlers = [RichHandler(console=console, show_path=False, markup=False)]
    try:
        with Live(table, console=console, refresh_per_second=REFRESH, transient=True):
            yield table
    finally:
        root.handlers = before
