"""Data of an older version become today's: what `store/version.py` describes, carried out."""

from __future__ import annotations

from revops_lite.engine import Changes, State
from revops_lite.models import AuditEntry
from revops_lite.store import keys, version
from revops_lite.store.client import bus_errors
from revops_lite.store.commit import Command, commands
from revops_lite.store.store import Lead, Store


def upgrade(store: Store, lead: Lead, now: float) -> None:
    """Bring the data to today's version, as the controller. Raises DataVersion; killed anywhere, it may be repeated."""
    version.admit(store.redis, upgrades=True)
    number, _ = version.found(store.redis)
    for at in range(number or version.FIRST, version.CURRENT):
        with bus_errors():
            for batch in version.STEPS[at](store.redis):
                store.commit(lead, batch, None, now)
        told = AuditEntry(now, "data.upgraded", "controller", before=at, after=at + 1)
        entries = commands(State(), Changes(audit=[told]), now)
        store.commit(lead, [_mark(at + 1), *entries], None, now)
    if number is None:
        store.commit(lead, [_mark(version.CURRENT)], None, now)


def _mark(number: int) -> Command:
    return ("HSET", keys.VERSION, "data", number, "program", version.program())
