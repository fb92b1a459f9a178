"""A call that is interrupted in the midst of logging gives back what it holds: the other threads go on.

An exception that strikes while the garbage collector runs a callback is lost, as any exception there; such a call is
given up after its grace (tests/host/test_host.py). So here nothing is collected.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from revops_lite.host.call import Outcome
from revops_lite.host.slots import Call

ROUNDS = 1_000  # without the mend one of a few hundred leaves a lock behind


@pytest.fixture
def handler() -> Iterator[logging.Handler]:
    made = logging.StreamHandler(io.StringIO())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(made)
    root.setLevel(logging.INFO)
    yield made
    root.removeHandler(made)
    root.setLevel(level)


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.skipif(not os.environ.get("REVOPS_LONG"), reason="many rounds: with REVOPS_LONG=1")
def test_a_call_that_is_interrupted_while_it_logs_leaves_no_lock_behind(handler: logging.Handler) -> None:
    for number in range(ROUNDS):
        ended = interrupted(number)
        assert ended.kind == "timeout"
        free(vars(logging)["_lock"], f"logging's own lock after call {number}")
        free(handler.lock, f"the handler's lock after call {number}")


def interrupted(number: int) -> Outcome:
    """The end of a call that does nothing but log, on loggers that nobody has asked for yet."""
    begun, found = threading.Event(), []

    def body() -> None:
        call: Any = Call(None, SimpleNamespace(timeout=0.001))

        def work() -> Outcome:
            count = 0
            while True:
                logging.getLogger(f"agent.{number}.{count % 20}").info("at work")
                count += 1
                if count == 3:
                    begun.set()

        found.append(call)
        found.append(call.run(work))

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    assert begun.wait(30)
    found[0].interrupt()
    thread.join(30)
    assert not thread.is_alive()
    return found[1]


def free(lock: Any, what: str) -> None:
    assert lock.acquire(timeout=5), f"{what} is held by a thread that has ended"
    lock.release()
