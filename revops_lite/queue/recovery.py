"""Jobs of dead hosts: back to the front of a queue, or, after three hosts died of them, ended as crashed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from redis import Redis

from revops_lite.errors import QueueError
from revops_lite.queue import names
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import endless, job_refused
from revops_lite.queue.script import LuaScript
from revops_lite.queue.work import Claim, Ending, WorkQueue

STALE_AFTER = 30.0  # seconds without a sign of life
POISON_AFTER = 3  # hosts that died while a job ran alone in them, before it is to blame


class Recovered(Struct, frozen=True):
    """What one recovery did. `moved` names (job id, from queue, to queue), `poison` the jobs that ended as crashed."""

    moved: tuple[tuple[str, str, str], ...] = ()
    poison: tuple[str, ...] = ()


class Recovery:
    """Finds what dead hosts left in flight. Doing it twice changes nothing more. Every method may raise BusError."""

    def __init__(self, client: Redis, work: WorkQueue) -> None:
        self._script = LuaScript(client, "recover")
        self._work = work

    def of_workers(self, workers: Sequence[str], now: float, *, blame: bool) -> Recovered:
        """Jobs of these hosts. Under blame they are suspects: each runs alone from now on, and is counted."""
        return self._recover(now, blame, workers=workers)

    def of_node(self, node: str, now: float, *, blame: bool) -> Recovered:
        """Jobs of every host whose name begins with "<node>."; for a start, when none of them can live."""
        return self._recover(now, blame, beginning=f"{node}.")

    def of_silent(self, now: float, *, blame: bool) -> Recovered:
        """Jobs that have shown no life for `STALE_AFTER` seconds, wherever they ran."""
        return self._recover(now, blame, before=now - STALE_AFTER)

    def _recover(
        self, now: float, blame: bool, *, before: float | None = None, beginning: str = "", workers: Sequence[str] = ()
    ) -> Recovered:
        head, _, tail = names.worker_executions("\0").partition("\0")
        rule = ["" if before is None else repr(before), int(blame), POISON_AFTER, beginning, names.ISOLATED]
        prefixes = [names.queue(""), names.started(""), names.job(""), names.execution("", "")[:-1]]
        moved, poison = self._script([names.QUEUES], [*rule, *prefixes, names.executions(""), head, tail, *workers])
        claims = [
            Claim(job.decode(), execution.decode(), queue.decode(), data) for job, execution, queue, data in poison
        ]
        self._work.finish("", [_crashed(claim, now) for claim in claims], now)
        return Recovered(
            tuple((job.decode(), source.decode(), target.decode()) for job, source, target in moved),
            tuple(claim.job_id for claim in claims),
        )


def _crashed(claim: Claim, now: float) -> Ending:
    error = f"its host died {POISON_AFTER} times while it ran there alone"
    try:
        job = decode(claim.data)
    except QueueError as refusal:
        told = job_refused(claim.job_id, claim.execution, now, str(refusal))
        return Ending(claim, ok=False, event=told, error=str(refusal))
    return Ending(claim, ok=False, event=endless(job, now, "crashed", error), error=error)
