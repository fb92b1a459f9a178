"""A host in its own process: `python -m revops_lite.host`, started by the supervisor with one JSON line on stdin.

{"config": path, "url": redis url, "queues": [...], "threads": n, "name": str, "agents": {name: entry}, "parent": pid}

Its stdout and stderr are the host's log. Exit codes: 0 stopped as asked, 75 to be replaced (too many agents hang, or
they have taken more than `memory_mb`, which may be left out).
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic_core import from_json

from revops_lite.clean import CleanLines
from revops_lite.config import import_from
from revops_lite.errors import QueueError, RevopsError
from revops_lite.host.pool import Host
from revops_lite.host.prints import agents_to_log
from revops_lite.queue.bell import Bell
from revops_lite.queue.work import EventSink, WorkQueue
from revops_lite.store.client import Clients
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.keys import PAUSED

RECYCLE = 75
GRACE = 5.0  # seconds for what runs when the host is asked to stop
PR_SET_PDEATHSIG = 1

log = logging.getLogger("revops_lite.host")


def main() -> int:
    """Run until SIGTERM, the parent's death or exhaustion. Returns the exit code."""
    faulthandler.enable()
    lines = logging.StreamHandler()
    lines.setFormatter(CleanLines("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, partial(_on_signal, stop))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the orchestrator's: it stops its hosts in order
    try:
        given = _given(sys.stdin.readline())
        die_with(given["parent"])
        with agents_to_log():
            return run(given, stop)
    except RevopsError as error:
        log.error("%s", error)
        return error.exit_code


def run(given: Mapping[str, Any], stop: threading.Event) -> int:
    """Host the given queues until `stop` is set. Returns the exit code."""
    root = Path(given["config"]).resolve().parent
    os.chdir(root)
    import_from(root, given["agents"].values())
    if stop.is_set():  # told while it still read its agents: nothing is begun any more
        return 0
    with Clients(given["url"]) as clients:
        sink = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
        work = WorkQueue(clients.commands, sink, PAUSED)
        host = Host(
            work,
            name=given["name"],
            queues=given["queues"],
            agents=given["agents"],
            threads=given["threads"],
        )
        bell = Bell(clients.pubsub(), given["queues"], host.ring)
        host.start()
        bell.start()
        while not stop.wait(0.5) and not host.exhausted:
            if 0 < given.get("memory_mb", 0) < megabytes():
                host.wear_out(f"it holds more than {given['memory_mb']} MB ([workers] memory_mb)")
        recycle = host.exhausted and not stop.is_set()
        bell.stop()
        clean = host.stop(None if recycle else GRACE)
    log.info("host %s ends%s%s", given["name"], " to be replaced" if recycle else "", "" if clean else "; work is left")
    return RECYCLE if recycle else 0


def megabytes() -> float:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def die_with(parent: int) -> None:
    """End this process as soon as its parent is gone, however that died."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    threading.Thread(target=_watch_parent, args=(parent,), name="parent", daemon=True).start()


def _watch_parent(parent: int) -> None:
    """The same for systems without a signal for it, and for a parent whose starting thread is not its last."""
    while True:
        threading.Event().wait(1.0)
        if os.getppid() != parent:
            os._exit(0)


def _given(line: str) -> dict[str, Any]:
    try:
        given = from_json(line)
        missing = {"config", "url", "queues", "threads", "name", "agents", "parent"} - set(given)
    except (ValueError, TypeError) as error:
        raise QueueError("an agent host wants one line of JSON on stdin; `revops up` starts it") from error
    if missing:
        raise QueueError(f"an agent host was started without {', '.join(sorted(missing))}; `revops up` starts it")
    return dict(given)


def _on_signal(stop: threading.Event, _number: int, _frame: FrameType | None) -> None:
    stop.set()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # threads of hanging agents would keep the interpreter from ending
