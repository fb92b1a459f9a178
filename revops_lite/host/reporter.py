"""Ends jobs in batches: what came out while the last batch was on its way goes with the next one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from revops_lite.errors import BusError, RevopsError
from revops_lite.queue.work import Answer, Claim, Ending, WorkQueue
from revops_lite.values import replace

log = logging.getLogger(__name__)

BATCH = 64
UNWRITABLE = "its output cannot be written"
PAUSE = 0.5  # seconds before the next try while Redis does not answer


class Reporter:
    """A thread that reports endings until it is stopped. An ending is kept until Redis has taken it."""

    def __init__(
        self,
        work: WorkQueue,
        worker: str,
        clock: Callable[[], float],
        reported: Callable[[Sequence[Claim]], None],
    ) -> None:
        self.late = 0
        self._work = work
        self._worker = worker
        self._clock = clock
        self._reported = reported
        self._endings: SimpleQueue[Ending | None] = SimpleQueue()
        self._stop_by: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"{worker}-reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, ending: Ending) -> None:
        self._endings.put(ending)

    def stop(self, timeout: float) -> bool:
        """Report what is there, then end. False if that took longer than `timeout` seconds."""
        if self._thread.ident is None:  # never started: whoever put us together had to give up before
            return True
        self._stop_by = time.monotonic() + timeout
        self._endings.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        last = False
        while not last:
            batch = [self._endings.get()]
            while len(batch) < BATCH:
                try:
                    batch.append(self._endings.get_nowait())
                except Empty:
                    break
            last = None in batch
            self._deliver([ending for ending in batch if ending is not None])

    def _deliver(self, endings: list[Ending]) -> None:
        while endings and (self._stop_by is None or time.monotonic() < self._stop_by):
            try:
                answers = self._work.finish(self._worker, endings, self._clock())
            except BusError as error:
                log.warning("%s", error)
                time.sleep(PAUSE)
            except (RevopsError, ValueError) as error:
                # One ending cannot be written: find it alone, so that the others go on.
                if len(endings) > 1:
                    for ending in endings:
                        self._deliver([ending])
                    return
                if endings[0].error == UNWRITABLE:
                    log.error("job %s: its ending cannot be written: %s", endings[0].claim.job_id, error)
                    self._reported([endings[0].claim])  # shows no life from now on: recovered, in the end as poison
                    return
                endings = [_unwritable(endings[0], error)]
            else:
                self._note(endings, answers)
                return

    def _note(self, endings: list[Ending], answers: list[Answer]) -> None:
        for ending, answer in zip(endings, answers, strict=True):
            if answer is Answer.LATE:
                self.late += 1
                log.warning("a late result of job %s is dropped", ending.claim.job_id)
                self._tell_late(ending)
        self._reported([ending.claim for ending in endings])

    def _tell_late(self, ending: Ending) -> None:
        """So that the audit has it: somebody's work was done and does not count."""
        if ending.event is None:
            return
        id_ = f"{ending.event.id}|late|{ending.claim.execution}"
        try:
            self._work.tell(replace(ending.event, id=id_, type="step.late", data={"job": ending.claim.job_id}))
        except BusError as error:
            log.warning("%s", error)


def _unwritable(ending: Ending, error: Exception) -> Ending:
    """The same ending without its output."""
    if ending.event is None:
        return replace(ending, error=UNWRITABLE)
    problem = f"{UNWRITABLE}: {str(error)[:300]}"
    data = {**ending.event.data, "outcome": "invalid", "proposals": [], "error": "", "problems": [problem]}
    return replace(ending, ok=False, event=replace(ending.event, data=data), error=UNWRITABLE)
