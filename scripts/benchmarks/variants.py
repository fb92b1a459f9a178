"""Who takes part: each line is one setting of one peer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    name: str  # for --only
    title: str
    peer: str  # the file in peers/
    durability: str = "everysec"
    detail: str = ""
    slots: bool = True  # also measured with agents of 50 ms and 64 slots
    once: bool = False  # too slow for every round
    asked: bool = False  # only where --only names it

    @property
    def ours(self) -> bool:
        return self.peer == "revops"

    @property
    def own_environment(self) -> bool:
        """Whether it runs in .venv; the others in build/peers."""
        return self.peer in ("revops", "floor")

    @property
    def kind(self) -> str:
        return {"revops": "ours", "floor": "floor"}.get(self.peer, "peer")


def ours(processes: int, durability: str, crm: str) -> Variant:
    name = "-".join(["revops", str(processes), *[w for w in (durability, crm) if w not in ("everysec", "none")]])
    hosts = "no host" if processes == 0 else "one host"
    title = f"revops-lite, {hosts}, `{durability}`" + (", CRM written" if crm != "none" else "")
    slots = crm == "none" and durability == "always"
    return Variant(name, title, "revops", durability, f"{processes} {crm}", slots)


VARIANTS = (
    Variant("floor", "floor: HSET and XADD per step", "floor", slots=False),
    Variant("floor-always", "floor, `always`", "floor", "always", slots=False),
    *(ours(hosts, sync, crm) for crm in ("none", "sqlite") for hosts in (0, 1) for sync in ("everysec", "always")),
    Variant("dramatiq", "dramatiq on Redis, 2 processes of 8 threads", "dramatiq"),
    Variant("huey", "huey on Redis, 2 processes", "huey"),
    Variant("dramatiq-always", "dramatiq on Redis, `always`", "dramatiq", "always"),
    Variant("huey-always", "huey on Redis, `always`", "huey", "always"),
    Variant("rq", "RQ, pool of 8 SimpleWorkers", "rq"),
    Variant("celery", "Celery on Redis, 2 processes", "celery"),
    Variant("langgraph", "LangGraph, SQLite, async", "langgraph"),
    Variant("dbos", "DBOS, SQLite, write-ahead log", "dbos"),
    Variant("prefect", "Prefect, own server on SQLite", "prefect", slots=False, once=True),
    Variant("celery-always", "Celery on Redis, `always`", "celery", "always", asked=True),
    Variant("rq-always", "RQ, `always`", "rq", "always", asked=True),
)
BY_NAME = {variant.name: variant for variant in VARIANTS}
GROWING = "revops-1-always"
