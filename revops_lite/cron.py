"""Workflows by the clock: what `revops up` does about schedules, and when it has nothing more to tell."""

from __future__ import annotations

from collections.abc import Mapping

from revops_lite.errors import BusError
from revops_lite.policy import WorkflowDef
from revops_lite.queue.scheduler import CronScheduler


class Cron:
    """The body of the service `cron`: schedules as the configuration has them, then each slot when it comes."""

    def __init__(self, scheduler: CronScheduler, workflows: Mapping[str, WorkflowDef]) -> None:
        self._scheduler = scheduler
        self._workflows = workflows
        self._in_line = False  # whether Redis holds the schedules of `workflows`
        self.drained = False  # the schedules have been read, and every slot that was due then has been told

    def tick(self, now: float) -> int:
        """Tell what is due. Returns how many slots that were. Raises BusError; call it again."""
        self.drained = False
        try:
            if not self._in_line:
                self._scheduler.sync(self._workflows, now)
                self._in_line = True
            told = self._scheduler.tick(now)
        except BusError:
            self._in_line = False  # a server that comes back may have lost its last seconds
            raise
        self.drained = not told
        return told

    def next_due(self) -> float | None:
        return self._scheduler.next_due() if self._in_line else None
