"""What agents print, and how they fail, goes to a file and not to the terminal when they run inside `revops up`."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from revops_lite.clean import CleanLines

LOG_BYTES = 10_000_000
log = logging.getLogger("revops_lite.agents")
_calling = threading.local()


@contextmanager
def agent_speaks(name: str) -> Iterator[None]:
    """Within it, this thread's prints belong to that agent."""
    _calling.agent = name
    try:
        yield
    finally:
        _calling.agent = None


class AgentPrints:
    """Stands in for sys.stdout or sys.stderr: an agent's lines become log records, everybody else's pass through."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        agent = getattr(_calling, "agent", None)
        if agent is None:
            return self._stream.write(text)
        for line in text.splitlines():
            if line.strip():
                log.info("%s: %s", agent, "".join(letter if letter.isprintable() else " " for letter in line[:2000]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def agents_to_log() -> Iterator[None]:
    """Catch agents' prints for the life of an in-process host."""
    out, err = sys.stdout, sys.stderr
    mine_out, mine_err = AgentPrints(out), AgentPrints(err)
    sys.stdout, sys.stderr = mine_out, mine_err
    try:
        yield
    finally:
        # Somebody else (a test's capture, a pager) may have put a stream of their own there meanwhile.
        sys.stdout = out if sys.stdout is mine_out else sys.stdout
        sys.stderr = err if sys.stderr is mine_err else sys.stderr


@contextmanager
def host_log(path: Path) -> Iterator[None]:
    """What a host in its own process would write to its log goes to `path`: tracebacks of agents, prints, warnings."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
    file.setFormatter(CleanLines("%(asctime)s %(process)d %(levelname)s %(message)s"))
    loggers = [logging.getLogger("revops_lite.host"), log]
    for logger in loggers:
        logger.addHandler(file)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(file)
            logger.propagate = True
        file.close()
