"""Crash points: places between two boundaries at which a process kills itself, named by an environment variable.

    REVOPS_CHAOS_CRASH="revops_lite.writer:Writer._handle after 2"

means: right after the second call of that function, in the process that has the variable (the nursery's children look
for it; the product knows nothing of it). A proxy can kill at what Redis sees; here dies what nobody outside can see:
the answer that was taken and not told yet, the line that is sealed and not marked yet.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
from importlib import import_module
from typing import Any

VARIABLE = "REVOPS_CHAOS_CRASH"
POINTS = (
    "revops_lite.controller:Controller.take_over",
    "revops_lite.controller:Controller._decide",
    "revops_lite.controller:Controller._committed",
    "revops_lite.reader:Poller._accept",
    "revops_lite.reader:Loader.read",
    "revops_lite.host.pool:Host._worked_off",
    "revops_lite.host.reporter:Reporter._deliver",
    "revops_lite.writer:Writer._handle",
    "revops_lite.writer:Writer._call",
    "revops_lite.writer:Writer._after",
    "revops_lite.notify.file:FileChannel.send",
    "revops_lite.audit.folder:Trail.append",
)


def crash_at(point: str) -> None:
    """`MODULE:NAME before|after N`. Raises ValueError and AttributeError for what names no function of the product."""
    where, when, number = point.split()
    module, _, name = where.partition(":")
    *path, last = name.split(".")
    owner = functools.reduce(getattr, path, import_module(module))
    body, calls = getattr(owner, last), itertools.count(1)

    @functools.wraps(body)
    def deadly(*words: Any, **more: Any) -> Any:
        mine = next(calls) == int(number)
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = body(*words, **more)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, last, deadly)
