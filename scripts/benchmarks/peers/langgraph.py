"""LangGraph with its SQLite checkpointer.

Its reference advises PostgreSQL for production; SQLite is what runs on one machine without another server. The
asynchronous saver, which the reference calls faster, with its own settings: a write-ahead log and a full sync.
`durability="sync"`: a step's checkpoint is written before the next step starts. The agents are coroutines, in the
process that submits; a few graphs at once where agents return at once, as many as there are slots where they wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from lead import STEPS, call
from typing_extensions import TypedDict

from peers import PAUSE, Base, Place

AT_ONCE = 4  # of 1 to 64 the fastest, or as fast as the fastest
FIELDS = """id email firstname lastname company domain jobtitle phone country state city source campaign message
    employees consent industry revenue region score grade owner queue sla segment alerted alert"""
Lead = TypedDict("Lead", dict.fromkeys(FIELDS.split(), Any), total=False)


def node(step: str) -> Any:
    async def work(state: Lead) -> dict[str, Any]:
        if PAUSE:
            await asyncio.sleep(PAUSE)
        return call(step, dict(state))

    return work


class Peer(Base):
    in_process = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.loop = asyncio.new_event_loop()
        self.under_way: list[Future[None]] = []

    def start(self) -> None:
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self._ask(self._build()).result()

    def _ask(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def _build(self) -> None:
        self.slots = asyncio.Semaphore(self.place.slots or AT_ONCE)
        self.saving = AsyncSqliteSaver.from_conn_string(str(self.place.folder / "langgraph.sqlite3"))
        graph = StateGraph(Lead)
        for step in STEPS:
            graph.add_node(f"{step}_", node(step))
        for first, second in zip([START, *(f"{s}_" for s in STEPS)], [*(f"{s}_" for s in STEPS), END], strict=True):
            graph.add_edge(first, second)
        self.graph = graph.compile(checkpointer=await self.saving.__aenter__())

    async def _run(self, values: dict[str, Any]) -> None:
        async with self.slots:
            thread = {"configurable": {"thread_id": values["id"]}}
            await self.graph.ainvoke(values, thread, durability="sync")

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        self.under_way += [self._ask(self._run(values)) for values in leads]

    def wait(self, count: int) -> None:
        ending, self.under_way = self.under_way[:count], self.under_way[count:]
        for one in ending:
            one.result()

    def stop(self) -> None:
        async def close() -> None:
            await self.saving.__aexit__(None, None, None)

        self._ask(close()).result(20)
        super().stop()
