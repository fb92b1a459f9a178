"""The floor: what four steps cost in Redis alone, without any queue. HSET and XADD per step, in one round trip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lead import STEPS, call

from peers import PAUSE
from peers.on_redis import OnRedis


class Peer(OnRedis):
    in_process = True

    def work(self) -> None:
        """Nobody works but the program that submits."""

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        for values in leads:
            record = dict(values)
            for step in STEPS:
                output = call(step, record, PAUSE)
                record |= output
                both = self.bus.pipeline(transaction=False)
                both.hset(f"lead:{record['id']}", mapping=output)
                both.xadd("events", {"e": json.dumps({"record": record["id"], "step": step, "values": output})})
                both.execute()

    def wait(self, count: int) -> None:
        """`submit` has done everything."""
