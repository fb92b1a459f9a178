"""Processes that agents fork: they do none of our work, and do not outlive the process they were forked from."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

PR_SET_PDEATHSIG = 1


@contextmanager
def only_here() -> Iterator[None]:
    """What is forked in this block ends where the block ends: an agent may fork and let both come back."""
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            os._exit(0)


@cache
def forks_end_with_us() -> None:
    """From now on the system ends what this process has forked as soon as it is gone itself, however it died."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl  # found now: a fork of a threaded program does best with little
        os.register_at_fork(after_in_child=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
